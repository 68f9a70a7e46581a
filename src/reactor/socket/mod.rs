//! A socket of our own: what its handles share with the operations under way on it.
//!
//! The descriptor closes with the last reference. An operation in a ring holds one until
//! its terminal completion, so that no operation outlives the descriptor, and no
//! descriptor is closed while one uses it (S4). A handle that is dropped
//! [closes](Socket::close) the socket: what it waits for is cancelled, what it has
//! still to send is sent, and then the descriptor closes.
//!
//! On io_uring a socket has one *home*, the worker whose ring has its operations; other workers
//! send requests to it. On epoll the home is the worker in whose instance the descriptor is registered.

mod close;
mod inbound;
mod outbound;
mod receiving;
mod waiting;

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::Shutdown,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use rustix::io::Errno;

pub(crate) use self::{
    inbound::{End, Flow, Found, Inbound, Queue},
    outbound::{Chunk, Direct, Next, Outbound, Queued, TakenBack},
};
use super::{
    Direction, Endpoint, Garbage, Home, Reactor, ReadLen, epoll,
    slot::Ready,
    source::{Door, Elsewhere, Pollable, Source},
    uring::{self, FlightId, Link, Node},
};
use crate::{
    loom::{
        atomic::{AtomicU8, AtomicU64, Ordering},
        global,
    },
    util::{current, fork, panic},
};

/// The order matters: what every message needs is in the middle, from the end of `outbound` to the
/// beginning of `inbound`, on two cache lines. With thousands of connections each line is a cache
/// miss.
#[repr(C)]
pub(crate) struct Socket {
    link: Link<Self>,
    pub(crate) outbound: Outbound,
    source: Source<Endpoint>,
    pub(super) flights: InFlight,
    pub(crate) inbound: Inbound,
}

/// What waits for a socket in its home's ring.
#[repr(C)]
pub(super) struct InFlight {
    pub(super) poll: FlightCell,
    pub(super) recv: FlightCell,
    /// What the poll reports on: [`READS`], [`WRITES`]; resets in any case.
    pub(super) reports: AtomicU8,
    /// 1 once the owner is gone.
    pub(super) retired: AtomicU8,
    /// 1 once a task has waited to write.
    pub(super) wants_writes: global::AtomicU8,
    /// How often it was waited for by an operation for one time.
    once: global::AtomicU8,
    /// What others may have of it: see [`close`].
    exposure: global::AtomicU8,
    /// Where the home has it in its list: see `uring/rescue.rs`.
    pub(super) listed: AtomicU64,
    /// How often this process had been forked when it was made.
    forks: u32,
    pub(super) send: FlightCell,
}

/// So many waits to read are for one time: the request, and the end.
const ONCE: u8 = 2;

pub(super) const READS: u8 = 1;
pub(super) const WRITES: u8 = 2;

/// The number of an operation, if it is in flight. Written by the home's worker alone.
pub(super) struct FlightCell(AtomicU64);

impl FlightCell {
    pub(super) fn get(&self) -> Option<FlightId> {
        // Exact at the home; elsewhere a hint, which the home checks. Acquire: what a poll reports
        // was written before it.
        FlightId::from_cell(self.0.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, id: Option<FlightId>) {
        // Release: pairs with `get`.
        self.0.store(FlightId::to_cell(id), Ordering::Release);
    }
}

impl InFlight {
    /// Whether the poll, if there is one, reports on that.
    pub(super) fn reports(&self, direction: u8) -> bool {
        // Relaxed: written before the place, which the caller has looked at.
        self.reports.load(Ordering::Relaxed) & direction != 0
    }

    /// There is none: the ring is gone.
    pub(super) fn clear(&self) {
        [&self.poll, &self.recv, &self.send].iter().for_each(|place| place.set(None));
    }

    /// Whether its owner is gone, so that nothing new is armed.
    pub(super) fn is_retired(&self) -> bool {
        // Relaxed: read and written at the home.
        self.retired.load(Ordering::Relaxed) != 0
    }

    /// Whether the next wait to read is for one time, which counts it. What is armed for good
    /// must be cancelled when the owner goes: a connection that asks once, is answered and
    /// ends is spared that.
    pub(super) fn may_arm_once(&self) -> bool {
        // Relaxed: read and written at the home.
        let once = self.once.load(Ordering::Relaxed);
        self.once.store(once.saturating_add(1), Ordering::Relaxed);
        once < ONCE
    }

    /// Whether what was armed last to read is for one time.
    pub(super) fn is_armed_once(&self) -> bool {
        // Relaxed: as above.
        self.once.load(Ordering::Relaxed) <= ONCE
    }

    /// Whether it waits for anything.
    pub(super) fn any_wait(&self) -> bool {
        [&self.poll, &self.recv].iter().any(|place| place.get().is_some())
    }
}

// SAFETY: always the same field.
unsafe impl Node for Socket {
    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

impl Socket {
    /// A non-blocking socket, thought ready until it says otherwise.
    pub(crate) fn new(endpoint: Endpoint) -> Arc<Self> {
        Self::with(Source::new(endpoint))
    }

    /// One that is known to be ready for nothing yet: it connects.
    pub(crate) fn new_unready(endpoint: Endpoint) -> Arc<Self> {
        Self::with(Source::new_unready(endpoint))
    }

    fn with(source: Source<Endpoint>) -> Arc<Self> {
        let cell = || FlightCell(AtomicU64::new(0));
        let flights = InFlight {
            poll: cell(),
            recv: cell(),
            reports: AtomicU8::new(0),
            retired: AtomicU8::new(0),
            wants_writes: global::AtomicU8::new(0),
            once: global::AtomicU8::new(0),
            exposure: global::AtomicU8::new(0),
            listed: AtomicU64::new(0),
            forks: fork::forks(),
            send: cell(),
        };
        Arc::new(Self {
            link: Link::new(),
            outbound: Outbound::new(),
            source,
            flights,
            inbound: Inbound::new(),
        })
    }

    /// An error in a forked child of the process that has waited for it: what is under way on it,
    /// and what was received ahead, is the parent's.
    #[inline]
    pub(crate) fn check_process(&self) -> io::Result<()> {
        self.source.check_process()
    }

    /// What the calls are made on.
    #[inline]
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.source.get()
    }

    /// Reads into the front of `buf`.
    #[inline]
    pub(crate) fn recv(&self, buf: &mut [MaybeUninit<u8>]) -> Result<ReadLen, Errno> {
        let read = self.endpoint().recv(buf);
        match read {
            Ok(ReadLen { len: 0, .. }) if !buf.is_empty() => self.end()?,
            Err(Errno::CONNRESET) => self.note_end(),
            _ => {}
        }
        read
    }

    /// Moves what has arrived into a pipe.
    pub(crate) fn splice_to(&self, pipe: &OwnedFd, len: usize) -> Result<usize, Errno> {
        self.check_mode()?;
        let moved = self.endpoint().splice_to(pipe, len);
        match moved {
            Ok(0) if len > 0 => self.end()?,
            Err(Errno::CONNRESET) => self.note_end(),
            _ => {}
        }
        moved
    }

    /// Moves bytes out of a pipe that has them, as many as there is room for.
    pub(crate) fn splice_from(&self, pipe: &OwnedFd, len: usize) -> Result<usize, Errno> {
        self.check_mode()?;
        let moved = self.endpoint().splice_from(pipe, len);
        moved.inspect_err(|error| self.note_send_error(*error))
    }

    /// Sends a part of a regular file, as much as there is room for.
    pub(crate) fn send_file(
        &self,
        file: impl AsFd,
        offset: u64,
        len: usize,
    ) -> Result<usize, Errno> {
        self.check_mode()?;
        let sent = self.endpoint().send_file(file, offset, len);
        sent.inspect_err(|error| self.note_send_error(*error))
    }

    /// An error where others may have made the descriptor blocking: no flag of a single move keeps that from waiting.
    fn check_mode(&self) -> Result<(), Errno> {
        match self.is_ours_alone() || self.endpoint().is_non_blocking()? {
            true => Ok(()),
            false => Err(Errno::INVAL),
        }
    }

    /// Writes as much as there is room for, and says how much.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.endpoint().send(bytes).inspect_err(|error| self.note_send_error(*error))
    }

    /// The same from several slices, which have `len` bytes together.
    pub(crate) fn send_slices(&self, slices: &[IoSlice<'_>], len: usize) -> Result<usize, Errno> {
        let sent = self.endpoint().send_slices(slices, len);
        sent.inspect_err(|error| self.note_send_error(*error))
    }

    pub(super) fn key(&self) -> u64 {
        self.source.slot().key()
    }

    pub(super) fn generation(&self) -> u32 {
        self.source.slot().generation()
    }

    pub(super) fn event(&self, generation: u32, ready: Ready, wakes: &mut Vec<Waker>) {
        self.source.slot().event(generation, ready, wakes);
    }

    /// Whether somebody waits until it is ready for that.
    pub(super) fn is_waited_for(&self, direction: Direction) -> bool {
        self.source.slot().is_waited_for(direction)
    }

    /// Whether it has another home than that ring, which had it.
    pub(super) fn has_left(&self, ring: &uring::Shared) -> bool {
        self.source.with_home(
            |home| matches!(home, Some(Home::Uring(home)) if !ptr::eq(home.as_ptr(), ring)),
        )
    }

    /// Makes another ring its home. For the home's own worker, when nothing of it is in flight there.
    pub(super) fn set_home(&self, home: Home) {
        self.source.set_home(home);
    }

    /// The epoll instance that is its home gives sockets away: this one goes, if it is still there.
    #[cold]
    fn leave(&self, at: &Arc<epoll::Shared>) {
        self.source.change_home(|home| match home {
            Home::Epoll(home) if Arc::ptr_eq(home, at) => {
                at.give(self.as_fd(), self.key()).map(Home::Epoll)
            }
            _ => None,
        });
    }

    /// The ring that is its home, if that is at work, and not the one that asks.
    pub(super) fn home_other_than(&self, asks: &uring::Shared) -> Option<Arc<uring::Shared>> {
        let Some(Home::Uring(home)) = self.source.home() else { return None };
        home.upgrade().filter(|home| !ptr::eq(&**home, asks) && home.is_alive())
    }

    /// Has its close drop what is unsent, and tell the peer by a reset.
    pub(super) fn reset_on_close(&self) {
        let _ = self.endpoint().set_linger(Some(Duration::ZERO));
    }

    /// Shuts the write side down: the peer sees the end of what was sent.
    pub(crate) fn shut_write(&self) {
        // A connection that is gone needs no shutting.
        let _ = self.endpoint().shutdown(Shutdown::Write);
    }

    /// Its owner has dropped it: what is in flight on it ends, and then it closes. `at_hand` is
    /// this thread's reactor, if it has one. What comes back is to be dropped.
    #[must_use]
    pub(crate) fn close(self: &Arc<Self>, at_hand: Option<&mut Reactor>) -> Garbage {
        self.prepare_close();
        self.retire_with(at_hand, Self::end_from_afar)
    }

    /// Its owner is done with it, and hands the descriptor over: what is in flight on it ends.
    #[must_use]
    pub(crate) fn retire(self: &Arc<Self>, at_hand: Option<&mut Reactor>) -> Garbage {
        self.retire_with(at_hand, |_| {})
    }

    /// `from_afar` is called where the home is asked to end what is in flight, and may be held.
    fn retire_with(
        self: &Arc<Self>,
        at_hand: Option<&mut Reactor>,
        from_afar: impl FnOnce(&Self),
    ) -> Garbage {
        let Some(Home::Uring(home)) = self.source.home() else { return Garbage::default() };
        match at_hand {
            Some(Reactor::Uring(uring)) if uring.is_home(&home) => {
                uring.retire(self);
                uring.take_garbage()
            }
            _ => {
                let mut left = Garbage::default();
                // There is no home: nothing is in flight.
                let sent =
                    home.upgrade().is_some_and(|home| home.send(self, uring::RETIRE, &mut left));
                if sent {
                    from_afar(self);
                }
                left
            }
        }
    }

    /// Asks the home for something. If there is none, the one that `elsewhere` names becomes the
    /// home, else `at_hand`, this thread's reactor. `false`: it is not in a ring, and homes do no
    /// such thing.
    fn ask(self: &Arc<Self>, at_hand: &mut Reactor, elsewhere: Elsewhere, request: u32) -> bool {
        loop {
            let home = self.source.home_or(|| {
                let elsewhere = elsewhere().filter(Home::is_alive);
                elsewhere.inspect(|home| self.list_at(home)).unwrap_or_else(|| at_hand.home())
            });
            match (home, &mut *at_hand) {
                (Home::Uring(home), Reactor::Uring(uring)) if uring.is_home(&home) => {
                    uring.answer(self, request);
                    return true;
                }
                (Home::Uring(home), _) => {
                    let mut left = Garbage::default();
                    let Some(home) = home.upgrade() else { continue };
                    let sent = home.send(self, request, &mut left);
                    at_hand.leave(left);
                    // It has just ended: look again. A reader that asks for a receive learns of the
                    // end by its queue, perhaps only after another home could have armed it.
                    if sent || request == uring::ARM_RECV {
                        return true;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Has another worker's ring know of it, before that becomes the home.
    fn list_at(self: &Arc<Self>, home: &Home) {
        if let Home::Uring(home) = home
            && let Some(home) = home.upgrade()
        {
            home.list(self);
        }
    }

    /// Whether a ring has, or could have, its operations: the one of its home, else that of this
    /// thread's reactor.
    pub(crate) fn has_ring(&self, at_hand: &Reactor) -> bool {
        if self.endpoint().is_polled() {
            // A ring only polls it.
            return false;
        }
        self.source.with_home(|home| match home.filter(|home| home.is_alive()) {
            Some(home) => matches!(home, Home::Uring(_)),
            None => matches!(at_hand, Reactor::Uring(_)),
        })
    }

    /// Has the home receive into lent memory. If there is none, one is found as for any
    /// [wait](Door::elsewhere). `false`: it cannot.
    pub(crate) fn arm_recv(self: &Arc<Self>, at_hand: &mut Reactor, elsewhere: Elsewhere) -> bool {
        self.endpoint().is_received_ahead() && self.ask(at_hand, elsewhere, uring::ARM_RECV)
    }

    /// Whether a receive into lent memory may stay asleep at the mark of urgent data: the arrival
    /// before has left something. For a reader that finds nothing queued.
    #[inline]
    pub(crate) fn may_stop_at_mark(&self) -> bool {
        self.inbound.has_left_some() && self.source.has_mark()
    }

    /// Whether urgent data has been seen.
    pub(crate) fn was_urgent(&self) -> bool {
        self.source.look().was_urgent()
    }

    /// Has the home end the receive; `at_hand` is this thread's reactor, if it has one.
    #[cold]
    pub(crate) fn end_recv(self: &Arc<Self>, at_hand: Option<&mut Reactor>) {
        if let Some(at_hand) = at_hand {
            self.ask(at_hand, || None, uring::END_RECV);
        } else if let Some(Home::Uring(home)) = self.source.home()
            && let Some(home) = home.upgrade()
        {
            let mut left = Garbage::default();
            home.send(self, uring::END_RECV, &mut left);
            panic::discard_foreign(left);
        }
    }

    /// Tells the home that something is to be sent; `at_hand` is this thread's reactor, if it
    /// has one. `false`: it cannot, or there is none.
    pub(crate) fn mark_dirty(self: &Arc<Self>, at_hand: Option<&mut Reactor>) -> bool {
        if self.endpoint().is_polled() {
            return false;
        }
        if let Some(at_hand) = at_hand {
            return self.ask(at_hand, || None, uring::FLUSH);
        }
        let Some(Home::Uring(home)) = self.source.home() else { return false };
        let mut left = Garbage::default();
        // One that has ended is not asked: it would give it up.
        home.upgrade()
            .is_some_and(|home| home.is_alive() && home.send(self, uring::FLUSH, &mut left))
    }

    /// Takes back a chunk that was queued first, if there is no home to send it, and it is still
    /// there.
    #[cold]
    pub(crate) fn take_back(&self) -> Option<Chunk> {
        // Dropped, it wakes them.
        let mut left = Garbage::default();
        let taken = self.outbound.take_back(left.wakes());
        if let TakenBack::GaveUp = taken {
            self.reset_on_close();
        }
        match taken {
            TakenBack::Chunk(chunk) => Some(chunk),
            TakenBack::Gone | TakenBack::GaveUp => None,
        }
    }

    /// The endpoint, and [what was received](Inbound::into_unread) and not read, if nothing
    /// else refers to it.
    pub(crate) fn try_into_parts(self: Arc<Self>) -> Result<Parts, Arc<Self>> {
        let Self { source, inbound, .. } = Arc::try_unwrap(self)?;
        Ok((source.into_inner(), inbound.into_unread()))
    }
}

/// An endpoint, and what was received, or an errno.
pub(crate) type Parts = (Endpoint, Result<Vec<u8>, i32>);

/// The bits that a poll reports for a task that waits for that direction.
pub(super) fn wanted(direction: Direction) -> u8 {
    match direction {
        Direction::Read => READS,
        Direction::Write => WRITES,
    }
}

impl Pollable for Arc<Socket> {
    type Io = Endpoint;

    fn source(&self) -> &Source<Endpoint> {
        &self.source
    }

    fn number(&self) -> u64 {
        self.source.get().number()
    }

    fn register(&self, reactor: &mut Reactor, direction: Direction) -> io::Result<Home> {
        reactor.register_socket(self, direction)
    }

    fn register_at(&self, home: &Home) -> bool {
        match home {
            Home::Epoll(home) => home.register(self.as_fd(), self.key()).is_ok(),
            // The request that follows does the rest.
            Home::Uring(_) => {
                self.list_at(home);
                true
            }
            #[cfg(test)]
            Home::Memory(_) => false,
        }
    }

    #[inline]
    fn is_reported(&self, direction: Direction) -> bool {
        // A home that ends clears this first, and then has all waiting tasks look again.
        self.flights.poll.get().is_some() && self.flights.reports(wanted(direction))
    }

    fn confirm(&self, home: &Home, direction: Direction, door: Door) -> io::Result<()> {
        let at = match home {
            Home::Uring(at) => at,
            Home::Epoll(at) => {
                if at.has_gift() {
                    self.leave(at);
                }
                return Ok(());
            }
            #[cfg(test)]
            Home::Memory(_) => return Ok(()),
        };
        if self.is_reported(direction) {
            return Ok(());
        }
        let request = match direction {
            Direction::Read => uring::ARM_READS,
            Direction::Write => uring::ARM_WRITES,
        };
        (door.here)(&mut |reactor| {
            match reactor {
                Reactor::Uring(uring) if uring.is_home(at) => uring.answer(self, request),
                _ => {
                    let mut left = Garbage::default();
                    if !at.upgrade().is_some_and(|home| home.send(self, request, &mut left)) {
                        // It has just ended: a task that waits tries again, and finds another home.
                        let again = Ready::READABLE.and(Ready::WRITABLE);
                        self.event(self.generation(), again, left.wakes());
                    }
                    reactor.leave(left);
                }
            }
            Ok(home.clone())
        })?;
        Ok(())
    }
}

impl Socket {
    /// Notes that the task which is polled waits for this socket.
    pub(crate) fn note_wait(&self, direction: Direction) {
        current::waits_for(direction.wait(), self.source.get().number());
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.get().as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}
