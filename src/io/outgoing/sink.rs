//! The writing ends of streams, as the pump has them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_io::AsyncWrite;

use super::super::Connection;

/// The writing end of a stream.
pub(crate) trait Sink: AsyncWrite + Send + Unpin {
    /// Writes what fits, without waiting.
    fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The socket below, if there is one.
    fn connection(&self) -> Option<&Connection>;

    /// Whether dropping it ends the stream properly.
    fn closes_by_drop(&self) -> bool;

    /// Drops it so that the peer sees a reset.
    fn abort(self: Box<Self>);
}

/// A stream of another crate, or one of layers.
pub(crate) struct Layered<W>(pub(crate) W);

impl<W: AsyncWrite + Unpin> AsyncWrite for Layered<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl<W: AsyncWrite + Send + Unpin> Sink for Layered<W> {
    fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll_write_vectored(&mut cx, bufs) {
            Poll::Ready(result) => result,
            // The pump polls it again, with its own waker.
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn connection(&self) -> Option<&Connection> {
        None
    }

    fn closes_by_drop(&self) -> bool {
        false
    }

    fn abort(self: Box<Self>) {}
}
