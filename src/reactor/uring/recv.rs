//! Receiving before anybody asks, into memory that is lent.

use std::{io, mem::MaybeUninit, sync::Arc, task::Waker};

use io_uring::{
    cqueue::{self, more},
    opcode,
    squeue::Flags,
};
use rustix::io::Errno;

use super::{
    Uring,
    flights::{Flight, target},
    provided::{GROUP, Provided},
};
use crate::reactor::{
    Lease, Pool, Socket,
    socket::{End, Flow, READS},
};

/// `IORING_RECVSEND_POLL_FIRST`: wait before the first try. A buffer is not taken until
/// there is something for it.
const POLL_FIRST: u16 = 1;
/// `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 1 << 1;

/// Memory for plain reads: so many buffers of so many bytes.
const PLAIN_BUFFERS: usize = 8;
const PLAIN_SIZE: usize = 64 << 10;

/// A worker's memory for leases.
pub(super) enum Memory {
    /// Nobody has asked for a lease yet.
    Unused {
        incremental: bool,
    },
    Provided(Box<Provided>),
    /// The kernel refused it.
    Refused,
}

impl Uring {
    /// Gives memory that has come back to the kernel.
    pub(super) fn provide(&mut self) {
        if let Memory::Provided(provided) = &mut self.provided {
            provided.provide();
        }
    }

    pub(super) fn before_sleep(&mut self) {
        if let Memory::Provided(provided) = &mut self.provided {
            provided.before_sleep();
        }
    }

    /// Receives for a socket, at first for one time, then until further notice; the reader has
    /// said so to its queue.
    pub(crate) fn arm_recv(&mut self, socket: &Arc<Socket>) {
        if socket.flights.recv.get().is_some() {
            return;
        }
        // In both cases the reader looks again when it is woken, and reads by readiness.
        if socket.inbound.has_hung_up() {
            // The poll reported the hang-up after the reader asked, and does not report it again.
            return socket.inbound.disarmed(false, &mut self.wakes);
        }
        if !self.has_memory() {
            return socket.inbound.disarmed(true, &mut self.wakes);
        }
        self.shared.sockets.add(socket);
        let id = self.begin(Flight::Recv(socket.clone()));
        socket.flights.recv.set(Some(id));
        let again = if socket.flights.may_arm_once() { 0 } else { MULTISHOT };
        // No length of its own: it takes what a buffer has room for. With one, the kernel would give
        // so much of the buffer to each arrival, and pieces would not lie where the pool expects them.
        let recv = opcode::Recv::new(target(socket), std::ptr::null_mut(), 0)
            .ioprio(again | POLL_FIRST)
            .buf_group(GROUP)
            .build()
            .flags(Flags::BUFFER_SELECT)
            .user_data(id.user_data());
        // SAFETY: the kernel writes to provided buffers only, which `self.provided` keeps;
        // the flight keeps the descriptor open (S4).
        unsafe { self.ring.push(recv) };
        if socket.flights.poll.get().is_some() && socket.flights.reports(READS) {
            // It reports arrivals, which the receive reports as well.
            self.cancel(socket.flights.poll.get());
        }
    }

    /// The poll beside a receive has seen a reset, or both ends shut: what is left is read
    /// by readiness, which cannot miss the error behind it.
    pub(super) fn hung_up(&mut self, socket: &Arc<Socket>) {
        socket.inbound.hung_up();
        self.cancel(socket.flights.recv.get());
    }

    /// See [`Reactor::lend`](crate::reactor::Reactor::lend). What is provided is the
    /// kernel's to fill, so that plain reads have memory of their own.
    pub(crate) fn lend(
        &mut self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> io::Result<Lease> {
        if self.plain.is_none() {
            let pool = Pool::new(PLAIN_BUFFERS, PLAIN_SIZE, self.shared.doorbell)?;
            let _ = self.shared.plain_gauge.set(pool.gauge());
            self.plain = Some(pool);
        }
        self.plain.as_mut().expect("it was made").read_or_apart(read)
    }

    fn has_memory(&mut self) -> bool {
        if let Memory::Unused { incremental } = self.provided {
            // A receive of a model brings no bytes.
            let Some(ring) = self.ring.io_uring() else { return true };
            let made = Provided::new(ring, incremental, self.shared.doorbell);
            self.provided = match made {
                Ok(provided) => {
                    let _ = self.shared.gauge.set(provided.gauge());
                    Memory::Provided(Box::new(provided))
                }
                Err(_) => Memory::Refused,
            };
        }
        matches!(self.provided, Memory::Provided(_))
    }

    pub(super) fn received(
        &mut self,
        socket: &Arc<Socket>,
        completion: &cqueue::Entry,
        wakes: &mut Vec<Waker>,
    ) {
        let (lease, provided) = match &mut self.provided {
            Memory::Provided(provided) => (provided.received(completion), Some(&**provided)),
            _ => (None, None),
        };
        let mut starved = false;
        if let Some(lease) = lease {
            let share = || provided.map_or(0, Provided::share);
            socket.inbound.leaves_some(cqueue::sock_nonempty(completion.flags()));
            if socket.inbound.arrived(lease, share, wakes) == Flow::Stop {
                self.cancel(socket.flights.recv.get());
            }
            // A receive that goes on and finds bytes and a reset at once takes the bytes and sleeps
            // on, with nothing to wake it: from now on a poll has to report that.
            if more(completion.flags())
                && socket.flights.poll.get().is_none()
                && !socket.flights.is_retired()
                && !self.moves.is_leaving(socket)
                && !self.is_ending
            {
                self.arm_poll(socket);
            }
        } else if completion.result() == 0 {
            socket.inbound.ended(match socket.end() {
                Ok(()) => End::Eof,
                Err(error) => End::Failed(error.raw_os_error()),
            });
        } else {
            match Errno::from_raw_os_error(-completion.result()) {
                Errno::CANCELED => {}
                Errno::NOMEM => starved = true,
                Errno::NOBUFS => {
                    starved = true;
                    if let Memory::Provided(provided) = &mut self.provided {
                        provided.grow();
                    }
                }
                error => {
                    if error == Errno::CONNRESET {
                        socket.note_end();
                    }
                    socket.inbound.ended(End::Failed(error.raw_os_error()));
                }
            }
        }
        if !more(completion.flags()) {
            socket.flights.recv.set(None);
            socket.inbound.disarmed(starved, wakes);
        }
    }
}
