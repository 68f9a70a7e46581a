//! UDP: every way to send and receive, errors that are given once, datagrams that are cut, cancellation, and
//! many tasks on one socket.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::poll_immediate;
use ringloop::net::UdpSocket;
use ringloop::{race, spawn, time::sleep, time::timeout, yield_now};

use crate::harness::{on_every, scaled};
use crate::tools::{GiveUpAfter, joined};

async fn pair() -> (UdpSocket, UdpSocket) {
    let left = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let right = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    (left, right)
}

#[test]
fn every_way_to_send_and_receive() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            let (here, there) = (near.local_addr().unwrap(), far.local_addr().unwrap());
            let mut buf = [0; 64];

            assert_eq!(near.send_to(b"one", there).await.unwrap(), 3);
            assert_eq!(far.recv_from(&mut buf).await.unwrap(), (3, here));
            assert_eq!(&buf[..3], b"one");
            near.send_to(b"two", ("localhost", there.port())).await.unwrap();
            assert_eq!(far.recv(&mut buf).await.unwrap(), 3);
            near.send_to(b"", there).await.unwrap();
            assert_eq!(far.recv_from(&mut buf).await.unwrap(), (0, here), "empty ones count");

            let received = spawn(async move {
                let mut buf = [0; 64];
                let meta = far.peek_meta(&mut buf).await.unwrap();
                assert_eq!((meta.len, meta.peer), (5, here));
                assert_eq!(far.recv_meta(&mut buf).await.unwrap(), meta);
                far.readable().await.unwrap();
                let meta = far.try_recv_meta(&mut buf).unwrap();
                assert_eq!(&buf[..meta.len], b"four");
                assert_eq!(far.try_recv_meta(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
                far
            });
            yield_now().await;
            near.connect(there).await.unwrap();
            assert_eq!(near.peer_addr().unwrap(), there);
            assert_eq!(near.send(b"three").await.unwrap(), 5);
            near.writable().await.unwrap();
            assert_eq!(near.try_send(b"four").unwrap(), 4);
            let far = received.await.unwrap();

            assert_eq!(near.try_send_to(b"five", there).unwrap(), 4);
            assert_eq!(far.recv(&mut buf).await.unwrap(), 4);
            // From elsewhere: it is not for a connected socket.
            let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            stranger.send_to(b"who?", here).await.unwrap();
            far.send_to(b"six", here).await.unwrap();
            assert_eq!(near.recv(&mut buf).await.unwrap(), 3);
            assert_eq!(&buf[..3], b"six");
        });
    });
}

#[test]
fn datagram_that_is_cut_says_so() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair().await;
            let there = far.local_addr().unwrap();
            near.send_to(&[7; 3000], there).await.unwrap();
            near.send_to(b"next", there).await.unwrap();
            let mut buf = [0; 1000];
            let meta = far.recv_meta(&mut buf).await.unwrap();
            assert_eq!((meta.len, meta.sent, meta.is_truncated()), (1000, 3000, true));
            assert_eq!(buf, [7; 1000]);
            let meta = far.recv_meta(&mut buf).await.unwrap();
            assert_eq!((meta.len, meta.sent, meta.is_truncated()), (4, 4, false));
            near.send_to(b"x", there).await.unwrap();
            assert_eq!(
                far.recv(&mut []).await.unwrap(),
                0,
                "a buffer without room takes it as well"
            );
            assert!(poll_immediate(far.recv(&mut buf)).await.is_none());
        });
    });
}

#[test]
fn port_without_a_listener_is_an_error_once_and_only_if_connected() {
    // Goal: an ICMP error ends no socket; method: datagrams to a port that was given up, from a connected
    // socket and from another one, which then go on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            let (here, gone) = (near.local_addr().unwrap(), far.local_addr().unwrap());
            drop(far);
            // By the loopback, the answer is there when the send returns.
            near.send_to(b"nobody", gone).await.unwrap();
            near.send_to(b"nobody", gone).await.unwrap();
            near.send_to(b"me", here).await.unwrap();
            let mut buf = [0; 16];
            assert_eq!(near.recv_from(&mut buf).await.unwrap(), (2, here));

            let connected = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            connected.connect(gone).await.unwrap();
            let waits = async {
                let mut buf = [0; 16];
                let error = connected.recv(&mut buf).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            };
            let sends = async {
                yield_now().await;
                connected.send(b"nobody").await.unwrap();
            };
            ringloop::gather!(waits, sends).await;
            assert!(poll_immediate(connected.recv(&mut buf)).await.is_none(), "given once");
            let back = UdpSocket::bind(gone).await.unwrap();
            connected.send(b"again").await.unwrap();
            let (len, peer) = back.recv_from(&mut buf).await.unwrap();
            assert_eq!(&buf[..len], b"again");
            back.send_to(b"yes", peer).await.unwrap();
            assert_eq!(connected.recv(&mut buf).await.unwrap(), 3);
        });
    });
}

#[test]
fn cancelled_receives_lose_no_datagram() {
    // Goal: each datagram once, in order (the loopback keeps it); method: receives that are given up after some
    // turns or by a race against a timer, while datagrams come.
    on_every(|cfg| {
        let mut rng = cfg.rng(7);
        cfg.once(async move {
            let (near, far) = pair().await;
            let there = far.local_addr().unwrap();
            let total = scaled(2000);
            let taken = Arc::new(AtomicUsize::new(0));
            let seen = taken.clone();
            let sending = spawn(async move {
                for number in 0..total as u64 {
                    // No more than the receive buffer has room for.
                    while number as usize > seen.load(Ordering::Relaxed) + 50 {
                        yield_now().await;
                    }
                    near.send_to(&number.to_le_bytes(), there).await.unwrap();
                }
            });
            let mut expected = 0_u64;
            while expected < total as u64 {
                let mut buf = [0; 8];
                let got = match rng.below(3) {
                    0 => GiveUpAfter::new(rng.below(3), far.recv(&mut buf)).await,
                    1 => timeout(Duration::from_micros(30), far.recv(&mut buf)).await.ok(),
                    _ => Some(far.recv(&mut buf).await),
                };
                match got {
                    Some(len) => {
                        assert_eq!(len.unwrap(), 8);
                        assert_eq!(u64::from_le_bytes(buf), expected);
                        expected += 1;
                        taken.store(expected as usize, Ordering::Relaxed);
                    }
                    None => yield_now().await,
                }
            }
            sending.await.unwrap();
        });
    });
}

#[test]
fn tasks_share_a_socket() {
    // Goal: each datagram goes to one of the tasks that receive, whichever gives up; method: tasks that receive on
    // one socket and answer, and clients that wait for their answers.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            let addr = server.local_addr().unwrap();
            let serve = |server: Arc<UdpSocket>| async move {
                let mut buf = [0; 64];
                loop {
                    let (len, peer) = server.recv_from(&mut buf).await.unwrap();
                    server.send_to(&buf[..len], peer).await.unwrap();
                }
            };
            let servers: Vec<_> = (0..4).map(|_| spawn(serve(server.clone()))).collect();
            let client = |number: u8| async move {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.connect(addr).await.unwrap();
                for round in 0..20 {
                    let mut buf = [0; 64];
                    socket.send(&[number, round]).await.unwrap();
                    let len = socket.recv(&mut buf).await.unwrap();
                    assert_eq!(&buf[..len], [number, round]);
                }
            };
            let clients: Vec<_> = (0..8).map(|number| spawn(client(number))).collect();
            // One that gives up in between leaves its datagram to another.
            servers[0].cancel();
            for client in clients {
                client.await.unwrap();
            }
            for server in servers {
                server.cancel();
                assert!(server.await.unwrap_err().is_cancelled());
            }
        });
    });
}

#[test]
fn bad_input_is_explained() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair().await;
            let there = far.local_addr().unwrap();
            let error = near.send_to(&vec![0; 70_000], there).await.unwrap_err();
            assert!(error.to_string().contains("70000 bytes is too large"), "{error}");
            let error = near.send(b"x").await.unwrap_err();
            assert!(error.to_string().contains("call connect first"), "{error}");
            let other: SocketAddr = "[::1]:9".parse().unwrap();
            let error = near.send_to(b"x", other).await.unwrap_err();
            assert!(error.to_string().contains("another family"), "{error}");
            let error = UdpSocket::bind(there).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&there.to_string()), "{error}");
            assert_eq!(near.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
            // And it still works.
            near.send_to(b"x", there).await.unwrap();
            assert_eq!(far.recv(&mut [0; 8]).await.unwrap(), 1);
        });
    });
}

#[test]
fn sockets_change_hands() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            let there = far.local_addr().unwrap();
            assert!(poll_immediate(far.recv(&mut [0; 8])).await.is_none());
            let plain = far.into_std().await.unwrap();
            near.send_to(b"to a thread", there).await.unwrap();
            let thread = std::thread::spawn(move || {
                let mut buf = [0; 16];
                let (len, peer) = plain.recv_from(&mut buf).unwrap();
                plain.send_to(&buf[..len], peer).unwrap();
                plain
            });
            let mut buf = [0; 16];
            assert_eq!(near.recv(&mut buf).await.unwrap(), 11);
            let far = UdpSocket::from_std(joined(thread).await.unwrap()).unwrap();
            near.send_to(b"back", there).await.unwrap();
            assert_eq!(far.recv(&mut buf).await.unwrap(), 4);

            let first = UdpSocket::bind_reuse_port("127.0.0.1:0").await.unwrap();
            let second = UdpSocket::bind_reuse_port(first.local_addr().unwrap()).await.unwrap();
            near.send_to(b"either", first.local_addr().unwrap()).await.unwrap();
            let mut other = [0; 16];
            let len = race!(first.recv(&mut buf), second.recv(&mut other), async {
                sleep(Duration::from_secs(20)).await;
                Err(ErrorKind::TimedOut.into())
            });
            assert_eq!(len.await.unwrap(), 6);
        });
    });
}
