//! What a protocol writes to.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    ops::RangeBounds,
    os::fd::AsFd,
    sync::Arc,
    task::{Context, Waker},
};

use super::{
    BufferedProtocol, Protocol,
    driver::{Buffered, Calls, Plain},
};
use crate::{
    io::{
        SendFile,
        outgoing::{Outgoing, Sink, Standing},
    },
    loom::{
        Mutex,
        global::{AtomicU8, Ordering},
    },
};

/// The protocol reads no more for now.
const PAUSED: u8 = 1;
/// The protocol has aborted the connection.
const ABORTED: u8 = 2;
/// Another protocol is to be called.
const REPLACED: u8 = 4;

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
    /// `PAUSED`, `ABORTED`, `REPLACED`: written by any thread, read by the connection's task.
    flags: AtomicU8,
    next: Mutex<Next>,
    /// The connection's task, while it reads no more.
    reader: Mutex<Option<Waker>>,
}

/// The protocol that is to be called, until the connection's task takes it.
#[derive(Default)]
struct Next {
    calls: Option<Box<dyn Calls>>,
    /// Bytes that those before it have left.
    left: Vec<u8>,
    /// The connection is lost.
    refused: bool,
}

impl Transport {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self(Arc::new(Inner {
            outgoing: Outgoing::new(sink),
            flags: AtomicU8::new(0),
            next: Mutex::new(Next::default()),
            reader: Mutex::new(None),
        }))
    }

    /// Sends bytes: at once, or when the kernel has room. `false`: the connection is closed or lost, and they are not
    /// sent, or only a part of them; [`lost`](super::Protocol::lost) has the reason.
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

    /// Sends a part of a file behind everything that was written, and without waiting: what the kernel does not take at
    /// once is sent later. What is written next goes behind it. Its own descriptor of the file is closed then. Over TLS,
    /// and on a stream that is no socket, the part is read and written.
    ///
    /// No worker waits for the disk, and a part that waits takes no memory. So it does not count in
    /// [`write_buffer_size`](Self::write_buffer_size). Instead,
    /// [`pause_writing`](super::Protocol::pause_writing) is called while one waits, and
    /// [`resume_writing`](super::Protocol::resume_writing) when it is sent.
    ///
    /// A range without an end goes to the end of the file. If the file ends before a range that has one, or cannot be
    /// read, the connection is reset, so that the peer does not take what it has for the whole;
    /// [`lost`](super::Protocol::lost) has the error.
    ///
    /// asyncio: `loop.sendfile(transport, file, offset, count)`, for which the caller waits, and before which no
    /// writing may be paused.
    ///
    /// # Errors
    ///
    /// It is no regular file, the range ends before it starts, or there are too many open files: nothing is sent, and
    /// the connection stays as it is. The connection is closed or lost.
    ///
    /// ```
    /// use ringloop::protocol::{self, Protocol, Transport};
    /// # use ringloop::streams;
    ///
    /// struct Status;
    ///
    /// impl Protocol for Status {
    ///     fn connected(&mut self, transport: &Transport) {
    ///         let file = std::fs::File::open("/proc/self/status").unwrap();
    ///         transport.write(b"about this process:\n");
    ///         transport.send_file(&file, ..).unwrap();
    ///         transport.close();
    ///     }
    ///
    ///     fn data(&mut self, _: &Transport, _: &[u8]) {}
    /// }
    ///
    /// ringloop::run(async {
    ///     let server = protocol::serve("127.0.0.1:0", || Status).await.unwrap();
    /// #   let (mut reader, _writer) = streams::connect(server.local_addrs()).await.unwrap();
    /// #   let text = reader.read_to_end().await.unwrap();
    /// #   assert!(text.starts_with(b"about this process:\nName:"));
    /// });
    /// ```
    #[doc(alias = "sendfile")]
    pub fn send_file(&self, file: impl AsFd, range: impl RangeBounds<u64>) -> io::Result<()> {
        self.0.outgoing.send_file(SendFile::new(file.as_fd(), range)?)
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

    /// Has another protocol called from here on: an upgrade, such as that from HTTP to WebSocket. `unread` are bytes
    /// that the present protocol was given, and that are the other's: its first [`data`](super::Protocol::data) has
    /// them. Bytes that were not given to a protocol yet go to the other one by themselves. `false`: the connection is
    /// lost, and the protocol is dropped.
    ///
    /// The present protocol is called no more, [`lost`](super::Protocol::lost) neither. If it is the one that calls
    /// this, its function goes on; if this comes from elsewhere, a call that is under way goes on. Then the other one
    /// is [`connected`](super::Protocol::connected), and gets all calls that a protocol gets, also
    /// [`pause_writing`](super::Protocol::pause_writing) if too much is on its way then, and
    /// [`eof`](super::Protocol::eof) if the peer has ended before. The connection stays as it is otherwise: paused, or
    /// closed for writing.
    ///
    /// The connection's task gives the protocol back that it was started with; the other one is dropped at the end. If
    /// this is called again before the other one was connected, that one is dropped without a call, and bytes that it
    /// was to have come first in those of the next.
    ///
    /// Where the upgrade has to be a secret's beginning, as with STARTTLS, `unread` must be empty: bytes of before are
    /// to be refused. The handshake itself is [`streams::start_tls`](crate::streams).
    ///
    /// asyncio: `set_protocol`, which does not call `connection_made`, and leaves it to the caller to give the bytes
    /// to the other one. There the old protocol may still get `resume_writing`.
    ///
    /// ```
    /// use ringloop::protocol::{self, Protocol, Transport};
    /// # use ringloop::streams;
    ///
    /// /// Answers a greeting, and is an echo from then on.
    /// struct Greeting(Vec<u8>);
    /// struct Echo;
    ///
    /// impl Protocol for Greeting {
    ///     fn data(&mut self, transport: &Transport, bytes: &[u8]) {
    ///         self.0.extend_from_slice(bytes);
    ///         if let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
    ///             transport.write(b"welcome\n");
    ///             transport.set_protocol(Echo, &self.0[end + 1..]);
    ///         }
    ///     }
    /// }
    ///
    /// impl Protocol for Echo {
    ///     fn data(&mut self, transport: &Transport, bytes: &[u8]) {
    ///         transport.write(bytes);
    ///     }
    /// }
    ///
    /// ringloop::run(async {
    ///     let server = protocol::serve("127.0.0.1:0", || Greeting(Vec::new())).await.unwrap();
    /// #   let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
    /// #   writer.write_all(b"hello\nand more\n").await.unwrap();
    /// #   assert_eq!(reader.read_line().await.unwrap(), "welcome\n");
    /// #   assert_eq!(reader.read_line().await.unwrap(), "and more\n");
    /// });
    /// ```
    pub fn set_protocol<P: Protocol>(&self, protocol: P, unread: &[u8]) -> bool {
        self.replace(Box::new(Plain(protocol)), unread)
    }

    /// The same for a protocol with its own buffer.
    ///
    /// asyncio: `set_protocol`.
    pub fn set_buffered_protocol<P: BufferedProtocol>(&self, protocol: P, unread: &[u8]) -> bool {
        self.replace(Box::new(Buffered(protocol)), unread)
    }

    fn replace(&self, calls: Box<dyn Calls>, unread: &[u8]) -> bool {
        let dropped = {
            let mut next = self.0.next.lock();
            if next.refused {
                return false;
            }
            next.left.extend_from_slice(unread);
            // Relaxed: the lock that the waking takes orders it before the task's next look.
            self.0.flags.fetch_or(REPLACED, Ordering::Relaxed);
            next.calls.replace(calls)
        };
        // Outside of the lock: they are foreign code (S6).
        drop(dropped);
        self.0.outgoing.wake_watcher();
        true
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

    /// Whether another protocol is to be called, asked behind [`watch`](Self::watch).
    pub(super) fn has_replacement(&self) -> bool {
        // Relaxed: as in `replace`.
        self.0.flags.load(Ordering::Relaxed) & REPLACED != 0
    }

    /// The protocol that is to be called, and the bytes that come first.
    pub(super) fn take_replacement(&self) -> Option<(Box<dyn Calls>, Vec<u8>)> {
        let mut next = self.0.next.lock();
        self.0.flags.fetch_and(!REPLACED, Ordering::Relaxed);
        Some((next.calls.take()?, std::mem::take(&mut next.left)))
    }

    /// Takes no more of them. Gives the one that was to be called.
    pub(super) fn refuse_replacements(&self) -> Option<Box<dyn Calls>> {
        let mut next = self.0.next.lock();
        next.refused = true;
        next.calls.take()
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
