//! A task waits for a descriptor while the kernel reports on it.
//!
//! Code: `reactor/slot.rs` as it is; the kernel is a count of bytes, which orders nothing: a reader
//! that learns of a byte from the slot alone must see it.
//!
//! Property: no byte is left in the kernel while its reader sleeps, though a read clears the
//! event's bits; else loom sees the reader wait for ever. No waker is lost or kept.
//!
//! Actors: one or two readers; one or two threads that deliver events, like the home worker and a
//! patrol.
//!
//! Bound: 3 threads, two events, one direction.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use loom::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::model::slot::Slot;

use crate::tasks::wait_for;

/// A socket: the number of bytes that have arrived, and its slot.
struct Socket {
    arrived: AtomicUsize,
    slot: Slot,
}

impl Socket {
    fn new() -> Arc<Self> {
        Arc::new(Self { arrived: AtomicUsize::new(0), slot: Slot::new() })
    }

    /// A byte arrives, and the event is delivered on a thread of its own.
    fn arrive(self: &Arc<Self>) -> thread::JoinHandle<()> {
        self.report(|slot, wakes| slot.event(0, wakes))
    }

    fn report(self: &Arc<Self>, event: fn(&Slot, &mut Vec<Waker>)) -> thread::JoinHandle<()> {
        let socket = self.clone();
        thread::spawn(move || {
            socket.arrived.fetch_add(1, Relaxed);
            let mut wakes = Vec::new();
            event(&socket.slot, &mut wakes);
            wakes.into_iter().for_each(Waker::wake);
        })
    }

    /// Reads until `wanted` bytes have come, as `poll_io` does. With `greedy`, a read that got
    /// something is taken to have emptied the socket.
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
            // A load: in loom an RMW always sees the latest value.
            match self.arrived.load(Relaxed) {
                arrived if arrived == *read => self.slot.clear(seen),
                arrived => {
                    *read = arrived;
                    if greedy {
                        assert!(self.slot.drained(seen), "nothing is urgent");
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

/// The same with reads that are taken to have emptied the socket.
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

/// One event for both directions, of which a writer clears one: the reader learns of the other by
/// that.
#[test]
fn event_against_clear_of_the_other_way() {
    explore(|| {
        let socket = Socket::new();
        let event = socket.report(|slot, wakes| slot.event_both_ways(0, wakes));
        let writer = {
            let socket = socket.clone();
            thread::spawn(move || {
                let seen = socket.slot.look();
                if seen.is_writable() {
                    socket.slot.clear_writes(seen);
                }
            })
        };
        socket.read(1, false);
        event.join().unwrap();
        writer.join().unwrap();
    });
}

/// Two futures share the descriptor: an event wakes both, and one of them may have been dropped.
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
        assert_eq!(read, 1);
    });
}
