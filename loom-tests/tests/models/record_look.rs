//! The note of what a task waits for, against a thread that reads it for a snapshot.
//!
//! Code: `util/wait.rs`, `task/info.rs`, `task/header.rs`. The word of the note is the link of an inbox as well.
//!
//! Properties: what is read is the note of the last poll, or nothing; never a link, and never the memory of a
//! task that is freed.
//!
//! Actors: a thread that runs the task, one that wakes it or cancels it and queues another task behind it, and one that
//! looks.
//!
//! Bound: 3 threads, two tasks, two polls.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use loom::{sync::Mutex, thread};
use loom_tests::explore;
use ringloop::{
    Task,
    model::{look, task::Schedule as _},
};

use crate::tasks::{Shared, drain_all, ready_task, start};

/// What the task notes.
const KEY: u64 = 7;

type Left = Arc<Mutex<Option<Waker>>>;

/// A task that waits once, and leaves its waker.
fn waits() -> (Task<()>, Left) {
    let left = Left::default();
    let theirs = left.clone();
    let mut polled = false;
    let (_, task) = start(poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        look::note_wait(KEY);
        *theirs.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    (task, left)
}

fn check(task: &Task<()>) {
    let found = look::look(task);
    assert!(found.is_none_or(|key| key == KEY), "{found:?}");
}

/// A wake, and another task behind it in the inbox, against a look.
#[test]
fn look_against_wake() {
    explore(|| {
        let (task, left) = waits();
        drain_all();
        let waker = thread::spawn(move || {
            left.lock().unwrap().take().expect("it was polled").wake();
            Shared::schedule(ready_task(2));
        });
        check(&task);
        waker.join().unwrap();
        drain_all();
        check(&task);
        drop(task);
    });
}

/// A poll, and with it the end of the task, against a look and a cancel.
#[test]
fn look_against_cancel_and_end() {
    explore(|| {
        let (task, left) = waits();
        let runner = thread::spawn(|| drain_all());
        task.cancel();
        check(&task);
        runner.join().unwrap();
        drain_all();
        check(&task);
        assert!(task.is_finished());
        drop((task, left));
    });
}
