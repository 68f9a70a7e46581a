//! A task waits for a descriptor while the kernel reports on it.
//!
//! Code: `reactor/slot.rs` as it is; the kernel is a count of bytes.
//!
//! Property: no byte is left in the kernel with its reader asleep, though a read clears
//! what an event says; else loom sees the reader wait for ever. No waker is lost or kept.
//!
//! Actors: one or two who read; one or two who deliver events, as the home worker does and
//! a patrol.
//!
//! Bound: 3 threads, two events, one direction.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use loom::{
    sync::atomic::{
        AtomicUsize,
        Ordering::{AcqRel, Acquire},
    },
    thread,
};
use loom_tests::explore;
use ringloop::model::slot::Slot;

use crate::tasks::wait_for;

/// A socket: what the kernel has for it, and its slot.
struct Socket {
    bytes: AtomicUsize,
    slot: Slot,
}

impl Socket {
    fn new() -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), slot: Slot::new() })
    }

    /// A byte arrives, and the event is delivered on a thread of its own.
    fn arrive(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let socket = self.clone();
        thread::spawn(move || {
            socket.bytes.fetch_add(1, AcqRel);
            let mut wakes = Vec::new();
            socket.slot.event(0, &mut wakes);
            wakes.into_iter().for_each(Waker::wake);
        })
    }

    /// Reads until `wanted` bytes have come, as `poll_io` does. A read that got something
    /// is taken for one that got all, if `greedy`.
    fn poll_read(
        &self,
        read: &mut usize,
        wanted: usize,
        greedy: bool,
        mut wait: impl FnMut() -> Poll<()>,
    ) -> Poll<()> {
        loop {
            let seen = self.slot.look();
            if !seen.is_ready() {
                ready!(wait());
                continue;
            }
            match self.bytes.swap(0, AcqRel) {
                0 => self.slot.clear(seen),
                bytes => {
                    *read += bytes;
                    if greedy {
                        self.slot.drained(seen);
                    }
                }
            }
            if *read == wanted {
                return Poll::Ready(());
            }
        }
    }

    fn read(&self, wanted: usize, greedy: bool) {
        let mut read = 0;
        wait_for(poll_fn(|cx| {
            self.poll_read(&mut read, wanted, greedy, || self.slot.poll_ready(cx))
        }));
    }
}

/// Two events, delivered by two threads, against reads that end in EAGAIN.
#[test]
fn two_events_against_clear() {
    explore(|| {
        let socket = Socket::new();
        let events = [socket.arrive(), socket.arrive()];
        socket.read(2, false);
        for event in events {
            event.join().unwrap();
        }
    });
}

/// The same against reads that are taken to have emptied the socket.
#[test]
fn two_events_against_drained() {
    explore(|| {
        let socket = Socket::new();
        let events = [socket.arrive(), socket.arrive()];
        socket.read(2, true);
        for event in events {
            event.join().unwrap();
        }
    });
}

/// Two futures share the descriptor: an event wakes both, and one of them may be gone.
#[test]
fn shared_waiters() {
    explore(|| {
        let socket = Socket::new();
        let event = socket.arrive();
        let leaver = {
            let socket = socket.clone();
            thread::spawn(move || {
                let mut ticket = None;
                let cx = Context::from_waker(Waker::noop());
                let _ = socket.slot.poll_ready_shared(&mut ticket, &cx);
                socket.slot.forget(ticket.expect("it waited"));
            })
        };
        let (mut ticket, mut read) = (None, 0);
        wait_for(poll_fn(|cx| {
            let wait = || socket.slot.poll_ready_shared(&mut ticket, cx);
            socket.poll_read(&mut read, 1, false, wait)
        }));
        event.join().unwrap();
        leaver.join().unwrap();
        assert_eq!(socket.bytes.load(Acquire), 0);
    });
}
