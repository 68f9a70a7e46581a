//! Connecting: happy eyeballs, limits of time, options, and the first bytes along.

use std::io::ErrorKind;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::future::{join, poll_immediate};
use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{Connect, ConnectError, Keepalive, TcpListener, TcpStream};
use ringloop::testing::Clock;
use ringloop::time::{Instant, timeout};
use ringloop::{spawn, yield_now};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use socket2::{Domain, Socket, Type};

use crate::harness::{loud, on_every, scaled, wait_until_async};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::GiveUpAfter;

const HALF: Duration = Duration::from_millis(125);
const DELAY: Duration = Duration::from_millis(250);

fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn bound(addr: SocketAddr) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.bind(&addr.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// An address that refuses: bound, so that no other socket gets the port, and not listening.
fn refusing() -> (Socket, SocketAddr) {
    bound(here(0))
}

/// An address without an answer: a listener whose backlog is full.
struct Silent {
    addr: SocketAddr,
    _held: (Socket, std::net::TcpStream),
}

impl Silent {
    fn new() -> Self {
        Self::at(here(0))
    }

    fn at(addr: SocketAddr) -> Self {
        let (listener, addr) = bound(addr);
        listener.listen(0).unwrap();
        let held = std::net::TcpStream::connect(addr).unwrap();
        Self { addr, _held: (listener, held) }
    }
}

/// Answers of the loopback are faster than the clock, on a busy machine as well.
fn patiently() {
    Clock::current().set_patience(Duration::from_millis(50));
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(here(0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn texts(error: &ConnectError) -> Vec<String> {
    error.attempts().iter().map(|one| format!("{}: {}", one.addr, one.error)).collect()
}

#[test]
fn a_silent_address_does_not_hold_the_next_up() {
    on_every(|cfg| {
        cfg.mocked(async {
            patiently();
            let silent = Silent::new();
            let (listener, open) = listening().await;
            let began = Instant::now();
            let stream = TcpStream::connect([silent.addr, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert_eq!(began.elapsed(), DELAY);
            listener.accept().await.unwrap();

            // Two of them, and another delay.
            let other = Silent::new();
            let connect = Connect::new().attempt_delay(HALF);
            let began = Instant::now();
            let all = [silent.addr, other.addr, open];
            assert_eq!(connect.connect(all).await.unwrap().peer_addr().unwrap(), open);
            assert_eq!(began.elapsed(), DELAY);
        });
    });
}

#[test]
fn an_address_that_refuses_lets_the_next_begin_at_once() {
    on_every(|cfg| {
        cfg.mocked(async {
            // No jump of the clock at all.
            Clock::current().set_patience(Duration::MAX);
            let (_holder, refused) = refusing();
            let (_listener, open) = listening().await;
            let began = Instant::now();
            let connect = Connect::new().attempt_delay(Duration::from_secs(3600));
            let stream = connect.connect([refused, refused, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert_eq!(began.elapsed(), Duration::ZERO);
            // Also behind one that is silent: its failure is not what the others wait for.
            drop(stream);
            patiently();
            let silent = Silent::new();
            let began = Instant::now();
            let connect = Connect::new().attempt_delay(Duration::from_secs(1));
            let stream = connect.connect([silent.addr, refused, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert_eq!(began.elapsed(), Duration::from_secs(1));
        });
    });
}

#[test]
fn in_turn_means_one_after_the_other() {
    on_every(|cfg| {
        cfg.mocked(async {
            patiently();
            let silent = Silent::new();
            let (_listener, open) = listening().await;
            let connect =
                Connect::new().attempt_delay(Duration::MAX).attempt_timeout(Duration::from_secs(7));
            let began = Instant::now();
            let stream = connect.connect([silent.addr, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert_eq!(began.elapsed(), Duration::from_secs(7));
        });
    });
}

#[test]
fn losers_see_the_end_and_the_winner_lives() {
    // Goal: an attempt that succeeds too late is closed, for its peer as well; method: both attempts are accepted
    // before either is asked for its result.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let connect = Connect::new().attempt_delay(Duration::ZERO);
            for _ in 0..scaled(20) {
                let (first, one) = listening().await;
                let (second, two) = listening().await;
                let mut connecting = Box::pin(connect.connect([one, two]));
                if poll_immediate(&mut connecting).await.is_some() {
                    // This thread was held up, and another worker was faster.
                    continue;
                }
                let (mut near, _) = first.accept().await.unwrap();
                let (mut late, _) = second.accept().await.unwrap();
                let mut stream = connecting.await.unwrap();
                if stream.peer_addr().unwrap() == two {
                    mem::swap(&mut near, &mut late);
                }
                assert_eq!(late.read(&mut [0; 8][..]).await.unwrap(), 0);
                stream.write_all(b"x").await.unwrap();
                assert_eq!(&*near.read_lease().await.unwrap(), b"x");
            }
        });
    });
}

#[test]
fn all_errors_are_kept() {
    on_every(|cfg| {
        cfg.mocked(async {
            patiently();
            let (_holder, refused) = refusing();
            let silent = Silent::new();
            let broadcast: SocketAddr = "255.255.255.255:9".parse().unwrap();
            let connect = Connect::new().attempt_timeout(Duration::from_secs(2));
            let error = connect.connect([silent.addr, broadcast, refused]).await.unwrap_err();
            let texts = texts(&error);
            assert_eq!(texts.len(), 3, "{texts:?}");
            assert!(texts[0].starts_with(&silent.addr.to_string()), "{texts:?}");
            assert!(texts[0].contains("no answer within 2s"), "{texts:?}");
            assert_eq!(error.attempts()[1].addr, broadcast);
            assert_eq!(error.attempts()[2].error.kind(), ErrorKind::ConnectionRefused);
            assert!(texts.iter().all(|one| error.to_string().contains(one)), "{error}");

            let error = TcpStream::connect([refused, broadcast]).await.unwrap_err();
            assert!(error.to_string().contains(&refused.to_string()), "{error}");
            let inner = error.get_ref().unwrap().downcast_ref::<ConnectError>().unwrap();
            assert_eq!(inner.attempts().len(), 2);
            // Of one address as well: a crawler has to know which one it was.
            let error = TcpStream::connect(refused).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let text = format!(
                "no connection: {refused}: Connection refused (os error 111), nobody listens there"
            );
            assert_eq!(error.to_string(), text);
            let inner = error.get_ref().unwrap().downcast_ref::<ConnectError>().unwrap();
            assert_eq!(inner.attempts()[0].error.raw_os_error(), Some(111));
            let none: [SocketAddr; 0] = [];
            let error = TcpStream::connect(none).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn time_for_all_ends_all_and_says_what_was_tried() {
    on_every(|cfg| {
        cfg.mocked(async {
            patiently();
            let silent = Silent::new();
            let (_holder, refused) = refusing();
            let connect = Connect::new().timeout(Duration::from_millis(400));
            let began = Instant::now();
            let all = [silent.addr, refused, silent.addr, silent.addr];
            let error = connect.connect(all).await.unwrap_err();
            assert_eq!(began.elapsed(), Duration::from_millis(400));
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            // The last had not begun yet.
            assert_eq!(error.attempts().len(), 3, "{error}");
            assert_eq!(error.attempts()[1].error.kind(), ErrorKind::ConnectionRefused);
            assert!(error.to_string().contains("within 400ms"), "{error}");
            assert!(error.to_string().contains("no answer yet"), "{error}");

            // The limit holds for a single address, and a timeout around it does too.
            let began = Instant::now();
            assert!(connect.connect(silent.addr).await.is_err());
            let around = timeout(HALF, TcpStream::connect(silent.addr)).await;
            assert!(around.is_err());
            assert_eq!(began.elapsed(), Duration::from_millis(525));
        });
    });
}

#[test]
fn connects_that_are_given_up_leave_no_descriptor() {
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            let mut rng = cfg.rng(21);
            cfg.once(async {
                let silent = Silent::new();
                let other = Silent::new();
                let (_holder, refused) = refusing();
                let (listener, open) = listening().await;
                let server = spawn(async move {
                    loop {
                        drop(listener.accept().await.unwrap());
                    }
                });
                let connect = Connect::new().attempt_delay(Duration::ZERO);
                for _ in 0..scaled(200) {
                    let mut addrs = vec![silent.addr, other.addr];
                    match rng.below(3) {
                        0 => addrs.push(open),
                        1 => addrs.insert(0, refused),
                        _ => {}
                    }
                    let connecting = connect.connect(addrs);
                    match rng.below(2) {
                        0 => drop(GiveUpAfter::new(rng.below(6), connecting).await),
                        _ => {
                            let short = Duration::from_micros(rng.next() % 500);
                            let _ = timeout(short, connecting).await;
                        }
                    }
                }
                // By the cancel of a task, with two attempts under way.
                for _ in 0..scaled(20) {
                    let (connect, all) = (connect.clone(), [silent.addr, other.addr]);
                    let task = spawn(async move { connect.connect(all).await });
                    for _ in 0..rng.below(10) {
                        yield_now().await;
                    }
                    task.cancel();
                    assert!(task.await.unwrap_err().is_cancelled());
                }
                server.abort();
                let _ = server.await;
            });
            assert_eq!(open_fds(), before);
        });
    });
}

#[test]
fn a_winner_leaves_no_other_descriptor() {
    let sockets = || open_fds().values().filter(|to| to.starts_with("socket:")).count();
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let (first, second) = (Silent::new(), Silent::new());
                let (_listener, open) = listening().await;
                let before = sockets();
                let connect = Connect::new().attempt_delay(Duration::from_millis(1));
                let stream = connect.connect([first.addr, second.addr, open]).await.unwrap();
                let gone = || sockets() == before + 1;
                wait_until_async(gone, || format!("{} sockets", sockets() - before)).await;
                drop(stream);
            });
        });
    });
}

#[test]
fn this_end_has_the_address_that_was_chosen() {
    on_every(|cfg| {
        cfg.once(async {
            let (listener, open) = listening().await;
            let local: SocketAddr = "127.0.0.5:0".parse().unwrap();
            let connect = Connect::new().local_addr(local);
            let stream = connect.connect(open).await.unwrap();
            let near = stream.local_addr().unwrap();
            assert_eq!(near.ip(), local.ip());
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, near);
            // A fixed port.
            let (holder, fixed) = bound("127.0.0.6:0".parse().unwrap());
            drop(holder);
            let stream = Connect::new().local_addr(fixed).connect(open).await.unwrap();
            assert_eq!(stream.local_addr().unwrap(), fixed);

            if let Ok(listener) = TcpListener::bind("[::1]:0").await {
                let connect = Connect::new().local_addr("[::1]:0".parse().unwrap());
                let stream = connect.connect(listener.local_addr().unwrap()).await.unwrap();
                assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::from(Ipv6Addr::LOCALHOST));
            }

            // Families that do not fit are errors that name the fix; others are tried all the same.
            let six: SocketAddr = (Ipv6Addr::LOCALHOST, open.port()).into();
            let error = connect.connect(six).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains("127.0.0.5:0") && text.contains("of the same family"), "{text}");
            let stream = connect.connect([six, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            let strange = Connect::new().local_addr("203.0.113.7:0".parse().unwrap());
            let error = strange.connect(open).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            assert!(error.to_string().contains("not an address of this machine"), "{error}");
            let taken = Connect::new().local_addr(open).connect(open).await.unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
            assert!(taken.to_string().contains("port 0"), "{taken}");
        });
    });
}

#[test]
fn one_port_of_this_end_serves_for_several_peers() {
    // Goal: an address of this end with the port 0 does not use up a port for each connection; method: in a network of
    // its own there is one port only, and two peers.
    isolated(|| {
        if enter_own_network().is_none() {
            loud(
                "NOTE skipped: no network of one's own here, so the ports of this end are not counted",
            );
            return;
        }
        on_every(|cfg| {
            cfg.once(async {
                let range = "/proc/sys/net/ipv4/ip_local_port_range";
                std::fs::write(range, "32768 60999").unwrap();
                let (first, one) = listening().await;
                let (second, two) = listening().await;
                // The kernel wants two at least: the other is in use.
                std::fs::write(range, "50000 50001").unwrap();
                let (_holder, _) = bound("127.0.0.5:50001".parse().unwrap());
                let connect = Connect::new().local_addr("127.0.0.5:0".parse().unwrap());
                let near = connect.connect(one).await.unwrap();
                let other = connect.connect(two).await.unwrap();
                assert_eq!(near.local_addr().unwrap().port(), 50000);
                assert_eq!(other.local_addr().unwrap().port(), 50000);
                // A reset leaves no port behind for the next case.
                near.set_linger(Some(Duration::ZERO)).unwrap();
                other.set_linger(Some(Duration::ZERO)).unwrap();
                drop((first, second));
            });
        });
    });
}

#[test]
fn options_are_set_on_the_connection() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (_listener, open) = listening().await;
            let keepalive = Keepalive::new()
                .time(Duration::from_secs(40))
                .interval(Duration::from_secs(7))
                .count(5);
            let connect = Connect::new()
                .nodelay(true)
                .keepalive(keepalive)
                .send_buffer_size(32 << 10)
                .recv_buffer_size(48 << 10)
                .ttl(33)
                .user_timeout(Duration::from_secs(9));
            let stream = connect.connect(open).await.unwrap();
            let socket = stream.socket();
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(40));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
            // The kernel doubles it.
            assert_eq!(socket.send_buffer_size().unwrap(), 64 << 10);
            assert_eq!(socket.recv_buffer_size().unwrap(), 96 << 10);
            assert_eq!(socket.ttl_v4().unwrap(), 33);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
            let none = Connect::new().ttl(256).connect(open).await.unwrap_err();
            assert!(none.to_string().contains("1 to 255"), "{none}");
        });
    });
}

#[test]
fn families_take_turns() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        loud("NOTE skipped: no IPv6 loopback here");
        return;
    }
    on_every(|cfg| {
        cfg.mocked(async {
            patiently();
            let six: IpAddr = Ipv6Addr::LOCALHOST.into();
            let silent = [(); 2].map(|()| Silent::at((six, 0).into()));
            let (_listener, open) = listening().await;
            let began = Instant::now();
            // Of IPv4 the first: it is second in turn, before the other of IPv6.
            let stream = TcpStream::connect([silent[0].addr, silent[1].addr, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert_eq!(began.elapsed(), DELAY);
        });
    });
}

#[test]
fn first_bytes_arrive_with_and_without_fast_open() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (listener, open) = listening().await;
            // More than a first packet has room for.
            let long: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
            for fast in [false, true] {
                for data in [&b""[..], b"short", &long] {
                    let connect = Connect::new().fast_open(fast);
                    let expected = data.to_vec();
                    let server = async {
                        let (mut near, _) = listener.accept().await.unwrap();
                        let mut got = Vec::new();
                        near.read_to_end(&mut got).await.unwrap();
                        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
                    };
                    let client = async {
                        let mut stream = connect.connect_with(open, data).await.unwrap();
                        stream.close().await.unwrap();
                    };
                    join(server, client).await;
                }
            }
            // Only the winner's bytes count, and a list works as well.
            let (_holder, refused) = refusing();
            let connect = Connect::new().fast_open(true);
            let stream = connect.connect_with([refused, open], b"once").await.unwrap();
            let (mut near, _) = listener.accept().await.unwrap();
            drop(stream);
            let mut text = String::new();
            near.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "once");
        });
    });
}

const FAST_OPEN: &str = "/proc/sys/net/ipv4/tcp_fastopen";

/// Moves the thread, and those that it starts, into a network of its own, in which fast open is on for clients and
/// servers. Its loopback is the only interface. `None`: that is not permitted here.
pub fn enter_own_network() -> Option<()> {
    // SAFETY: the descriptor table is not unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.ok()?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    // SAFETY: all zeros are a request without a name and flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as _, b'o' as _]);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // SAFETY: the request names an interface and its flags, and lives until the call returns.
    let up = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) };
    assert_eq!(up, 0, "{}", std::io::Error::last_os_error());
    // 1: clients, 2: servers, 0x400: all listeners.
    std::fs::write(FAST_OPEN, "1027").ok()
}

/// A counter of TCP in this thread's network.
fn tcp_counter(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|one| one == name).unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

#[test]
fn fast_open_brings_the_first_bytes_with_the_first_packet() {
    isolated(|| {
        if enter_own_network().is_none() {
            loud(
                "NOTE skipped: no network of one's own here, so fast open is tried without cookies only",
            );
            return;
        }
        let opened = || tcp_counter("TCPFastOpenActive");
        on_every(|cfg| {
            cfg.once(async {
                let (listener, open) = listening().await;
                let before = opened();
                let connect = Connect::new().fast_open(true);
                let long: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
                // The first may have to fetch the cookie.
                for data in [&b"cookie"[..], b"second", &long, b""] {
                    let expected = data.to_vec();
                    let server = async {
                        let (mut near, _) = listener.accept().await.unwrap();
                        let mut got = Vec::new();
                        near.read_to_end(&mut got).await.unwrap();
                        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
                    };
                    let client = async {
                        let mut stream = connect.connect_with(open, data).await.unwrap();
                        stream.close().await.unwrap();
                    };
                    join(server, client).await;
                }
                assert!(opened() >= before + 2, "{} of {before}", opened());
                let sent = opened();

                // Without the option, and without bytes, nobody opens fast.
                drop(Connect::new().connect_with(open, b"slowly").await.unwrap());
                drop(connect.connect(open).await.unwrap());
                assert_eq!(opened(), sent);
                drop(listener);

                // The kernel has taken the bytes for a server that is gone: that is no connection.
                let error = connect.connect_with(open, b"to nobody").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                assert_eq!(error.attempts().len(), 1);
                let (listener, other) = listening().await;
                let stream = connect.connect_with([open, other], b"to another").await.unwrap();
                drop(stream);
                let (mut near, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                near.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "to another");

                // Where the system does not have it, the bytes go the other way.
                std::fs::write(FAST_OPEN, "0").unwrap();
                drop(connect.connect_with(other, b"plainly").await.unwrap());
                let (mut near, _) = listener.accept().await.unwrap();
                text.clear();
                near.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "plainly");
                std::fs::write(FAST_OPEN, "1027").unwrap();
            });
        });
    });
}
