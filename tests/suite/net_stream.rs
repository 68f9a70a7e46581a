//! TCP streams without faults: data, halves, options, ends.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join;
use ringloop::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream, lookup_host};
use ringloop::{spawn, yield_now};

use crate::harness::{loud, on_every, on_every_within, scaled};
use crate::tools::{check_pattern, fill_pattern};

/// Two connected streams.
pub async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = join(TcpStream::connect(address), listener.accept()).await;
    let (client, (server, peer)) = (client.unwrap(), server.unwrap());
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

/// Two connected streams with small buffers and small segments. (With the loopback's own segments
/// of 64 KiB, small buffers make the kernel wait for its probe timer again and again.)
pub async fn narrow_pair() -> (TcpStream, TcpStream) {
    let listener = narrow_listener();
    let address = listener.local_addr().unwrap();
    let (client, server) = join(TcpStream::connect(address), listener.accept()).await;
    let (client, (server, _)) = (client.unwrap(), server.unwrap());
    for stream in [&client, &server] {
        stream.socket().set_recv_buffer_size(8 << 10).unwrap();
        stream.socket().set_send_buffer_size(8 << 10).unwrap();
    }
    (client, server)
}

/// A listener that accepts one end of a [`narrow_pair`].
pub fn narrow_listener() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.set_tcp_mss(1000).unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.set_send_buffer_size(8 << 10).unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(1).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// Sends the pattern from `offset` to `end`, in pieces of `piece` bytes.
pub async fn send_pattern<W: ringloop::io::AsyncWrite + Unpin>(
    to: &mut W,
    total: usize,
    piece: usize,
) {
    let mut buf = vec![0; piece];
    let mut sent = 0;
    while sent < total {
        let n = piece.min(total - sent);
        fill_pattern(&mut buf[..n], sent);
        to.write_all(&buf[..n]).await.unwrap();
        sent += n;
    }
    to.flush().await.unwrap();
}

/// Reads exactly `total` bytes of the pattern.
pub async fn expect_pattern<R: AsyncRead + Unpin>(from: &mut R, total: usize, piece: usize) {
    let mut buf = vec![0; piece];
    let mut got = 0;
    while got < total {
        let n = from.read(&mut buf[..piece.min(total - got)]).await.unwrap();
        assert!(n > 0, "end of stream after {got} of {total} bytes");
        check_pattern(&buf[..n], got);
        got += n;
    }
}

/// Echoes until the end of the stream, then closes.
pub async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buf = vec![0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return stream.close().await;
        }
        stream.write_all(&buf[..n]).await?;
    }
}

#[test]
fn ten_megabytes_are_echoed_through_slow_readers() {
    // Goal: backpressure loses and reorders nothing; method: tiny socket buffers on both sides, a
    // server task that echoes, a client whose reader takes small pieces and yields between.
    on_every_within(Duration::from_secs(90), |cfg| {
        cfg.once(async {
            let total = 10 << 20;
            let (stream, far) = narrow_pair().await;
            let server = spawn(async move { echo(far).await.unwrap() });
            let (mut reader, mut writer) = stream.into_split();
            let sender = spawn(async move {
                send_pattern(&mut writer, total, 64 << 10).await;
                writer.close().await.unwrap();
            });
            let mut buf = vec![0; 3000];
            let mut got = 0;
            loop {
                let n = reader.read(&mut buf).await.unwrap();
                if n == 0 {
                    break;
                }
                check_pattern(&buf[..n], got);
                got += n;
                yield_now().await;
            }
            assert_eq!(got, total);
            sender.await.unwrap();
            server.await.unwrap();
        });
    });
}

#[test]
fn many_echo_streams_work_side_by_side() {
    // Goal: streams do not mix; method: 64 connections, each with its own pattern offset, on all
    // workers, in both forms.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = spawn(async move {
                for _ in 0..64 {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(spawn(async move { echo(stream).await.unwrap() }));
                }
            });
            let clients: Vec<_> = (0..64)
                .map(|i| {
                    spawn(async move {
                        let mut stream = TcpStream::connect(address).await.unwrap();
                        let (mut out, mut back) = (vec![0; 100 + i * 37], vec![0; 100 + i * 37]);
                        for round in 0..scaled(30) {
                            fill_pattern(&mut out, i * 10_000 + round);
                            stream.write_all(&out).await.unwrap();
                            stream.read_exact(&mut back).await.unwrap();
                            assert!(out == back, "connection {i} got another's bytes");
                        }
                        stream.close().await.unwrap();
                        assert_eq!(stream.read(&mut back).await.unwrap(), 0);
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            server.await.unwrap();
        });
    });
}

#[test]
fn both_directions_flow_at_once() {
    // Goal: full duplex with owned halves on four tasks; method: 2 MiB in each direction at the
    // same time.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = 2 << 20;
            let (near, far) = pair().await;
            let halves = [near.into_split(), far.into_split()];
            let tasks: Vec<_> = halves
                .into_iter()
                .flat_map(|(mut reader, mut writer)| {
                    let read = spawn(async move { expect_pattern(&mut reader, total, 8000).await });
                    let write = spawn(async move {
                        send_pattern(&mut writer, total, 30_000).await;
                        // The peer still reads while this half is dropped.
                    });
                    [read, write]
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn halves_reunite_only_with_their_other_half() {
    // Goal: reunite; method: matching halves work on, halves of other streams are refused.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, mut far) = pair().await;
            let (reader, writer) = near.into_split();
            let mut near = reader.reunite(writer).expect("halves of one stream");
            near.write_all(b"whole").await.unwrap();
            let mut buf = [0; 5];
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"whole");
            let (reader, _writer) = near.into_split();
            let (_reader, writer) = far.into_split();
            assert!(reader.reunite(writer).is_err());
        });
    });
}

#[test]
fn write_half_dropped_or_closed_gives_the_peer_its_end() {
    // Goal: shutdown(Write) by each way, while reading goes on; method: close of the stream, close
    // of the half, drop of the write half, shutdown of the stream.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for road in 0..4 {
                let (mut near, mut far) = pair().await;
                near.write_all(b"last words").await.unwrap();
                let mut text = Vec::new();
                if road < 2 {
                    match road {
                        0 => near.close().await.unwrap(),
                        _ => near.shutdown_now(Shutdown::Write).unwrap(),
                    }
                    far.read_to_end(&mut text).await.unwrap();
                    far.write_all(b"answer").await.unwrap();
                    drop(far);
                    let mut answer = Vec::new();
                    near.read_to_end(&mut answer).await.unwrap();
                    assert_eq!(answer, b"answer");
                    assert!(near.write_all(b"more").await.is_err());
                } else {
                    let (mut reader, mut writer) = near.into_split();
                    if road == 2 {
                        writer.close().await.unwrap();
                    }
                    drop(writer);
                    far.read_to_end(&mut text).await.unwrap();
                    far.write_all(b"answer").await.unwrap();
                    drop(far);
                    let mut answer = Vec::new();
                    reader.read_to_end(&mut answer).await.unwrap();
                    assert_eq!(answer, b"answer");
                }
                assert_eq!(text, b"last words");
            }
        });
    });
}

#[test]
fn vectored_reads_and_writes_keep_the_order() {
    // Goal: writev and readv; method: uneven slices, some of them empty.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            let n = near
                .write_vectored(&[
                    IoSlice::new(b"one "),
                    IoSlice::new(b""),
                    IoSlice::new(b"two "),
                    IoSlice::new(b"three"),
                ])
                .await
                .unwrap();
            assert_eq!(n, 13, "a small vectored write is sent in full");
            let (mut a, mut b, mut c) = ([0; 4], [0; 0], [0; 9]);
            let mut slices =
                [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
            let mut got = far.read_vectored(&mut slices).await.unwrap();
            assert_eq!(&a[..got.min(4)], &b"one "[..got.min(4)]);
            while got < 13 {
                let n = far.read(&mut c[got - 4..]).await.unwrap();
                assert!(n > 0);
                got += n;
            }
            assert_eq!((&a, &c), (b"one ", b"two three"));
        });
    });
}

#[test]
fn vectored_writes_of_any_size_keep_the_order() {
    // Goal: few bytes are copied together, many are not, with one result. Method: totals around
    // 1024, in one slice, a few, and many; the bytes that arrive are those that the counts say were
    // sent.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            for total in [0, 1, 1023, 1024, 1025, 1026, 5000] {
                let bytes: Vec<u8> = (0..total).map(|i| (i * 7 % 251) as u8).collect();
                for count in [1, 2, 3, 64] {
                    let slices: Vec<_> =
                        bytes.chunks((total / count).max(1)).map(IoSlice::new).collect();
                    let sent = near.write_vectored(&slices).await.unwrap();
                    assert_eq!(sent, total, "an empty socket takes so much");
                    let mut got = vec![0; total];
                    far.read_exact(&mut got).await.unwrap();
                    assert!(got == bytes, "{total} bytes in {count} slices");
                }
            }
        });
    });
}

#[test]
fn empty_reads_and_writes_return_at_once() {
    // Goal: zero-length buffers neither wait nor end the stream.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            assert_eq!(near.read(&mut []).await.unwrap(), 0);
            assert_eq!(near.write(&[]).await.unwrap(), 0);
            near.flush().await.unwrap();
            near.write_all(b"z").await.unwrap();
            let mut buf = [0; 1];
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"z");
        });
    });
}

#[test]
fn peek_leaves_the_bytes() {
    // Goal: peek waits for data, and repeats; method: peek twice, then read.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            let peeker = spawn(async move {
                let mut buf = [0; 8];
                let n = near.peek(&mut buf).await.unwrap();
                assert!(n > 0 && buf[0] == b'p');
                near.peek(&mut buf).await.unwrap();
                let mut buf = [0; 6];
                near.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"peeked");
            });
            yield_now().await;
            far.write_all(b"peeked").await.unwrap();
            peeker.await.unwrap();
        });
    });
}

#[test]
fn readiness_and_try_calls_work_together() {
    // Goal: readable, writable, try_read, try_write; method: WouldBlock before, data after, and no
    // lost edge when a try call has drained the socket.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            let mut buf = [0; 16];
            assert_eq!(near.try_read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
            for round in 0..scaled(100) as u8 {
                far.writable().await.unwrap();
                assert_eq!(far.try_write(&[round]).unwrap(), 1);
                let n = loop {
                    near.readable().await.unwrap();
                    match near.try_read(&mut buf) {
                        Ok(n) => break n,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                };
                assert_eq!(buf[..n], [round]);
            }
            // Fill the socket directly, then wait until it has room.
            let piece = vec![9; 65536];
            let mut sent = 0;
            loop {
                match far.try_write(&piece) {
                    Ok(n) => sent += n,
                    Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            let reader = spawn(async move {
                let (mut near, mut got, mut buf) = (near, 0, vec![0; 65536]);
                while got < sent {
                    let most = buf.len().min(sent - got);
                    got += near.read(&mut buf[..most]).await.unwrap();
                }
                near
            });
            let written = loop {
                far.writable().await.unwrap();
                match far.try_write(&[8]) {
                    Ok(n) => break n,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            };
            assert_eq!(written, 1);
            let mut near = reader.await.unwrap();
            near.read_exact(&mut buf[..1]).await.unwrap();
            assert_eq!(buf[0], 8);
            drop(far);
            near.readable().await.unwrap();
            assert_eq!(near.try_read(&mut buf).unwrap(), 0);
        });
    });
}

#[test]
fn options_and_addresses_are_the_sockets() {
    // Goal: nodelay, addresses, socket(); method: set and get.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            for on in [true, false, true] {
                near.set_nodelay(on).unwrap();
                assert_eq!(near.nodelay().unwrap(), on);
            }
            assert_eq!(near.local_addr().unwrap(), far.peer_addr().unwrap());
            assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
            near.socket().set_keepalive(true).unwrap();
            assert!(near.socket().keepalive().unwrap());
            assert!(near.socket().nonblocking().unwrap());
            // S9: close-on-exec from the start.
            for stream in [&near, &far] {
                let flags = rustix::io::fcntl_getfd(stream).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            }
        });
    });
}

#[test]
fn stream_from_a_blocking_std_socket_works() {
    // Goal: from_std makes the socket non-blocking itself; method: a blocking std stream, and a
    // blocking std listener.
    on_every(|cfg| {
        let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = std_listener.local_addr().unwrap();
        let std_stream = std::net::TcpStream::connect(address).unwrap();
        cfg.once(async {
            let listener = TcpListener::from_std(std_listener).unwrap();
            let mut near = TcpStream::from_std(std_stream).unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            // A blocking socket would hold the only worker here.
            let reader = spawn(async move {
                let mut buf = [0; 4];
                near.read_exact(&mut buf).await.unwrap();
                buf
            });
            let accepter = spawn(async move {
                let accepted = listener.accept().await;
                accepted.map(drop).unwrap();
            });
            yield_now().await;
            far.write_all(b"data").await.unwrap();
            assert_eq!(&reader.await.unwrap(), b"data");
            drop(TcpStream::connect(address).await.unwrap());
            accepter.await.unwrap();
        });
    });
}

#[test]
fn stream_into_std_and_back_loses_no_byte() {
    // Goal: into_std returns unread bytes as well; method: data read in part, peeked at, and not at
    // all, then read by std, then by a stream again.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let (mut std_near, mut far) = runtime.must_run(async {
            let (mut near, mut far) = pair().await;
            far.write_all(b"first second ").await.unwrap();
            let mut buf = [0; 6];
            near.read_exact(&mut buf).await.unwrap();
            near.peek(&mut buf).await.unwrap();
            // A read that is given up must not have taken any byte.
            let given_up = crate::tools::GiveUpAfter::new(1, near.read(&mut [0; 0])).await;
            assert_eq!(given_up.unwrap().unwrap(), 0);
            (near.into_std().await.unwrap(), far)
        });
        std_near.set_nonblocking(false).unwrap();
        let mut buf = [0; 7];
        std_near.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"second ");
        std_near.write_all(b"by std").unwrap();
        runtime.must_run(async {
            let mut buf = [0; 6];
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"by std");
            let mut near = TcpStream::from_std(std_near).unwrap();
            far.write_all(b"third").await.unwrap();
            drop(far);
            let mut text = String::new();
            near.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "third");
        });
    });
}

#[test]
fn connect_tries_each_address() {
    // Goal: a list of addresses; method: a closed port first, then an open one; then closed only.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            // Bound, so that no other socket gets the port, and not listening.
            let holder =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            holder.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            let closed = holder.local_addr().unwrap().as_socket().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let open = listener.local_addr().unwrap();
            let both: &[SocketAddr] = &[closed, open];
            let stream = TcpStream::connect(both).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            let error = TcpStream::connect(closed).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        });
    });
}

#[test]
fn names_are_resolved_without_blocking_workers() {
    // Goal: lookup_host and names in bind and connect; method: localhost.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let found: Vec<SocketAddr> =
                lookup_host("localhost:80").await.unwrap().into_iter().collect();
            assert!(found.iter().any(|address| address.ip().is_loopback() && address.port() == 80));
            let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let ip = listener.local_addr().unwrap().ip();
            drop(TcpStream::connect((ip, port)).await.unwrap());
            assert!(lookup_host("no.such.name.invalid:1").await.is_err());
        });
    });
}

#[test]
fn ipv6_works_where_the_machine_has_it() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        loud("NOTE skipped: no IPv6 loopback here");
        return;
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("[::1]:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, server) = join(TcpStream::connect(address), listener.accept()).await;
            let (mut client, (mut server, peer)) = (client.unwrap(), server.unwrap());
            assert!(peer.is_ipv6());
            client.write_all(b"six").await.unwrap();
            let mut buf = [0; 3];
            server.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"six");
        });
    });
}

#[test]
fn reader_and_writer_wait_at_once_on_one_stream() {
    // Goal: a read that waits and a write that waits on the same descriptor do not take each
    // other's wake; method: a full socket in both directions, each side freed in random order.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = pair().await;
            let (mut near_reader, mut near_writer) = near.into_split();
            let (mut far_reader, mut far_writer) = far.into_split();
            let total = 4 << 20;
            // No task reads yet: both writers fill their socket and wait, as does a reader.
            let out = spawn(async move { send_pattern(&mut near_writer, total, 65536).await });
            let back = spawn(async move { send_pattern(&mut far_writer, total, 65536).await });
            for _ in 0..100 {
                yield_now().await;
            }
            expect_pattern(&mut far_reader, total, 10_000).await;
            expect_pattern(&mut near_reader, total, 10_000).await;
            out.await.unwrap();
            back.await.unwrap();
        });
    });
}

#[test]
fn stream_moves_between_tasks_and_workers() {
    // Goal: a socket's registration does not bind it to a worker; method: one stream goes from task
    // to task, each makes one exchange with a peer on another thread.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, far) = pair().await;
            let server = spawn(echo(far));
            for i in 0..scaled(200) {
                near = spawn(async move {
                    let (out, mut back) = ([i as u8; 32], [0; 32]);
                    near.write_all(&out).await.unwrap();
                    near.read_exact(&mut back).await.unwrap();
                    assert_eq!(out, back);
                    near
                })
                .await
                .unwrap();
            }
            drop(near);
            server.await.unwrap().unwrap();
        });
    });
}

#[test]
fn types_have_the_promised_traits() {
    // Goal: the traits and auto traits of the public types; method: it compiles.
    fn is_send_sync<T: Send + Sync>() {}
    fn is_io<T: ringloop::io::AsyncRead + ringloop::io::AsyncWrite + Unpin + Send>() {}
    fn is_fd<T: std::os::fd::AsFd + std::os::fd::AsRawFd>() {}
    is_send_sync::<TcpStream>();
    is_send_sync::<TcpListener>();
    is_send_sync::<ringloop::net::OwnedReadHalf>();
    is_send_sync::<ringloop::net::OwnedWriteHalf>();
    is_send_sync::<ringloop::Handle>();
    is_send_sync::<ringloop::Runtime>();
    is_send_sync::<ringloop::Task<u8>>();
    is_io::<TcpStream>();
    is_fd::<TcpStream>();
    is_fd::<TcpListener>();
    let _: fn(Pin<&mut TcpStream>, &mut std::task::Context<'_>, &mut [u8]) -> _ =
        AsyncRead::poll_read;
}
