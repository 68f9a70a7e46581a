//! Reporting what a socket is ready for.
//!
//! A poll is armed when a task first has to wait. For reads it is armed at first for one event,
//! which leaves nothing behind if the connection ends; after that for all events, until it is
//! cancelled. Where a receive is armed, the poll beside it leaves reads out. It leaves writes out
//! until a task waits for room.

use std::{sync::Arc, task::Waker};

use io_uring::{
    cqueue::{self, more},
    opcode,
};
use rustix::event::PollFlags;

use super::{
    Uring,
    flights::{Flight, target},
};
use crate::{
    loom::global::Ordering,
    reactor::{
        Direction, Home, Socket,
        slot::Ready,
        socket::{READS, WRITES, wanted},
    },
};

/// What a poll waits for: everything, as edges. `RDBAND` comes with arrivals for which the socket
/// was not looked at (see [`Ready::from_poll`]).
const EVENTS: PollFlags = PollFlags::IN
    .union(PollFlags::OUT)
    .union(PollFlags::RDHUP)
    .union(PollFlags::PRI)
    .union(PollFlags::RDBAND);

impl Uring {
    /// Reports what a socket gets ready for from now on.
    pub(crate) fn register_socket(&mut self, socket: &Arc<Socket>, direction: Direction) -> Home {
        self.report(socket, direction);
        self.home()
    }

    /// Has a direction reported for which a task waits.
    pub(super) fn report(&mut self, socket: &Arc<Socket>, direction: Direction) {
        let flights = &socket.flights;
        if direction == Direction::Write {
            // Relaxed: read by this thread.
            flights.wants_writes.store(1, Ordering::Relaxed);
        }
        if flights.poll.get().is_some() {
            if !flights.reports(wanted(direction)) {
                // With its end all waiting tasks look again, and ask for more.
                self.cancel(flights.poll.get());
            }
        } else if direction == Direction::Read
            && flights.recv.get().is_none()
            && flights.may_arm_once()
        {
            self.push_poll(socket, EVENTS.difference(PollFlags::OUT), READS, false);
        } else {
            self.arm_poll(socket);
        }
    }

    /// Reports whatever it gets ready for, from now on.
    pub(super) fn arm_poll(&mut self, socket: &Arc<Socket>) {
        // Arrivals for which a receive is armed must not be reported a second time.
        let reads = socket.flights.recv.get().is_none();
        // Relaxed: written by this thread.
        let writes = reads || socket.flights.wants_writes.load(Ordering::Relaxed) != 0;
        let reports = if reads { READS } else { 0 } | if writes { WRITES } else { 0 };
        let events = match (reads, writes) {
            (true, _) => EVENTS,
            (false, true) => PollFlags::OUT,
            // Resets and hang-ups are always reported.
            (false, false) => PollFlags::empty(),
        };
        self.push_poll(socket, events, reports, true);
    }

    fn push_poll(&mut self, socket: &Arc<Socket>, events: PollFlags, reports: u8, again: bool) {
        self.shared.sockets.add(socket);
        let poll = opcode::PollAdd::new(target(socket), events.bits().into());
        let id = self.begin(Flight::Poll(socket.clone(), socket.generation()));
        // Relaxed: published with the place, next.
        socket.flights.reports.store(reports, Ordering::Relaxed);
        socket.flights.poll.set(Some(id));
        // SAFETY: it points nowhere; the flight keeps the descriptor open (S4).
        unsafe { self.ring.push(poll.multi(again).build().user_data(id.user_data())) };
    }

    /// A poll has reported something, or has ended.
    pub(super) fn polled(
        &mut self,
        socket: &Arc<Socket>,
        generation: u32,
        completion: &cqueue::Entry,
        wakes: &mut Vec<Waker>,
    ) {
        if !more(completion.flags()) {
            // A task that still waits arms it again.
            socket.flights.poll.set(None);
        }
        let mut ready = u32::try_from(completion.result()).map_or(Ready::NONE, Ready::from_poll);
        if !more(completion.flags()) {
            // It was for one time, or was ended: a task that waits tries again.
            ready = ready.and(Ready::READABLE).and(Ready::WRITABLE);
        }
        socket.event(generation, ready, wakes);
        if self.is_ending || socket.flights.is_retired() {
            return;
        }
        if completion.result() >= 0 && hangs_up(completion.result() as u32) {
            // Reported once, so that it counts for receives that are armed later, too.
            self.hung_up(socket);
        } else if !more(completion.flags())
            && socket.flights.recv.get().is_some()
            && !self.moves.is_leaving(socket)
        {
            // In the place of a poll that reported too much, or too little.
            self.arm_poll(socket);
        }
    }
}

/// Whether an event shows nothing but that there is something to read or write, and more will come.
pub(super) fn is_plain(completion: &cqueue::Entry) -> bool {
    let plain = PollFlags::IN | PollFlags::PRI | PollFlags::RDBAND | PollFlags::OUT;
    let plain = u32::from(plain.bits());
    more(completion.flags())
        && u32::try_from(completion.result()).is_ok_and(|events| events & !plain == 0)
}

/// Whether an event says that the connection is over both ways.
fn hangs_up(events: u32) -> bool {
    PollFlags::from_bits_retain(events as _).intersects(PollFlags::ERR | PollFlags::HUP)
}
