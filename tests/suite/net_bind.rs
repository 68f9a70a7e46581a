//! Listening: on all addresses of a name, with options that connections inherit, and by `poll_accept`.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::poll_immediate;
use ringloop::io::AsyncWriteExt;
use ringloop::net::{
    Keepalive, Resolver, TcpListener, TcpListenerBuilder, TcpStream, UdpSocket, UnixListener,
    UnixStream,
};
use ringloop::testing::counted;
use ringloop::{spawn, yield_now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Kind, loud, on_every, scaled};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::{Count, Flag};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Whether the machine has `::1`; if not, that is printed.
fn has_v6() -> bool {
    let has = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !has {
        loud("NOTE skipped: no IPv6 loopback here");
    }
    has
}

/// Has these addresses for every name.
struct Always(Vec<IpAddr>);

impl Resolver for Always {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

fn addrs(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

#[test]
fn a_name_is_bound_at_all_its_addresses_on_one_port() {
    if !has_v6() {
        return;
    }
    on_every(|cfg| {
        // The same address twice: it is bound once.
        let builder = cfg.builder().resolver(Always(vec![V6, V4, V6]));
        let body = async {
            for _ in 0..20 {
                let listeners = TcpListener::bind_all("localhost:0").await.unwrap();
                let addrs = addrs(&listeners);
                let port = addrs[0].port();
                assert_eq!(addrs, [SocketAddr::new(V6, port), SocketAddr::new(V4, port)]);
                for listener in &listeners {
                    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                    let (_, peer) = listener.accept().await.unwrap();
                    assert_eq!(peer, stream.local_addr().unwrap());
                }
            }
        };
        builder.run(body).unwrap();
    });
}

#[test]
fn every_interface_is_bound_in_both_families() {
    if !has_v6() {
        return;
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let any: [SocketAddr; 2] =
                [(Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::UNSPECIFIED, 0).into()];
            let listeners = TcpListener::bind_all(any).await.unwrap();
            let port = listeners[0].local_addr().unwrap().port();
            assert_eq!(listeners[1].local_addr().unwrap(), (Ipv4Addr::UNSPECIFIED, port).into());
            assert!(listeners[0].socket().only_v6().unwrap());
            let _client = TcpStream::connect((V4, port)).await.unwrap();
            let (_, peer) = listeners[1].accept().await.unwrap();
            assert!(peer.is_ipv4(), "not as a mapped address: {peer}");
        });
    });
}

#[test]
fn a_port_that_is_taken_in_one_family_is_not_chosen() {
    // Goal: EADDRINUSE of the second address takes another port for both; method: so many ports of IPv6 are in use
    // that the kernel often chooses one of them for IPv4.
    if !has_v6() {
        return;
    }
    let sockets = || open_fds().values().filter(|to| to.starts_with("socket:")).count();
    isolated(|| {
        let hold = |_| std::net::TcpListener::bind("[::1]:0").unwrap();
        let _held: Vec<_> = (0..600).map(hold).collect();
        on_every(|cfg| {
            cfg.once(async {
                let before = sockets();
                for _ in 0..100 {
                    let both: [SocketAddr; 2] = [(V4, 0).into(), (V6, 0).into()];
                    let bound = addrs(&TcpListener::bind_all(both).await.unwrap());
                    assert_eq!(bound[0].port(), bound[1].port());
                }
                assert_eq!(sockets(), before, "tries that failed are closed");
            });
        });
    });
}

#[test]
fn one_address_in_use_binds_none() {
    on_every(|cfg| {
        cfg.once(async {
            let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let taken = holder.local_addr().unwrap();
            let free = "127.0.0.2:0".parse().unwrap();
            let error = TcpListener::bind_all([free, taken]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            let text = error.to_string();
            assert!(text.contains(&taken.to_string()) && text.contains("or 0 for any"), "{text}");
            // Of `bind`, one of several is enough; if none is free, all are named.
            let one = TcpListener::bind([taken, free]).await.unwrap();
            assert_eq!(one.local_addr().unwrap().ip(), free.ip());
            let strange = "203.0.113.7:9".parse().unwrap();
            let text = TcpListener::bind([taken, strange]).await.unwrap_err().to_string();
            assert!(text.contains(&taken.to_string()), "{text}");
            assert!(text.contains("203.0.113.7:9"), "{text}");
            assert!(text.contains("not an address of this machine"), "{text}");
            let none: &[SocketAddr] = &[];
            let error = TcpListener::bind_all(none).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn an_address_that_the_machine_lacks_is_left_out_of_a_name() {
    on_every(|cfg| {
        let strange: IpAddr = "203.0.113.7".parse().unwrap();
        let builder = cfg.builder().resolver(Always(vec![strange, V4]));
        let bound = builder.run(TcpListener::bind_all("name:0")).unwrap().unwrap();
        assert_eq!(bound.len(), 1);
        assert_eq!(bound[0].local_addr().unwrap().ip(), V4);
        drop(bound);

        let builder = cfg.builder().resolver(Always(vec![strange]));
        let error = builder.run(TcpListener::bind_all("name:0")).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        // An address that was asked for is an error.
        cfg.once(async {
            let both: [SocketAddr; 2] = [(V4, 0).into(), (strange, 0).into()];
            let error = TcpListener::bind_all(both).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            assert!(error.to_string().contains("203.0.113.7:"), "{error}");
        });
    });
}

/// All options of connections.
fn chosen(builder: TcpListenerBuilder) -> TcpListenerBuilder {
    let keepalive = Keepalive::new()
        .time(Duration::from_millis(41_500))
        .interval(Duration::from_secs(7))
        .count(5);
    builder
        .nodelay(true)
        .keepalive(keepalive)
        .send_buffer_size(32 << 10)
        .recv_buffer_size(48 << 10)
        .ttl(33)
        .user_timeout(Duration::from_millis(4321))
}

#[test]
fn accepted_connections_inherit_the_listeners_options() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener =
                chosen(TcpListener::builder()).backlog(7).bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            for socket in [listener.socket(), server.socket()] {
                assert!(socket.tcp_nodelay().unwrap());
                assert!(socket.keepalive().unwrap());
                assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(42));
                assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
                // The kernel doubles it.
                assert_eq!(socket.send_buffer_size().unwrap(), 64 << 10);
                assert_eq!(socket.recv_buffer_size().unwrap(), 96 << 10);
                assert_eq!(socket.ttl_v4().unwrap(), 33);
                let timeout = socket.tcp_user_timeout().unwrap();
                assert_eq!(timeout, Some(Duration::from_millis(4321)));
            }
            assert!(!client.nodelay().unwrap());
        });
    });
}

#[test]
fn options_out_of_range_are_named() {
    on_every(|cfg| {
        cfg.once(async {
            let none = TcpListener::builder().ttl(0).bind("127.0.0.1:0").await;
            let text = none.unwrap_err().to_string();
            assert!(text.contains("ttl") && text.contains("1 to 255"), "{text}");
            let never = Keepalive::new().time(Duration::ZERO);
            let none = TcpListener::builder().keepalive(never).bind("127.0.0.1:0").await;
            let text = none.unwrap_err().to_string();
            assert!(text.contains("keepalive") && text.contains("32767"), "{text}");
        });
    });
}

#[test]
fn a_dual_stack_takes_both_families_and_one_of_v6_does_not() {
    if !has_v6() {
        return;
    }
    on_every(|cfg| {
        cfg.once(async {
            let dual = TcpListener::builder().only_v6(false).bind("[::]:0").await.unwrap();
            let port = dual.local_addr().unwrap().port();
            let client = TcpStream::connect((V4, port)).await.unwrap();
            let (_, peer) = dual.accept().await.unwrap();
            assert!(peer.is_ipv6());
            assert_eq!(peer.ip().to_canonical(), client.local_addr().unwrap().ip());

            let only = TcpListener::builder().only_v6(true).bind("[::]:0").await.unwrap();
            let port = only.local_addr().unwrap().port();
            let refused = TcpStream::connect((V4, port)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let _client = TcpStream::connect((V6, port)).await.unwrap();
        });
    });
}

#[test]
fn a_port_is_shared_where_that_was_chosen() {
    on_every(|cfg| {
        cfg.once(async {
            let shared = TcpListener::builder().reuse_port(true);
            let first = shared.bind("127.0.0.1:0").await.unwrap();
            let addr = first.local_addr().unwrap();
            let second = shared.bind(addr).await.unwrap();
            assert_eq!(second.local_addr().unwrap(), addr);
            assert!(TcpListener::bind(addr).await.is_err());
            drop((first, second));

            let own = chosen(TcpListener::builder()).bind_per_worker("127.0.0.1:0").await.unwrap();
            assert_eq!(own.len(), cfg.workers);
            let ports: BTreeSet<_> =
                own.iter().map(|(_, one)| one.local_addr().unwrap().port()).collect();
            assert_eq!(ports.len(), 1);
            assert!(own.iter().all(|(_, one)| one.socket().tcp_nodelay().unwrap()));
        });
    });
}

#[test]
fn poll_accept_and_accept_take_every_connection_once() {
    // Goal: a task that accepts by hand and one that awaits, on one listener; method: both take connections until
    // there are as many as clients. Each event wakes both.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let addr = listener.local_addr().unwrap();
            let (taken, done) = (Count::new(), Flag::new());
            let n = scaled(200);
            let peers = Arc::new(Mutex::new(BTreeSet::new()));
            let tasks: Vec<_> = [false, true]
                .into_iter()
                .map(|by_hand| {
                    let (listener, peers) = (listener.clone(), peers.clone());
                    let (taken, done) = (taken.clone(), done.clone());
                    spawn(async move {
                        loop {
                            let (_stream, peer) = match by_hand {
                                true => poll_fn(|cx| listener.poll_accept(cx)).await.unwrap(),
                                false => listener.accept().await.unwrap(),
                            };
                            assert!(peers.lock().unwrap().insert(peer), "{peer} came twice");
                            if taken.add() + 1 == n {
                                done.set();
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..n {
                TcpStream::connect(addr).await.unwrap();
            }
            done.wait().await;
            for task in tasks {
                task.abort();
                let _ = task.await;
            }
        });
    });
}

#[test]
fn poll_accept_wakes_the_task_that_polled_last() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let addr = listener.local_addr().unwrap();
            let (accept, counts) = counted({
                let listener = listener.clone();
                async move { poll_fn(|cx| listener.poll_accept(cx)).await.map(|_| ()) }
            });
            let first = spawn(accept);
            while counts.polls() == 0 {
                yield_now().await;
            }
            assert!(poll_immediate(poll_fn(|cx| listener.poll_accept(cx))).await.is_none());
            let client = TcpStream::connect(addr).await.unwrap();
            let (_stream, peer) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            first.abort();
            let _ = first.await;
        });
    });
}

#[test]
fn poll_accept_pauses_where_descriptors_run_out() {
    // Goal: no error, no spin, one report; method: all descriptors are in use, and then one is not.
    isolated(|| {
        let limits = getrlimit(Resource::Nofile);
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            for freed_by_us in [true, false] {
                let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
                let addr = listener.local_addr().unwrap();
                let spare = runtime.must_run(UdpSocket::bind("127.0.0.1:0")).unwrap();
                let client = std::net::TcpStream::connect(addr).unwrap();
                let highest = *open_fds().keys().max().unwrap() as u64;
                setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 1), ..limits })
                    .unwrap();
                let holes: Vec<_> =
                    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
                let (accept, counts) = counted(async move {
                    poll_fn(|cx| listener.poll_accept(cx)).await.map(|(_, peer)| peer)
                });
                let task = runtime.spawn(accept);
                log.wait_for(Kind::AcceptPaused, 1);
                match freed_by_us {
                    true => runtime.must_run(async { drop(spare) }),
                    // Other code frees one without a word.
                    false => setrlimit(Resource::Nofile, limits).unwrap(),
                }
                let peer = runtime.must_run(task).unwrap().unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
                // It looks ten times a second.
                assert!(counts.polls() < 50, "{} polls", counts.polls());
                assert_eq!(log.take(Kind::AcceptPaused).len(), 1);
                setrlimit(Resource::Nofile, limits).unwrap();
                drop(holes);
            }
        });
    });
}

#[test]
fn unix_connections_are_accepted_by_hand() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let name = format!("ringloop-by-hand-{}-{:p}", std::process::id(), &cfg);
            let name = net::SocketAddr::from_abstract_name(name).unwrap();
            let listener = UnixListener::bind_addr(&name).unwrap();
            assert!(poll_immediate(poll_fn(|cx| listener.poll_accept(cx))).await.is_none());
            let mut client = UnixStream::connect_addr(&name).await.unwrap();
            let (mut stream, peer) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            assert!(peer.is_unnamed());
            client.write_all(b"by hand").await.unwrap();
            assert_eq!(&*stream.read_lease().await.unwrap(), b"by hand");
        });
    });
}
