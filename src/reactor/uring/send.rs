//! Sending what the kernel had no room for when it was written.

use std::{mem, os::fd::AsRawFd, sync::Arc, task::Waker, time::Duration};

use io_uring::{cqueue, opcode, types::Fd};
use rustix::{io::Errno, net::SendFlags};

use super::{
    Uring,
    flights::{Flight, FlightId},
    ring::Wait,
};
use crate::{
    reactor::{
        Socket,
        socket::{Chunk, Next},
    },
    util::clock,
};

/// The whole chunk, and no signal.
const FLAGS: i32 = (SendFlags::NOSIGNAL.bits() | WAITALL) as i32;
/// `MSG_WAITALL`, which send(2) does not know but a ring does.
const WAITALL: u32 = 0x100;

/// How long a socket whose owner is gone may take for what is still to be sent.
const LINGER: Duration = Duration::from_secs(10);
/// So many may take that long; one more, and the first is reset.
const MAX_LINGERING: usize = 1024;

/// How long to wait for one that was told to end.
const RETRY: Duration = Duration::from_millis(100);

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
        let (fd, bytes) = (Fd(socket.as_raw_fd()), chunk.bytes());
        let send = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(FLAGS);
        let place = socket.clone();
        let id = self.begin(Flight::Send(socket, chunk));
        place.flights.send.set(Some(id));
        // SAFETY: the flight has the chunk, whose bytes stay where they are as it moves,
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
        self.go_on(socket, chunk, sent, wakes);
    }

    /// What comes after a send, by the socket's machine.
    fn go_on(
        &mut self,
        socket: Arc<Socket>,
        chunk: Chunk,
        sent: Result<usize, i32>,
        wakes: &mut Vec<Waker>,
    ) {
        // Refused for a moment, by a signal or for want of memory: the same again.
        let again = [Errno::INTR, Errno::AGAIN].map(Errno::raw_os_error);
        let sent = if sent.is_err_and(|error| again.contains(&error)) { Ok(0) } else { sent };
        if self.is_ending {
            socket.outbound.abandon();
        }
        let (next, rest) = socket.outbound.completed(chunk, sent, wakes);
        match next {
            Next::Send(chunk) => self.send(socket.clone(), chunk),
            Next::Idle { shut: true } => socket.shut_write(),
            Next::Idle { shut: false } => {}
        }
        self.garbage.push(Flight::Over(socket, rest));
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
        self.linger_for(socket, LINGER);
    }

    fn linger_for(&mut self, socket: &Arc<Socket>, time: Duration) {
        let until = clock::now().saturating_add(clock::nanos(time));
        self.lingering.push_back((until, Arc::downgrade(socket)));
    }

    /// Resets those whose time is up, and sees to it that the worker wakes for the next.
    #[cold]
    pub(super) fn end_lingering(&mut self, wait: Wait) -> Wait {
        let now = clock::now();
        while let Some((until, socket)) = self.lingering.front() {
            if socket.strong_count() == 0 {
                self.lingering.pop_front();
            } else if *until <= now {
                self.reset_first();
            } else {
                return wait.at_most(Duration::from_nanos(until - now));
            }
        }
        wait
    }

    fn reset_first(&mut self) {
        let first = self.lingering.pop_front();
        let Some(socket) = first.and_then(|(_, socket)| socket.upgrade()) else { return };
        socket.outbound.abandon();
        socket.reset_on_close();
        self.cancel(socket.flights.send.get());
        // A cancel can miss an operation that is just being worked on.
        self.linger_for(&socket, RETRY);
        self.garbage.push(Flight::Over(socket, None));
    }

    /// Before the end: what is to be sent still goes to the kernel.
    pub(super) fn drain_sends(&mut self, deadline: u64, wakes: &mut Vec<Waker>) {
        self.try_drain(deadline, wakes);
        self.is_ending = true;
    }

    fn try_drain(&mut self, deadline: u64, wakes: &mut Vec<Waker>) {
        loop {
            self.flush();
            let now = clock::now();
            if !self.flights.any_send() || now >= deadline {
                return;
            }
            let rest = Duration::from_nanos(deadline - now);
            if self.call(Wait::UpTo(rest), wakes).is_err() {
                return;
            }
        }
    }
}
