//! Peers that are slow on purpose, that vanish, that take nothing, or that are very many.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringloop::io::AsyncWriteExt;
use ringloop::net::{Keepalive, Server, TcpListener, TcpStream};
use ringloop::sync::channel::channel;
use ringloop::time::timeout;
use ringloop::{spawn, streams};

use crate::harness::{Cfg, loud, on_every, on_every_within, scale, scaled, settle, wait_until};
use crate::measure::resident_bytes;
use crate::net_load::raise_descriptor_limit;
use crate::processes::{Helper, isolated, listen, say};
use crate::tools::{Flag, check_pattern, fill_pattern, joined};

/// A connection may hold so much, with its task and what it has read of a line.
const PER_CONNECTION: usize = 12 << 10;
/// For a line.
const LIMIT: Duration = Duration::from_secs(2);

/// Helper process: `slow ADDRESS N` opens N connections, prints "connected", and sends a byte on each now and then,
/// until a line of input. Then it prints how many of them the server has ended.
pub fn slow_role(args: &[String]) {
    raise_descriptor_limit();
    let address: SocketAddr = args[0].parse().unwrap();
    let n: usize = args[1].parse().unwrap();
    let mut all: Vec<_> = (0..n).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    say("connected");
    let (told, hear) = mpsc::channel();
    std::thread::spawn(move || told.send(listen()).unwrap());
    while hear.recv_timeout(Duration::from_millis(50)).is_err() {
        // The server may have ended it.
        all.iter_mut().for_each(|stream| drop(stream.write(b"x")));
    }
    let ended = |stream: &mut std::net::TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match stream.read(&mut [0; 8]) {
            Ok(0) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(_) => false,
        }
    };
    say(&all.iter_mut().filter_map(|stream| ended(stream).then_some(())).count().to_string());
}

/// `wanted` clients that never end their line, and one that does: it is served meanwhile, a slow one costs little
/// memory, and is ended when its time is over.
fn slow_clients(cfg: &Cfg, wanted: usize) {
    let limit = raise_descriptor_limit();
    let n = wanted.min(limit.saturating_sub(200));
    if n < wanted {
        loud(&format!("NOTE {n} slow clients instead of {wanted}: RLIMIT_NOFILE is {limit}"));
    }
    let runtime = cfg.runtime();
    // Lines have a limit of time once all have come: to connect takes its time, too.
    let limited = Flag::new();
    let is_limited = limited.clone();
    let serve = async {
        let builder = Server::builder().max_connections(n + 10).listen("127.0.0.1:0").await?;
        streams::serve_on(builder, move |mut reader, mut writer| {
            let is_limited = is_limited.clone();
            async move {
                loop {
                    match timeout(LIMIT, reader.read_line()).await {
                        Ok(Ok(line)) if !line.is_empty() => {
                            writer.write_all(line.as_bytes()).await?;
                        }
                        // What it has read of the line is kept.
                        Err(_) if !is_limited.is_set() => {}
                        _ => return writer.close().await,
                    }
                }
            }
        })
    };
    let server = runtime.must_run(serve).unwrap();
    let address = server.local_addrs()[0];
    // What the first connection costs is not counted.
    let mut fast = std::net::TcpStream::connect(address).unwrap();
    fast.set_nodelay(true).unwrap();
    let mut trip = |number: usize| {
        let (line, began) = (format!("line {number}\n"), Instant::now());
        fast.write_all(line.as_bytes()).unwrap();
        let mut back = vec![0; line.len()];
        fast.read_exact(&mut back).unwrap();
        assert_eq!(back, line.as_bytes());
        began.elapsed()
    };
    trip(0);
    let before = resident_bytes();
    let mut slow = Helper::start("slow", &[address.to_string(), n.to_string()]);
    slow.expect("connected");
    wait_until(|| server.connections() == n + 1, || format!("{}", server.connections()));
    let slowest = (0..200).map(&mut trip).max();
    assert!(slowest < Some(LIMIT), "a trip took {slowest:?}");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < n * PER_CONNECTION + (4 << 20), "{grown} bytes for {n} slow clients");
    // The fast one goes on, and the others go.
    limited.set();
    let began = Instant::now();
    while server.connections() > 1 {
        trip(1);
        assert!(began.elapsed() < 20 * LIMIT, "{} clients stay", server.connections());
        std::thread::sleep(Duration::from_millis(20));
    }
    slow.tell("close");
    assert_eq!(slow.hear(), n.to_string(), "all were ended");
    slow.finish();
    fast.shutdown(Shutdown::Both).unwrap();
    runtime.must_run(server.drain(Duration::from_secs(10)));
}

#[test]
fn clients_that_send_a_byte_now_and_then_cost_little_and_hold_up_nobody() {
    // Goal: test 23; method: see `slow_clients`. Ten thousand by `cargo storms`, or with a scale.
    isolated(|| {
        on_every_within(Duration::from_secs(100), |cfg| match (cfg.workers, scale()) {
            (4, _) => {}
            (_, 2..) => slow_clients(cfg, 10_000),
            _ => slow_clients(cfg, 400),
        });
    });
}

#[test]
#[ignore = "ten thousand slow clients: `cargo storms`"]
fn full_crowd_of_slow_clients() {
    on_every_within(Duration::from_secs(140), |cfg| {
        if cfg.workers == 2 {
            slow_clients(cfg, 10_000);
        }
    });
}

/// setsockopt(2) of a number, or of what a filter of packets is.
fn set_option<T>(socket: &std::net::TcpStream, level: i32, name: i32, value: &T) -> bool {
    let (fd, len) = (socket.as_raw_fd(), size_of::<T>() as _);
    // SAFETY: the value has that length, and lives until the call returns.
    unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), len) == 0 }
}

/// Has the kernel drop what comes for this socket, as if it never came.
fn make_deaf(socket: &std::net::TcpStream) {
    let mut none =
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as _, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut none };
    assert!(set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program));
}

fn make_hear_again(socket: &std::net::TcpStream) {
    assert!(set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32));
}

#[test]
fn peers_that_vanish_or_answer_no_probe_are_found_by_keepalive() {
    // Goal: test 24; method: peers whose socket is gone without a packet, and others that hear nothing: a read
    // that waits ends with an error, by keepalive alone.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let second = Duration::from_secs(1);
            let keepalive = Keepalive::new().time(second).interval(second).count(2);
            let listener = TcpListener::builder().keepalive(keepalive);
            let listener = listener.bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut readers = Vec::new();
            let mut deaf = Vec::new();
            for number in 0..10 {
                let peer = std::net::TcpStream::connect(address).unwrap();
                let (mut near, _) = listener.accept().await.unwrap();
                let vanishes = number % 2 == 0;
                if !vanishes {
                    make_deaf(&peer);
                    deaf.push(peer);
                } else if set_option(&peer, libc::IPPROTO_TCP, libc::TCP_REPAIR, &1_i32) {
                    drop(peer);
                } else {
                    loud("NOTE no peers that vanish: TCP_REPAIR is not permitted here");
                    continue;
                }
                readers.push((
                    vanishes,
                    spawn(async move {
                        match number % 3 {
                            0 => near.read(&mut [0; 8]).await.map(drop),
                            1 => near.read_lease().await.map(drop),
                            _ => near.read(Vec::with_capacity(8)).await.0.map(drop),
                        }
                    }),
                ));
            }
            for (vanishes, reader) in readers {
                let error = reader.await.unwrap().unwrap_err();
                let expected =
                    if vanishes { ErrorKind::ConnectionReset } else { ErrorKind::TimedOut };
                assert_eq!(error.kind(), expected);
            }
            drop(listener);
            settle(1).await;
        });
    });
}

#[test]
fn writes_to_a_peer_that_hears_nothing_can_be_given_up() {
    // Goal: test 25; method: the peer's packets are dropped during a write of more than fits; the write is given
    // up after some time, and the stream dropped: no operation, buffer or descriptor stays. When the peer hears
    // again it gets the beginning of what was sent, in order.
    on_every(|cfg| {
        cfg.once(async {
            for way in 0..3 {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut peer =
                    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (mut near, _): (TcpStream, _) = listener.accept().await.unwrap();
                drop(listener);
                make_deaf(&peer);
                let mut bytes = vec![0; 8 << 20];
                fill_pattern(&mut bytes, 0);
                let limit = Duration::from_millis(30);
                match way {
                    0 => {
                        let _ = timeout(limit, near.write_all(&bytes)).await.unwrap_err();
                    }
                    1 => {
                        let whole = async {
                            let mut sent = 0;
                            while sent < bytes.len() {
                                let piece = bytes[sent..].to_vec();
                                sent += near.write(piece).await.0.unwrap();
                            }
                        };
                        let _ = timeout(limit, whole).await.unwrap_err();
                    }
                    _ => {
                        let (reader, mut writer) = streams::split(near);
                        let _ = timeout(limit, writer.write_all(&bytes)).await.unwrap_err();
                        writer.abort();
                        // What the kernel has not sent is gone with a reset.
                        drop((reader, peer));
                        settle(1).await;
                        continue;
                    }
                }
                drop(near);
                settle(1).await;
                make_hear_again(&peer);
                let reading = std::thread::spawn(move || {
                    let (mut buf, mut received) = (vec![0; 64 << 10], 0);
                    loop {
                        match peer.read(&mut buf).unwrap() {
                            0 => return received,
                            len => {
                                check_pattern(&buf[..len], received);
                                received += len;
                            }
                        }
                    }
                });
                let received = joined(reading).await.unwrap();
                assert!(0 < received && received < 8 << 20, "{received}");
            }
        });
    });
}

#[test]
fn many_connections_into_one_channel_are_held_back_by_its_reader() {
    // Goal: test 27; method: each connection brings more than all of them may hold together; their readers send
    // what they read, as bytes or as leases, to a channel of 8, whose reader takes one piece at a time.
    const PIECE: usize = 4 << 10;
    isolated(|| {
        on_every_within(Duration::from_secs(100), |cfg| {
            if cfg.workers == 4 {
                return;
            }
            let n = scaled(100);
            let each = 50 * PIECE;
            let runtime = cfg.runtime();
            let mut before = None;
            for (round, leases) in [true, false, true, false].into_iter().enumerate() {
                runtime.must_run(async move {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    let address = listener.local_addr().unwrap();
                    let (send, recv) = channel::<(usize, Piece)>(8);
                    for number in 0..n {
                        spawn(async move {
                            let mut stream = TcpStream::connect(address).await.unwrap();
                            for _ in 0..each / PIECE {
                                stream.write_all(&[number as u8; PIECE]).await.unwrap();
                            }
                        })
                        .detach();
                        let (mut stream, _) = listener.accept().await.unwrap();
                        let send = send.clone();
                        spawn(async move {
                            loop {
                                let piece = match leases {
                                    true => Piece::Lease(stream.read_lease().await.unwrap()),
                                    false => {
                                        let (read, bytes) = stream.read(vec![0; 4096]).await;
                                        let len = read.unwrap();
                                        Piece::Bytes(bytes, len)
                                    }
                                };
                                let is_end = piece.bytes().is_empty();
                                send.send((number, piece)).await.unwrap();
                                if is_end {
                                    return;
                                }
                            }
                        })
                        .detach();
                    }
                    drop(send);
                    let mut received = vec![0; n];
                    while let Ok((number, piece)) = recv.recv().await {
                        // As a whole: to look at each byte takes its time.
                        let expected = vec![number as u8; piece.bytes().len()];
                        assert!(piece.bytes() == expected, "bytes of another connection");
                        received[number] += piece.bytes().len();
                    }
                    assert!(received.iter().all(|len| *len == each));
                });
                // Both ways were used by then.
                if round == 1 {
                    before = Some(resident_bytes());
                }
                let grown = resident_bytes().saturating_sub(before.unwrap_or(usize::MAX));
                assert!(grown < 4 << 20, "{grown} bytes more than after two rounds");
            }
        });
    });
}

enum Piece {
    Bytes(Vec<u8>, usize),
    Lease(ringloop::io::Lease),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes, len) => &bytes[..*len],
            Self::Lease(lease) => lease,
        }
    }
}
