//! Callbacks for the end of a task, registered while it ends.
//!
//! Code: `task/done.rs` as it is; the caller that it would spawn runs where it is made.
//!
//! Properties: each callback is called once, in the order of registration, whether it is registered
//! before the task's end or after; one that is removed is called or removed, never both.
//!
//! Actors: a thread that runs the task to its end, and one that registers and removes.
//!
//! Bound: 2 threads, 2 callbacks.

use std::cell::RefCell;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use loom_tests::explore;
use ringloop::task::OnDone;

use crate::tasks::{drain, start, take};

// All threads of a model are coroutines of one system thread; loom does not track this list.
thread_local! {
    static CALLED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

fn called() -> Vec<u32> {
    CALLED.with_borrow_mut(std::mem::take)
}

/// A callback that loom may interrupt before it is noted.
fn note(
    number: u32,
    turn: &Arc<AtomicBool>,
) -> impl FnOnce(ringloop::task::Outcome) + Send + use<> {
    let turn = turn.clone();
    move |outcome| {
        assert!(outcome.is_ok());
        // No load, which loom does not order with other accesses.
        turn.swap(true, Relaxed);
        CALLED.with_borrow_mut(|called| called.push(number));
    }
}

#[test]
fn registration_against_the_end() {
    explore(|| {
        called();
        let turn = Arc::new(AtomicBool::new(false));
        let (_registered, task) = start(async {});
        let runner = thread::spawn(drain);
        task.on_done(note(1, &turn)).keep();
        task.on_done(note(2, &turn)).keep();
        runner.join().unwrap();
        assert_eq!(called(), [1, 2]);
        take(task).unwrap();
    });
}

#[test]
fn removal_against_the_end() {
    explore(|| {
        called();
        let turn = Arc::new(AtomicBool::new(false));
        let (_registered, task) = start(async {});
        let first = task.on_done(note(1, &turn));
        task.on_done(note(2, &turn)).keep();
        let runner = thread::spawn(drain);
        let removed = OnDone::remove(first);
        runner.join().unwrap();
        assert_eq!(called(), if removed { vec![2] } else { vec![1, 2] });
        take(task).unwrap();
    });
}
