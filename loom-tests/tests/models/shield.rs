//! A shielded task ends while its watcher is dropped, gives up or cancels it.
//!
//! Code: `task/` with `uncancellable` and scopes as they are. The model makes the task of `shield`, under
//! a scheduler with one queue.
//!
//! Properties: a request does not end the task; its result is delivered once, to a watcher that may
//! have given up before, or dropped once; a panic that no watcher gets is reported once; no thread
//! waits for ever.
//!
//! Actors: a thread that runs the task, one that wakes it, and one that drops, cancels or waits.
//!
//! Bound: 3 threads, one task.

use std::{
    future::poll_fn,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::{Task, scope, uncancellable};

use crate::tasks::{Token, drain, dropped, ended, reported, start, take, wait_for};

/// A shielded task that has been polled once, and a thread that wakes it.
struct Shielded {
    task: Task<Token>,
    news: Arc<AtomicBool>,
    waker: Waker,
}

impl Shielded {
    fn start(panics: bool) -> Self {
        let news = Arc::new(AtomicBool::new(false));
        let left = Arc::new(Mutex::new(None));
        let (flag, place, inside) = (news.clone(), left.clone(), Token);
        let (_, task) = start(uncancellable(poll_fn(move |cx| {
            let _ = &inside;
            if place.lock().unwrap().is_none() {
                *place.lock().unwrap() = Some(cx.waker().clone());
            }
            match flag.load(Relaxed) {
                false => Poll::Pending,
                true if panics => resume_unwind(Box::new("meant")),
                true => Poll::Ready(Token),
            }
        })));
        drain();
        let waker = left.lock().unwrap().clone().unwrap();
        *left.lock().unwrap() = Some(Waker::noop().clone());
        Self { task, news, waker }
    }

    /// Returns the task, and a thread that sets what the task waits for, and then runs the queue.
    fn bring(self) -> (Task<Token>, thread::JoinHandle<()>) {
        let Self { task, news, waker } = self;
        let bring = thread::spawn(move || {
            // Relaxed: visible by the wake alone.
            news.store(true, Relaxed);
            waker.wake();
            drain();
        });
        (task, bring)
    }
}

/// The watcher is dropped.
#[test]
fn drop_against_end() {
    explore(|| {
        let (task, runner) = Shielded::start(false).bring();
        drop(task);
        runner.join().unwrap();
        drain();
        assert_eq!((dropped(), ended(), reported()), (2, 1, 0), "future and result, once each");
    });
}

/// The watcher is dropped, and there is a panic that no watcher gets.
#[test]
fn drop_against_panic() {
    explore(|| {
        let (task, runner) = Shielded::start(true).bring();
        drop(task);
        runner.join().unwrap();
        drain();
        assert_eq!((dropped(), ended(), reported()), (1, 1, 1));
    });
}

/// The watcher cancels it, and is refused.
#[test]
fn cancel_against_end() {
    explore(|| {
        let (task, runner) = Shielded::start(false).bring();
        let canceller = task.canceller();
        let cancel = thread::spawn(move || {
            canceller.cancel();
        });
        drain();
        runner.join().unwrap();
        cancel.join().unwrap();
        drain();
        drop(take(task).expect("it was shielded"));
        assert_eq!((dropped(), ended()), (2, 1));
    });
}

/// The scope in which the watcher waits is cancelled; then it waits again, outside of it.
#[test]
fn watcher_gives_up_against_end() {
    explore(|| {
        let (mut task, runner) = Shielded::start(false).bring();
        let mut handle = None;
        let watch = scope(|scope| {
            handle = Some(scope);
            &mut task
        });
        let handle = handle.unwrap();
        let cancel = thread::spawn(move || handle.cancel());
        let value = match wait_for(watch) {
            Ok(value) => value.unwrap(),
            Err(_) => wait_for(task).unwrap(),
        };
        runner.join().unwrap();
        cancel.join().unwrap();
        drop(value);
        assert_eq!((dropped(), ended()), (2, 1));
    });
}
