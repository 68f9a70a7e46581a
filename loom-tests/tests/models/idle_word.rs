//! The word of sleeping workers, and what it makes visible to other workers.
//!
//! Code: `scheduler/idle.rs` as it is, without doorbells and inboxes, which would make it visible
//! as well.
//!
//! Property: a worker that takes a duty sees what the last holder did, and a thread that claims a
//! sleeper sees what the sleeper did before. These actions are accesses to a cell, in which loom
//! detects two threads at once.
//!
//! Actors: two or three workers that pass the patrol on; one that sleeps, one or two that notify
//! it.
//!
//! Bound: 3 threads.

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::model::scheduler::Hub;

/// A hub, and data for one thread at a time.
struct Guarded {
    hub: Hub,
    done: UnsafeCell<()>,
    taken: AtomicUsize,
}

// SAFETY: loom reports an access while another thread has the cell.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new(workers: usize) -> Arc<Self> {
        let (hub, done) = (Hub::new(workers), UnsafeCell::new(()));
        Arc::new(Self { hub, done, taken: AtomicUsize::new(0) })
    }

    /// Accesses the data, alone.
    fn act(&self) {
        self.done.with_mut(|_| ());
        self.taken.fetch_add(1, Relaxed);
    }

    /// Goes to sleep, and wakes at once; returns whether that was for the patrol.
    fn nap(&self, me: usize) -> bool {
        let mut patrols = false;
        self.hub.park(me, false, || false, |patrol| patrols = patrol);
        patrols
    }
}

/// One worker gives the patrol up, and another takes it as it parks.
#[test]
fn patrol_is_handed_on() {
    explore(|| {
        let shared = Guarded::new(3);
        let others = [1, 2].map(|me| {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.nap(me) {
                    shared.act();
                    shared.hub.give_up_patrol(me);
                }
            })
        });
        if shared.nap(0) {
            shared.act();
            shared.hub.give_up_patrol(0);
        }
        for other in others {
            other.join().unwrap();
        }
        assert!(shared.taken.load(Relaxed) > 0, "no worker had it");
    });
}

/// A search ends, and another worker is named the next searcher.
#[test]
fn search_is_handed_on() {
    explore(|| {
        let shared = Guarded::new(2);
        let searcher = |shared: &Guarded, me| {
            shared.hub.park(me, false, || false, |_| thread::yield_now());
            shared.hub.search(
                me,
                || {
                    shared.act();
                    true
                },
                || (),
            );
        };
        let others = [0, 1].map(|me| {
            let shared = shared.clone();
            thread::spawn(move || searcher(&shared, me))
        });
        let _ = [0; 2].map(|_| shared.hub.announce());
        for other in others {
            other.join().unwrap();
        }
    });
}

/// A thread that clears a sleeper's bit sees what the sleeper did before.
#[test]
fn sleeper_is_claimed() {
    explore(|| {
        let shared = Guarded::new(1);
        let notifiers = [0; 2].map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.hub.notify(0) {
                    shared.act();
                }
            })
        });
        shared.done.with_mut(|_| ());
        shared.hub.park(0, false, || false, |_| thread::yield_now());
        for notifier in notifiers {
            notifier.join().unwrap();
        }
        assert!(shared.taken.load(Relaxed) <= 1, "claimed twice");
    });
}
