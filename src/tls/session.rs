//! The session: rustls' state machine between plaintext and the records on a stream.
//!
//! A session that waits holds no buffer of its own. Records are received into memory of the thread, and
//! decrypted there. What is kept is the beginning of a record that is not whole yet, plaintext that the
//! reader had no room for, and records that the stream below had no room for.
//!
//! Reading and writing may be done by two tasks in turn, by the halves of a split stream. The stream
//! below keeps one waker for each direction. Reading sends as well: alerts, tickets, and what a writer
//! has left. So two tasks may wait for the same direction. [`Waiting`] has the wakers of both, and a
//! task that waits for room registers a waker that wakes both.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::{CommonState, Error};

use super::{
    engine::{Action, Engine, Outcome},
    errors::{self, Side},
    scratch::{PLAINTEXT, Scratch},
    sni,
    waiting::{User, Waiting},
};
use crate::{
    time::{Instant, Sleep, sleep_until},
    util::current,
};

/// What the two sides of a stream share.
pub(super) struct Session {
    engine: Engine,
    /// The server's name, as the client asks for it.
    name: Option<Box<str>>,
    /// The beginning of a record, or bytes that were received before the session began.
    incoming: Vec<u8>,
    /// Plaintext that no read has taken.
    plain: Bytes,
    /// Records that the stream below has not taken.
    outgoing: Bytes,
    /// What ended the session, and the first bytes of a peer that speaks no TLS.
    failed: Option<(Error, Option<Vec<u8>>)>,
    /// Whether a byte of the peer has been looked at.
    met: bool,
    /// Whether the peer has sent close_notify.
    peer_closed: bool,
    /// Whether the stream below has ended.
    eof: bool,
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

/// Bytes, and how many of them have been used. Without bytes it has no memory.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    used: usize,
}

impl Bytes {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    fn advance(&mut self, n: usize) {
        self.used += n;
        if self.used == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl Session {
    /// `buffered` are bytes of the peer that were read from the stream before.
    pub(super) fn new(
        engine: Engine,
        name: Option<Box<str>>,
        buffered: Vec<u8>,
        shutdown_limit: Duration,
    ) -> Self {
        Self {
            engine,
            name,
            incoming: buffered,
            plain: Bytes::default(),
            outgoing: Bytes::default(),
            failed: None,
            met: false,
            peer_closed: false,
            eof: false,
            waiting: Waiting::default(),
            closing: Closing::Open,
            timer: None,
            shutdown_limit,
        }
    }

    pub(super) fn common(&self) -> &CommonState {
        self.engine.common()
    }

    pub(super) fn side(&self) -> Side {
        self.engine.side()
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn refresh_traffic_keys(&mut self) -> io::Result<()> {
        self.check()?;
        if !matches!(self.closing, Closing::Open) {
            return Err(errors::closed());
        }
        let outcome = self.act(Action::RefreshKeys);
        match outcome.failed {
            // That it cannot be done does not end the session.
            Some(error) => Err(errors::of_connection(self.side(), self.name(), &error)),
            None if outcome.acted => Ok(()),
            None => Err(errors::closed()),
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
        if !self.met {
            // The client has something to say first.
            let outcome = self.run(&mut [], &mut |_| 0, None);
            if let Some(error) = outcome.failed {
                return Poll::Ready(Err(self.fail(error, None)));
            }
        }
        while self.common().is_handshaking() {
            if let Err(error) = ready!(self.poll_flush(io, cx)) {
                return Poll::Ready(Err(self.last_words(io, cx).unwrap_or(error)));
            }
            if self.eof {
                return Poll::Ready(Err(errors::handshake_eof(self.side())));
            }
            let received = ready!(self.poll_receive(io, cx, 0, &mut |_| 0));
            if received.is_err() {
                // The alert for the peer, if there is room.
                let _ = self.poll_flush(io, cx);
            }
            received?;
        }
        let flushed = ready!(self.poll_flush(io, cx));
        match self.side() {
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
            match self.poll_receive(io, cx, 0, &mut |_| 0) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if self.failed.is_some() => return Some(error),
                _ => break,
            }
        }
        None
    }

    /// Waits for plaintext, and gives it to `take`, which returns how much it has used, and is called
    /// again if that was all. 0 is the end. `room` is how much can be taken.
    pub(super) fn poll_read<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        room: usize,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.plain.is_empty() {
            // The stream below spends budget for what it gives.
            ready!(current::poll_budget(cx));
            let taken = take(self.plain.rest());
            self.plain.advance(taken);
            return Poll::Ready(Ok(taken));
        }
        let taken = Cell::new(0);
        let mut count = |bytes: &[u8]| {
            let n = take(bytes);
            taken.set(taken.get() + n);
            n
        };
        loop {
            if self.peer_closed {
                return Poll::Ready(Ok(0));
            }
            self.check()?;
            if self.eof {
                return Poll::Ready(Err(errors::truncated(self.side())));
            }
            if !self.outgoing.is_empty() {
                // An error of sending is one of the next write: there may be bytes to read.
                let _ = self.poll_send(io, cx, User::Reader);
            }
            let result = ready!(self.poll_receive(io, cx, room, &mut count));
            if self.failed.is_some() && !self.outgoing.is_empty() {
                // The alert for the peer, if there is room.
                let _ = self.poll_send(io, cx, User::Reader);
            }
            self.waiting.leave(User::Reader);
            if taken.get() > 0 {
                // What was wrong is said by the next read.
                return Poll::Ready(Ok(taken.get()));
            }
            result?;
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
        if !self.outgoing.is_empty() {
            ready!(self.poll_send(io, cx, User::Writer))?;
        }
        let (mut gathered, mut records) = (None, Scratch::take());
        let bytes = plaintext(bufs, &mut gathered);
        let mut count = 0;
        let outcome = self.act(Action::Encrypt(bytes, records.all(), &mut count));
        if let Some(error) = outcome.failed {
            return Poll::Ready(Err(self.fail(error, None)));
        }
        if !outcome.acted {
            return Poll::Ready(Err(errors::closed()));
        }
        let records = &records.all()[..count];
        // Records of the session's own may have come before.
        let mut sent = 0;
        let mut result = Ok(());
        while self.outgoing.is_empty() && sent < count && result.is_ok() {
            match self.poll_below(cx, |cx| Pin::new(&mut *io).poll_write(cx, &records[sent..])) {
                Poll::Ready(Ok(0)) => result = Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => result = Err(error),
                Poll::Pending => break,
            }
        }
        // The bytes are taken: this task does not wait for the rest of them.
        self.waiting.leave(User::Writer);
        self.outgoing.bytes.extend_from_slice(&records[sent..]);
        Poll::Ready(result.map(|()| bytes.len()))
    }

    /// Sends what is encrypted, and flushes the stream.
    pub(super) fn poll_flush<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if !self.outgoing.is_empty() {
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
            if self.failed.is_none() {
                // If it cannot be sent, the peer sees an end that is not clean.
                let _ = self.act(Action::CloseNotify);
            }
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
        if !self.outgoing.is_empty() {
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
            match ready!(self.poll_read(io, cx, PLAINTEXT, <[u8]>::len)) {
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
        errors::shutdown_timeout(self.side(), self.shutdown_limit, sent)
    }

    /// Sends records until none is left. If it has to wait, `user` is in [`Waiting`].
    fn poll_send<S>(&mut self, io: &mut S, cx: &mut Context<'_>, user: User) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let both = self.waiting.both(user, cx.waker());
        let mut with_both = Context::from_waker(both.as_ref().unwrap_or(cx.waker()));
        let mut sent = Ok(());
        while !self.outgoing.is_empty() && sent.is_ok() {
            match Pin::new(&mut *io).poll_write(&mut with_both, self.outgoing.rest()) {
                Poll::Ready(Ok(0)) => sent = Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => self.outgoing.advance(n),
                Poll::Ready(Err(error)) => sent = Err(error),
                Poll::Pending => {
                    self.waiting.enter(user, cx.waker());
                    return Poll::Pending;
                }
            }
        }
        self.waiting.leave(user);
        self.waiting.wake_other(user);
        Poll::Ready(sent)
    }

    /// Polls an operation of the stream's write direction, for the writer.
    fn poll_below<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let both = self.waiting.both(User::Writer, cx.waker());
        let mut with_both = Context::from_waker(both.as_ref().unwrap_or(cx.waker()));
        let polled = poll(&mut with_both);
        match polled {
            Poll::Pending => self.waiting.enter(User::Writer, cx.waker()),
            Poll::Ready(_) => self.waiting.leave(User::Writer),
        }
        polled
    }

    /// Works through the next bytes of the stream, or its end. Plaintext goes to `take`, which returns
    /// how much it has used; the rest is kept.
    fn poll_receive<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        room: usize,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        if !self.met && !self.incoming.is_empty() {
            let mut bytes = mem::take(&mut self.incoming);
            return Poll::Ready(self.work(&mut bytes, take));
        }
        let mut scratch = Scratch::take();
        let begun = self.incoming.len();
        let into = scratch.behind(begun, room);
        let Poll::Ready(read) = Pin::new(io).poll_read(cx, &mut into[begun..]) else {
            return Poll::Pending;
        };
        let read = read?;
        if read == 0 {
            self.eof = true;
            return Poll::Ready(Ok(()));
        }
        into[..begun].copy_from_slice(&self.incoming);
        self.incoming = Vec::new();
        Poll::Ready(self.work(&mut into[..begun + read], take))
    }

    /// Works through records, and keeps what is not whole yet.
    fn work(&mut self, bytes: &mut [u8], take: &mut dyn FnMut(&[u8]) -> usize) -> io::Result<()> {
        let met = mem::replace(&mut self.met, true);
        // They are decrypted where they are, so what is shown of them is taken before.
        let foreign = (!met && !may_be_tls(bytes)).then(|| bytes[..bytes.len().min(24)].to_vec());
        let outcome = self.run(bytes, take, None);
        self.peer_closed |= outcome.peer_closed;
        if let Some(error) = outcome.failed {
            return Err(self.fail(error, foreign));
        }
        // After close_notify nothing counts.
        if !self.peer_closed {
            self.incoming = bytes[outcome.used..].to_vec();
        }
        Ok(())
    }

    /// Runs the state machine for an action of this side.
    fn act(&mut self, action: Action<'_>) -> Outcome {
        // It may look at the beginning of a record again.
        let mut incoming = mem::take(&mut self.incoming);
        let outcome = self.run(&mut incoming, &mut |_| 0, Some(action));
        self.peer_closed |= outcome.peer_closed;
        if outcome.used < incoming.len() {
            incoming.drain(..outcome.used);
            self.incoming = incoming;
        }
        outcome
    }

    fn run(
        &mut self,
        bytes: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> usize,
        action: Option<Action<'_>>,
    ) -> Outcome {
        let Self { engine, plain, outgoing, .. } = self;
        let mut keep = |bytes: &[u8]| {
            // What is kept goes first.
            let taken = if plain.is_empty() { take(bytes) } else { 0 };
            plain.bytes.extend_from_slice(&bytes[taken..]);
        };
        let asks = self.name.is_none() && engine.common().is_handshaking();
        let outcome = engine.run(bytes, &mut keep, &mut outgoing.bytes, action);
        if asks {
            self.name = sni::take();
        }
        outcome
    }

    /// The session has failed. `foreign` are the first bytes of a peer that speaks no TLS.
    fn fail(&mut self, error: Error, foreign: Option<Vec<u8>>) -> io::Error {
        let said = self.words(&error, foreign.as_deref());
        self.failed = Some((error, foreign));
        said
    }

    fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((error, foreign)) => Err(self.words(error, foreign.as_deref())),
        }
    }

    fn words(&self, error: &Error, foreign: Option<&[u8]>) -> io::Error {
        match foreign {
            None => errors::of_connection(self.side(), self.name(), error),
            Some(first) => errors::not_tls(self.side(), first, error.clone()),
        }
    }
}

/// Whether this may be the beginning of a record: its type, and the first half of the version.
fn may_be_tls(first: &[u8]) -> bool {
    matches!(first, [0x14..=0x17] | [0x14..=0x17, 3, ..] | [])
}

/// The first of the bytes, as much as one write takes. Small pieces are gathered into one record.
fn plaintext<'a>(bufs: &'a [IoSlice<'_>], gathered: &'a mut Option<Scratch>) -> &'a [u8] {
    let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
    let first: &[u8] = filled.next().map_or(&[], |first| first);
    if first.len() >= PLAINTEXT || filled.next().is_none() {
        return &first[..first.len().min(PLAINTEXT)];
    }
    let into = gathered.insert(Scratch::take()).all();
    let mut n = 0;
    for buf in bufs {
        let more = buf.len().min(PLAINTEXT - n);
        into[n..n + more].copy_from_slice(&buf[..more]);
        n += more;
    }
    &into[..n]
}
