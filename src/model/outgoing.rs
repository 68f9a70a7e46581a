//! [`io::outgoing`](crate::io) with a stream and threads of the model's.
#![allow(missing_docs)]

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use futures_io::AsyncWrite;

use crate::io::{Connection, outgoing as inner};

/// A stream of the model's.
pub trait Sink: Send + Unpin + 'static {
    /// Takes what there is room for, or leaves the waker.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize>;
    fn close(&mut self);
    fn abort(&mut self);
}

struct Adapter<S>(S);

impl<S: Sink> AsyncWrite for Adapter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes).map(Ok)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

impl<S: Sink> inner::Sink for Adapter<S> {
    fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.0.poll_write(&mut cx, &bufs[0]) {
            Poll::Ready(sent) => Ok(sent),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn connection(&self) -> Option<&Connection> {
        None
    }

    fn closes_by_drop(&self) -> bool {
        false
    }

    fn abort(mut self: Box<Self>) {
        self.0.abort();
    }
}

static RT: inner::Rt = inner::Rt {
    spawn: |pump| {
        loom::thread::spawn(move || loom::future::block_on(pump));
        Ok(())
    },
    // The model's time does not pass.
    linger: || Box::pin(std::future::pending()),
};

/// [`inner::Outgoing`].
pub struct Outgoing(inner::Outgoing);

impl Outgoing {
    pub fn new(sink: impl Sink) -> Self {
        Self(inner::Outgoing::with_rt(Box::new(Adapter(sink)), &RT))
    }

    /// `true`: the writer is to pause.
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn write(&self, bytes: &[u8]) -> io::Result<bool> {
        self.0.write(&mut [IoSlice::new(bytes)])
    }

    pub fn set_limits(&self, high: usize, low: usize) {
        self.0.set_limits(high, low);
    }

    pub fn poll_below(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_below(cx)
    }

    pub fn close(&self) {
        self.0.close(false);
    }

    pub fn abort(&self) {
        self.0.abort();
    }

    /// Waits until it is closed (`true`) or lost, as the task of a protocol does.
    pub fn ended(&self) -> impl Future<Output = bool> + '_ {
        std::future::poll_fn(|cx| match self.0.watch(cx) {
            inner::Standing::Closed { .. } => Poll::Ready(true),
            inner::Standing::Lost(_) => Poll::Ready(false),
            _ => Poll::Pending,
        })
    }
}
