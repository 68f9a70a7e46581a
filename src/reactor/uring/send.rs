//! Sending what the kernel had no room for when it was written.
//!
//! A send takes what there is room for, and then a poll waits for more. A send that waits by itself
//! would do harm where the peer has shut its side, which the kernel's own poll always reports. It
//! would be tried again and again, and at last block one of the few threads that the ring has.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use io_uring::{cqueue, opcode};
use rustix::{event::PollFlags, io::Errno, net::SendFlags};

use super::{
    Uring,
    flights::{Flight, FlightId, Spent, target},
    ring::Wait,
};
use crate::{
    reactor::{
        Socket,
        socket::{Chunk, Next},
    },
    util::{clock, panic},
};

/// Never a signal, and never a wait.
const FLAGS: i32 = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT).bits() as i32;
/// The events at which a send is worth a try.
const ROOM: PollFlags = PollFlags::OUT.union(PollFlags::ERR).union(PollFlags::HUP);

/// How long a socket whose owner is gone may take for what is still to be sent.
const LINGER: Duration = Duration::from_secs(10);
/// So many may take that long; one more, and the first is reset.
const MAX_LINGERING: usize = 1024;

/// How long to wait for a send that was asked to end.
const RETRY: Duration = Duration::from_millis(100);

/// Sockets in the order in which their time is up.
pub(super) type Timed = VecDeque<(u64, Weak<Socket>)>;

fn after(time: Duration) -> u64 {
    clock::machine().saturating_add(clock::nanos(time))
}

/// When the time of the first that is still there is up.
fn front(timed: &mut Timed) -> Option<u64> {
    while timed.front().is_some_and(|(_, socket)| socket.strong_count() == 0) {
        timed.pop_front();
    }
    timed.front().map(|(until, _)| *until)
}

impl Uring {
    /// Submits what has gathered.
    pub(super) fn flush(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = mem::take(&mut self.dirty);
        for socket in dirty.drain(..) {
            if let Some(chunk) = socket.outbound.start() {
                self.send(socket, chunk);
            }
        }
        self.dirty = dirty;
    }

    fn send(&mut self, socket: Arc<Socket>, chunk: Chunk) {
        let chunk = Box::new(chunk);
        let (fd, bytes) = (target(&socket), chunk.bytes());
        let send = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(FLAGS);
        let place = socket.clone();
        let id = self.begin(Flight::Send(socket, chunk));
        place.flights.send.set(Some(id));
        // SAFETY: the flight has the chunk, whose bytes stay where they are,
        // and keeps the descriptor open (S1, S4).
        unsafe { self.ring.push(send.build().user_data(id.user_data())) };
    }

    pub(super) fn sent(
        &mut self,
        id: FlightId,
        completion: &cqueue::Entry,
        wakes: &mut Vec<Waker>,
    ) {
        let Some(Flight::Send(socket, chunk)) = self.flights.end(id) else { return };
        socket.flights.send.set(None);
        let sent = usize::try_from(completion.result()).map_err(|_| -completion.result());
        if let Err(error) = sent {
            socket.note_send_error(Errno::from_raw_os_error(error));
        }
        if sent == Err(Errno::AGAIN.raw_os_error()) && !self.is_ending {
            return self.wait_for_room(socket, chunk, false);
        }
        self.go_on(socket, *chunk, sent, wakes);
    }

    fn wait_for_room(&mut self, socket: Arc<Socket>, chunk: Box<Chunk>, again: bool) {
        let poll = opcode::PollAdd::new(target(&socket), PollFlags::OUT.bits().into());
        let place = socket.clone();
        let id = self.begin(Flight::Room(socket, chunk));
        place.flights.send.set(Some(id));
        // SAFETY: it points nowhere; the flight keeps the descriptor open (S4).
        unsafe { self.ring.push(poll.multi(again).build().user_data(id.user_data())) };
    }

    /// A poll for room has reported something, perhaps only that the peer has shut its side: then
    /// the next poll reports what comes after that.
    pub(super) fn has_room(
        &mut self,
        id: FlightId,
        completion: &cqueue::Entry,
        wakes: &mut Vec<Waker>,
    ) {
        let events = PollFlags::from_bits_retain(completion.result() as _);
        let goes_on = completion.result() >= 0 && !events.intersects(ROOM);
        if cqueue::more(completion.flags()) {
            if !goes_on {
                self.cancel(Some(id));
            }
            return;
        }
        let Some(Flight::Room(socket, chunk)) = self.flights.end(id) else { return };
        socket.flights.send.set(None);
        if goes_on && !self.is_ending {
            self.wait_for_room(socket, chunk, true);
        } else {
            self.go_on(socket, *chunk, Ok(0), wakes);
        }
    }

    /// What comes after a send, by the socket's machine.
    fn go_on(
        &mut self,
        socket: Arc<Socket>,
        chunk: Chunk,
        sent: Result<usize, i32>,
        wakes: &mut Vec<Waker>,
    ) {
        // Nothing yet, or a signal: the same again.
        let again = [Errno::INTR, Errno::AGAIN].map(Errno::raw_os_error);
        let sent = if sent.is_err_and(|error| again.contains(&error)) { Ok(0) } else { sent };
        if self.is_ending {
            socket.outbound.abandon();
        }
        let was_short = sent.is_ok_and(|sent| 0 < sent && sent < chunk.bytes().len());
        let (next, rest) = socket.outbound.completed(chunk, sent, wakes);
        match next {
            Next::Send(chunk) if was_short => {
                self.wait_for_room(socket.clone(), Box::new(chunk), false);
            }
            Next::Send(chunk) => self.send(socket.clone(), chunk),
            Next::Idle { shut } => {
                if shut {
                    socket.shut_write();
                }
                if socket.flights.is_retired() {
                    // Dropped with bytes on their way: its close has waited for that.
                    socket.discard_unread();
                }
            }
            Next::GaveUp => socket.reset_on_close(),
        }
        self.garbage.push(Spent::Socket(socket, rest));
    }

    /// The owner of a socket is gone: what it has still to send may take its time, but not
    /// for ever.
    pub(super) fn linger(&mut self, socket: &Arc<Socket>) {
        if socket.outbound.is_idle() {
            return;
        }
        if self.lingering.len() == MAX_LINGERING {
            self.lingering.retain(|(_, socket)| socket.strong_count() > 0);
        }
        if self.lingering.len() == MAX_LINGERING {
            self.reset_first();
        }
        self.lingering.push_back((after(LINGER), Arc::downgrade(socket)));
    }

    /// Resets the sockets whose time is up, and limits the wait so that the worker wakes for the
    /// next.
    #[cold]
    pub(super) fn end_lingering(&mut self, wait: Wait) -> Wait {
        let now = clock::machine();
        while front(&mut self.lingering).is_some_and(|until| until <= now) {
            self.reset_first();
        }
        while front(&mut self.resetting).is_some_and(|until| until <= now) {
            let (_, socket) = self.resetting.pop_front().expect("just seen");
            self.reset(&socket);
        }
        [front(&mut self.lingering), front(&mut self.resetting)]
            .into_iter()
            .flatten()
            .fold(wait, |wait, until| wait.at_most(Duration::from_nanos(until - now)))
    }

    fn reset_first(&mut self) {
        if let Some((_, socket)) = self.lingering.pop_front() {
            self.reset(&socket);
        }
    }

    fn reset(&mut self, socket: &Weak<Socket>) {
        let Some(socket) = socket.upgrade() else { return };
        socket.outbound.abandon();
        socket.reset_on_close();
        self.cancel(socket.flights.send.get());
        // A cancel can miss an operation that is just being worked on.
        self.resetting.push_back((after(RETRY), Arc::downgrade(&socket)));
        self.garbage.push(Spent::Socket(socket, None));
    }

    /// Before the end: what is to be sent still goes to the kernel.
    pub(super) fn drain_sends(&mut self, deadline: u64, wakes: &mut Vec<Waker>) {
        self.try_drain(deadline, wakes);
        self.is_ending = true;
    }

    fn try_drain(&mut self, deadline: u64, wakes: &mut Vec<Waker>) {
        loop {
            // Sockets of this home may be in use by another runtime, which goes on.
            self.retire_again();
            self.take_mail();
            self.arm();
            self.provide();
            wakes.append(&mut self.wakes);
            wakes.drain(..).for_each(|waker| panic::contain(|| waker.wake()));
            panic::discard_foreign(self.take_garbage());
            self.flush();
            let now = clock::machine();
            if !self.flights.any_send() || now >= deadline {
                return;
            }
            let may_sleep = self.shared.mailbox.may_sleep();
            let rest = Duration::from_nanos(deadline - now);
            let wait = if may_sleep { Wait::UpTo(rest) } else { Wait::No };
            if self.call(wait, wakes).is_err() {
                return;
            }
        }
    }
}
