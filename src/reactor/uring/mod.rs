//! The reactor on io_uring(7): an instance per worker, run by the worker's thread alone.
//!
//! # What lives where
//!
//! * An operation that is in the kernel has an entry in [`flights`], which owns what the
//!   kernel uses, and goes with the operation's terminal completion (S1).
//! * A socket has one home: the worker in whose ring its operations are. Other threads do not touch
//!   the ring; they send requests to the [`mailbox`] of the home.
//! * Descriptors of others (`AsyncFd`) may close at any moment, which an operation in
//!   flight would survive, holding the file open. They are registered with an epoll
//!   instance, the *bridge*, whose own descriptor the ring polls.
//!
//! # A turn
//!
//! Requests from the mailbox; one system call that submits, has the kernel do the work that it
//! deferred, and sleeps if asked to; then all completions, which fill slots and collect wakers.
//! Nobody else's code runs meanwhile: wakers and what completed operations leave behind are handed
//! to the caller (S6).

mod any;
pub(crate) mod claim;
mod entry;
#[cfg(test)]
mod faults;
mod flights;
mod garbage;
pub(crate) mod mailbox;
mod moves;
mod owned;
mod plan;
mod poll;
mod provided;
mod recv;
mod rescue;
mod ring;
mod sandbox;
mod send;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    io,
    mem::{self, MaybeUninit},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    ptr,
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use io_uring::{
    cqueue::{self, more},
    opcode,
    squeue::Flags,
    types::{CancelBuilder, Fd},
};
use rustix::{
    event::{EventfdFlags, PollFlags, eventfd},
    io::Errno,
};

#[cfg(test)]
pub(crate) use self::moves::force;
use self::{
    any::AnyRing,
    flights::{Flight, Flights, Spent},
    ring::Wait,
    send::Timed,
    shared::orphan,
};
pub(crate) use self::{
    claim::Claim,
    flights::FlightId,
    garbage::Garbage,
    mailbox::{Link, Mailbox, Node, Sent},
    moves::Gift,
    owned::Owned,
    plan::{Allowed, Features, Refusal, TriedRing, plan},
    shared::Shared,
};
use super::{
    Direction, Home, Pool, Socket, Until, doorbell::Doorbell, epoll::Epoll, slot::Ready,
    socket::InFlight,
};
use crate::{
    loom::global::Ordering,
    util::{clock, fork},
};

/// Completions taken at a time.
const BATCH: usize = 64;

/// How often to call the kernel for a socket that is dropped: each call works off a
/// slice of what is deferred, and the socket's part may be in a later one.
const RETIRE_CALLS: usize = 4;
/// ... and the pause before the next for one that is dropped elsewhere.
const RETIRE_PAUSE: Duration = Duration::from_millis(1);

/// The numbers of what is no socket's: no flight has an index this high.
const DOORBELL: u64 = u64::MAX;
const BRIDGE: u64 = u64::MAX - 1;
const CANCELLED: u64 = u64::MAX - 2;

/// What a socket's owner may ask the home for: to cancel what it waits for, and close it
/// when all is sent,
pub(crate) const RETIRE: u32 = 1;
/// ... to report when it gets readable,
pub(crate) const ARM_READS: u32 = 1 << 1;
/// ... or writable,
pub(crate) const ARM_WRITES: u32 = 1 << 2;
/// ... to receive into lent memory,
pub(crate) const ARM_RECV: u32 = 1 << 3;
/// ... to send what is queued.
pub(crate) const FLUSH: u32 = 1 << 4;
/// Somebody has received in the place of what is armed: if that was for one time, it is to be
/// armed anew, since the kernel finds nothing, and after many such finds would block a thread.
const STALE_RECV: u32 = 1 << 5;
/// ... to end what it receives into lent memory: it may sleep on at a mark.
pub(crate) const END_RECV: u32 = 1 << 6;
/// All of them, of a home that has ended with operations in flight.
const ALL: u32 = u32::MAX;

pub(crate) struct Uring {
    ring: AnyRing,
    flights: Flights,
    shared: Arc<Shared>,
    bridge: Epoll,
    doorbell: Armed,
    bridged: Armed,
    /// What ended operations leave behind, until it can be dropped.
    garbage: Vec<Spent>,
    /// Wakers collected outside of a turn.
    wakes: Vec<Waker>,
    /// Sockets with something to send.
    dirty: Vec<Arc<Socket>>,
    /// Sockets whose owners are gone, with something still to send, and until when.
    lingering: Timed,
    /// ... and those whose time was up: until the next attempt.
    resetting: Timed,
    /// Sockets whose owners are gone elsewhere, until nothing waits for them.
    retiring: Vec<Arc<Socket>>,
    moves: moves::Moves,
    /// What is not sent now is given up.
    is_ending: bool,
    /// The loss of completions has been reported.
    reported_loss: bool,
    /// Operations that it can have.
    optional: ring::Optional,
    provided: recv::Memory,
    /// Memory for leases of plain reads, once there was one.
    plain: Option<Pool>,
}

/// A descriptor of the reactor's own that its ring polls.
struct Armed {
    fd: RawFd,
    user_data: u64,
    is_armed: bool,
}

impl Uring {
    /// A reactor that its worker's thread has yet to [start](Self::start).
    pub(crate) fn new(tried: TriedRing, doorbell: &'static Doorbell) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell_fd = bell.as_raw_fd();
        let this = Self::with(tried, doorbell, bell_fd)?;
        doorbell.open(bell);
        Ok(this)
    }

    /// One of a model, whose doorbell is open, and which sleeps at `bell`.
    #[allow(dead_code, reason = "models make it, and nobody else can")]
    pub(crate) fn modelled(
        ring: crate::loom::ring::Ring,
        doorbell: &'static Doorbell,
        bell: RawFd,
    ) -> io::Result<Self> {
        let ring = AnyRing::Modelled(ring);
        let tried = TriedRing { ring, incremental: false, optional: ring::Optional::default() };
        Self::with(tried, doorbell, bell)
    }

    fn with(tried: TriedRing, doorbell: &'static Doorbell, bell_fd: RawFd) -> io::Result<Self> {
        let TriedRing { ring, incremental, optional } = tried;
        let bridge = Epoll::bridge()?;
        let shared = Arc::new(Shared::new(doorbell, bridge.shared()));
        let bridged = Armed { fd: bridge.as_fd().as_raw_fd(), user_data: BRIDGE, is_armed: false };
        Ok(Self {
            ring,
            flights: Flights::default(),
            shared,
            bridge,
            doorbell: Armed { fd: bell_fd, user_data: DOORBELL, is_armed: false },
            bridged,
            garbage: Vec::new(),
            wakes: Vec::new(),
            dirty: Vec::new(),
            lingering: Timed::new(),
            resetting: Timed::new(),
            retiring: Vec::new(),
            moves: moves::Moves::default(),
            is_ending: false,
            reported_loss: false,
            optional,
            provided: recv::Memory::Unused { incremental },
            plain: None,
        })
    }

    /// Makes the calling thread its own, for good.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.ring.start()?;
        self.shared.claim.give_back(self.ring.is_at_rest());
        Ok(())
    }

    /// Operations that the kernel has taken, ever.
    pub(super) fn submitted(&self) -> u64 {
        self.ring.submitted()
    }

    pub(crate) fn home(&self) -> Home {
        Home::Uring(Arc::downgrade(&self.shared))
    }

    /// See [`Reactor::turn`](super::Reactor::turn).
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakes: &mut Vec<Waker>,
    ) -> io::Result<()> {
        fork::expect_parent(self.shared.process);
        if self.ring.has_lost() && !self.reported_loss {
            return Err(self.lose());
        }
        self.retire_again();
        self.take_mail();
        self.cancel_abandoned();
        self.leave_again();
        self.arm();
        self.provide();
        self.flush();
        let mut wait = match timeout {
            Some(Duration::ZERO) => Wait::No,
            Some(limit) => Wait::UpTo(limit),
            None => Wait::Forever,
        };
        if !self.lingering.is_empty() || !self.resetting.is_empty() {
            wait = self.end_lingering(wait);
        }
        if !self.retiring.is_empty() || self.has_leaving() {
            wait = wait.at_most(RETIRE_PAUSE);
        }
        if !self.wakes.is_empty() || !self.garbage.is_empty() {
            // Both are for the caller to deal with, now.
            wakes.append(&mut self.wakes);
            wait = Wait::No;
        }
        if wait == Wait::No {
            if !self.ring.has_work() {
                return Ok(());
            }
        } else {
            // It keeps up.
            self.moves.keep_the_rest();
            self.before_sleep();
            if !self.shared.mailbox.may_sleep() {
                wait = Wait::No;
            }
        }
        self.call(wait, wakes)
    }

    /// Calls the kernel, and deals with all that it has done.
    fn call(&mut self, wait: Wait, wakes: &mut Vec<Waker>) -> io::Result<()> {
        self.shared.claim.take();
        let entered = self.ring.enter(wait);
        self.shared.mailbox.wake();
        let reaped = self.reap(wakes);
        self.shared.claim.give_back(self.ring.is_at_rest());
        entered.and(reaped)
    }

    /// The error of a ring whose kernel has dropped completions. What they were about is in
    /// flight for ever (S1), so that the runtime has to end: up to there the ring goes on.
    #[cold]
    fn lose(&mut self) -> io::Error {
        self.reported_loss = true;
        // The reactor's own polls may be over: better twice than not at all.
        self.doorbell.is_armed = false;
        self.bridged.is_armed = false;
        Errno::BADR.into()
    }

    /// What ended operations have left: foreign destructors may run as it is dropped.
    pub(crate) fn take_garbage(&mut self) -> Garbage {
        Garbage { spent: mem::take(&mut self.garbage), wakes: Vec::new() }
    }

    /// See [`Reactor::leave`](super::Reactor::leave).
    pub(crate) fn leave(&mut self, mut left: Garbage) {
        self.garbage.append(&mut left.spent);
        self.wakes.append(&mut left.wakes);
    }

    /// Registers a descriptor that is not ours.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<Home> {
        self.bridge.register(fd, key)
    }

    /// Whether this is not a forked child, where there is no ring.
    pub(crate) fn is_ours(&self) -> bool {
        self.shared.is_ours()
    }

    /// Whether this is where the socket's operations are.
    pub(crate) fn is_home(&self, shared: &Weak<Shared>) -> bool {
        ptr::eq(shared.as_ptr(), Arc::as_ptr(&self.shared))
    }

    /// Ends what a socket waits for, at once if the kernel lets go: a descriptor that its
    /// owner drops should be closed then. What is being sent goes on.
    pub(crate) fn retire(&mut self, socket: &Arc<Socket>) {
        // What was asked for elsewhere before comes before.
        self.take_mail();
        self.linger(socket);
        self.mark_retired(socket);
        if !socket.flights.any_wait() {
            return;
        }
        let mut wakes = mem::take(&mut self.wakes);
        for _ in 0..RETIRE_CALLS {
            self.cancel_waits(socket);
            if self.call(Wait::No, &mut wakes).is_err() || !socket.flights.any_wait() {
                break;
            }
        }
        self.wakes = wakes;
        if socket.flights.any_wait() {
            self.retiring.push(socket.clone());
        }
    }

    /// Does what a socket's owner, here or elsewhere, asks for.
    pub(crate) fn answer(&mut self, socket: &Arc<Socket>, mut requests: u32) {
        if self.has_leaving() {
            requests = self.moves.keep(socket, requests);
        }
        if requests & RETIRE != 0 {
            self.cancel_waits(socket);
            self.linger(socket);
            if socket.flights.any_wait() {
                self.retiring.push(socket.clone());
            }
        } else if !socket.flights.is_retired() {
            // Whatever it is asked for: it is the home from now on, and others may wait here.
            self.shared.sockets.add(socket);
            // Writes first: their poll reports reads as well.
            if requests & ARM_WRITES != 0 {
                self.report(socket, Direction::Write);
            }
            if requests & ARM_READS != 0 {
                self.report(socket, Direction::Read);
            }
            let is_stale = requests & STALE_RECV != 0 && socket.flights.is_armed_once();
            if is_stale || requests & END_RECV != 0 {
                self.cancel(socket.flights.recv.get());
            }
            if requests & ARM_RECV != 0 {
                self.arm_recv(socket);
            }
        }
        if requests & FLUSH != 0 {
            self.dirty.push(socket.clone());
        }
    }

    /// Cancels once more what a cancel has missed.
    fn retire_again(&mut self) {
        for socket in mem::take(&mut self.retiring) {
            if socket.flights.any_wait() {
                self.cancel_waits(&socket);
                self.retiring.push(socket);
            } else {
                self.garbage.push(Spent::Socket(socket, None));
            }
        }
    }

    /// Nothing is armed for it from here on, though an old home may still pass requests on.
    fn mark_retired(&self, socket: &Arc<Socket>) {
        // Relaxed: read by this thread.
        socket.flights.retired.store(1, Ordering::Relaxed);
        self.shared.sockets.remove(socket);
    }

    fn cancel_waits(&mut self, socket: &Arc<Socket>) {
        self.mark_retired(socket);
        let InFlight { poll, recv, .. } = &socket.flights;
        [poll, recv].into_iter().for_each(|wait| self.cancel(wait.get()));
    }

    fn begin(&mut self, flight: Flight) -> FlightId {
        let id = self.flights.begin(flight);
        self.count_flights();
        id
    }

    fn count_flights(&self) {
        // Relaxed: a figure for people.
        self.shared.in_flight.store(self.flights.len() as u64, Ordering::Relaxed);
    }

    /// Asks the kernel to end an operation. What it answers means nothing; only the
    /// operation's own terminal completion does.
    fn cancel(&mut self, id: Option<FlightId>) {
        if let Some(id) = id.filter(|&id| self.flights.get(id).is_some()) {
            self.push_cancel(CancelBuilder::user_data(id.user_data()));
        }
    }

    fn push_cancel(&mut self, which: CancelBuilder) {
        let entry = opcode::AsyncCancel2::new(which).build();
        // SAFETY: it points nowhere.
        unsafe { self.ring.push(entry.flags(Flags::SKIP_SUCCESS).user_data(CANCELLED)) };
    }

    fn take_mail(&mut self) {
        if self.shared.mailbox.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        shared.mailbox.drain_with(|socket, requests| {
            match socket.home_other_than(&shared) {
                // It has left, and the sender did not know.
                Some(home) => {
                    let mut left = Garbage::default();
                    home.send(&socket, requests, &mut left);
                    self.leave(left);
                }
                None => self.answer(&socket, requests),
            }
            self.garbage.push(Spent::Socket(socket, None));
        });
    }

    /// Polls the reactor's own descriptors, again if that has ended.
    fn arm(&mut self) {
        for own in [&mut self.doorbell, &mut self.bridged] {
            if !own.is_armed {
                own.is_armed = true;
                let poll = opcode::PollAdd::new(Fd(own.fd), PollFlags::IN.bits().into());
                let entry = poll.multi(true).build().user_data(own.user_data);
                // SAFETY: it points nowhere.
                unsafe { self.ring.push(entry) };
            }
        }
    }

    fn reap(&mut self, wakes: &mut Vec<Waker>) -> io::Result<()> {
        let mut batch = [const { MaybeUninit::uninit() }; BATCH];
        let (mut bridged, mut arrivals) = (false, 0);
        loop {
            let completions = self.ring.completions(&mut batch);
            let count = completions.len();
            for completion in completions {
                match completion.user_data() {
                    DOORBELL => self.doorbell.is_armed = more(completion.flags()),
                    BRIDGE => {
                        self.bridged.is_armed = more(completion.flags());
                        bridged = true;
                    }
                    CANCELLED => {}
                    _ => {
                        arrivals += 1;
                        self.complete(completion, wakes);
                    }
                }
            }
            if count < BATCH {
                break;
            }
        }
        if self.has_leaving() {
            self.finish_leaving(wakes);
        }
        self.count_flights();
        // Relaxed: a figure for people, written by this thread alone.
        let before = self.shared.arrivals.load(Ordering::Relaxed);
        self.shared.arrivals.store(before + arrivals, Ordering::Relaxed);
        // An edge is seen once, so that nothing may be left there.
        while bridged && self.bridge.turn(Some(Duration::ZERO), wakes)? {}
        Ok(())
    }

    fn complete(&mut self, completion: &cqueue::Entry, wakes: &mut Vec<Waker>) {
        let id = FlightId::from_user_data(completion.user_data());
        // S2: a number that nobody has any more is ignored.
        let Some(mut place) = self.flights.get(id) else { return };
        if self.moves.has_gift() {
            let flight = mem::replace(place, Flight::InHand);
            self.give(&flight);
            place = self.flights.get(id).expect("it is in flight");
            *place = flight;
        }
        match place {
            // As `polled` does, without taking it out.
            Flight::Poll(socket, generation) if poll::is_plain(completion) => {
                socket.event(*generation, Ready::from_poll(completion.result() as u32), wakes);
                if socket.flights.is_retired() {
                    self.cancel(Some(id));
                }
                return;
            }
            Flight::Send(..) => return self.sent(id, completion, wakes),
            Flight::Room(..) => return self.has_room(id, completion, wakes),
            _ => {}
        }
        // Not cloned: that would be two RMWs for each completion.
        let flight = mem::replace(place, Flight::InHand);
        let retired = match &flight {
            Flight::Poll(socket, generation) => {
                self.polled(socket, *generation, completion, wakes);
                socket.flights.is_retired()
            }
            Flight::Recv(socket) => {
                self.received(socket, completion, wakes);
                socket.flights.is_retired()
            }
            Flight::Owned(operation) => {
                operation.complete(completion.result(), more(completion.flags()), wakes);
                false
            }
            Flight::Send(..) | Flight::Room(..) | Flight::InHand => {
                unreachable!("dealt with above, or not in flight")
            }
        };
        if !more(completion.flags()) {
            self.flights.end(id);
            if let Flight::Owned(_) = flight {
                self.shared.add_owned(false);
            }
            self.garbage.push(Spent::Flight(flight));
            return;
        }
        *self.flights.get(id).expect("only its last completion ends it") = flight;
        if retired {
            // A cancel can miss an operation that is just being worked on: again.
            self.cancel(Some(id));
        }
    }

    /// Ends everything, waiting for the kernel to let go. What it does not let go of is
    /// leaked, and counted.
    pub(crate) fn close(mut self, until: Until, wakes: &mut Vec<Waker>) -> (u64, Garbage) {
        self.take_mail();
        self.drain_sends(until.sent, wakes);
        while self.flights.len() > 0 || self.doorbell.is_armed || self.bridged.is_armed {
            let now = clock::machine();
            if now >= until.ended {
                break;
            }
            // Repeated: a cancel can miss an operation that is just being worked on.
            self.push_cancel(CancelBuilder::any().all());
            let rest = Duration::from_nanos(until.ended - now).min(Duration::from_millis(10));
            if self.call(Wait::UpTo(rest), wakes).is_err() {
                break;
            }
        }
        self.end_moves(wakes);
        // What the kernel does not let go of is leaked: its completions are not read any more.
        let leaked = self.flights.len() as u64;
        self.flights.each_socket(|socket| orphan(socket, ALL, wakes));
        let homeless = self.shared.sockets.clear().into_iter();
        self.garbage.extend(homeless.map(|socket| Spent::Socket(socket, None)));
        // From here on sockets may find another home; none is in flight here.
        self.shared.mailbox.close();
        self.bridge.close(wakes);
        let mut orphans = Garbage::default();
        self.shared.take_orphans(&mut orphans);
        wakes.append(&mut orphans.wakes);
        self.garbage.append(&mut orphans.spent);
        self.garbage.extend(self.retiring.drain(..).map(|socket| Spent::Socket(socket, None)));
        self.ring.stop();
        let garbage = self.take_garbage();
        if leaked > 0 {
            // The kernel may write yet: memory and descriptors stay (S1).
            mem::forget(self);
        }
        (leaked, garbage)
    }
}
