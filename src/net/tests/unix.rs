//! Unix stream sockets on every backend.

use std::{env, fs, io::ErrorKind, path::PathBuf, process, time::Duration};

use super::on_every_backend;
use crate::{
    io::{AsyncReadExt, AsyncWriteExt},
    loom::global::{AtomicU64, Ordering},
    net::{UnixListener, UnixStream},
    runtime::{Backend, spawn, yield_now},
    time::timeout,
};

/// A path that nothing has.
fn path() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("ringloop-unit-{}-{number}", process::id()))
}

/// A listener, and both ends of a connection to it.
async fn pair() -> (UnixListener, UnixStream, UnixStream) {
    let path = path();
    let listener = UnixListener::bind(&path).unwrap();
    let near = UnixStream::connect(&path).await.unwrap();
    let (far, peer) = listener.accept().await.unwrap();
    assert!(peer.is_unnamed() && near.local_addr().unwrap().is_unnamed());
    assert_eq!(near.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
    assert_eq!(far.local_addr().unwrap().as_pathname(), Some(path.as_path()));
    (listener, near, far)
}

#[test]
fn unix_echo_by_every_face() {
    on_every_backend(async |_| {
        let (_listener, near, far) = pair().await;
        for (mut near, mut far) in [(near, far), UnixStream::pair().unwrap()] {
            let server = spawn(async move {
                let mut buf = [0; 3];
                far.read_exact(&mut buf).await.unwrap();
                far.write_all(&buf).await.unwrap();
                let lease = far.read_lease().await.unwrap();
                far.write_lease(lease).await.unwrap();
                let (read, bytes) = far.read(Vec::with_capacity(16)).await;
                assert_eq!(read.unwrap(), bytes.len());
                far.write(bytes).await.0.unwrap();
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
        }
    });
}

#[test]
fn unix_timeouts_and_cancels_lose_no_byte_and_no_connection() {
    on_every_backend(async |_| {
        let (listener, mut near, mut far) = pair().await;
        let limit = Duration::from_millis(5);
        let mut buf = [0; 8];
        timeout(limit, far.read(&mut buf)).await.unwrap_err();
        timeout(limit, listener.accept()).await.unwrap_err();
        let reader = spawn(async move {
            let read = far.read(&mut [0; 8]).await.unwrap();
            (far, read)
        });
        yield_now().await;
        near.write_all(b"late").await.unwrap();
        let (mut far, read) = reader.await.unwrap();
        assert_eq!(read, 4);
        let addr = listener.local_addr().unwrap();
        let _next = UnixStream::connect_addr(&addr).await.unwrap();
        listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..1 << 20_u32).map(|i| (i % 251) as u8).collect();
        let expected = sent.clone();
        let writing = spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.close().await.unwrap();
        });
        let mut received = Vec::new();
        while received.len() < expected.len() {
            // Given up again and again.
            let _ = timeout(Duration::ZERO, far.read(&mut [])).await;
            received.extend_from_slice(&far.read_lease().await.unwrap());
        }
        writing.await.unwrap();
        assert!(received == expected, "every byte, in order");
    });
}

#[test]
fn unix_sockets_that_are_not_there_are_refused() {
    on_every_backend(async |backend| {
        let (listener, mut near, far) = pair().await;
        let addr = listener.local_addr().unwrap();
        let path = addr.as_pathname().unwrap();
        assert_eq!(UnixListener::bind(path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::exists(path).unwrap(), backend != Backend::Memory);
        drop((listener, far));
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(near.write_all(b"to nobody").await.is_err());
        let missing = UnixStream::connect(path).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    });
}
