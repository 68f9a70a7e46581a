//! The reading end of a stream of any kind, and the bytes that were received and not read.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::AsyncRead;

use super::{Connection, Lease};

/// What one read of a stream that is no socket may take, in bytes: a record of TLS.
const SCRATCH: usize = 16 << 10;

thread_local! {
    /// What such a read fills, for all streams of a thread, so that none holds memory while it waits.
    static MEMORY: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The reading end of a stream.
pub(crate) trait Source: AsyncRead + Send + Unpin {
    /// Waits for bytes, and adds them to what is unread. Gives their number; 0 is the end.
    fn poll_more(&mut self, cx: &mut Context<'_>, unread: &mut Unread) -> Poll<io::Result<usize>>;
}

/// Adds what a connection has received, without a copy where nothing else is unread.
pub(crate) fn poll_connection(
    connection: &Connection,
    cx: &mut Context<'_>,
    unread: &mut Unread,
) -> Poll<io::Result<usize>> {
    let Poll::Ready(lease) = connection.poll_lease(cx) else {
        // The memory is the runtime's, and this may become a long wait.
        unread.give_back();
        return Poll::Pending;
    };
    let lease = lease?;
    let len = lease.len();
    unread.add(lease);
    Poll::Ready(Ok(len))
}

/// A stream of another crate, or one of layers.
pub(crate) struct Layered<R>(pub(crate) R);

impl<R: AsyncRead + Unpin> AsyncRead for Layered<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<R: AsyncRead + Send + Unpin> Source for Layered<R> {
    fn poll_more(&mut self, cx: &mut Context<'_>, unread: &mut Unread) -> Poll<io::Result<usize>> {
        // Out of its place while foreign code runs, which may come here as well.
        let mut memory = MEMORY.take().unwrap_or_else(|| vec![0; SCRATCH].into());
        let read = Pin::new(&mut self.0).poll_read(cx, &mut memory);
        if let Poll::Ready(Ok(len)) = read {
            unread.add_bytes(&memory[..len]);
        }
        MEMORY.set(Some(memory));
        let len = ready!(read)?;
        Poll::Ready(Ok(len))
    }
}

/// Bytes that were received and not read: on loan, or in memory of their own, never both.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    lease: Option<Lease>,
    bytes: Vec<u8>,
    /// So many of `bytes` were read.
    start: usize,
}

impl Unread {
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        match &self.lease {
            Some(lease) => lease,
            None => &self.bytes[self.start..],
        }
    }

    /// The first `len` bytes were read. Memory without unread bytes is given back.
    #[inline]
    pub(crate) fn consume(&mut self, len: usize) {
        match &mut self.lease {
            Some(lease) if len < lease.len() => lease.advance(len),
            Some(_) => self.lease = None,
            None if self.start + len < self.bytes.len() => self.start += len,
            None => (self.bytes, self.start) = (Vec::new(), 0),
        }
    }

    /// Takes everything.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.give_back();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    fn add(&mut self, lease: Lease) {
        if self.data().is_empty() {
            self.lease = Some(lease).filter(|lease| !lease.is_empty());
        } else {
            self.add_bytes(&lease);
        }
    }

    /// Adds a copy of bytes.
    pub(crate) fn add_bytes(&mut self, more: &[u8]) {
        self.give_back();
        // What was read is not kept for ever, and not moved at each read either.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.start));
        }
        self.bytes.extend_from_slice(more);
    }

    /// Keeps the bytes in memory of their own.
    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.bytes.extend_from_slice(&lease);
        }
    }
}
