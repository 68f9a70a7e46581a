//! A task consumes a request while others ask it to end.
//!
//! Code: `task/` as it is, under a scheduler with one queue.
//!
//! Properties: each request that was the first one is delivered once, with its own reason, and may be
//! consumed; none is lost.
//!
//! Actors: one that runs the task, and two with handles.
//!
//! Bound: 3 threads, one task, two requests.

use std::{cell::RefCell, future::pending};

use loom::thread;
use loom_tests::explore;
use ringloop::{Task, catch_cancel, task::Canceller, yield_now};

use crate::tasks::{drain, run_one, start};

// What the task has heard, in order; of no account to loom.
thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn heard() -> Vec<String> {
    HEARD.with_borrow_mut(std::mem::take)
}

/// A task that yields and then consumes each request.
fn start_consumer() -> Task<()> {
    heard();
    let (_, task) = start(async {
        yield_now().await;
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
        consume_two(&task);
        task.abort();
        drain();
        assert!(task.is_finished());
    });
}

/// The same, and the first of them may come before there is a region. Then it ends the task.
#[test]
fn consume_against_early_cancel() {
    explore(|| {
        let task = start_consumer();
        assert!(run_one());
        consume_two(&task);
        task.abort();
        drain();
        assert!(task.is_finished());
    });
}

fn consume_two(task: &Task<()>) {
    let canceller = task.canceller();
    let asked = [("one", ask(&canceller, "one")), ("two", ask(&canceller, "two"))];
    drain();
    let mut firsts = Vec::new();
    for (reason, asked) in asked {
        if asked.join().unwrap() {
            firsts.push(reason);
        }
        drain();
    }
    let heard = heard();
    if !task.is_finished() {
        assert_eq!(heard.len(), firsts.len(), "{heard:?}, {firsts:?}");
        assert!(heard.iter().all(|reason| reason != "none"));
    }
}
