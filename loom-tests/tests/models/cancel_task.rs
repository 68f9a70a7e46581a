//! A task consumes a request while other threads cancel it.
//!
//! Code: `task/` as it is, under a scheduler with one queue.
//!
//! Properties:
//!
//! * each request that was the first one is delivered once, with the reason of one of the
//!   cancellers, and may be consumed;
//! * none is lost.
//!
//! One exception: a request whose cause was noted before the task had an extension (step 3 of the
//! page of `task/extra.rs`). Until its `cancel` has returned, the task may get it without its
//! cause, and cannot consume it then. It is not lost.
//!
//! Actors: threads that run the task, and two with handles.
//!
//! Bound: 4 threads, one task, three requests.

use std::{
    cell::{Cell, RefCell},
    future::pending,
};

use loom::thread;
use loom_tests::explore;
use ringloop::{Task, catch_cancel, task::Canceller};

use crate::tasks::{drain, start};

// The cancels that the task got, in order; loom does not track this list.
thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether the early request is made.
    static RETURNED: Cell<bool> = const { Cell::new(false) };
}

fn heard() -> Vec<String> {
    HEARD.with_borrow_mut(std::mem::take)
}

/// A task that consumes each request.
fn start_consumer() -> Task<()> {
    heard();
    let (_, task) = start(async {
        loop {
            let gone = catch_cancel(pending::<()>()).await.unwrap_err();
            let reason = gone.cause().reason().unwrap_or("none").to_owned();
            HEARD.with_borrow_mut(|heard| heard.push(reason));
            assert!(gone.consume(), "it was cancelled by a handle");
        }
    });
    task
}

fn ask(canceller: &Canceller, reason: &'static str) -> thread::JoinHandle<bool> {
    let canceller = canceller.clone();
    thread::spawn(move || canceller.cancel_with(reason))
}

/// A request comes while another one is consumed: it becomes a part of that, or is delivered as
/// well.
#[test]
fn consume_against_cancel() {
    explore(|| {
        let task = start_consumer();
        drain();
        let canceller = task.canceller();
        let others = [ask(&canceller, "one"), ask(&canceller, "two")];
        drain();
        let firsts = others.map(|other| {
            let first = other.join().unwrap();
            drain();
            first
        });
        assert_heard(&task, firsts);
    });
}

/// Asserts that each request that was the first was delivered, and ends the task.
fn assert_heard(task: &Task<()>, firsts: [bool; 2]) {
    let heard = heard();
    assert_eq!(heard.len(), firsts.into_iter().filter(|first| *first).count(), "{heard:?}");
    assert!(heard.iter().all(|reason| reason != "none"));
    task.abort();
    drain();
    assert!(task.is_finished());
}

/// The reason of a request without a cause.
const NO_CAUSE: &str = "its runtime shuts down";

/// A task that consumes each request, and ends with one that it cannot consume.
fn start_late_consumer() -> Task<()> {
    heard();
    RETURNED.set(false);
    let (_, task) = start(async {
        loop {
            let gone = catch_cancel(pending::<()>()).await.unwrap_err();
            let reason = gone.cause().reason().unwrap_or("none").to_owned();
            HEARD.with_borrow_mut(|heard| heard.push(reason));
            let returned = RETURNED.get();
            if !gone.consume() {
                assert!(!returned, "a request that is made has its cause");
                return;
            }
        }
    });
    task
}

/// A thread notes its cause before the task has an extension, and sets the bit at any time after that:
/// also when the task has consumed another request, with that cause.
#[test]
fn cause_before_the_extension() {
    explore(|| {
        let task = start_late_consumer();
        let canceller = task.canceller();
        let early = {
            let canceller = canceller.clone();
            thread::spawn(move || {
                let first = canceller.cancel_with("early");
                RETURNED.set(true);
                first
            })
        };
        let other = {
            let canceller = canceller.clone();
            thread::spawn(move || {
                drain();
                canceller.cancel_with("other")
            })
        };
        let other = other.join().unwrap();
        thread::spawn(drain).join().unwrap();
        drain();
        let early = early.join().unwrap();
        drain();
        let firsts = usize::from(early) + usize::from(other);
        let before = heard();
        let without_cause = before.iter().filter(|reason| *reason == NO_CAUSE).count();
        assert!(without_cause <= usize::from(early), "{before:?}");
        if task.is_finished() {
            // It was asked before its first poll, or heard of what it could not consume.
            assert!(firsts > 0);
            assert!(before.last().is_none_or(|reason| reason == NO_CAUSE), "{before:?}");
            return;
        }
        assert_eq!(before.len(), firsts, "{before:?}");
        // What was consumed has left no cause behind.
        assert!(canceller.cancel_with("third"));
        drain();
        assert_eq!(heard(), ["third"]);
        task.abort();
        drain();
        assert!(task.is_finished());
    });
}
