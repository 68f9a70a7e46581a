//! Permits, and tasks that wait for them.
//!
//! Code: `sync/semaphore.rs`, `sync/permits.rs` and `sync/wait_list.rs` as they are; a batch of
//! wakers is one, so that the lock is released between any two, or two where the model says so.
//!
//! Properties:
//!
//! * never more holders than permits, which a cell checks;
//! * a wait is woken, else loom reports a deadlock;
//! * at the end all permits are there, and no wait is left;
//! * the next holder of a permit sees what was done with it.
//!
//! Actors: two or three threads that acquire and release; one that gives up; one that closes.
//!
//! Bound: 3 threads, two permits.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use loom::{cell::UnsafeCell, thread};
use loom_tests::explore;
use ringloop::sync::{OwnedPermit, Semaphore};

use crate::{
    sync_tools::{Hand, calling_waker, join, spawn},
    tasks::wait_for,
};

/// A semaphore with one permit, and data that only its holder touches.
struct Guarded {
    semaphore: Semaphore,
    value: UnsafeCell<usize>,
}

// SAFETY: loom checks the accesses to the value.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { semaphore: Semaphore::new(permits), value: UnsafeCell::new(0) })
    }

    /// Adds one, with the permit held.
    fn touch(&self) {
        // SAFETY: as above.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn use_one(&self) {
        let permit = wait_for(self.semaphore.acquire()).unwrap();
        self.touch();
        drop(permit);
    }

    fn assert_whole(&self, permits: usize, touched: usize) {
        assert_eq!(self.semaphore.available_permits(), permits);
        assert!(format!("{:?}", self.semaphore).contains("waiters: 0"));
        self.value.with(|value| {
            // SAFETY: as above.
            assert_eq!(unsafe { *value }, touched);
        });
    }
}

/// Three that need the only permit.
#[test]
fn hand_over() {
    explore(|| {
        let guarded = Guarded::new(1);
        let others = [spawn(&guarded, Guarded::use_one), spawn(&guarded, Guarded::use_one)];
        guarded.use_one();
        join(others);
        guarded.assert_whole(1, 3);
    });
}

/// One of three tries once, joins the queue if it must, and gives up: before it is granted, when it
/// is, or when it has the permit.
#[test]
fn cancel_against_release() {
    explore(|| {
        let guarded = Guarded::new(1);
        let leaver = spawn(&guarded, |guarded| {
            let (wait, permit) = Hand::begun(guarded.semaphore.acquire());
            drop(wait);
            if let Some(permit) = permit {
                guarded.touch();
                guarded.value.with_mut(|value| {
                    // SAFETY: as above.
                    unsafe { *value -= 1 }
                });
                drop(permit);
            }
        });
        let other = spawn(&guarded, Guarded::use_one);
        guarded.use_one();
        join([leaver, other]);
        guarded.assert_whole(1, 2);
    });
}

/// A wait is polled again with another waker while it is granted: the last waker is woken, or it
/// has the permit.
#[test]
fn new_waker_against_grant() {
    explore(|| {
        let guarded = Guarded::new(0);
        let giver = spawn(&guarded, |guarded| {
            guarded.touch();
            guarded.semaphore.add_permits(1);
        });
        let (mut wait, permit) = Hand::begun(guarded.semaphore.acquire());
        let permit = match permit {
            Some(permit) => permit,
            None => wait_for(std::future::poll_fn(|cx| wait.poll_with(cx))),
        };
        let permit = permit.unwrap();
        guarded.touch();
        drop(permit);
        join([giver]);
        guarded.assert_whole(1, 2);
    });
}

/// Many at once, behind and before a wait for one. Two threads release a permit each.
#[test]
fn many_collect_what_comes() {
    explore(|| {
        let guarded = Guarded::new(0);
        let givers = [(); 2].map(|()| spawn(&guarded, |guarded| guarded.semaphore.add_permits(1)));
        let permits = wait_for(guarded.semaphore.acquire_many(2)).unwrap();
        guarded.touch();
        drop(permits);
        join(givers);
        guarded.assert_whole(2, 1);
    });
}

/// A wait for two is dropped, and lets the one behind it go; meanwhile a permit is released.
#[test]
fn large_one_leaves() {
    explore(|| {
        let guarded = Guarded::new(0);
        let (large, none) = Hand::begun({
            let guarded = guarded.clone();
            async move { drop(guarded.semaphore.acquire_many(2).await) }
        });
        assert!(none.is_none());
        let giver = spawn(&guarded, |guarded| guarded.semaphore.add_permits(1));
        let small = spawn(&guarded, Guarded::use_one);
        drop(large);
        join([giver, small]);
        guarded.assert_whole(1, 1);
    });
}

/// Two permits are released for two that wait, one of which is not polled meanwhile: the thread
/// that grants goes on to the next, with the lock released in between.
#[test]
fn batches() {
    explore(|| {
        let guarded = Guarded::new(0);
        let first = Hand::begun({
            let guarded = guarded.clone();
            async move { drop(guarded.semaphore.acquire().await) }
        });
        let second = spawn(&guarded, Guarded::use_one);
        let giver = spawn(&guarded, |guarded| guarded.semaphore.add_permits(2));
        join([second, giver]);
        drop(first);
        guarded.assert_whole(2, 1);
    });
}

/// Three permits are released for three tasks that wait, and one more task comes: two are granted
/// with the lock held, and the third in the next batch. No permit comes back, which would grant the
/// third in another way.
#[test]
fn batches_of_two() {
    ringloop::model::set_batch(2);
    explore(|| {
        let guarded = Guarded::new(0);
        let begun = || {
            let guarded = guarded.clone();
            Hand::begun(async move { mem::forget(guarded.semaphore.acquire().await) }).0
        };
        let mut waiting = [begun(), begun(), begun()];
        let giver = spawn(&guarded, |guarded| guarded.semaphore.add_permits(3));
        let newcomer = spawn(&guarded, |guarded| {
            assert!(guarded.semaphore.try_acquire().is_err(), "others are queued before it");
        });
        join([giver, newcomer]);
        assert_eq!(waiting.each_mut().map(|hand| hand.poll().is_ready()), [true; 3]);
        assert_eq!(guarded.semaphore.available_permits(), 0);
    });
}

/// Closed while one acquires and another releases: each gets a result, and the permit is back.
#[test]
fn close_against_acquire_and_release() {
    explore(|| {
        let guarded = Guarded::new(1);
        let permit = guarded.semaphore.try_acquire().unwrap();
        let waiter = spawn(&guarded, |guarded| {
            if let Ok(permit) = wait_for(guarded.semaphore.acquire()) {
                guarded.touch();
                drop(permit);
            }
        });
        let closer = spawn(&guarded, |guarded| guarded.semaphore.close());
        guarded.touch();
        drop(permit);
        join([waiter, closer]);
        assert_eq!(guarded.semaphore.available_permits(), 1);
        assert!(guarded.semaphore.try_acquire().unwrap_err().is_closed());
    });
}

/// Closed while one of three that wait gives up, with the lock released after each that is refused:
/// none gets a permit any more, and none that had no permit releases one.
#[test]
fn close_against_cancel() {
    explore(|| {
        let guarded = Guarded::new(1);
        let begun = |wanted| {
            let guarded = guarded.clone();
            Hand::begun(async move { guarded.semaphore.acquire_many(wanted).await.map(drop) }).0
        };
        let (mut first, second, mut third) = (begun(2), begun(2), begun(1));
        let closer = spawn(&guarded, |guarded| guarded.semaphore.close());
        let leaver = thread::spawn(move || drop(second));
        join([closer, leaver]);
        assert!(matches!(first.poll(), Poll::Ready(Err(_))));
        assert!(matches!(third.poll(), Poll::Ready(Err(_))));
        guarded.assert_whole(1, 0);
    });
}

/// A task that finds it closed sees what was done before.
#[test]
fn close_publishes() {
    explore(|| {
        let guarded = Guarded::new(0);
        let closer = spawn(&guarded, |guarded| {
            guarded.touch();
            guarded.semaphore.close();
        });
        assert!(wait_for(guarded.semaphore.acquire()).is_err());
        guarded.touch();
        join([closer]);
        guarded.assert_whole(0, 2);
    });
}

/// Permits that stay in the word for a wait for two make visible what was done with them, though
/// that wait is dropped, and a task takes them that did not synchronise with the releaser
/// otherwise.
#[test]
fn permits_left_in_the_word_publish() {
    explore(|| {
        let guarded = Guarded::new(0);
        let giver = spawn(&guarded, |guarded| {
            guarded.touch();
            guarded.semaphore.add_permits(1);
        });
        let leaver = spawn(&guarded, |guarded| {
            drop(Hand::begun(guarded.semaphore.acquire_many(2)));
        });
        if let Ok(permit) = guarded.semaphore.try_acquire() {
            guarded.touch();
            drop(permit);
        }
        join([giver, leaver]);
        assert_eq!(guarded.semaphore.available_permits(), 1);
    });
}

/// An owned permit keeps its semaphore alive.
#[test]
fn owned_permit_is_the_last() {
    explore(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let permit: OwnedPermit = semaphore.clone().try_acquire_owned().unwrap();
        let other = spawn(&semaphore, |semaphore| drop(Hand::begun(semaphore.acquire())));
        drop(semaphore);
        drop(permit);
        join([other]);
    });
}

/// A wait for two is dropped while it is granted them: it gives back two.
#[test]
fn large_one_leaves_with_what_it_was_granted() {
    explore(|| {
        let guarded = Guarded::new(0);
        let (large, none) = Hand::begun({
            let guarded = guarded.clone();
            async move { drop(guarded.semaphore.acquire_many(2).await) }
        });
        assert!(none.is_none());
        let giver = spawn(&guarded, |guarded| guarded.semaphore.add_permits(2));
        drop(large);
        join([giver]);
        guarded.assert_whole(2, 0);
    });
}

/// Permits that are split go back one by one, and merged ones once, beside a wait for all.
#[test]
fn split_and_merge() {
    explore(|| {
        let guarded = Guarded::new(3);
        let mut permits = guarded.semaphore.try_acquire_many(3).unwrap();
        let other = spawn(&guarded, |guarded| {
            let permits = wait_for(guarded.semaphore.acquire_many(2)).unwrap();
            guarded.touch();
            drop(permits);
        });
        let (one, mut two) = (permits.split(1).unwrap(), permits.split(1).unwrap());
        two.merge(permits);
        assert_eq!((one.count(), two.count()), (1, 2));
        drop(one);
        drop(two);
        join([other]);
        guarded.assert_whole(3, 1);
    });
}

/// Permits are forgotten while one waits for two and others come back: none comes twice.
#[test]
fn forget_against_release_and_acquire() {
    explore(|| {
        let guarded = Guarded::new(2);
        let permit = guarded.semaphore.try_acquire().unwrap();
        let forgetter = spawn(&guarded, |guarded| {
            let forgotten = guarded.semaphore.forget_permits(1);
            guarded.semaphore.add_permits(forgotten);
        });
        let waiter = spawn(&guarded, |guarded| {
            let permits = wait_for(guarded.semaphore.acquire_many(2)).unwrap();
            guarded.touch();
            drop(permits);
        });
        drop(permit);
        join([forgetter, waiter]);
        guarded.assert_whole(2, 1);
    });
}

/// A waker that uses the semaphore is called by a release, and by the drop of a wait.
#[test]
fn waker_uses_the_semaphore() {
    explore(|| {
        let guarded = Guarded::new(1);
        let held = guarded.semaphore.try_acquire().unwrap();
        let begun = |count| {
            let theirs = guarded.clone();
            let waker = calling_waker(move || _ = format!("{:?}", theirs.semaphore));
            let theirs = guarded.clone();
            let mut hand =
                Hand::new(async move { theirs.semaphore.acquire_many(count).await.map(drop) });
            assert!(hand.poll_with(&mut Context::from_waker(&waker)).is_pending());
            hand
        };
        // The large one is dropped with a permit free: the small one behind it is granted.
        let (large, mut small) = (begun(2), begun(1));
        drop(held);
        drop(large);
        assert!(small.poll().is_ready());
        let held = guarded.semaphore.try_acquire().unwrap();
        let mut next = begun(1);
        drop(held);
        assert!(next.poll().is_ready());
        let held = guarded.semaphore.try_acquire().unwrap();
        let mut refused = begun(1);
        guarded.semaphore.close();
        assert!(refused.poll().is_ready());
        drop(held);
    });
}
