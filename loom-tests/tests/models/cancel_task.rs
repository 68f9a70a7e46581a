//! A task consumes a request while others ask it to end.
//!
//! Code: `task/` as it is, under a scheduler with one queue.
//!
//! Properties: each request that was the first one is delivered once, with the reason of one that asked, and
//! may be consumed; none is lost. Requests that come before the task has an extension (step 3 of the page of
//! `task/extra.rs`) are not modelled.
//!
//! Actors: one that runs the task, and two with handles.
//!
//! Bound: 3 threads, one task, two requests.

use std::{cell::RefCell, future::pending};

use loom::thread;
use loom_tests::explore;
use ringloop::{Task, catch_cancel, task::Canceller};

use crate::tasks::{drain, start};

// What the task has heard, in order; of no account to loom.
thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
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
            assert!(gone.consume(), "somebody with a handle has asked");
        }
    });
    task
}

fn ask(canceller: &Canceller, reason: &'static str) -> thread::JoinHandle<bool> {
    let canceller = canceller.clone();
    thread::spawn(move || canceller.cancel_with(reason))
}

/// A request comes while another one is consumed: it is a part of that, or is delivered as well.
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

/// Asserts that each request that was the first was heard, and ends the task.
fn assert_heard(task: &Task<()>, firsts: [bool; 2]) {
    let heard = heard();
    assert_eq!(heard.len(), firsts.into_iter().filter(|first| *first).count(), "{heard:?}");
    assert!(heard.iter().all(|reason| reason != "none"));
    task.abort();
    drain();
    assert!(task.is_finished());
}
