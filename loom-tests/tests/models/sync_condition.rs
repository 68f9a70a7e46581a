//! A condition is waited for, and notified.
//!
//! Code: `sync/condition.rs`, on `sync/lock/` as it is.
//!
//! Properties:
//!
//! * no notification is lost between a check of the value and the wait;
//! * a notification for a wait that is dropped goes to another, at whatever moment it is dropped
//!   (T49);
//! * the lock is held on return (T50), and free at the end.
//!
//! Actors: one or two that wait, one of which may be dropped; one that notifies.
//!
//! Bound: 3 threads.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use loom_tests::explore;
use ringloop::{
    model::condition,
    sync::{Condition, Lock},
};

use crate::{
    sync_tools::{Hand, calling_waker, join, spawn},
    tasks::wait_for,
};

struct Shared {
    count: Lock<usize>,
    more: Condition,
}

impl Shared {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count: Lock::new(count), more: Condition::new() })
    }

    /// Waits for a count, and takes it.
    async fn take(&self) {
        let guard = self.count.lock().await;
        let mut count = self.more.wait_while(guard, |count| *count == 0).await;
        *count -= 1;
    }

    fn give(&self, all: bool) {
        let mut count = wait_for(self.count.lock());
        *count += 1;
        if all {
            self.more.notify_all(&count);
        } else {
            self.more.notify_one(&count);
        }
    }

    fn assert_quiet(&self, count: usize) {
        assert_eq!(*self.count.try_lock().expect("it is free"), count);
        assert_eq!(format!("{:?}", self.more), "Condition { waiters: 0 }");
    }
}

/// The value changes while a task is about to wait for that.
#[test]
fn notify_against_wait() {
    explore(|| {
        let shared = Shared::new(0);
        let giver = spawn(&shared, |shared| shared.give(false));
        wait_for(shared.take());
        join([giver]);
        shared.assert_quiet(0);
    });
}

/// Two wait, and there are two notifications, a batch at a time.
#[test]
fn two_waiters_two_notifications() {
    explore(|| {
        let shared = Shared::new(0);
        let waiting = [(); 2].map(|()| {
            let shared = shared.clone();
            let (mut hand, none) = Hand::begun(async move { shared.take().await });
            assert!(none.is_none());
            loom::thread::spawn(move || wait_for(poll_fn(|cx| hand.poll_with(cx))))
        });
        {
            let mut count = wait_for(shared.count.lock());
            *count += 2;
            shared.more.notify(2, &count);
        }
        join(waiting);
        shared.assert_quiet(0);
    });
}

/// Of two that wait the first is dropped while it is notified, before it has locked again (T49).
#[test]
fn cancel_against_notify() {
    explore(|| {
        let shared = Shared::new(0);
        let (first, none) = Hand::begun({
            let shared = shared.clone();
            async move { shared.take().await }
        });
        assert!(none.is_none());
        let second = spawn(&shared, |shared| wait_for(shared.take()));
        let leaver = loom::thread::spawn(move || drop(first));
        shared.give(false);
        join([second, leaver]);
        shared.assert_quiet(0);
    });
}

/// The same, but it is polled once more before: it may be waiting for the lock, or have it.
#[test]
fn cancel_while_it_locks_again() {
    explore(|| {
        let shared = Shared::new(0);
        let (mut first, none) = Hand::begun({
            let shared = shared.clone();
            async move {
                drop(shared.more.wait(shared.count.lock().await).await);
            }
        });
        assert!(none.is_none());
        let (mut second, none) = Hand::begun({
            let shared = shared.clone();
            async move { shared.take().await }
        });
        assert!(none.is_none());
        let giver = spawn(&shared, |shared| shared.give(false));
        let leaver = spawn(&shared, move |shared| {
            // If it ended, it has used its notification: the other one needs another.
            if first.poll().is_ready() {
                shared.more.notify_one(&wait_for(shared.count.lock()));
            }
        });
        wait_for(poll_fn(|cx| second.poll_with(cx)));
        join([giver, leaver]);
        shared.assert_quiet(0);
    });
}

/// All are notified, a batch at a time, while one is dropped.
#[test]
fn notify_all_against_cancel() {
    explore(|| {
        let shared = Shared::new(0);
        let (first, none) = Hand::begun({
            let shared = shared.clone();
            async move { shared.take().await }
        });
        assert!(none.is_none());
        let second = spawn(&shared, |shared| wait_for(shared.take()));
        let leaver = loom::thread::spawn(move || drop(first));
        shared.give(true);
        join([second, leaver]);
        shared.assert_quiet(0);
    });
}

/// A wait with a limit ends while it is notified: if it returns that it was not, another one is.
#[test]
fn a_limit_against_notify() {
    explore(|| {
        let shared = Shared::new(0);
        let (mut first, none) = Hand::begun({
            let shared = shared.clone();
            async move {
                let guard = shared.count.lock().await;
                // Over at the second poll.
                let (mut count, notified) =
                    condition::wait_or(&shared.more, guard, second_poll()).await;
                if notified && *count > 0 {
                    *count -= 1;
                    return true;
                }
                assert!(!notified, "it was notified, but does not have the count");
                false
            }
        });
        assert!(none.is_none());
        let (mut second, none) = Hand::begun({
            let shared = shared.clone();
            async move { shared.take().await }
        });
        assert!(none.is_none());
        let giver = spawn(&shared, |shared| shared.give(false));
        if wait_for(poll_fn(|cx| first.poll_with(cx))) {
            shared.give(false);
        }
        wait_for(poll_fn(|cx| second.poll_with(cx)));
        join([giver]);
        shared.assert_quiet(0);
    });
}

/// A waker that notifies is woken by a notification, and by a wait that is dropped.
#[test]
fn waker_uses_the_condition() {
    explore(|| {
        let shared = Shared::new(0);
        let begun = || {
            let theirs = shared.clone();
            let waker = calling_waker(move || _ = format!("{:?}", theirs.more));
            let theirs = shared.clone();
            let mut hand = Hand::new(async move {
                drop(theirs.more.wait(theirs.count.lock().await).await);
            });
            assert!(hand.poll_with(&mut Context::from_waker(&waker)).is_pending());
            hand
        };
        let (first, mut second, mut third) = (begun(), begun(), begun());
        shared.give(false);
        drop(first);
        assert!(second.poll().is_ready());
        shared.give(true);
        assert!(third.poll().is_ready());
    });
}

/// Ready when it is polled again.
fn second_poll() -> impl Future<Output = ()> {
    let mut polls = 0;
    poll_fn(move |_| {
        polls += 1;
        if polls > 1 { Poll::Ready(()) } else { Poll::Pending }
    })
}
