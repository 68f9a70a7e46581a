//! Bytes on their way from one writer to a stream of any kind: what the writers of
//! [`streams`](crate::streams) and the transports of [`protocol`](crate::protocol) have in common.
//!
//! 1. A write never waits. It gives its bytes to the stream at once if nothing is before them. What the stream
//!    does not take is queued, and a task of its own, the pump, sends it.
//! 2. Every byte that waits is counted in one place, the length of the queue. Above the high mark the writer is
//!    to pause; at the low mark, or below, it may go on. The caller of [`write`](Outgoing::write) waits, or asks its protocol to.
//! 3. The pump lives as long as something waits. It is the only one then that calls the stream, so that bytes
//!    keep their order.
//! 4. An error ends it all: the queue is dropped, and every later call reports that error.
//! 5. A part of a file may wait among the bytes. It takes no memory. While one waits, the writer counts as above its
//!    mark, so that a peer cannot have many files opened by asking for them and reading nothing.
//! 6. When the owner goes, what was written is still sent, for [`LINGER`] at most; then the stream is closed.
//!    After that time, or if the owner aborts, it is reset, so that the peer does not take a part for the whole.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    os::fd::BorrowedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

pub(crate) use self::sink::{Layered, Sink};
use self::{
    files::{Files, Part},
    lost::Lost,
};
use super::{Connection, SendFile};
use crate::{
    loom::Mutex,
    runtime::{Handle, spawn},
    time::sleep,
};

mod files;
mod lost;
mod sink;

/// asyncio's marks, in bytes.
pub(crate) const HIGH: usize = 64 << 10;
pub(crate) const LOW: usize = HIGH / 4;
/// How long bytes are still sent when their writer is gone.
const LINGER: Duration = Duration::from_secs(10);
/// Memory of a queue that has become empty is kept up to so many bytes.
const KEPT: usize = 64 << 10;

/// What a pump needs of a runtime. A model has its own.
pub(crate) struct Rt {
    pub(crate) spawn: fn(Pump) -> io::Result<()>,
    pub(crate) linger: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

static RT: Rt = Rt {
    spawn: |pump| {
        Handle::try_current().map_err(io::Error::other)?;
        spawn(pump).detach();
        Ok(())
    },
    linger: || Box::pin(sleep(LINGER)),
};

/// The owner's end.
pub(crate) struct Outgoing {
    shared: Arc<Mutex<State>>,
    rt: &'static Rt,
}

struct State {
    /// `None` once it was reset.
    sink: Option<Box<dyn Sink>>,
    queue: VecDeque<u8>,
    files: Files,
    /// A part of a file could not be sent: the peer is to see a reset.
    is_cut: bool,
    high: usize,
    low: usize,
    /// The queue was above the high mark, and not at the low one since.
    is_above: bool,
    /// It was above since the last look of [`Outgoing::watch`].
    crossed: bool,
    /// The pump has the stream.
    pumping: bool,
    closing: Closing,
    /// Closed for writing only.
    reads: bool,
    lost: Option<Lost>,
    /// The task that waits for room, for everything to be sent, or for the close.
    owner: Option<Waker>,
    pump: Option<Waker>,
    /// To be woken when the lock is free.
    wakes: [Option<Waker>; 2],
    /// To be dropped when the lock is free.
    gone: Vec<Part>,
    abandoned: bool,
}

/// Calls `f` under the lock. Then calls the wakers that it has left, which are foreign code (S6), and closes files.
fn locked<R>(shared: &Mutex<State>, f: impl FnOnce(&mut State) -> R) -> R {
    let (result, wakes, gone) = {
        let mut state = shared.lock();
        let result = f(&mut state);
        (result, std::mem::take(&mut state.wakes), std::mem::take(&mut state.gone))
    };
    drop(gone);
    wakes.into_iter().flatten().for_each(Waker::wake);
    result
}

/// What [`Outgoing::watch`] sees.
pub(crate) enum Standing {
    /// `crossed`: it was above its mark at some time since the last look.
    Open {
        is_above: bool,
        crossed: bool,
    },
    /// It was closed, and something is still to be sent. `reads`: its owner reads on.
    Closing {
        reads: bool,
    },
    Closed {
        reads: bool,
    },
    Lost(io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Asked,
    Done,
}

impl Outgoing {
    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        Self::with_rt(sink, &RT)
    }

    pub(crate) fn with_rt(sink: Box<dyn Sink>, rt: &'static Rt) -> Self {
        let state = State {
            sink: Some(sink),
            queue: VecDeque::new(),
            files: Files::default(),
            is_cut: false,
            high: HIGH,
            low: LOW,
            is_above: false,
            crossed: false,
            pumping: false,
            closing: Closing::No,
            reads: true,
            lost: None,
            owner: None,
            pump: None,
            wakes: [None, None],
            gone: Vec::new(),
            abandoned: false,
        };
        Self { shared: Arc::new(Mutex::new(state)), rt }
    }

    /// Sends or queues all bytes (step 1). `true`: the writer is to pause.
    pub(crate) fn write(&self, bufs: &mut [IoSlice<'_>]) -> io::Result<bool> {
        let (is_above, needs_pump) = locked(&self.shared, |state| state.write(bufs))?;
        if needs_pump {
            self.spawn_pump()?;
        }
        Ok(is_above)
    }

    /// Sends a part of a file behind all that was written (step 5), as much as can be at once.
    pub(crate) fn send_file(&self, file: SendFile<BorrowedFd<'_>>) -> io::Result<()> {
        if locked(&self.shared, |state| state.send_file(file))? {
            self.spawn_pump()?;
        }
        Ok(())
    }

    /// Waits until the writer may go on (step 2).
    pub(crate) fn poll_below(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |state| !state.is_above)
    }

    /// Waits until the stream has taken everything, and sent it on.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |state| !state.pumping)
    }

    /// The same, and then closes the stream for writing.
    pub(crate) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.start_close(|_| {})?;
        self.poll(cx, |state| state.closing == Closing::Done)
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        is_ready: impl FnOnce(&State) -> bool,
    ) -> Poll<io::Result<()>> {
        locked(&self.shared, |state| {
            state.check()?;
            if is_ready(state) {
                return Poll::Ready(Ok(()));
            }
            state.wait(cx);
            Poll::Pending
        })
    }

    /// Has the stream closed for writing, once everything is sent: [`watch`](Self::watch) tells when.
    /// `reads`: its owner reads on.
    pub(crate) fn close(&self, reads: bool) {
        // The owner finds an error at its next call.
        let _ = self.start_close(|state| state.reads = reads);
        locked(&self.shared, State::wake_owner);
    }

    fn start_close(&self, first: impl FnOnce(&mut State)) -> io::Result<()> {
        let needs_pump = locked(&self.shared, |state| {
            first(state);
            if state.closing != Closing::No || state.lost.is_some() {
                return state.check().map(|()| false);
            }
            Ok(!state.close_now()? && !std::mem::replace(&mut state.pumping, true))
        })?;
        match needs_pump {
            // The pump sees it through, also if this caller goes away.
            true => self.spawn_pump(),
            false => Ok(()),
        }
    }

    /// Drops what waits, and resets the stream (step 6).
    pub(crate) fn abort(&self) {
        let text = "the stream was aborted";
        give_up(&self.shared, io::Error::new(io::ErrorKind::ConnectionAborted, text));
    }

    /// Sets the marks, in bytes.
    pub(crate) fn set_limits(&self, high: usize, low: usize) {
        locked(&self.shared, |state| {
            (state.high, state.low) = (high, low.min(high));
            let was_above = state.is_above;
            state.is_above = state.queue.len() > high || was_above && !state.is_below();
            state.crossed |= state.is_above && !was_above;
            state.wake_owner();
        });
    }

    /// How it stands, for a task that is woken when that changes.
    pub(crate) fn watch(&self, cx: &mut Context<'_>) -> Standing {
        let mut state = self.shared.lock();
        if let Some(lost) = &state.lost {
            return Standing::Lost(lost.error());
        }
        state.wait(cx);
        match state.closing {
            Closing::No => {
                let crossed = std::mem::take(&mut state.crossed);
                Standing::Open { is_above: state.is_above, crossed }
            }
            Closing::Asked => Standing::Closing { reads: state.reads },
            Closing::Done => Standing::Closed { reads: state.reads },
        }
    }

    /// Wakes the task of the last [`watch`](Self::watch).
    pub(crate) fn wake_watcher(&self) {
        locked(&self.shared, State::wake_owner);
    }

    /// Nothing more goes out, and the writing end is dropped, whatever references to this are left. If something was not
    /// sent, the peer sees a reset.
    pub(crate) fn end(&self) {
        let (sink, cut) = locked(&self.shared, |state| {
            let cut = state.is_cut || state.has_queue();
            let text = "the connection is closed";
            state.lose(io::Error::new(io::ErrorKind::BrokenPipe, text));
            (state.sink.take(), cut)
        });
        // Foreign code, outside of the lock (S6).
        match sink {
            Some(sink) if cut => sink.abort(),
            sink => drop(sink),
        }
    }

    /// Whether the writer is to pause.
    pub(crate) fn is_above(&self) -> bool {
        self.shared.lock().is_above
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Whether it was closed, or has failed.
    pub(crate) fn is_closing(&self) -> bool {
        let state = self.shared.lock();
        state.closing != Closing::No || state.lost.is_some()
    }

    /// Asks the socket below something.
    pub(crate) fn with_connection<R>(
        &self,
        ask: impl FnOnce(&Connection) -> io::Result<R>,
    ) -> io::Result<R> {
        let state = self.shared.lock();
        match state.sink.as_ref().and_then(|sink| sink.connection()) {
            Some(connection) => ask(connection),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the stream is not on a socket, or was aborted",
            )),
        }
    }

    /// Has the owner send by the socket below, while nothing waits to be sent.
    pub(crate) async fn by_connection<R>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>, &Connection) -> Poll<io::Result<R>>,
    ) -> io::Result<R> {
        poll_fn(|cx| {
            self.with_connection(|connection| Ok(poll(cx, connection)))
                .unwrap_or_else(|error| Poll::Ready(Err(error)))
        })
        .await
    }

    /// Not under the lock: a runtime that ends drops the pump at once, and that takes the lock.
    fn spawn_pump(&self) -> io::Result<()> {
        let (shared, rt) = (self.shared.clone(), self.rt);
        (rt.spawn)(Pump { shared, rt, linger: None, ended: false })
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // Without a runtime it is reset.
        if locked(&self.shared, State::abandon) {
            let _ = self.spawn_pump();
        }
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.lost {
            Some(lost) => Err(lost.error()),
            None => Ok(()),
        }
    }

    fn check_open(&self) -> io::Result<()> {
        self.check()?;
        match self.closing {
            Closing::No => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the stream was closed for writing, and takes no more bytes",
            )),
        }
    }

    fn sink(&mut self) -> &mut dyn Sink {
        &mut **self.sink.as_mut().expect("there unless it is lost, which was checked")
    }

    /// Whether the writer is to pause, and whether a pump is to be started.
    fn write(&mut self, mut bufs: &mut [IoSlice<'_>]) -> io::Result<(bool, bool)> {
        self.check_open()?;
        if !self.pumping {
            if let Err(error) = self.write_now(&mut bufs) {
                return Err(self.lose(error));
            }
            if bufs.is_empty() && self.is_flushed() {
                return Ok((false, false));
            }
        }
        for buf in bufs {
            self.queue.extend(&**buf);
        }
        if self.queue.len() > self.high {
            self.pause();
        }
        Ok((self.is_above, !std::mem::replace(&mut self.pumping, true)))
    }

    /// Whether a pump is to be started.
    fn send_file(&mut self, mut file: SendFile<BorrowedFd<'_>>) -> io::Result<bool> {
        self.check_open()?;
        if !self.pumping && self.sink().connection().is_some() {
            let mut cx = Context::from_waker(Waker::noop());
            let connection = self.sink().connection().expect("it has just been there");
            match file.poll(&mut cx, connection) {
                Poll::Ready(Ok(_)) if !file.is_cut() => return Ok(false),
                // The pump finds the end of the file, or the error, again.
                Poll::Ready(_) | Poll::Pending => {}
            }
        }
        self.files.push(file.into_owned()?, self.queue.len());
        self.pause();
        Ok(!std::mem::replace(&mut self.pumping, true))
    }

    /// The owner is to write no more for now.
    fn pause(&mut self) {
        if !self.is_above {
            (self.is_above, self.crossed) = (true, true);
            // A watcher may be another task than the writer.
            self.wake_owner();
        }
    }

    /// Whether so little waits that the owner may write again.
    fn is_below(&self) -> bool {
        self.queue.len() <= self.low && self.files.is_empty()
    }

    fn has_queue(&self) -> bool {
        !self.queue.is_empty() || !self.files.is_empty()
    }

    /// The owner goes (step 6). `true`: a pump is to be started, which closes the stream.
    fn abandon(&mut self) -> bool {
        self.abandoned = true;
        if self.pumping {
            self.closing = Closing::Asked;
            self.wake_pump();
            return false;
        }
        let closes = self.sink.as_ref().is_none_or(|sink| sink.closes_by_drop());
        if closes || self.lost.is_some() || self.closing == Closing::Done {
            return false;
        }
        self.pumping = matches!(self.close_now(), Ok(false));
        self.pumping
    }

    /// Writes what the stream takes at once, and leaves the rest in `bufs`.
    fn write_now(&mut self, bufs: &mut &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(bufs, 0);
        while !bufs.is_empty() {
            match self.sink().try_write(bufs) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => IoSlice::advance_slices(bufs, sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the stream keeps nothing back, asked without waiting.
    fn is_flushed(&mut self) -> bool {
        let sink = self.sink();
        // A socket has sent what it has taken.
        sink.closes_by_drop()
            || Pin::new(sink).poll_flush(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Closes the stream if nothing is before that. `false`: the pump has to.
    fn close_now(&mut self) -> io::Result<bool> {
        self.closing = Closing::Asked;
        if self.pumping {
            return Ok(false);
        }
        match self.poll_close_sink(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => Err(self.lose(error)),
            Poll::Pending => Ok(false),
        }
    }

    fn poll_close_sink(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(self.sink()).poll_close(cx))?;
        self.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }

    fn wait(&mut self, cx: &mut Context<'_>) {
        match &self.owner {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.owner = Some(cx.waker().clone()),
        }
    }

    /// To be called by [`locked`], as the next one.
    fn wake_owner(&mut self) {
        if let Some(owner) = self.owner.take() {
            self.wakes[0] = Some(owner);
        }
    }

    fn wake_pump(&mut self) {
        if let Some(pump) = self.pump.take() {
            self.wakes[1] = Some(pump);
        }
    }

    /// Ends it (step 4).
    fn lose(&mut self, error: io::Error) -> io::Error {
        if self.lost.is_none() {
            self.lost = Some(Lost::of(error));
            (self.queue, self.is_above, self.pumping) = (VecDeque::new(), false, false);
            self.gone.extend(self.files.take());
            self.wake_pump();
            self.wake_owner();
        }
        self.check().expect_err("it is lost")
    }

    /// A poll of the pump: until all is sent, or the stream is lost.
    fn turn_pump(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lost.is_some() {
            return Poll::Ready(());
        }
        let Poll::Ready(sent) = self.poll_pump(cx) else {
            self.pump = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.pumping = false;
        if let Err(error) = sent {
            self.lose(error);
        }
        self.wake_owner();
        Poll::Ready(())
    }

    /// Sends some bytes, or the part of a file that is next.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { sink: Some(sink), queue, files, gone, is_cut, .. } = self else {
            unreachable!("without a stream nothing waits")
        };
        let next = queue.as_slices().0;
        let next = &next[..next.len().min(files.bytes_before())];
        if next.is_empty() {
            let part = ready!(files.poll_first(cx, &mut **sink));
            gone.extend(part.inspect_err(|_| *is_cut = true)?);
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(Pin::new(&mut **sink).poll_write(cx, next))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        queue.drain(..sent);
        files.note_sent(sent);
        Poll::Ready(Ok(()))
    }

    /// Sends what waits, and closes the stream if that was asked for.
    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_queue() {
            ready!(self.poll_next(cx))?;
            if self.is_above && self.is_below() {
                self.is_above = false;
                self.wake_owner();
            }
        }
        if self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        ready!(Pin::new(self.sink()).poll_flush(cx))?;
        match self.closing {
            Closing::Asked => self.poll_close_sink(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// The task that sends what waits (step 3).
pub(crate) struct Pump {
    shared: Arc<Mutex<State>>,
    rt: &'static Rt,
    /// Runs once the owner is gone.
    linger: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// It has done its work; there may be another pump by now.
    ended: bool,
}

impl Pump {
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_abandoned = match locked(&self.shared, |state| state.turn_pump(cx)) {
            Poll::Ready(()) => return Poll::Ready(()),
            Poll::Pending => self.shared.lock().abandoned,
        };
        if !is_abandoned {
            return Poll::Pending;
        }
        let linger = self.linger.get_or_insert_with(self.rt.linger);
        ready!(linger.as_mut().poll(cx));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes");
        give_up(&self.shared, error);
        Poll::Ready(())
    }
}

/// Drops what waits, and resets the stream.
fn give_up(shared: &Mutex<State>, error: io::Error) {
    let sink = locked(shared, |state| {
        state.lose(error);
        state.sink.take()
    });
    // Foreign code, outside of the lock (S6).
    if let Some(sink) = sink {
        sink.abort();
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_ended(cx);
        self.ended = polled.is_ready();
        polled
    }
}

impl Drop for Pump {
    /// If the runtime ends, or is none, what was not sent is given up, and the peer sees a reset.
    fn drop(&mut self) {
        if !self.ended {
            let text = "no runtime is there to send what is left";
            give_up(&self.shared, io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
    }
}
