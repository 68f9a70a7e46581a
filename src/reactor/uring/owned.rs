//! Operations that own what they work on: buffers, paths, descriptors.
//!
//! One struct is an operation, with both its sides ([`Owned`]): the entry for a ring, and the plain
//! call for the blocking pool, for kernels or backends that cannot have it in a ring. The kernel may
//! use its memory until the last completion, whatever becomes of the future that waits (S1). So a share
//! in the operation lies in the ring's flight until then, and nobody takes the struct out before.
//!
//! | phase | a completion, with more to come | the last completion | the future is polled | the future is dropped |
//! |---|---|---|---|---|
//! | `InRing`: the kernel works on it | `Noted` | `Done` | waits | the home is asked to cancel |
//! | `Noted`: the result is there, the memory is still in use | - | `Done` | waits | the home is asked to cancel |
//! | `Done`: the kernel is done | - | - | `Taken`, and the output | the output is dropped |
//! | `Taken` | - | - | - | - |
//!
//! `Noted` is for operations that tell their result first and the end of their use of the memory later,
//! as a send without a copy does (`IORING_CQE_F_NOTIF`).
//!
//! An operation that nobody waits for ends like any other. Its output is made and dropped then, so that
//! a descriptor which it opened is closed. That happens where the worker drops what its reactor leaves
//! behind: foreign destructors may run (S6).
//!
//! The future may be polled on any worker: an operation stays in the ring in which it was begun. When
//! that ring ends, it cancels what is in flight, and the last completion ends the wait; what the kernel
//! does not let go of is leaked, and counted.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use io_uring::squeue;

use super::{Shared, Uring, flights::Flight, flights::FlightId};
use crate::{
    loom::{
        Mutex,
        global::{AtomicU64, Ordering},
    },
    util::{current, panic, wait::WaitKind},
};

/// An operation, and all that it works on.
///
/// # Safety
///
/// The entry points to nothing but memory that the operation owns and that stays where it is,
/// as does the operation itself, until the last completion; and it uses no descriptor that the
/// operation does not keep open (S1, S4).
pub(crate) unsafe trait Owned: Send + 'static {
    type Output: Send + 'static;

    /// The kernel's number of it, one of [`OPTIONAL`](super::ring::OPTIONAL).
    const OPCODE: u8;

    /// The ring's side.
    fn entry(&mut self) -> squeue::Entry;

    /// The pool's side: the same, as a call that may block.
    fn call(&mut self) -> io::Result<u32>;

    /// What it has come to.
    fn finish(self, result: io::Result<u32>) -> Self::Output;
}

/// An operation, as a ring completes it.
pub(crate) trait Complete: Send + Sync {
    /// `more`: another completion will say that the kernel is done with the memory.
    fn complete(&self, result: i32, more: bool, wakes: &mut Vec<Waker>);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    InRing,
    Noted(i32),
    Done(i32),
    Taken,
}

/// What the future and the flight share.
struct Operation<O: Owned> {
    state: Mutex<State<O>>,
    home: Weak<Shared>,
    /// Its number in the home's ring. Relaxed: written before anybody else has the operation.
    id: AtomicU64,
}

struct State<O> {
    /// Until it is taken.
    operation: Option<O>,
    phase: Phase,
    waiter: Option<Waker>,
}

impl<O: Owned> State<O> {
    /// The operation and its result, if the kernel is done with it.
    fn take(&mut self) -> Option<(O, io::Result<u32>)> {
        let Phase::Done(result) = self.phase else { return None };
        self.phase = Phase::Taken;
        let operation = self.operation.take().expect("there until it is taken");
        let result = u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        Some((operation, result))
    }
}

impl<O: Owned> Complete for Operation<O> {
    fn complete(&self, result: i32, more: bool, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.phase = match state.phase {
            Phase::InRing if more => Phase::Noted(result),
            Phase::InRing => Phase::Done(result),
            Phase::Noted(result) => Phase::Done(result),
            done => done,
        };
        if matches!(state.phase, Phase::Done(_)) {
            wakes.extend(state.waiter.take());
        }
    }
}

/// An operation of which nobody took the output.
impl<O: Owned> Drop for Operation<O> {
    fn drop(&mut self) {
        let done = self.state.lock().take();
        if let Some((operation, result)) = done {
            drop(operation.finish(result));
        }
    }
}

/// An operation that is in a ring. Dropped, it is cancelled.
pub(crate) struct InRing<O: Owned>(Arc<Operation<O>>);

impl<O: Owned> Future for InRing<O> {
    type Output = O::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        // Cloned, and the old one dropped, outside of the lock: both are foreign code (S6).
        let waker = cx.waker().clone();
        let mut state = self.0.state.lock();
        let Some((operation, result)) = state.take() else {
            let old = state.waiter.replace(waker);
            drop(state);
            panic::discard_foreign(old);
            // Relaxed: for reports.
            current::waits_for(WaitKind::Operation, self.0.id.load(Ordering::Relaxed));
            return Poll::Pending;
        };
        drop(state);
        panic::discard_foreign(waker);
        Poll::Ready(operation.finish(result))
    }
}

impl<O: Owned> Drop for InRing<O> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let waiter = state.waiter.take();
        let in_flight = matches!(state.phase, Phase::InRing | Phase::Noted(_));
        drop(state);
        panic::discard_foreign(waiter);
        if in_flight && let Some(home) = self.0.home.upgrade() {
            home.cancel_owned(FlightId::from_user_data(self.0.id.load(Ordering::Relaxed)));
        }
    }
}

impl Uring {
    /// Whether it can have such operations.
    pub(crate) fn supports(&self, opcode: u8) -> bool {
        self.optional.has(opcode)
    }

    /// Starts an operation, which the ring [supports](Self::supports).
    pub(crate) fn perform<O: Owned>(&mut self, operation: O) -> InRing<O> {
        let state = State { operation: Some(operation), phase: Phase::InRing, waiter: None };
        let operation = Arc::new(Operation {
            state: Mutex::new(state),
            home: Arc::downgrade(&self.shared),
            id: AtomicU64::new(0),
        });
        let entry = operation.state.lock().operation.as_mut().expect("not taken yet").entry();
        let id = self.begin(Flight::Owned(operation.clone()));
        self.shared.add_owned(true);
        operation.id.store(id.user_data(), Ordering::Relaxed);
        // SAFETY: by `Owned`, the entry points to what the operation owns, which stays where it is;
        // the flight has a share in it, and nobody touches it until the last completion.
        unsafe { self.ring.push(entry.user_data(id.user_data())) };
        InRing(operation)
    }

    /// Asks the kernel to end operations whose futures are gone.
    pub(super) fn cancel_abandoned(&mut self) {
        if self.shared.has_abandoned() {
            for id in self.shared.take_abandoned() {
                self.cancel(Some(id));
            }
        }
    }
}

/// Operations that are to be cancelled by their home.
#[derive(Default)]
pub(super) struct Abandoned {
    ids: Mutex<Vec<FlightId>>,
    /// Whether there are some.
    any: AtomicU64,
}

impl Shared {
    /// Has the home cancel an operation, from any thread.
    fn cancel_owned(&self, id: FlightId) {
        let Abandoned { ids, any } = &self.abandoned;
        ids.lock().push(id);
        // Release: pairs with `has_abandoned`. The doorbell is rung after it: a home that misses
        // this looks again.
        any.store(1, Ordering::Release);
        self.doorbell.ring();
    }

    fn has_abandoned(&self) -> bool {
        // Acquire: pairs with `cancel_owned`.
        self.abandoned.any.load(Ordering::Acquire) != 0
    }

    fn take_abandoned(&self) -> Vec<FlightId> {
        let mut ids = self.abandoned.ids.lock();
        // Under the lock: what is pushed later raises it again.
        self.abandoned.any.store(0, Ordering::Relaxed);
        std::mem::take(&mut *ids)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    };

    use super::*;

    /// Gives a descriptor for its output, and notes its end.
    struct Opens {
        #[expect(dead_code, reason = "counted from outside")]
        memory: Arc<()>,
    }

    // SAFETY: it is never submitted.
    unsafe impl Owned for Opens {
        type Output = io::Result<OwnedFd>;

        const OPCODE: u8 = io_uring::opcode::OpenAt::CODE;

        fn entry(&mut self) -> squeue::Entry {
            unreachable!("it is completed by hand")
        }

        fn call(&mut self) -> io::Result<u32> {
            unreachable!("it is completed by hand")
        }

        fn finish(self, result: io::Result<u32>) -> io::Result<OwnedFd> {
            // SAFETY: the test has made the descriptor, and left it to the result.
            result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
        }
    }

    fn in_ring() -> (InRing<Opens>, Arc<Operation<Opens>>, Arc<()>) {
        let memory = Arc::new(());
        let operation = Some(Opens { memory: memory.clone() });
        let operation = Arc::new(Operation {
            state: Mutex::new(State { operation, phase: Phase::InRing, waiter: None }),
            home: Weak::new(),
            id: AtomicU64::new(0),
        });
        (InRing(operation.clone()), operation, memory)
    }

    fn poll(future: &mut InRing<Opens>) -> Poll<io::Result<OwnedFd>> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// A descriptor, as a kernel gives it, and what shows whether it is closed.
    fn descriptor() -> (i32, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        (OwnedFd::from(reader).into_raw_fd(), writer)
    }

    #[test]
    fn output_is_there_with_the_last_completion_and_not_before() {
        let (mut future, flight, memory) = in_ring();
        assert!(poll(&mut future).is_pending());
        let (fd, _writer) = descriptor();
        let mut wakes = Vec::new();
        flight.complete(fd, true, &mut wakes);
        assert!(wakes.is_empty(), "the memory is still in use");
        assert!(poll(&mut future).is_pending());
        assert_eq!(Arc::strong_count(&memory), 2, "the operation has it");
        flight.complete(0, false, &mut wakes);
        assert_eq!(wakes.len(), 1);
        let Poll::Ready(Ok(opened)) = poll(&mut future) else { panic!("it is done") };
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&opened), fd, "the first result counts");
        assert_eq!(Arc::strong_count(&memory), 1);
        drop((future, flight));
    }

    #[test]
    fn descriptor_that_nobody_took_is_closed() {
        for dropped_first in [true, false] {
            let (mut future, flight, memory) = in_ring();
            assert!(poll(&mut future).is_pending());
            let (fd, mut writer) = descriptor();
            let complete = || flight.complete(fd, false, &mut Vec::new());
            if dropped_first {
                drop(future);
                complete();
            } else {
                complete();
                drop(future);
            }
            writer.write_all(b"x").expect("its reader is still open: the flight has it");
            drop(flight);
            assert_eq!(Arc::strong_count(&memory), 1);
            writer.write_all(b"x").expect_err("its reader is closed");
        }
    }

    #[test]
    fn error_is_the_output() {
        let (mut future, flight, _memory) = in_ring();
        flight.complete(-libc::ENOENT, false, &mut Vec::new());
        let Poll::Ready(Err(error)) = poll(&mut future) else { panic!("it is done") };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
