//! What comes beside datagrams, what is lost and counted, multicast, broadcast and options.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use futures_util::future::poll_immediate;
use ringloop::net::{EcnCodepoint, RecvMeta, Transmit, UdpSocket};

use crate::harness::on_every;

async fn bound(addr: &str) -> UdpSocket {
    UdpSocket::bind(addr).await.unwrap()
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

async fn received(socket: &UdpSocket) -> RecvMeta {
    let meta = socket.recv_meta(&mut [0; 100]).await.unwrap();
    assert_eq!(meta.len, 1);
    meta
}

/// Every mark, and none, from `near` to `there`; each must arrive.
async fn marks_arrive(near: &UdpSocket, far: &UdpSocket, there: Option<SocketAddr>) {
    let marks = [EcnCodepoint::Ect0, EcnCodepoint::Ect1, EcnCodepoint::Ce].map(Some);
    for ecn in [&marks[..], &[None]].concat() {
        let mut transmit = Transmit::connected(b"x");
        (transmit.destination, transmit.ecn) = (there, ecn);
        near.send_transmit(&transmit).await.unwrap();
        let meta = received(far).await;
        assert_eq!(meta.ecn, ecn, "to {there:?}");
        assert_eq!((meta.dst_ip, meta.interface), (None, None), "not asked for");
    }
}

#[test]
fn congestion_marks_arrive_if_they_are_asked_for() {
    // By IPv4, by IPv6, and by a socket of both families in each of its three ways.
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = (bound("127.0.0.1:0").await, bound("127.0.0.1:0").await);
            let there = far.local_addr().unwrap();
            let marked = Transmit::new(there, b"x").with_ecn(EcnCodepoint::Ce);
            near.send_transmit(&marked).await.unwrap();
            assert_eq!(received(&far).await.ecn, None, "not asked for");
            far.set_recv_ecn(true).unwrap();
            marks_arrive(&near, &far, Some(there)).await;
            near.connect(there).await.unwrap();
            marks_arrive(&near, &far, None).await;
            far.set_recv_ecn(false).unwrap();
            near.send_transmit(&marked).await.unwrap();
            assert_eq!(received(&far).await.ecn, None, "not asked for any more");

            if !has_ipv6() {
                return;
            }
            let (near, far) = (bound("[::]:0").await, bound("[::]:0").await);
            far.set_recv_ecn(true).unwrap();
            for ip in ["::1", "::ffff:127.0.0.1", "127.0.0.1"] {
                let there = SocketAddr::new(ip.parse().unwrap(), port(&far));
                marks_arrive(&near, &far, Some(there)).await;
            }
            near.connect((Ipv6Addr::LOCALHOST, port(&far)).into_addr()).await.unwrap();
            marks_arrive(&near, &far, None).await;
        });
    });
}

trait IntoAddr {
    fn into_addr(self) -> SocketAddr;
}

impl<T: Into<IpAddr>> IntoAddr for (T, u16) {
    fn into_addr(self) -> SocketAddr {
        SocketAddr::new(self.0.into(), self.1)
    }
}

#[test]
fn server_at_all_addresses_answers_from_the_one_that_was_asked() {
    on_every(|cfg| {
        cfg.once(async {
            let server = bound("0.0.0.0:0").await;
            server.set_recv_packet_info(true).unwrap();
            let client = bound("127.0.0.1:0").await;
            for asked in
                [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 9, 9, 9)]
            {
                let there = (asked, port(&server)).into_addr();
                client.send_to(b"x", there).await.unwrap();
                let meta = received(&server).await;
                assert_eq!(meta.dst_ip, Some(asked.into()));
                assert!(meta.interface.is_some_and(|number| number > 0));
                let answer = Transmit::new(meta.peer, b"y").with_src_ip(asked.into());
                server.send_transmit(&answer).await.unwrap();
                assert_eq!(client.recv_from(&mut [0; 8]).await.unwrap(), (1, there));
            }
            server.set_recv_packet_info(false).unwrap();
            client.send_to(b"x", (Ipv4Addr::LOCALHOST, port(&server))).await.unwrap();
            assert_eq!(received(&server).await.dst_ip, None);
            if !has_ipv6() {
                return;
            }
            // One of both families, asked by either.
            let server = bound("[::]:0").await;
            server.set_recv_packet_info(true).unwrap();
            server.set_recv_ecn(true).unwrap();
            let by_v6 = bound("[::1]:0").await;
            for (client, asked) in [(&client, "127.0.0.3"), (&by_v6, "::1")] {
                let asked: IpAddr = asked.parse().unwrap();
                let there = (asked, port(&server)).into_addr();
                client.send_to(b"x", there).await.unwrap();
                let meta = received(&server).await;
                assert_eq!(meta.dst_ip.map(|ip| ip.to_canonical()), Some(asked));
                assert!(meta.peer.is_ipv6());
                let answer = Transmit::new(meta.peer, b"y").with_src_ip(meta.dst_ip.unwrap());
                server.send_transmit(&answer.with_ecn(EcnCodepoint::Ect0)).await.unwrap();
                assert_eq!(client.recv_from(&mut [0; 8]).await.unwrap(), (1, there));
            }
        });
    });
}

#[test]
fn two_families_talk_over_one_socket() {
    if !has_ipv6() {
        return;
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let both = bound("[::]:0").await;
            let (v4, v6) = (bound("127.0.0.1:0").await, bound("[::1]:0").await);
            let mut buf = [0; 8];
            for (socket, ip) in
                [(&v4, IpAddr::from(Ipv4Addr::LOCALHOST)), (&v6, Ipv6Addr::LOCALHOST.into())]
            {
                let there = SocketAddr::new(ip, port(&both));
                socket.send_to(b"ask", there).await.unwrap();
                let (len, peer) = both.recv_from(&mut buf).await.unwrap();
                assert_eq!(peer.ip().to_canonical(), ip);
                both.send_to(&buf[..len], peer).await.unwrap();
                assert_eq!(socket.recv_from(&mut buf).await.unwrap(), (3, there));
                // By the plain address as well as by the mapped one.
                both.send_to(b"again", socket.local_addr().unwrap()).await.unwrap();
                assert_eq!(socket.recv_from(&mut buf).await.unwrap(), (5, there));
                let among = [socket.local_addr().unwrap()];
                both.send_to(b"one of", &among[..]).await.unwrap();
                assert_eq!(socket.recv_from(&mut buf).await.unwrap(), (6, there));
                let batch = [Transmit::new(socket.local_addr().unwrap(), b"batch"); 2];
                assert_eq!(both.send_batch(&batch).await.unwrap(), 2);
                assert_eq!(socket.recv(&mut buf).await.unwrap(), 5);
                assert_eq!(socket.recv(&mut buf).await.unwrap(), 5);
                let cut =
                    Transmit::new(socket.local_addr().unwrap(), b"aabbc").with_segment_size(2);
                both.send_transmit(&cut).await.unwrap();
                for len in [2, 2, 1] {
                    assert_eq!(socket.recv(&mut buf).await.unwrap(), len);
                }
            }
            let only_v4 = v4.send_to(b"x", v6.local_addr().unwrap()).await.unwrap_err();
            assert!(only_v4.to_string().contains("another family"), "{only_v4}");
            let among = [v6.local_addr().unwrap()];
            let only_v4 = v4.send_to(b"x", &among[..]).await.unwrap_err();
            assert!(only_v4.to_string().contains("none of the addresses is of IPv4"), "{only_v4}");
        });
    });
}

#[test]
fn lost_datagrams_are_counted() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = (bound("127.0.0.1:0").await, bound("127.0.0.1:0").await);
            let there = far.local_addr().unwrap();
            assert_eq!(far.dropped().unwrap(), 0);
            for round in 1..=3 {
                let before = far.dropped().unwrap();
                for number in 0..1000_u32 {
                    near.send_to(&number.to_le_bytes(), there).await.unwrap();
                }
                // Those that there is room for are the first, in order.
                let (mut buf, mut got) = ([0; 4], 0_u32);
                while far.try_recv(&mut buf).is_ok() {
                    assert_eq!(u32::from_le_bytes(buf), got);
                    got += 1;
                }
                assert!((1..1000).contains(&got), "round {round}: {got}");
                assert_eq!(got + far.dropped().unwrap() - before, 1000);
            }
            assert_eq!(near.dropped().unwrap(), 0, "only of what it receives");
        });
    });
}

#[test]
fn groups_of_multicast_are_joined_and_left() {
    on_every(|cfg| {
        cfg.once(async {
            let group = Ipv4Addr::new(239, 255, 91, 7);
            let lo = Ipv4Addr::LOCALHOST;
            let members =
                [bound("0.0.0.0:0").await, UdpSocket::bind_reuse_port("0.0.0.0:0").await.unwrap()];
            let second = UdpSocket::bind_reuse_port(("0.0.0.0", port(&members[1]))).await.unwrap();
            let sender = bound("127.0.0.1:0").await;
            sender.socket().set_multicast_if_v4(&lo).unwrap();
            for member in [&members[0], &members[1], &second] {
                member.join_multicast_v4(group, lo).unwrap();
            }
            let mut buf = [0; 8];
            sender.send_to(b"one", (group, port(&members[0]))).await.unwrap();
            assert_eq!(
                members[0].recv_from(&mut buf).await.unwrap(),
                (3, sender.local_addr().unwrap())
            );
            // Each member of a port gets a copy.
            sender.send_to(b"both", (group, port(&members[1]))).await.unwrap();
            assert_eq!(members[1].recv(&mut buf).await.unwrap(), 4);
            assert_eq!(second.recv(&mut buf).await.unwrap(), 4);

            members[0].set_recv_packet_info(true).unwrap();
            sender.send_to(b"x", (group, port(&members[0]))).await.unwrap();
            assert_eq!(received(&members[0]).await.dst_ip, Some(group.into()));

            second.leave_multicast_v4(group, lo).unwrap();
            let again = second.leave_multicast_v4(group, lo).unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AddrNotAvailable);
            let not_one = second.join_multicast_v4(Ipv4Addr::LOCALHOST, lo).unwrap_err();
            assert_eq!(not_one.kind(), ErrorKind::InvalidInput);

            // The loopback interface gives them to members anyway.
            sender.set_multicast_loop_v4(false).unwrap();
            assert!(!sender.multicast_loop_v4().unwrap());
            sender.set_multicast_ttl_v4(3).unwrap();
            assert_eq!(sender.multicast_ttl_v4().unwrap(), 3);
        });
    });
}

#[test]
fn groups_of_multicast_work_over_ipv6() {
    if !has_ipv6() {
        return;
    }
    on_every(|cfg| {
        cfg.once(async {
            let group: Ipv6Addr = "ff02::7:2c19".parse().unwrap();
            let member = bound("[::]:0").await;
            let sender = bound("[::]:0").await;
            sender.set_multicast_loop_v6(false).unwrap();
            assert!(!sender.multicast_loop_v6().unwrap());
            sender.set_multicast_loop_v6(true).unwrap();
            assert_eq!(
                member.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
            // The loopback interface has no routes for groups: those that have are tried.
            for interface in interfaces_with_link_local() {
                member.join_multicast_v6(&group, interface).unwrap();
                let there = SocketAddrV6::new(group, port(&member), 0, interface);
                if sender.send_to(b"x", there).await.is_ok() {
                    let meta = received(&member).await;
                    assert!(meta.peer.is_ipv6());
                }
                member.leave_multicast_v6(&group, interface).unwrap();
                member.leave_multicast_v6(&group, interface).unwrap_err();
            }
        });
    });
}

/// The numbers of the interfaces that have an address of their own link.
fn interfaces_with_link_local() -> Vec<u32> {
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let fields = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let link_local = fields.filter(|fields| fields.get(3) == Some(&"20"));
    link_local.filter_map(|fields| u32::from_str_radix(fields.get(1)?, 16).ok()).collect()
}

#[test]
fn broadcast_has_to_be_allowed() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = (bound("0.0.0.0:0").await, bound("0.0.0.0:0").await);
            let all = (Ipv4Addr::new(127, 255, 255, 255), port(&far));
            assert!(!near.broadcast().unwrap());
            let refused = near.send_to(b"x", all).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            assert!(refused.to_string().contains("set_broadcast"), "{refused}");
            near.set_broadcast(true).unwrap();
            assert!(near.broadcast().unwrap());
            near.send_to(b"x", all).await.unwrap();
            far.set_recv_packet_info(true).unwrap();
            near.send_to(b"y", all).await.unwrap();
            received(&far).await;
            assert_eq!(received(&far).await.dst_ip, Some(all.0.into()));
            assert!(poll_immediate(far.recv(&mut [0; 8])).await.is_none());
        });
    });
}

#[test]
fn options_are_read_as_they_were_set() {
    on_every(|cfg| {
        cfg.once(async {
            let socket = bound("127.0.0.1:0").await;
            socket.set_ttl(7).unwrap();
            assert_eq!(socket.ttl().unwrap(), 7);
            socket.set_tos_v4(0x10).unwrap();
            assert_eq!(socket.tos_v4().unwrap(), 0x10);
            assert_eq!(socket.device().unwrap(), None);
            assert!(socket.take_error().unwrap().is_none());
            assert_eq!(socket.max_receive_segments(), 1);
            if has_ipv6() {
                let socket = bound("[::1]:0").await;
                socket.set_tclass_v6(0x20).unwrap();
                assert_eq!(socket.tclass_v6().unwrap(), 0x20);
                socket.set_dont_fragment(true).unwrap();
            }
            // Larger than what the loopback takes at once: only in fragments.
            let far = bound("127.0.0.1:0").await;
            let (there, large) = (far.local_addr().unwrap(), vec![0; 65_507]);
            socket.send_to(&large, there).await.unwrap();
            socket.set_dont_fragment(true).unwrap();
            let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
            if mtu.trim().parse::<usize>().unwrap() < 65_535 {
                let error = socket.send_to(&large, there).await.unwrap_err();
                assert!(error.to_string().contains("too large"), "{error}");
            }
            socket.set_dont_fragment(false).unwrap();
            assert_eq!(far.recv(&mut vec![0; 65_507]).await.unwrap(), 65_507);
        });
    });
}
