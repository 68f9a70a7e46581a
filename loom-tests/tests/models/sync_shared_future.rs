//! One value for several tasks.
//!
//! Code: `sync/shared_future.rs` and `sync/oneshot.rs` as they are.
//!
//! Properties: all that wait are woken, else loom reports a deadlock; all get the same value; the
//! promise sees when no wait is left.
//!
//! Actors: one that sets, two that wait, one of which is dropped or cancels.
//!
//! Bound: 3 threads, one value.

use loom::thread;
use loom_tests::explore;
use ringloop::sync::{SharedFuture, oneshot};

use crate::{sync_tools::Hand, tasks::wait_for};

/// Two wait, one of which drops its wait and begins again.
#[test]
fn set_against_waits() {
    explore(|| {
        let (promise, future) = SharedFuture::new();
        let other = future.clone();
        let other = thread::spawn(move || {
            let (wait, value) = Hand::begun(other.clone());
            drop(wait);
            value.unwrap_or_else(|| wait_for(other))
        });
        let setter = thread::spawn(move || promise.set(7).is_ok());
        assert_eq!(wait_for(future), Ok(7));
        assert_eq!(other.join().unwrap(), Ok(7));
        assert!(setter.join().unwrap());
    });
}

/// Set and cancelled at once: earlier and later waits get the same outcome.
#[test]
fn set_against_cancel() {
    explore(|| {
        let (promise, future) = SharedFuture::new();
        let (waiter, canceller) = (future.clone(), future.clone());
        let setter = thread::spawn(move || promise.set(7).is_ok());
        let canceller = thread::spawn(move || canceller.cancel());
        let told = wait_for(waiter);
        let (set, cancelled) = (setter.join().unwrap(), canceller.join().unwrap());
        assert!(set || cancelled);
        assert_eq!(told.is_err(), cancelled);
        assert_eq!(future.try_wait(), Some(told));
    });
}

/// A deferred is made shared while its value is set; then the last clone is dropped.
#[test]
fn share_against_set() {
    explore(|| {
        let (promise, deferred) = oneshot();
        let setter = thread::spawn(move || promise.set(7).is_ok());
        let future = deferred.shared();
        let (wait, value) = Hand::begun(future);
        drop(wait);
        let kept = setter.join().unwrap();
        assert!(kept || value.is_none());
    });
}

/// The last clone is dropped while the promise waits for that.
#[test]
fn leave_against_cancelled() {
    explore(|| {
        let (mut promise, future) = SharedFuture::<u8>::new();
        let other = future.clone();
        let leaver = thread::spawn(move || drop(other));
        drop(future);
        wait_for(Box::pin(promise.cancelled()));
        leaver.join().unwrap();
    });
}
