//! Listening: on all addresses of a name, with options that connections inherit, and by `poll_accept`.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use ringloop::net::{Keepalive, Resolver, TcpListener, TcpListenerBuilder, TcpStream};

use crate::harness::{loud, on_every};
use crate::measure::open_fds;
use crate::processes::isolated;

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
    isolated(|| {
        let hold = |_| std::net::TcpListener::bind("[::1]:0").unwrap();
        let _held: Vec<_> = (0..600).map(hold).collect();
        on_every(|cfg| {
            cfg.once(async {
                let fds = open_fds().len();
                for _ in 0..100 {
                    let both: [SocketAddr; 2] = [(V4, 0).into(), (V6, 0).into()];
                    let bound = addrs(&TcpListener::bind_all(both).await.unwrap());
                    assert_eq!(bound[0].port(), bound[1].port());
                }
                assert_eq!(open_fds().len(), fds, "tries that failed are closed");
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
