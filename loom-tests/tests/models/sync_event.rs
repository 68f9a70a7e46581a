//! An event is set, cleared and waited for.
//!
//! Code: `sync/event.rs` and `sync/wait_list.rs` as they are; a batch of wakers is one.
//!
//! Properties:
//!
//! * a wait that begins while it is set, or before a `set`, ends, also if it is cleared at once;
//! * else loom reports a deadlock.
//!
//! What was done before a `set` is visible after a `wait`, and after a `clear` that took the `set`
//! back.
//!
//! Actors: one or two that wait, one of which may give up; one or two that set; one that clears.
//!
//! Bound: 3 threads.

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use loom_tests::explore;
use ringloop::sync::Event;

use crate::{
    sync_tools::{Hand, join, spawn},
    tasks::wait_for,
};

struct Shared {
    event: Event,
    value: UnsafeCell<usize>,
    /// The fact for which the event is set, where a task also checks that.
    happened: AtomicBool,
}

// SAFETY: loom checks the accesses to the value.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        let happened = AtomicBool::new(false);
        Arc::new(Self { event: Event::new(), value: UnsafeCell::new(0), happened })
    }

    fn write_and_set(&self) {
        // SAFETY: as above.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.event.set();
    }

    fn wait_and_read(&self) {
        wait_for(self.event.wait());
        // SAFETY: as above.
        self.value.with(|value| assert_eq!(unsafe { *value }, 1));
    }
}

/// Two wait, one sets.
#[test]
fn set_against_waits() {
    explore(|| {
        let shared = Shared::new();
        let waiters = [(); 2].map(|()| spawn(&shared, Shared::wait_and_read));
        shared.write_and_set();
        join(waiters);
    });
}

/// Two that have waited are woken by a set that is cleared at once; a later one is not (T48).
#[test]
fn set_then_clear() {
    explore(|| {
        let shared = Shared::new();
        let waiting = [(); 2].map(|()| {
            let shared = shared.clone();
            let (hand, none) = Hand::begun(async move { shared.event.wait().await });
            assert!(none.is_none());
            hand
        });
        let setter = spawn(&shared, |shared| {
            shared.event.set();
            shared.event.clear();
        });
        let waiters = waiting.map(|mut hand| {
            loom::thread::spawn(move || {
                wait_for(std::future::poll_fn(|cx| hand.poll_with(cx)));
            })
        });
        let [one, two] = waiters;
        join([setter, one, two]);
        let (_, none) = Hand::begun(shared.event.wait());
        assert!(none.is_none());
    });
}

/// One thread clears, checks the fact, and waits if it is not there; another one stores the fact
/// and sets an event that was set already: either the check sees it, or the wait ends.
#[test]
fn clear_and_look_against_set() {
    explore(|| {
        let shared = Shared::new();
        shared.event.set();
        let setter = spawn(&shared, |shared| {
            // Relaxed, as is the check: only the event orders them.
            shared.happened.store(true, Relaxed);
            shared.event.set();
        });
        shared.event.clear();
        if !shared.happened.load(Relaxed) {
            wait_for(shared.event.wait());
            assert!(shared.happened.load(Relaxed));
        }
        join([setter]);
    });
}

/// One of two is dropped at any moment; the other goes on.
#[test]
fn cancel_against_set() {
    explore(|| {
        let shared = Shared::new();
        let leaver = spawn(&shared, |shared| drop(Hand::begun(shared.event.wait())));
        let waiter = spawn(&shared, Shared::wait_and_read);
        shared.write_and_set();
        join([leaver, waiter]);
        assert!(format!("{:?}", shared.event).contains("waiters: 0"));
    });
}
