//! A notification is kept, and goes to one wait or to all.
//!
//! Code: `sync/notify.rs` and `sync/wait_list.rs` as they are.
//!
//! Properties:
//!
//! * a wait after a notification, or beside it, ends, else loom reports a deadlock;
//! * the notification of a wait that is dropped goes to another, or is kept;
//! * a wait that is notified with all others uses up nothing;
//! * a notified wait sees what was done before.
//!
//! Actors: one or two that wait, one of which may be dropped; one or two that notify.
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

/// A notification, and data that is written before it.
struct Shared {
    notify: Notify,
    value: UnsafeCell<usize>,
}

// SAFETY: loom checks the accesses to the value.
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

/// Notified before, while or after the wait begins.
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

/// Of two that wait one is dropped at any stage: the other one is notified, or the notification is
/// kept.
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

/// The first in the queue is dropped while it is notified: the second is notified.
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

/// All are notified, a batch at a time, while one is dropped: that one passes nothing on.
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

/// One is notified while all are: the wait ends once, and the single notification is kept if the
/// wait did not use it.
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
        // If the single notification came first, there was no wait left for the other one.
        shared.assert_quiet(kept);
    });
}

/// A wait that was made before, and is polled for the first time beside the notification of all.
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

/// Wakers that use it.
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
