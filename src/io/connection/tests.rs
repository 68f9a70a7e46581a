//! Bytes that are queued where there is no reactor at hand, and pairs of streams.

use std::{
    future::poll_fn,
    io::Read as _,
    os::unix::net::UnixStream,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{Connection, Read, Write, write::poll_push};
use crate::{
    reactor::{Endpoint, socket::Chunk},
    runtime::{Backend, Builder, spawn},
};

fn on_every_backend(test: impl Fn(Builder)) {
    let uring = || Builder::new().workers(1).backend(Backend::Uring);
    if uring().build().is_ok() {
        test(uring());
        test(uring().defer_taskrun(false));
        test(uring().incremental_buffers(false));
    }
    test(Builder::new().workers(1).backend(Backend::Epoll));
}

#[test]
fn what_a_plain_thread_queues_is_sent_by_the_home_or_stays() {
    // Goal: a writer on a plain thread that finds the send before its own ended loses nothing, and
    // gets no error for not being a worker. Method: a socket at home, and nothing under way any
    // more; a plain thread queues a byte: its peer gets it, or, where there is no ring, it comes
    // back.
    on_every_backend(|builder| {
        let runtime = builder.build().unwrap();
        let on_ring = matches!(runtime.run(async { crate::backend().backend }), Ok(Backend::Uring));
        let (near, mut peer) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let connection = Connection::new(Endpoint::Kernel(near.into()));
        let socket = connection.socket().clone();
        let settle = poll_fn(|cx| Poll::Ready(connection.poll_lease(cx).is_pending()));
        assert!(runtime.run(settle).unwrap(), "nothing to read");
        let mut chunk = Some(Chunk::Bytes(b"x".to_vec(), 0));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(poll_push(&socket, &mut cx, &mut chunk), Poll::Ready(Ok(()))));
        assert_eq!(chunk.is_none(), on_ring);
        if on_ring {
            peer.read_exact(&mut [0]).expect("what was queued");
        } else {
            assert!(socket.outbound.is_idle(), "nobody sends it");
        }
        drop(connection);
    });
}

#[test]
fn pair_has_every_face() {
    // Goal: a pair of local sockets is a connection like any other; method: borrowed, owned and lent
    // bytes one way, more than fits back, then the end.
    on_every_backend(|builder| {
        let main = async {
            let (near, far) = Connection::pair().unwrap();
            let server = spawn(async move {
                let first = far.read_lease().await.unwrap();
                assert_eq!(&*first, b"borrowed");
                far.write_lease(first).await.unwrap();
                let (read, bytes) = Read::new(&far, Vec::with_capacity(8)).await;
                assert_eq!((read.unwrap(), &bytes[..]), (5, &b"owned"[..]));
                let (read, bytes) = Write::new(&far, vec![7_u8; 1 << 20]).await;
                assert_eq!(read.unwrap(), bytes.len());
                poll_fn(|cx| far.poll_shutdown_write(cx)).await.unwrap();
                assert!(far.read_lease().await.unwrap().is_empty(), "the end");
            });
            let mut rest = &b"borrowed"[..];
            while !rest.is_empty() {
                rest = &rest[Write::new(&near, rest).await.unwrap()..];
            }
            assert_eq!(&*near.read_lease().await.unwrap(), b"borrowed");
            Write::new(&near, b"owned".to_vec()).await.0.unwrap();
            let mut bytes = Vec::new();
            while poll_fn(|cx| near.poll_read_behind(cx, &mut bytes, 1 << 14)).await.unwrap() > 0 {}
            assert!(bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == 7));
            drop(near);
            server.await.unwrap();
        };
        builder.run(main).unwrap();
    });
}
