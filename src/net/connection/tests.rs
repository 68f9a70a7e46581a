//! Bytes that are queued where there is no reactor at hand.

use std::{
    future::poll_fn,
    io::Read as _,
    os::unix::net::UnixStream,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{Connection, write::poll_push};
use crate::{
    reactor::{Endpoint, socket::Chunk},
    runtime::{Backend, Builder},
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
