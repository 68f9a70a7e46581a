//! Many datagrams by one call: segments and groups, batches, datagrams that are cut, and what is refused.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::poll_immediate;
use ringloop::net::{RecvMeta, Transmit, UdpSocket};
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scaled};
use crate::tools::{check_pattern, fill_pattern};

async fn pair() -> (UdpSocket, UdpSocket) {
    let left = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let right = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    (left, right)
}

async fn pair_with_groups() -> (UdpSocket, UdpSocket) {
    let (near, mut far) = pair().await;
    far.enable_gro().unwrap();
    (near, far)
}

fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill_pattern(&mut bytes, 0);
    bytes
}

/// Buffers for a batch.
struct Bufs(Vec<Vec<u8>>, Vec<RecvMeta>);

impl Bufs {
    fn new(count: usize, len: usize) -> Self {
        Self(vec![vec![0; len]; count], vec![RecvMeta::default(); count])
    }

    /// Receives once, and adds the datagrams to `all`.
    async fn recv(&mut self, socket: &UdpSocket, all: &mut Vec<Vec<u8>>) -> usize {
        let Self(bufs, metas) = self;
        let mut slices: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
        let came = socket.recv_batch(&mut slices, metas).await.unwrap();
        for (buf, meta) in bufs.iter().zip(metas).take(came) {
            all.extend(meta.datagrams(buf).map(<[u8]>::to_vec));
        }
        came
    }
}

#[test]
fn segments_come_as_datagrams_and_groups_as_they_were_sent() {
    // Goal: the receiver gets the same datagrams, in order, with groups and without, the last one short; method: one
    // transmit of many segments, whose bytes are numbered.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for (len, size) in
                [(5300, 1000), (4000, 1000), (999, 1000), (1000, 1000), (60_000, 1200)]
            {
                let sent = pattern(len);
                let (near, far) = pair_with_groups().await;
                let transmit = Transmit::new(far.local_addr().unwrap(), &sent);
                let transmit = transmit.with_segment_size(size);
                near.send_transmit(&transmit).await.unwrap();
                let (mut all, mut bufs) = (Vec::new(), Bufs::new(2, UdpSocket::GRO_BUFFER));
                while all.len() < transmit.datagrams() {
                    bufs.recv(&far, &mut all).await;
                    assert_eq!(bufs.1[0].peer, near.local_addr().unwrap());
                }
                check_pattern(&all.concat(), 0);
                assert!(all[..all.len() - 1].iter().all(|datagram| datagram.len() == size));
                assert_eq!(all.concat().len(), len);

                let (near, far) = pair().await;
                let mut transmit = transmit;
                transmit.destination = far.local_addr().ok();
                near.send_transmit(&transmit).await.unwrap();
                let mut buf = [0; 1500];
                for datagram in all {
                    let (len, peer) = far.recv_from(&mut buf).await.unwrap();
                    assert_eq!((&buf[..len], peer), (&datagram[..], near.local_addr().unwrap()));
                }
                assert!(poll_immediate(far.recv(&mut buf)).await.is_none());
            }
        });
    });
}

#[test]
fn groups_are_reported_as_groups() {
    // On the loopback segments stay together. Without that the other tests would show nothing.
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair_with_groups().await;
            assert!(near.max_transmit_segments() > 1 && far.max_receive_segments() > 1);
            assert_eq!(near.max_receive_segments(), 1);
            let there = far.local_addr().unwrap();
            near.send_transmit(&Transmit::new(there, &[7; 5300]).with_segment_size(1000))
                .await
                .unwrap();
            let mut buf = vec![0; UdpSocket::GRO_BUFFER];
            let peeked = far.peek_meta(&mut buf).await.unwrap();
            let meta = far.recv_meta(&mut buf).await.unwrap();
            assert_eq!((meta.len, meta.sent, meta.segment_size), (5300, 5300, Some(1000)));
            assert_eq!(peeked, meta);
            // A single one is no group.
            near.send_to(&[7; 1000], there).await.unwrap();
            let meta = far.recv_meta(&mut buf).await.unwrap();
            assert_eq!((meta.len, meta.segment_size), (1000, None));
        });
    });
}

#[test]
fn batches_keep_order_and_borders() {
    // Goal: plain datagrams, empty ones and segments, to several addresses, go out in order; a partial send is
    // continued by `advance`; method: more transmits than one call takes.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (one, other) = pair().await;
            let (here, there) = (one.local_addr().unwrap(), other.local_addr().unwrap());
            let bytes = pattern(40);
            let transmits: Vec<_> = (0..40)
                .map(|number| match number % 4 {
                    0 => Transmit::new(there, b"to the other"),
                    1 => Transmit::new(here, &bytes[..number]),
                    2 => Transmit::new(here, b""),
                    _ => Transmit::new(here, &bytes[..number]).with_segment_size(10),
                })
                .collect();
            let mut rest = transmits.clone();
            let (mut left, mut calls) = (&mut rest[..], 0);
            while !left.is_empty() {
                let sent = near.send_batch(left).await.unwrap();
                Transmit::advance(&mut left, sent);
                calls += 1;
            }
            assert!(calls > 1);
            let expected: Vec<_> = transmits
                .iter()
                .filter(|transmit| transmit.destination == Some(here))
                .flat_map(|transmit| {
                    let size = transmit.segment_size.unwrap_or(100);
                    let empty = transmit.contents.is_empty().then(Vec::new);
                    transmit.contents.chunks(size).map(<[u8]>::to_vec).chain(empty)
                })
                .collect();
            let (mut all, mut bufs) = (Vec::new(), Bufs::new(5, 100));
            while all.len() < expected.len() {
                bufs.recv(&one, &mut all).await;
            }
            assert_eq!(all, expected);
            for _ in 0..10 {
                assert_eq!(other.recv(&mut [0; 100]).await.unwrap(), 12);
            }
            assert!(poll_immediate(other.recv(&mut [0; 100])).await.is_none());
            assert_eq!(near.send_batch(&[]).await.unwrap(), 0);

            near.connect(here).await.unwrap();
            let connected = [Transmit::connected(b"one"), Transmit::connected(b"two")];
            assert_eq!(near.try_send_batch(&connected).unwrap(), 2);
            all.clear();
            assert_eq!(bufs.recv(&one, &mut all).await, 2, "all that are there");
            assert_eq!(all, [b"one", b"two"]);
        });
    });
}

#[test]
fn transmit_larger_than_a_message_is_sent_in_parts() {
    // More datagrams than the kernel cuts at once, and more bytes than a message may have.
    on_every(|cfg| {
        cfg.once(async {
            for (len, size) in [(2000, 10), (153_000, 9000), (70_000, 35_000)] {
                let sent = pattern(len);
                let (near, far) = pair_with_groups().await;
                far.socket().set_recv_buffer_size(1 << 20).unwrap();
                let transmit = Transmit::new(far.local_addr().unwrap(), &sent);
                let transmit = transmit.with_segment_size(size);
                near.send_transmit(&transmit).await.unwrap();
                let (mut all, mut bufs) = (Vec::new(), Bufs::new(3, UdpSocket::GRO_BUFFER));
                let mut messages = 0;
                while all.len() < transmit.datagrams() {
                    messages += bufs.recv(&far, &mut all).await;
                }
                // Each part is as large as it may be.
                let part = size * 64.min(65_507 / size);
                assert_eq!(messages, len.div_ceil(part));
                assert!(all.iter().all(|datagram| datagram.len() == size));
                check_pattern(&all.concat(), 0);
            }
        });
    });
}

#[test]
fn segments_that_the_kernel_refuses_go_one_by_one() {
    // Goal: the receiver sees no difference; method: a socket without checksums, for which the kernel cuts nothing.
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair_with_groups().await;
            let (on, len) = (1_i32, size_of::<i32>() as libc::socklen_t);
            // SAFETY: the kernel reads a number.
            let set = unsafe {
                let fd = near.as_raw_fd();
                libc::setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_NO_CHECK,
                    (&raw const on).cast(),
                    len,
                )
            };
            assert_eq!(set, 0);
            let (there, sent) = (far.local_addr().unwrap(), pattern(5300));
            for _ in 0..2 {
                let transmit = Transmit::new(there, &sent).with_segment_size(1000);
                near.send_transmit(&transmit).await.unwrap();
                let (mut all, mut bufs) = (Vec::new(), Bufs::new(8, UdpSocket::GRO_BUFFER));
                assert_eq!(bufs.recv(&far, &mut all).await, 6, "each by itself");
                assert_eq!(all.len(), 6);
                check_pattern(&all.concat(), 0);
            }
        });
    });
}

#[test]
fn datagrams_that_are_cut_say_so_in_a_batch() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair().await;
            let there = far.local_addr().unwrap();
            for len in [10, 100, 0, 101, 3000] {
                near.send_to(&vec![len as u8; len], there).await.unwrap();
            }
            let mut memory = [0; 500];
            let mut bufs: Vec<_> = memory.chunks_mut(100).map(IoSliceMut::new).collect();
            let mut metas = [RecvMeta::default(); 9];
            assert_eq!(far.recv_batch(&mut bufs, &mut metas).await.unwrap(), 5);
            let lens = metas.map(|meta| (meta.len, meta.sent, meta.is_truncated()));
            assert_eq!(
                lens[..5],
                [
                    (10, 10, false),
                    (100, 100, false),
                    (0, 0, false),
                    (100, 101, true),
                    (100, 3000, true)
                ]
            );
            assert_eq!(*bufs[3], [101; 100]);
            assert_eq!(metas[5], RecvMeta::default(), "of a buffer that does not exist");
            // What was not asked for is not there.
            assert!(
                metas
                    .iter()
                    .all(|meta| (meta.ecn, meta.dst_ip, meta.segment_size) == (None, None, None))
            );
            assert_eq!(
                far.try_recv_batch(&mut bufs, &mut metas).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
        });
    });
}

#[test]
fn socket_with_groups_refuses_what_could_lose_some() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair_with_groups().await;
            near.send_to(b"kept", far.local_addr().unwrap()).await.unwrap();
            let small = &mut [0; 2000];
            let refused = |error: io::Error, fix: &str| {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains(fix), "{error}");
            };
            refused(far.recv(small).await.unwrap_err(), "recv_batch");
            refused(far.recv_from(small).await.unwrap_err(), "recv_batch");
            refused(far.peek(small).await.unwrap_err(), "recv_batch");
            refused(far.peek_from(small).await.unwrap_err(), "recv_batch");
            refused(far.try_recv(small).unwrap_err(), "recv_batch");
            refused(far.try_recv_from(small).unwrap_err(), "recv_batch");
            let polled = poll_fn(|cx| far.poll_recv(cx, small)).await;
            refused(polled.unwrap_err(), "recv_batch");
            let polled = poll_fn(|cx| far.poll_recv_from(cx, small)).await;
            refused(polled.unwrap_err(), "recv_batch");
            refused(far.recv_meta(small).await.unwrap_err(), "65535");
            refused(far.try_recv_meta(small).unwrap_err(), "65535");
            let (mut large, mut metas) = (vec![0; UdpSocket::GRO_BUFFER], [RecvMeta::default(); 2]);
            let mut bufs = [IoSliceMut::new(&mut large), IoSliceMut::new(small)];
            refused(far.recv_batch(&mut bufs, &mut metas).await.unwrap_err(), "65535");

            // One that was switched on before is noticed.
            let far = UdpSocket::from_std(far.into_std().await.unwrap()).unwrap();
            refused(far.recv(&mut [0; 2000]).await.unwrap_err(), "recv_batch");
            assert_eq!(far.recv_meta(&mut large).await.unwrap().len, 4);
        });
    });
}

#[test]
fn bad_transmits_are_explained_and_those_before_are_sent() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair().await;
            let there = far.local_addr().unwrap();
            let explained = async |bad: Transmit<'_>, kind: ErrorKind, fix: &str| {
                let batch = [Transmit::new(there, b"good"), bad, Transmit::new(there, b"later")];
                assert_eq!(near.send_batch(&batch).await.unwrap(), 1);
                assert_eq!(far.recv(&mut [0; 8]).await.unwrap(), 4);
                for error in [
                    near.send_batch(&batch[1..]).await.unwrap_err(),
                    near.try_send_batch(&batch[1..]).unwrap_err(),
                    near.send_transmit(&bad).await.unwrap_err(),
                ] {
                    assert!(error.to_string().contains(fix), "{error}");
                    assert_eq!(error.kind(), kind, "{error}");
                }
            };
            let plain = Transmit::new(there, b"x");
            explained(plain.with_segment_size(0), ErrorKind::InvalidInput, "leave it out").await;
            let other = "::1".parse().unwrap();
            explained(plain.with_src_ip(other), ErrorKind::InvalidInput, "another family").await;
            let strange = "192.0.2.9".parse().unwrap();
            let kind = near.try_send_batch(&[plain.with_src_ip(strange)]).unwrap_err().kind();
            explained(plain.with_src_ip(strange), kind, "no address of this machine").await;
            let large = vec![0; 70_000];
            let kind = io::Error::from_raw_os_error(libc::EMSGSIZE).kind();
            explained(Transmit::new(there, &large), kind, "70000 bytes is too large").await;
            let cut = Transmit::new(there, &large).with_segment_size(66_000);
            explained(cut, kind, "66000 bytes is too large").await;
            let kind = io::Error::from_raw_os_error(libc::EDESTADDRREQ).kind();
            explained(Transmit::connected(b"x"), kind, "call connect first").await;

            let error = far.recv_batch(&mut [], &mut [RecvMeta::default()]).await.unwrap_err();
            assert!(error.to_string().contains("no buffer"), "{error}");
            let mut buf = [0; 8];
            let error =
                far.recv_batch(&mut [IoSliceMut::new(&mut buf)], &mut []).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(poll_immediate(far.recv(&mut buf)).await.is_none(), "nothing else was sent");
        });
    });
}

#[test]
fn refused_connection_is_an_error_of_a_batch_once() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = pair().await;
            let gone = far.local_addr().unwrap();
            drop(far);
            near.connect(gone).await.unwrap();
            let batch = [Transmit::connected(b"nobody")];
            assert_eq!(near.send_batch(&batch).await.unwrap(), 1);
            let error = near.send_batch(&batch).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            // The error was of the first one; the second was not sent, and made none.
            let mut buf = [0; 8];
            let mut bufs = [IoSliceMut::new(&mut buf)];
            let mut metas = [RecvMeta::default()];
            assert!(poll_immediate(near.recv_batch(&mut bufs, &mut metas)).await.is_none());
            near.send_batch(&batch).await.unwrap();
            assert_eq!(near.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionRefused);
            assert!(near.take_error().unwrap().is_none());
            let back = UdpSocket::bind(gone).await.unwrap();
            assert_eq!(near.send_batch(&batch).await.unwrap(), 1);
            assert_eq!(back.recv(&mut buf).await.unwrap(), 6);
        });
    });
}

/// The socket of a protocol that is a state machine, in the shape that quinn gives it.
trait AsyncUdpSocket: Send + Sync + std::fmt::Debug + 'static {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>>;
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()>;
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn max_transmit_segments(&self) -> usize;
}

trait UdpPoller: Send + Sync + 'static {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Each has a waker of its own: a future that waits.
struct Poller {
    socket: Arc<UdpSocket>,
    wait: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket.clone();
        let wait =
            self.wait.get_or_insert_with(|| Box::pin(async move { socket.writable().await }));
        let ready = wait.as_mut().poll(cx);
        if ready.is_ready() {
            self.wait = None;
        }
        ready
    }
}

impl AsyncUdpSocket for UdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.try_send_batch(std::slice::from_ref(transmit)).map(drop)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv_batch(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        UdpSocket::local_addr(self)
    }

    fn max_transmit_segments(&self) -> usize {
        UdpSocket::max_transmit_segments(self)
    }
}

#[test]
fn poll_functions_carry_a_state_machine() {
    // Goal: a protocol in the shape of quinn's sends and receives bulk, with several tasks that send; method: numbered
    // segments there, an acknowledgement of each group back, no more under way than the receive buffer holds.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair_with_groups().await;
            let there = far.local_addr().unwrap();
            near.connect(there).await.unwrap();
            let groups = scaled(50);
            let receiver = spawn(async move {
                let far: Arc<dyn AsyncUdpSocket> = Arc::new(far);
                assert_eq!(far.local_addr().unwrap(), there);
                assert!(far.max_transmit_segments() > 1);
                let mut poller = far.clone().create_io_poller();
                let mut memory = vec![0; 2 * UdpSocket::GRO_BUFFER];
                let mut seen = 0;
                while seen < 2 * groups * 8 {
                    let mut bufs: Vec<_> =
                        memory.chunks_mut(UdpSocket::GRO_BUFFER).map(IoSliceMut::new).collect();
                    let mut metas = [RecvMeta::default(); 2];
                    let came =
                        poll_fn(|cx| far.poll_recv(cx, &mut bufs, &mut metas)).await.unwrap();
                    for (buf, meta) in bufs.iter().zip(metas).take(came) {
                        let count = meta.datagrams(buf).len();
                        seen += count;
                        let answer = vec![count as u8];
                        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
                        far.try_send(&Transmit::new(meta.peer, &answer)).unwrap();
                    }
                }
            });
            let near = Arc::new(near);
            let sender = |near: Arc<UdpSocket>| async move {
                let bytes = pattern(8 * 1000);
                for _ in 0..groups {
                    let transmit = [Transmit::connected(&bytes).with_segment_size(1000)];
                    let sent = poll_fn(|cx| near.poll_send_batch(cx, &transmit)).await.unwrap();
                    assert_eq!(sent, 8);
                    let mut answered = 0;
                    while answered < 8 {
                        let mut buf = [0; 1];
                        near.recv(&mut buf).await.unwrap();
                        answered += usize::from(buf[0]);
                    }
                    yield_now().await;
                }
            };
            // One behind the other: an answer goes to any task that receives.
            sender(near.clone()).await;
            spawn(sender(near)).await.unwrap();
            receiver.await.unwrap();
        });
    });
}

#[test]
fn poll_functions_wake_the_task_that_waits() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            let (here, there) = (near.local_addr().unwrap(), far.local_addr().unwrap());
            let receiver = spawn(async move {
                let mut buf = [0; 8];
                let one = poll_fn(|cx| far.poll_recv_from(cx, &mut buf)).await.unwrap();
                assert_eq!(one, (3, here));
                let two = poll_fn(|cx| far.poll_recv_meta(cx, &mut buf)).await.unwrap();
                assert_eq!((two.len, two.peer), (5, here));
                poll_fn(|cx| far.poll_recv_ready(cx)).await.unwrap();
                assert_eq!(poll_fn(|cx| far.poll_recv(cx, &mut buf)).await.unwrap(), 4);
                far
            });
            for _ in 0..3 {
                yield_now().await;
            }
            assert_eq!(poll_fn(|cx| near.poll_send_to(cx, b"one", there)).await.unwrap(), 3);
            yield_now().await;
            near.connect(there).await.unwrap();
            assert_eq!(poll_fn(|cx| near.poll_send(cx, b"three")).await.unwrap(), 5);
            yield_now().await;
            poll_fn(|cx| near.poll_send_ready(cx)).await.unwrap();
            near.send(b"last").await.unwrap();
            let far = receiver.await.unwrap();
            near.send(b"more").await.unwrap();
            let mut buf = [0; 8];
            assert_eq!(far.peek(&mut buf).await.unwrap(), 4);
            assert_eq!(far.peek_from(&mut buf).await.unwrap(), (4, here));
            assert_eq!(far.peek_sender().await.unwrap(), here);
            assert_eq!(far.try_recv_from(&mut buf).unwrap(), (4, here));
            assert_eq!(far.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        });
    });
}
