//! The lock of brief sections.
//!
//! Code: `loom/spin.rs` as it is, but for its pauses: who finds it taken yields.
//!
//! Properties: one at a time has what it holds, and sees what the one before did, which
//! loom's cell checks; all get it in the end.
//!
//! Actors: two that add.
//!
//! Bound: 2 threads, two sections each.

use std::sync::Arc;

use loom::thread;
use loom_tests::explore;
use ringloop::model::SpinLock;

/// Two take it in turn.
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
