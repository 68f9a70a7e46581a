//! A notification is kept, and goes to one or to everyone.
//!
//! Code: `sync/notify.rs` and `sync/wait_list.rs` as they are.
//!
//! Properties: one who waits after a notification, or beside it, goes on, else loom reports a
//! deadlock; one that was given to a waiter which leaves goes to another, or is kept; who hears with
//! everyone uses up nothing; what was done before is seen by who is notified.
//!
//! Actors: one or two that wait, one of which may leave; one or two that notify.
//!
//! Bound: 3 threads.

use std::sync::Arc;

use loom::{cell::UnsafeCell, thread};
use loom_tests::explore;
use ringloop::sync::Notify;

use crate::{
    sync_tools::{Hand, calling_waker, join, spawn},
    tasks::wait_for,
};

/// A notification, and what is done before it.
struct Shared {
    notify: Notify,
    value: UnsafeCell<usize>,
}

// SAFETY: loom watches who touches the value.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { notify: Notify::new(), value: UnsafeCell::new(0) })
    }

    fn touch(&self) {
        // SAFETY: as above.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn assert_quiet(&self, kept: bool) {
        assert_eq!(format!("{:?}", self.notify), format!("Notify {{ kept: {kept}, waiters: 0 }}"));
    }
}

/// Told before, while or after it comes.
#[test]
fn notify_one_against_wait() {
    explore(|| {
        let shared = Shared::new();
        let other = spawn(&shared, |shared| {
            shared.touch();
            shared.notify.notify_one();
        });
        wait_for(shared.notify.notified());
        shared.touch();
        join([other]);
        shared.assert_quiet(false);
    });
}

/// Of two that wait one leaves at any stage: the other one hears, or the notification is kept.
#[test]
fn leaver_passes_it_on() {
    explore(|| {
        let shared = Shared::new();
        let leaver = spawn(&shared, |shared| {
            let (wait, heard) = Hand::begun(shared.notify.notified());
            drop(wait);
            if heard.is_some() {
                shared.notify.notify_one();
            }
        });
        let other = spawn(&shared, |shared| shared.notify.notify_one());
        wait_for(shared.notify.notified());
        join([leaver, other]);
        shared.assert_quiet(false);
    });
}

/// The first in line leaves while it is notified: the second hears.
#[test]
fn granted_then_cancelled() {
    explore(|| {
        let shared = Shared::new();
        let theirs = shared.clone();
        let (first, none) = Hand::begun(async move { theirs.notify.notified().await });
        assert!(none.is_none());
        let second = spawn(&shared, |shared| wait_for(shared.notify.notified()));
        let leaver = thread::spawn(move || drop(first));
        shared.notify.notify_one();
        join([second, leaver]);
        shared.assert_quiet(false);
    });
}

/// Everyone is notified, a batch at a time, while one leaves: that one passes nothing on.
#[test]
fn everyone_against_leaver() {
    explore(|| {
        let shared = Shared::new();
        let begun = || {
            let shared = shared.clone();
            Hand::begun(async move { shared.notify.notified().await }).0
        };
        let (first, mut second, mut third) = (begun(), begun(), begun());
        let leaver = thread::spawn(move || drop(first));
        shared.notify.notify_waiters();
        assert!(second.poll().is_ready() && third.poll().is_ready());
        join([leaver]);
        shared.assert_quiet(false);
    });
}

/// The same with two in a batch.
#[test]
fn everyone_in_batches_of_two() {
    ringloop::model::set_batch(2);
    explore(|| {
        let shared = Shared::new();
        let begun = || {
            let shared = shared.clone();
            Hand::begun(async move { shared.notify.notified().await }).0
        };
        let (first, mut second, mut third) = (begun(), begun(), begun());
        let all = spawn(&shared, |shared| shared.notify.notify_waiters());
        let leaver = thread::spawn(move || drop(first));
        join([all, leaver]);
        assert!(second.poll().is_ready() && third.poll().is_ready());
        shared.assert_quiet(false);
    });
}

/// One is notified while everyone is: the one who waits hears once, and one is kept if it was not
/// that one which it heard.
#[test]
fn one_against_everyone() {
    explore(|| {
        let shared = Shared::new();
        let theirs = shared.clone();
        let (mut wait, none) = Hand::begun(async move { theirs.notify.notified().await });
        assert!(none.is_none());
        let one = spawn(&shared, |shared| shared.notify.notify_one());
        let all = spawn(&shared, |shared| shared.notify.notify_waiters());
        join([one, all]);
        assert!(wait.poll().is_ready());
        let kept = format!("{:?}", shared.notify).contains("kept: true");
        // Told alone first, there was nobody for the other to tell.
        shared.assert_quiet(kept);
    });
}

/// One that was made before, and polled for the first time beside the notification of everyone.
#[test]
fn made_before_everyone() {
    explore(|| {
        let shared = Shared::new();
        let notified = shared.notify.notified();
        let other = spawn(&shared, |shared| {
            shared.touch();
            shared.notify.notify_waiters();
        });
        wait_for(notified);
        shared.touch();
        join([other]);
        shared.assert_quiet(false);
    });
}

/// Wakers that look at it.
#[test]
fn waker_uses_it() {
    explore(|| {
        let shared = Shared::new();
        let waker = {
            let shared = shared.clone();
            calling_waker(move || _ = format!("{:?}", shared.notify))
        };
        let mut waits = [(); 3].map(|()| Hand::new(shared.notify.notified()));
        let cx = &mut std::task::Context::from_waker(&waker);
        waits.iter_mut().for_each(|wait| assert!(wait.poll_with(cx).is_pending()));
        shared.notify.notify_one();
        shared.notify.notify_waiters();
        waits.iter_mut().for_each(|wait| assert!(wait.poll_with(cx).is_ready()));
    });
}
