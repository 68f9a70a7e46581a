//! One value, promised and awaited.
//!
//! Code: `sync/oneshot.rs` as it is.
//!
//! Properties: a wait is woken, else loom reports a deadlock; a value is taken, comes back or is
//! dropped, once; each end sees that the other is gone.
//!
//! Actors: a task that sets or drops the promise, one that waits or is dropped, one that waits for
//! that drop.
//!
//! Bound: 2 threads, one value.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use loom::thread;
use loom_tests::explore;
use ringloop::sync::oneshot;

use crate::{sync_tools::Hand, tasks::wait_for};

/// A value that counts its drop.
struct Token(Arc<AtomicUsize>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The value is set while a wait begins, and changes its waker.
#[test]
fn set_against_wait() {
    explore(|| {
        let (promise, mut deferred) = oneshot();
        let setter = thread::spawn(move || promise.set(7));
        let (first, value) = Hand::begun(&mut deferred);
        drop(first);
        let value = value.unwrap_or_else(|| wait_for(&mut deferred));
        assert_eq!(value, Ok(7));
        assert!(setter.join().unwrap().is_ok());
    });
}

/// The promise is dropped while one waits.
#[test]
fn break_against_wait() {
    explore(|| {
        let (promise, deferred) = oneshot::<u8>();
        let breaker = thread::spawn(move || drop(promise));
        assert!(wait_for(deferred).is_err());
        breaker.join().unwrap();
    });
}

/// The value is set while the wait is dropped.
#[test]
fn set_against_leave() {
    explore(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let (promise, deferred) = oneshot();
        let token = Token(ends.clone());
        let setter = thread::spawn(move || promise.set(token).is_ok());
        let (wait, value) = Hand::begun(deferred);
        let taken = value.is_some();
        drop((wait, value));
        let kept = setter.join().unwrap();
        assert!(kept || !taken);
        assert_eq!(ends.load(Relaxed), 1);
    });
}

/// One waits until no wait is left.
#[test]
fn leave_against_cancelled() {
    explore(|| {
        let (mut promise, deferred) = oneshot::<u8>();
        let leaver = thread::spawn(move || drop(deferred));
        let (first, told) = Hand::begun(promise.cancelled());
        drop(first);
        if told.is_none() {
            let mut cancelled = Box::pin(promise.cancelled());
            wait_for(poll_fn(|cx| cancelled.as_mut().poll(cx)));
        }
        assert!(promise.is_cancelled());
        assert_eq!(promise.set(1), Err(1));
        leaver.join().unwrap();
    });
}
