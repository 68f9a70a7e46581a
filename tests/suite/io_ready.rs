//! Waiting for either direction of a stream.

use std::io::{Read, Write};
use std::os::unix::net;
use std::sync::Arc;

use ringloop::io::{AsyncFd, AsyncReadExt, AsyncWriteExt, Interest, Ready};
use ringloop::net::{TcpListener, TcpStream, UnixStream};
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scaled};
use crate::tools::GiveUpAfter;

/// The steps for a stream and its peer, by what they have in common.
macro_rules! steps {
    ($near:expr, $far:expr) => {{
        let (near, mut far) = (Arc::new($near), $far);
        let both = Interest::READABLE | Interest::WRITABLE;
        let ready = near.ready(both).await.unwrap();
        assert!(ready.is_writable() && !ready.is_readable(), "{ready:?}");
        assert!(GiveUpAfter::new(3, near.ready(Interest::READABLE)).await.is_none());

        // Full: then only bytes of the peer make it ready.
        let mut sent = 0;
        while GiveUpAfter::new(5, near.ready(Interest::WRITABLE)).await.is_some() {
            sent += near.try_write(&[1; 10_000]).unwrap_or(0);
        }
        let theirs = near.clone();
        let waiting = spawn(async move { theirs.ready(both).await });
        for _ in 0..5 {
            yield_now().await;
        }
        assert!(!waiting.is_finished());
        far.write_all(b"x").await.unwrap();
        let ready = waiting.await.unwrap().unwrap();
        assert!(ready.is_readable(), "{ready:?}");
        near.try_read(&mut [0; 8]).unwrap();

        // And room.
        let theirs = near.clone();
        let waiting = spawn(async move { theirs.ready(both).await });
        far.read_exact(&mut vec![0; sent]).await.unwrap();
        assert!(waiting.await.unwrap().unwrap().is_writable());

        // The end is something to read.
        drop(far);
        let ready = near.ready(Interest::READABLE).await.unwrap();
        assert_eq!(ready, Ready::READABLE);
        assert_eq!(near.try_read(&mut [0; 8]).unwrap(), 0);
    }};
}

#[test]
fn streams_say_which_direction_is_ready() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for _ in 0..scaled(3) {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                steps!(near, listener.accept().await.unwrap().0);
                let (near, far) = UnixStream::pair().unwrap();
                steps!(near, far);
            }
        });
    });
}

#[test]
fn descriptors_say_which_direction_is_ready() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, mut far) = net::UnixStream::pair().unwrap();
            let near = AsyncFd::new(near).unwrap();
            let both = Interest::READABLE.add(Interest::WRITABLE);
            assert_eq!(near.ready(both).await.unwrap(), Ready::WRITABLE);
            far.write_all(b"x").unwrap();
            assert_eq!(near.ready(Interest::READABLE).await.unwrap(), Ready::READABLE);
            assert_eq!(near.ready(both).await.unwrap(), Ready::READABLE | Ready::WRITABLE);
            near.get_ref().read_exact(&mut [0]).unwrap();
            assert!(GiveUpAfter::new(2, near.ready(Interest::READABLE)).await.is_none());
        });
    });
}
