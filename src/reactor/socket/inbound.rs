//! Bytes that a ring received for a socket before anybody asked for them.
//!
//! A multishot receive at the socket's home lends each arrival and queues it here; the
//! reader, on whatever worker, takes leases from the front. While it runs, nothing else
//! may read from the socket, or the order would be lost.
//!
//! 1. The reader finds the queue empty and nothing armed: it says *armed* and has the
//!    home arm the receive.
//! 2. Arrivals are queued, up to a cap; past it the home cancels the receive, and the
//!    rest waits in the kernel: a flood that nobody reads does not use up the memory of
//!    the others.
//! 3. The terminal completion, whatever its result, says *off*. Arrivals that came
//!    before it are queued: a cancelled read loses nothing (S3).
//! 4. Without memory to lend the receive ends, and the reader goes on by readiness,
//!    with memory of its own, until there is some again.

use std::{collections::VecDeque, mem, task::Waker};

use crate::{
    loom::{Mutex, pick},
    reactor::Lease,
};

/// Past so many unread bytes or leases the receive is cancelled.
const MAX_BYTES: usize = 128 << 10;
const MAX_LEASES: usize = pick(32, 1);

/// How the receive at the home stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    Off,
    Armed,
    /// Cancelled at the cap; its terminal completion is still to come.
    Ending,
}

/// How a stream ends, after what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    /// An errno.
    Failed(i32),
}

struct State {
    queue: VecDeque<Lease>,
    bytes: usize,
    arm: Arm,
    end: Option<End>,
    starved: bool,
    reader: Option<Waker>,
}

pub(crate) struct Inbound(Mutex<State>);

/// What a reader finds.
pub(crate) enum Found {
    Lease(Lease),
    End(End),
    /// Nothing yet: its waker was left.
    Nothing,
    /// Nothing, and nothing is armed: it counts as armed now, see to it.
    ToArm,
    /// It is to read by readiness.
    ToRead,
}

/// What the home has to do after an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Goes,
    /// The cap is passed: cancel.
    Stop,
}

impl Inbound {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            bytes: 0,
            arm: Arm::Off,
            end: None,
            starved: false,
            reader: None,
        }))
    }

    /// The reader asks for a lease. What comes back is a waker to be dropped.
    pub(crate) fn take(&self, waker: &Waker) -> (Found, Option<Waker>) {
        {
            let mut state = self.0.lock();
            if let Some(lease) = state.queue.pop_front() {
                state.bytes -= lease.len();
                return (Found::Lease(lease), None);
            }
            if let Some(end) = state.end {
                // An error is told once; what follows it is the end.
                state.end = Some(End::Eof);
                return (Found::End(end), None);
            }
            if state.arm == Arm::Off {
                if mem::take(&mut state.starved) {
                    return (Found::ToRead, None);
                }
                state.arm = Arm::Armed;
                return (Found::ToArm, None);
            }
            if state.reader.as_ref().is_some_and(|reader| reader.will_wake(waker)) {
                return (Found::Nothing, None);
            }
        }
        // Cloning is foreign code: outside of the lock (S6).
        let waker = waker.clone();
        let mut state = self.0.lock();
        let old = state.reader.replace(waker);
        // What came meanwhile found no reader, or another.
        if state.queue.is_empty() && state.end.is_none() && state.arm != Arm::Off {
            return (Found::Nothing, old);
        }
        drop(state);
        let (found, _) = self.take(Waker::noop());
        (found, old)
    }

    /// Whether a reader by readiness has to look here first.
    pub(crate) fn is_in_use(&self) -> bool {
        let state = self.0.lock();
        !state.queue.is_empty() || state.end.is_some() || state.arm != Arm::Off
    }

    /// What a read would find now, without taking it: bytes, or none at the end. `None`: it
    /// would have to wait, or to read by itself.
    pub(crate) fn peek(&self, look: impl FnOnce(&[u8]) -> usize) -> Option<usize> {
        let state = self.0.lock();
        match state.queue.front() {
            Some(lease) => Some(look(lease)),
            None => state.end.map(|_| 0),
        }
    }

    /// What is queued, in part or whole, copied by `copy`, which says how much it took.
    /// `None`: nothing is.
    pub(crate) fn copy_out(&self, copy: impl FnOnce(&[u8]) -> usize) -> Option<usize> {
        let mut state = self.0.lock();
        let lease = state.queue.front_mut()?;
        let taken = copy(lease);
        lease.advance(taken);
        if lease.is_empty() {
            state.queue.pop_front();
        }
        state.bytes -= taken;
        Some(taken)
    }

    /// What nobody has read.
    pub(crate) fn into_unread(self) -> Vec<u8> {
        let queue = mem::take(&mut self.0.lock().queue);
        queue.iter().flat_map(|lease| lease.iter().copied()).collect()
    }

    /// A lease that was taken, and not used.
    pub(crate) fn put_back(&self, lease: Lease) {
        if lease.is_empty() {
            return;
        }
        let mut state = self.0.lock();
        state.bytes += lease.len();
        state.queue.push_front(lease);
    }

    /// The receive could not be armed: it is off.
    pub(crate) fn not_armed(&self) {
        let mut state = self.0.lock();
        state.arm = Arm::Off;
        state.starved = true;
    }

    /// Bytes arrived, in order.
    pub(crate) fn arrived(&self, lease: Lease, wakes: &mut Vec<Waker>) -> Flow {
        let mut state = self.0.lock();
        state.bytes += lease.len();
        state.queue.push_back(lease);
        wakes.extend(state.reader.take());
        let full = state.bytes > MAX_BYTES || state.queue.len() > MAX_LEASES;
        if full && state.arm == Arm::Armed {
            state.arm = Arm::Ending;
            return Flow::Stop;
        }
        Flow::Goes
    }

    /// The stream has ended.
    pub(crate) fn ended(&self, end: End) {
        self.0.lock().end = Some(end);
    }

    /// The terminal completion: whoever reads arms anew, or is told the end; `starved`:
    /// for want of memory.
    pub(crate) fn disarmed(&self, starved: bool, wakes: &mut Vec<Waker>) {
        let mut state = self.0.lock();
        state.arm = Arm::Off;
        state.starved = starved;
        wakes.extend(state.reader.take());
    }
}
