//! The same programs on every backend, the one in memory among them: whatever a stream, a listener
//! or a timer does, it does through the reactor.

mod datagrams;
mod memory;
mod unix;

use std::{future::poll_fn, io::ErrorKind, pin::pin, task::Poll, time::Duration};

use crate::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Backend, Builder, spawn, yield_now},
    time::{Instant, sleep, timeout},
};

/// Runs the test on each backend that works here.
fn on_every_backend(test: impl AsyncFn(Backend)) {
    let uring = || Builder::new().workers(1).backend(Backend::Uring);
    let mut builders = vec![
        Builder::new().workers(1).backend(Backend::Epoll),
        Builder::new().workers(1).backend(Backend::Memory),
    ];
    if uring().build().is_ok() {
        builders.push(uring());
        builders.push(uring().defer_taskrun(false));
        builders.push(uring().incremental_buffers(false));
    }
    for builder in builders {
        let main = async || test(crate::backend().backend).await;
        builder.run(main()).unwrap();
    }
}

/// A listener, and both ends of a connection to it.
async fn pair() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, near.local_addr().unwrap());
    assert_eq!(far.peer_addr().unwrap(), peer);
    (listener, near, far)
}

#[test]
fn echo_by_every_face() {
    on_every_backend(async |_| {
        let (_listener, mut near, mut far) = pair().await;
        let server = spawn(async move {
            let mut buf = [0; 3];
            far.read_exact(&mut buf).await.unwrap();
            far.write_all(&buf).await.unwrap();
            let lease = far.read_lease().await.unwrap();
            far.write_lease(lease).await.unwrap();
            let (read, bytes) = far.read(Vec::with_capacity(16)).await;
            assert_eq!(read.unwrap(), bytes.len());
            far.write(bytes).await.0.unwrap();
            // The end of the stream.
            assert!(far.read_lease().await.unwrap().is_empty());
        });
        for message in [&b"one"[..], b"second", b"and third"] {
            near.write_all(message).await.unwrap();
            let mut reply = vec![0; message.len()];
            near.read_exact(&mut reply).await.unwrap();
            assert_eq!(reply, message);
        }
        near.close().await.unwrap();
        server.await.unwrap();
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn more_than_fits_is_written_as_it_is_read() {
    on_every_backend(async |_| {
        let (_listener, near, far) = pair().await;
        let (mut reader, _keep) = far.into_split();
        let (_other, mut writer) = near.into_split();
        let sent: Vec<u8> = (0..1 << 20_u32).map(|i| (i % 251) as u8).collect();
        let expected = sent.clone();
        let writing = spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        writing.await.unwrap();
        assert!(received == expected, "every byte, in order");
    });
}

#[test]
fn timeouts_end_reads_and_accepts_and_lose_nothing() {
    on_every_backend(async |backend| {
        let (listener, mut near, mut far) = pair().await;
        let limit = Duration::from_millis(5);
        let began = Instant::now();
        let mut buf = [0; 8];
        timeout(limit, far.read(&mut buf)).await.unwrap_err();
        timeout(limit, listener.accept()).await.unwrap_err();
        assert!(began.elapsed() >= 2 * limit);
        if backend == Backend::Memory {
            // There, time passes in leaps: to the end of each timeout, and no further.
            assert!(
                began.elapsed() < 2 * limit + Duration::from_millis(3),
                "{:?}",
                began.elapsed()
            );
        }
        near.write_all(b"late").await.unwrap();
        far.read_exact(&mut buf[..4]).await.unwrap();
        assert_eq!(&buf[..4], b"late");
        let addr = listener.local_addr().unwrap();
        let _next = TcpStream::connect(addr).await.unwrap();
        listener.accept().await.unwrap();
    });
}

#[test]
fn cancelled_reads_leave_the_bytes_to_the_next() {
    on_every_backend(async |_| {
        let (_listener, mut near, mut far) = pair().await;
        for lease in [false, true] {
            {
                let mut buf = [0; 4];
                let mut read = pin!(async {
                    match lease {
                        false => far.read(&mut buf).await,
                        true => far.read_lease().await.map(|lease| lease.len()),
                    }
                });
                let first = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await;
                assert!(first, "nothing to read yet");
                near.write_all(b"kept").await.unwrap();
                // The bytes may be the dropped read's by now.
                yield_now().await;
            }
            let mut buf = [0; 4];
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"kept");
        }
    });
}

#[test]
fn what_is_not_there_is_refused_and_what_has_gone_is_the_end() {
    on_every_backend(async |_| {
        let (listener, mut near, far) = pair().await;
        let addr = listener.local_addr().unwrap();
        assert_eq!(
            TcpListener::bind(addr).await.unwrap_err().kind(),
            ErrorKind::AddrInUse,
            "by a listener that is there"
        );
        drop((listener, far));
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        let refused = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_hundred_connections_take_turns() {
    on_every_backend(async |_| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..100_u8)
            .map(|number| {
                spawn(async move {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    sleep(Duration::from_millis(u64::from(number % 7))).await;
                    stream.write_all(&[number]).await.unwrap();
                    let mut reply = [0];
                    stream.read_exact(&mut reply).await.unwrap();
                    reply[0]
                })
            })
            .collect();
        for _ in 0..clients.len() {
            let (mut stream, _) = listener.accept().await.unwrap();
            spawn(async move {
                let lease = stream.read_lease().await.unwrap();
                stream.write_lease(lease).await.unwrap();
            })
            .detach();
        }
        for (number, client) in clients.into_iter().enumerate() {
            assert_eq!(usize::from(client.await.unwrap()), number);
        }
    });
}
