//! The lock for short sections.
//!
//! Code: `loom/spin.rs` as it is, except for its pauses: a thread that finds it taken yields.
//!
//! Properties: one thread at a time holds it, and sees what the holder before did, which loom's
//! cell checks; each gets it in the end.
//!
//! Actors: two threads that add.
//!
//! Bound: 2 threads, two sections each.

use std::sync::Arc;

use loom::thread;
use loom_tests::explore;
use ringloop::model::SpinLock;

/// Two threads take it one after the other.
#[test]
fn two_add() {
    explore(|| {
        let lock = Arc::new(SpinLock::new());
        let add_twice = |lock: &SpinLock| {
            lock.with(|value| *value += 1);
            lock.with(|value| *value += 1);
        };
        let other = {
            let lock = lock.clone();
            thread::spawn(move || add_twice(&lock))
        };
        add_twice(&lock);
        other.join().unwrap();
        assert_eq!(lock.with(|value| *value), 4);
    });
}
