//! The session: rustls' state machine between plaintext and the records on a stream.
//!
//! Reading and writing may be done by two tasks in turn, by the halves of a split stream. The stream
//! below keeps one waker for each direction. Reading sends as well: alerts, tickets, and what a writer
//! has left. So two tasks may wait for the same direction. [`Waiting`] has the wakers of both, and a
//! task that waits for room registers a waker that wakes both.

use std::{
    io::{self, BufRead, IoSlice, Write},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::Connection;

use super::{
    errors::{self, Side},
    scratch::{Scratch, WHOLE_RECORD},
};
use crate::{
    time::{Instant, Sleep, sleep_until},
    util::current,
};

/// How much plaintext rustls holds before it takes no more records.
const PLAINTEXT_LIMIT: usize = 16 << 10;

/// The size of rustls' buffer for records when it is at rest.
const SMALL_READ: usize = 4096;

/// What the two sides of a stream share.
pub(super) struct Session {
    conn: Connection,
    side: Side,
    /// The server's name, as the client asks for it.
    name: Option<Box<str>>,
    /// Bytes of the stream that rustls has not had yet.
    unfed: Unfed,
    /// What ended the session, and the first bytes of a peer that speaks no TLS.
    failed: Option<(rustls::Error, Option<Vec<u8>>)>,
    /// Whether a byte of the peer has been looked at.
    met: bool,
    /// Whether the stream below has ended.
    eof: bool,
    /// Whether rustls may hold memory that it needs no longer.
    swollen: bool,
    waiting: Waiting,
    closing: Closing,
    /// The timer of a close that waits.
    timer: Option<Sleep>,
    shutdown_limit: Duration,
}

/// How far the end has come.
enum Closing {
    Open,
    /// close_notify has been written, and is to be sent until then.
    Sending(Instant),
    /// The write side is shut down. The peer's end may be waited for until then.
    Sent(Instant),
    /// The peer's end is no longer waited for.
    Done,
    /// The time was over before everything was sent.
    TimedOut,
}

/// The two users of a stream's write direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Reader,
    Writer,
}

/// The wakers of tasks that wait for room in the stream below.
#[derive(Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Waiting {
    fn slot(&mut self, user: User) -> &mut Option<Waker> {
        match user {
            User::Reader => &mut self.reader,
            User::Writer => &mut self.writer,
        }
    }

    fn other(&mut self, user: User) -> &mut Option<Waker> {
        match user {
            User::Reader => &mut self.writer,
            User::Writer => &mut self.reader,
        }
    }

    /// A waker to register in the stream, if it has to wake another task as well.
    fn both(&mut self, user: User, own: &Waker) -> Option<Waker> {
        let other = self.other(user).as_ref().filter(|other| !other.will_wake(own))?;
        Some(Waker::from(Arc::new(Both(own.clone(), other.clone()))))
    }

    fn enter(&mut self, user: User, waker: &Waker) {
        match self.slot(user) {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
    }

    fn leave(&mut self, user: User) {
        *self.slot(user) = None;
    }

    /// The stream may have forgotten the other's waker.
    fn wake_other(&mut self, user: User) {
        if let Some(waker) = self.other(user).take() {
            waker.wake();
        }
    }
}

struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}

/// Bytes, and how many of them have been used.
#[derive(Default)]
struct Unfed {
    bytes: Vec<u8>,
    at: usize,
}

impl Unfed {
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
}

impl Session {
    /// `buffered` are bytes of the peer that were read from the stream before.
    pub(super) fn new(
        conn: Connection,
        name: Option<Box<str>>,
        buffered: Vec<u8>,
        shutdown_limit: Duration,
    ) -> Self {
        let side = match conn {
            Connection::Client(_) => Side::Client,
            Connection::Server(_) => Side::Server,
        };
        Self {
            conn,
            side,
            name,
            unfed: Unfed { bytes: buffered, at: 0 },
            failed: None,
            met: false,
            eof: false,
            swollen: false,
            waiting: Waiting::default(),
            closing: Closing::Open,
            timer: None,
            shutdown_limit,
        }
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn refresh_traffic_keys(&mut self) -> io::Result<()> {
        self.check()?;
        self.conn
            .refresh_traffic_keys()
            .map_err(|error| errors::of_connection(self.side, self.name(), &error))
    }

    pub(super) fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: Option<&[u8]>,
    ) -> io::Result<()> {
        self.check()?;
        match self.conn.export_keying_material(output, label, context) {
            Ok(_) => Ok(()),
            Err(error) => Err(errors::of_connection(self.side, self.name(), &error)),
        }
    }

    /// Polls the handshake, until both sides may send.
    pub(super) fn poll_handshake<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while self.conn.is_handshaking() {
            if let Err(error) = ready!(self.poll_flush(io, cx)) {
                return Poll::Ready(Err(self.last_words(io, cx).unwrap_or(error)));
            }
            if self.eof {
                return Poll::Ready(Err(errors::handshake_eof(self.side)));
            }
            let received = ready!(self.poll_receive(io, cx, 0));
            if received.is_err() {
                // The alert for the peer, if there is room.
                let _ = self.poll_flush(io, cx);
            }
            received?;
        }
        let flushed = ready!(self.poll_flush(io, cx));
        match self.side {
            Side::Client => Poll::Ready(flushed),
            // A peer that has gone need not have the tickets. The next read says what is wrong.
            Side::Server => Poll::Ready(Ok(())),
        }
    }

    /// Nothing can be sent any more. The peer may have said why.
    fn last_words<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Option<io::Error>
    where
        S: AsyncRead + Unpin,
    {
        while !self.eof {
            match self.poll_receive(io, cx, 0) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if self.failed.is_some() => return Some(error),
                _ => break,
            }
        }
        None
    }

    /// Waits for plaintext, gives the first of it to `take`, and drops as much as that returns. At the
    /// end, `take` gets nothing. `room` is how much can be taken.
    pub(super) fn poll_read<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        room: usize,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        ready!(self.poll_fill(io, cx, room))?;
        let mut reader = self.conn.reader();
        let taken = take(reader.fill_buf()?);
        reader.consume(taken);
        Poll::Ready(Ok(taken))
    }

    /// Waits until there is plaintext, or the end.
    fn poll_fill<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut received = false;
        loop {
            if let Some(end) = self.readable().transpose() {
                // The stream below spends budget for what it gives.
                if !received {
                    ready!(current::poll_budget(cx));
                }
                return Poll::Ready(end.map(drop));
            }
            self.check()?;
            if self.conn.wants_write() {
                // An error of sending is one of the next write: there may be bytes to read.
                let _ = self.poll_send(io, cx, User::Reader);
            }
            let result = ready!(self.poll_receive(io, cx, room));
            self.waiting.leave(User::Reader);
            if self.failed.is_some() {
                // The alert for the peer, if there is room. Plaintext may have come before the fault.
                if self.conn.wants_write() {
                    let _ = self.poll_send(io, cx, User::Reader);
                    self.waiting.leave(User::Reader);
                }
            } else {
                result?;
            }
            received = true;
        }
    }

    /// Whether a read is ready: `Some(true)` with plaintext, `Some(false)` at the end.
    fn readable(&mut self) -> io::Result<Option<bool>> {
        match self.conn.reader().fill_buf() {
            Ok(bytes) => Ok(Some(!bytes.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(errors::truncated(self.side)),
        }
    }

    /// Encrypts as much as fits, and sends what the stream takes at once.
    pub(super) fn poll_write<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        self.check()?;
        if !matches!(self.closing, Closing::Open) {
            return Poll::Ready(Err(errors::closed()));
        }
        // Records that wait go first: there is no more of them than one write makes.
        if self.conn.wants_write() {
            ready!(self.poll_send(io, cx, User::Writer))?;
        }
        let taken = self.conn.writer().write_vectored(bufs)?;
        if let Poll::Ready(sent) = self.poll_send(io, cx, User::Writer) {
            sent?;
        }
        // The bytes are taken: this task does not wait for the rest of them.
        self.waiting.leave(User::Writer);
        Poll::Ready(Ok(taken))
    }

    /// Sends what is encrypted, and flushes the stream.
    pub(super) fn poll_flush<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.conn.wants_write() {
            ready!(self.poll_send(io, cx, User::Writer))?;
        }
        self.poll_below(cx, |cx| Pin::new(&mut *io).poll_flush(cx))
    }

    /// Sends close_notify, and ends the write side of the stream below. The time for it is limited.
    pub(super) fn poll_close<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if let Closing::Open = self.closing {
            self.conn.send_close_notify();
            self.closing = Closing::Sending(Instant::now() + self.shutdown_limit);
        }
        let deadline = match self.closing {
            Closing::Sending(deadline) => deadline,
            Closing::TimedOut => return Poll::Ready(Err(self.too_late(false))),
            _ => return Poll::Ready(Ok(())),
        };
        if let Poll::Ready(ended) = self.poll_end(io, cx) {
            self.timer = None;
            self.closing = Closing::Sent(deadline);
            return Poll::Ready(ended);
        }
        ready!(self.poll_timer(cx, deadline));
        self.closing = Closing::TimedOut;
        self.waiting.leave(User::Writer);
        Poll::Ready(Err(self.too_late(false)))
    }

    fn poll_end<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.conn.wants_write() {
            ready!(self.poll_send(io, cx, User::Writer))?;
        }
        self.poll_below(cx, |cx| Pin::new(&mut *io).poll_close(cx))
    }

    /// [`poll_close`](Self::poll_close), and waits for the peer's close_notify, or its end, within the
    /// same limit. Plaintext that comes meanwhile is dropped.
    pub(super) fn poll_close_both<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        ready!(self.poll_close(io, cx))?;
        let Closing::Sent(deadline) = self.closing else { return Poll::Ready(Ok(())) };
        let ended = match self.poll_drain(io, cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                ready!(self.poll_timer(cx, deadline));
                Err(self.too_late(true))
            }
        };
        self.timer = None;
        self.closing = Closing::Done;
        Poll::Ready(ended)
    }

    /// Reads until the end, and drops what it reads.
    fn poll_drain<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while !self.eof {
            match ready!(self.poll_read(io, cx, usize::MAX, <[u8]>::len)) {
                Ok(0) => break,
                Ok(_) => {}
                // The peer has seen our close_notify, and need not send its own.
                Err(_) if self.eof && self.failed.is_none() => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| sleep_until(deadline));
        ready!(Pin::new(timer).poll(cx));
        self.timer = None;
        Poll::Ready(())
    }

    fn too_late(&self, sent: bool) -> io::Error {
        errors::shutdown_timeout(self.side, self.shutdown_limit, sent)
    }

    /// Sends records until none is left. If it has to wait, `user` is in [`Waiting`].
    fn poll_send<S>(&mut self, io: &mut S, cx: &mut Context<'_>, user: User) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let both = self.waiting.both(user, cx.waker());
        let mut with_both = Context::from_waker(both.as_ref().unwrap_or(cx.waker()));
        let mut to = Outgoing { io, cx: &mut with_both };
        let mut sent = Ok(());
        while self.conn.wants_write() && sent.is_ok() {
            sent = match self.conn.write_tls(&mut to) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting.enter(user, cx.waker());
                    return Poll::Pending;
                }
                Err(error) => Err(error),
            };
        }
        self.waiting.leave(user);
        self.waiting.wake_other(user);
        Poll::Ready(sent)
    }

    /// Polls an operation of the stream's write direction, for the writer.
    fn poll_below(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let both = self.waiting.both(User::Writer, cx.waker());
        let mut with_both = Context::from_waker(both.as_ref().unwrap_or(cx.waker()));
        let polled = poll(&mut with_both);
        match polled {
            Poll::Pending => self.waiting.enter(User::Writer, cx.waker()),
            Poll::Ready(_) => self.waiting.leave(User::Writer),
        }
        polled
    }

    /// Gives rustls the next bytes of the stream, or its end.
    fn poll_receive<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        if !self.unfed.is_empty() {
            let Unfed { bytes, at } = mem::take(&mut self.unfed);
            let fed = self.feed(&bytes[at..], room)?;
            self.unfed = if at + fed < bytes.len() {
                Unfed { bytes, at: at + fed }
            } else {
                Unfed::default()
            };
            return Poll::Ready(Ok(()));
        }
        let mut scratch = Scratch::take();
        let into = scratch.for_plaintext(room);
        let Poll::Ready(read) = Pin::new(io).poll_read(cx, into) else {
            self.shrink();
            return Poll::Pending;
        };
        let read = read?;
        if read == 0 {
            self.eof = true;
            // rustls takes a read of nothing for the end.
            self.conn.read_tls(&mut io::empty())?;
            return Poll::Ready(Ok(()));
        }
        let fed = self.feed(&into[..read], room)?;
        if fed < read {
            self.unfed = Unfed { bytes: into[fed..read].to_vec(), at: 0 };
        }
        Poll::Ready(Ok(()))
    }

    /// Gives rustls bytes, until it has as much plaintext as there is room for. Returns how many.
    fn feed(&mut self, bytes: &[u8], room: usize) -> io::Result<usize> {
        let mut rest = bytes;
        let first = (!mem::replace(&mut self.met, true)).then_some(bytes);
        self.swollen |= bytes.len() > SMALL_READ;
        while !rest.is_empty() {
            // After close_notify it takes nothing: what is left is dropped.
            if self.conn.read_tls(&mut rest)? == 0 {
                return Ok(bytes.len());
            }
            match self.conn.process_new_packets() {
                Ok(state) => {
                    let plaintext = state.plaintext_bytes_to_read();
                    if plaintext > 0 && plaintext >= room.min(PLAINTEXT_LIMIT) {
                        break;
                    }
                }
                Err(error) => return Err(self.fail(error, first)),
            }
        }
        match first {
            Some(first) if !may_be_tls(first) => {
                Err(self.fail(errors::wrong_content(), Some(first)))
            }
            _ => Ok(bytes.len() - rest.len()),
        }
    }

    /// The session has failed. `first` are the bytes, if they are the peer's first.
    fn fail(&mut self, error: rustls::Error, first: Option<&[u8]>) -> io::Error {
        let foreign = first.filter(|first| !may_be_tls(first)).map(<[u8]>::to_vec);
        self.failed = Some((error, foreign));
        match self.check() {
            Err(error) => error,
            Ok(()) => unreachable!("the session has failed"),
        }
    }

    fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((error, None)) => Err(errors::of_connection(self.side, self.name(), error)),
            Some((error, Some(first))) => Err(errors::not_tls(self.side, first, error.clone())),
        }
    }

    /// Before a wait that may be long: rustls gives the memory of the last records back when it is
    /// asked to read, also if there is nothing to read.
    fn shrink(&mut self) {
        struct Dry;
        impl io::Read for Dry {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        if mem::take(&mut self.swollen) {
            let _ = self.conn.read_tls(&mut Dry);
        }
    }
}

/// Whether this may be the beginning of a peer that speaks TLS: a handshake record or an alert.
fn may_be_tls(first: &[u8]) -> bool {
    matches!(first, [0x15 | 0x16] | [0x15 | 0x16, 3, ..] | [])
}

/// The stream below, as rustls writes to it.
struct Outgoing<'a, 'b, S> {
    io: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Write for Outgoing<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.io).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.io).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn blocking<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

const _: () = assert!(WHOLE_RECORD > PLAINTEXT_LIMIT);
