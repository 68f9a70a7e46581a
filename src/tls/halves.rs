//! The two halves of a session, each for a task of its own.
//!
//! They share the stream behind a lock that is held for the time of a poll: for the encryption of one
//! write, or the decryption of one read. No code of this module takes the lock in a drop, because a waker that
//! is dropped under the lock may drop the other half.

use std::{
    error::Error,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::stream::{TlsStream, filling};
use crate::{
    io::{
        Ends, IntoEnds, outgoing,
        source::{Source, Unread},
    },
    loom::Mutex,
};

pub(super) fn split<S>(stream: TlsStream<S>) -> (TlsReadHalf<S>, TlsWriteHalf<S>) {
    let shared = Arc::new(Mutex::new(stream));
    (TlsReadHalf(shared.clone()), TlsWriteHalf(shared))
}

/// The half of a [`TlsStream`] that reads, from [`into_split`](TlsStream::into_split).
///
/// asyncio: `StreamReader`, without its buffer.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte.
pub struct TlsReadHalf<S>(Arc<Mutex<TlsStream<S>>>);

/// The half of a [`TlsStream`] that writes, from [`into_split`](TlsStream::into_split).
///
/// [`close`](crate::io::AsyncWriteExt::close) sends close_notify and ends the write side, and the other
/// half may still read. Dropping it ends nothing: the stream closes when both halves are gone.
///
/// asyncio: `StreamWriter`, without its buffer.
///
/// # Cancel safety
///
/// A write that is dropped before it returned has sent nothing.
pub struct TlsWriteHalf<S>(Arc<Mutex<TlsStream<S>>>);

/// The halves are of two sessions. Both come back.
pub struct ReuniteError<S>(pub TlsReadHalf<S>, pub TlsWriteHalf<S>);

impl<S> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReuniteError").field(&self.0).field(&self.1).finish()
    }
}

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same TLS stream")
    }
}

impl<S> Error for ReuniteError<S> {}

impl<S> TlsReadHalf<S> {
    /// Makes one stream of the two halves again.
    ///
    /// # Errors
    ///
    /// They are of two streams.
    pub fn reunite(self, write: TlsWriteHalf<S>) -> Result<TlsStream<S>, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.0, &write.0) {
            return Err(ReuniteError(self, write));
        }
        drop(write);
        match Arc::try_unwrap(self.0) {
            Ok(stream) => Ok(stream.into_inner()),
            Err(_) => unreachable!("the halves are the only owners"),
        }
    }

    /// As `TlsStream::poll_read_with`.
    pub(crate) fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.lock().poll_read_with(cx, room, take)
    }
}

impl<S> AsyncRead for TlsReadHalf<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_read_with(cx, buf.len(), filling(buf))
    }
}

impl<S> AsyncWrite for TlsWriteHalf<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write_slices(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_close(cx)
    }
}

impl<S> fmt::Debug for TlsReadHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsReadHalf").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for TlsWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWriteHalf").finish_non_exhaustive()
    }
}

/// The most that one read of a session adds, in bytes: a record.
const RECORD: usize = 16 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Source for TlsReadHalf<S> {
    fn poll_more(&mut self, cx: &mut Context<'_>, unread: &mut Unread) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, RECORD, |bytes| {
            unread.add_bytes(bytes);
            bytes.len()
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> IntoEnds for TlsStream<S> {
    fn into_ends(self) -> Ends {
        let (reader, writer) = self.into_split();
        Ends { source: Box::new(reader), sink: Box::new(outgoing::Layered(writer)) }
    }
}
