//! What the word of those who sleep carries from one worker to another.
//!
//! Code: `scheduler/idle.rs` as it is, without doorbells and inboxes, which would carry it as well.
//!
//! Property: who takes a duty sees what was done by who had it before, and who claims a sleeper sees what
//! that did before it went to sleep. What is done is a cell, by which loom sees two who meet there.
//!
//! Actors: two or three workers that hand the patrol on; one that sleeps, one or two that notify it.
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

/// A hub, and what is for one at a time.
struct Guarded {
    hub: Hub,
    done: UnsafeCell<()>,
    taken: AtomicUsize,
}

// SAFETY: loom sees who comes to the cell when another has it.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new(workers: usize) -> Arc<Self> {
        let (hub, done) = (Hub::new(workers), UnsafeCell::new(()));
        Arc::new(Self { hub, done, taken: AtomicUsize::new(0) })
    }

    /// Does what one may do at a time.
    fn act(&self) {
        self.done.with_mut(|_| ());
        self.taken.fetch_add(1, Relaxed);
    }

    /// Goes to sleep, and wakes at once; whether that was for the patrol.
    fn nap(&self, me: usize) -> bool {
        let mut patrols = false;
        self.hub.park(me, false, || false, |patrol| patrols = patrol);
        patrols
    }
}

/// The patrol is given up by one, and taken by another that parks.
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
        assert!(shared.taken.load(Relaxed) > 0, "nobody had it");
    });
}

/// A search ends, and somebody else is named the next searcher.
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

/// Who clears a sleeper's bit sees what that did before.
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
