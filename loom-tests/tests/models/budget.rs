//! A task takes more in one poll than its budget allows, while another thread takes and gives as
//! well.
//!
//! Code: `util/current.rs`, `task/` and primitives as they are; a task has a budget of one.
//!
//! Property: a task whose budget is spent is queued again, and loses nothing that was reserved for
//! it; else it hangs.
//!
//! Actors: a task, which this thread runs; a thread that takes from or gives to the same primitive.
//!
//! Bound: 2 threads, one task, two or three operations.

use std::sync::Arc;

use loom::thread;
use loom_tests::explore;
use ringloop::sync::{Event, Queue, Semaphore};

use crate::tasks::{Token, drain, dropped, ended, start, take, wait_for};

/// Runs the queued task, beside another thread, and then the task to its end.
fn run_beside(
    future: impl Future<Output = ()> + Send + 'static,
    other: impl FnOnce() + Send + 'static,
) {
    let (inside, before) = (Token, ended());
    let (_, task) = start(async move {
        let _inside = inside;
        future.await;
        Token
    });
    let other = thread::spawn(other);
    drain();
    other.join().unwrap();
    drain();
    drop(take(task).unwrap());
    assert_eq!((dropped(), ended() - before), (2, 1));
}

/// Two permits one after the other, of which only one is free.
#[test]
fn permits() {
    explore(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let own = semaphore.clone();
        run_beside(
            async move {
                for _ in 0..2 {
                    drop(own.acquire().await.unwrap());
                }
            },
            move || drop(wait_for(semaphore.acquire()).unwrap()),
        );
    });
}

/// An event that is set is waited for twice.
#[test]
fn event() {
    explore(|| {
        let event = Arc::new(Event::new());
        let own = event.clone();
        run_beside(
            async move {
                own.wait().await;
                own.wait().await;
            },
            move || event.set(),
        );
    });
}

/// Three items, one after the other, of which the last is put by another thread.
#[test]
fn gets() {
    explore(|| {
        let queue = Arc::new(Queue::bounded(3));
        for item in [1, 2] {
            queue.try_put(item).unwrap();
        }
        let own = queue.clone();
        run_beside(
            async move {
                for item in 1..=3 {
                    assert_eq!(own.get().await.unwrap(), item);
                }
            },
            move || queue.try_put(3).unwrap(),
        );
    });
}

/// Two items are put one after the other, where there is room for one.
#[test]
fn puts() {
    explore(|| {
        let queue = Arc::new(Queue::bounded(1));
        let own = queue.clone();
        run_beside(
            async move {
                for item in 1..=2 {
                    own.put(item).await.unwrap();
                }
            },
            move || assert_eq!(wait_for(queue.get()).unwrap(), 1),
        );
    });
}

/// A task waits for an event that is set, and then for another task, which has ended.
#[test]
fn join() {
    explore(|| {
        let inside = Token;
        let (_, first) = start(async move {
            let _inside = inside;
            Token
        });
        drain();
        let event = Arc::new(Event::new());
        let own = event.clone();
        run_beside(
            async move {
                own.wait().await;
                // Its drop is not counted.
                std::mem::forget(first.await.unwrap());
            },
            move || event.set(),
        );
    });
}
