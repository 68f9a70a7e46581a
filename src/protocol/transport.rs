//! What a protocol writes to.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Waker},
};

use crate::{
    io::outgoing::{Outgoing, Sink, Standing},
    loom::{
        Mutex,
        global::{AtomicU8, Ordering},
    },
};

/// The protocol reads no more for now.
const PAUSED: u8 = 1;
/// The protocol has aborted the connection.
const ABORTED: u8 = 2;

/// The writing end of a connection that a [`Protocol`](super::Protocol) is called for. Its methods never wait, and may
/// be called from any thread; a clone is for the same connection.
///
/// What the kernel does not take at once is kept and sent later. [`pause_writing`](super::Protocol::pause_writing)
/// tells that it has become too much.
///
/// asyncio: `Transport`. `get_extra_info` is [`peer_addr`](Self::peer_addr) and [`local_addr`](Self::local_addr).
#[derive(Clone)]
#[doc(alias = "get_extra_info")]
pub struct Transport(Arc<Inner>);

struct Inner {
    outgoing: Outgoing,
    /// `PAUSED`, `ABORTED`: written by any thread, read by the connection's task.
    flags: AtomicU8,
    /// The connection's task, while it reads no more.
    reader: Mutex<Option<Waker>>,
}

impl Transport {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self(Arc::new(Inner {
            outgoing: Outgoing::new(sink),
            flags: AtomicU8::new(0),
            reader: Mutex::new(None),
        }))
    }

    /// Sends bytes: at once, or when the kernel has room. `false`: the connection is closed or lost, and they are not
    /// sent; [`lost`](super::Protocol::lost) has the reason.
    ///
    /// asyncio: `write`, which says nothing of a connection that is lost.
    pub fn write(&self, bytes: &[u8]) -> bool {
        self.0.outgoing.write(&mut [IoSlice::new(bytes)]).is_ok()
    }

    /// Sends the bytes of several slices, one after the other. See [`write`](Self::write).
    ///
    /// asyncio: `writelines`.
    #[doc(alias = "writelines")]
    pub fn write_vectored(&self, bufs: &[&[u8]]) -> bool {
        let mut slices: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        self.0.outgoing.write(&mut slices).is_ok()
    }

    /// Sends what was written, and then the end: the peer reads to it. Reading goes on until the peer's end.
    ///
    /// asyncio: `write_eof`. With TLS that works here, too.
    pub fn write_eof(&self) {
        self.0.outgoing.close(true);
    }

    /// Reads no more, sends what was written, and closes the connection. Then
    /// [`lost`](super::Protocol::lost) is called, without an error.
    ///
    /// asyncio: `close`.
    pub fn close(&self) {
        self.0.outgoing.close(false);
    }

    /// Drops what was not sent, and resets the connection. [`lost`](super::Protocol::lost) is called, without an
    /// error.
    ///
    /// asyncio: `abort`.
    pub fn abort(&self) {
        // Release: with the Acquire of `was_aborted`.
        self.0.flags.fetch_or(ABORTED, Ordering::Release);
        self.0.outgoing.abort();
    }

    /// Whether it was closed, or is lost.
    pub fn is_closing(&self) -> bool {
        self.0.outgoing.is_closing()
    }

    /// Calls `data` no more, until [`resume_reading`](Self::resume_reading). A call that is under way goes on.
    pub fn pause_reading(&self) {
        // Relaxed: it orders nothing else.
        self.0.flags.fetch_or(PAUSED, Ordering::Relaxed);
    }

    /// Calls `data` again.
    pub fn resume_reading(&self) {
        // With the lock: a task that has seen PAUSED has left its waker there before.
        let reader = {
            let mut reader = self.0.reader.lock();
            self.0.flags.fetch_and(!PAUSED, Ordering::Relaxed);
            reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether `data` is called.
    pub fn is_reading(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & PAUSED == 0 && !self.is_closing()
    }

    /// Sets the marks, in bytes: [`pause_writing`](super::Protocol::pause_writing) is called above `high`,
    /// [`resume_writing`](super::Protocol::resume_writing) at `low` or below. They are 64 KiB and 16 KiB if they are
    /// not set. A `low` above `high` counts as `high`.
    pub fn set_write_buffer_limits(&self, high: usize, low: usize) {
        self.0.outgoing.set_limits(high, low);
    }

    /// Whether a protocol should write no more for now: more was on its way than the high mark, and is still more than
    /// the low one. If so, [`pause_writing`](super::Protocol::pause_writing) and
    /// [`resume_writing`](super::Protocol::resume_writing) are called next. A loop that writes asks this, since
    /// neither is called before the function that has the loop returns.
    pub fn is_writing_paused(&self) -> bool {
        self.0.outgoing.is_above()
    }

    /// How many bytes wait to be sent: the kernel has no room for them.
    ///
    /// asyncio: `get_write_buffer_size`.
    pub fn write_buffer_size(&self) -> usize {
        self.0.outgoing.len()
    }

    /// The address of the other end.
    ///
    /// asyncio: `get_extra_info("peername")`.
    ///
    /// # Errors
    ///
    /// It is no TCP connection, or is lost.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.outgoing.with_connection(|connection| connection.socket().endpoint().peer_addr())
    }

    /// The address of this end.
    ///
    /// asyncio: `get_extra_info("sockname")`.
    ///
    /// # Errors
    ///
    /// It is no TCP connection, or is lost.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.outgoing.with_connection(|connection| connection.socket().endpoint().local_addr())
    }

    pub(super) fn watch(&self, cx: &mut Context<'_>) -> Standing {
        self.0.outgoing.watch(cx)
    }

    /// Whether the protocol reads no more for now: then the task is woken when it does again.
    pub(super) fn is_paused(&self, cx: &mut Context<'_>) -> bool {
        // Relaxed: a pause that comes now is one that comes after the next read.
        if self.0.flags.load(Ordering::Relaxed) & PAUSED == 0 {
            return false;
        }
        let mut reader = self.0.reader.lock();
        let paused = self.0.flags.load(Ordering::Relaxed) & PAUSED != 0;
        *reader = paused.then(|| cx.waker().clone());
        paused
    }

    pub(super) fn was_aborted(&self) -> bool {
        // Acquire: with the Release of `abort`.
        self.0.flags.load(Ordering::Acquire) & ABORTED != 0
    }

    /// The connection is lost.
    pub(super) fn end(&self) {
        self.0.outgoing.end();
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("waiting", &self.write_buffer_size())
            .field("is_closing", &self.is_closing())
            .field("is_reading", &self.is_reading())
            .finish()
    }
}
