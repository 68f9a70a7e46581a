//! A lock is passed from one task to another.
//!
//! Code: `sync/lock/` as it is. The value is in a cell: loom checks that no two threads access it
//! at a time, and that each sees what the one before did.
//!
//! Properties: mutual exclusion; each wait gets the lock, else loom reports a deadlock; a waiter
//! that is dropped at any moment neither keeps the lock nor loses it.
//!
//! Actors: three that lock, of which one gives up, polls again, or only tries.
//!
//! Bound: 3 threads.

use std::sync::Arc;

use loom_tests::explore;
use ringloop::sync::{Lock, LockGuard, OwnedLockGuard, RwLock, RwLockWriteGuard};

use crate::{
    sync_tools::{Hand, join, spawn},
    tasks::wait_for,
};

fn add_one(lock: &Lock<usize>) {
    *wait_for(lock.lock()) += 1;
}

/// Asserts that it is free, with this value.
fn assert_free(lock: &Lock<usize>, value: usize) {
    assert_eq!(*lock.try_lock().expect("it is free"), value);
    assert!(format!("{lock:?}").contains("waiters: 0"));
}

/// Three that lock.
#[test]
fn mutual_exclusion() {
    explore(|| {
        let lock = Arc::new(Lock::new(0));
        let others = [spawn(&lock, add_one), spawn(&lock, add_one)];
        add_one(&lock);
        join(others);
        assert_free(&lock, 3);
    });
}

/// The first in the queue is dropped while it gets the lock; the second gets it (T43).
#[test]
fn granted_then_cancelled() {
    explore(|| {
        let lock = Arc::new(Lock::new(0));
        let guard = lock.try_lock().unwrap();
        let first = Hand::begun({
            let lock = lock.clone();
            async move { *lock.lock().await += 1 }
        });
        let second = spawn(&lock, add_one);
        let leaver = loom::thread::spawn(move || drop(first));
        drop(guard);
        join([second, leaver]);
        assert_free(&lock, 1);
    });
}

/// One thread only tries, between two that wait for each other.
#[test]
fn try_against_hand_over() {
    explore(|| {
        let lock = Arc::new(Lock::new(0));
        let other = spawn(&lock, add_one);
        let trier = spawn(&lock, |lock| {
            if let Ok(mut value) = lock.try_lock() {
                *value += 1;
                *value -= 1;
            }
        });
        add_one(&lock);
        join([other, trier]);
        assert_free(&lock, 2);
    });
}

/// Guards that are owned or mapped unlock as well; the last one frees the lock.
#[test]
fn mapped_and_owned() {
    explore(|| {
        let lock = Arc::new(Lock::new((0, 0)));
        let other = spawn(&lock, |lock| {
            let guard = wait_for(lock.lock());
            *LockGuard::map(guard, |pair| &mut pair.1) += 1;
        });
        let mut guard =
            OwnedLockGuard::map(wait_for(lock.clone().lock_owned()), |pair| &mut pair.0);
        drop(lock);
        *guard += 1;
        drop(guard);
        join([other]);
    });
}

/// A writer between two readers; readers share, and see both numbers the same.
#[test]
fn readers_and_a_writer() {
    explore(|| {
        let lock = Arc::new(RwLock::new((0, 0)));
        let reader = |lock: &RwLock<(usize, usize)>| {
            let pair = wait_for(lock.read());
            assert_eq!(pair.0, pair.1);
        };
        let others = [
            spawn(&lock, reader),
            spawn(&lock, |lock| {
                let mut pair = wait_for(lock.write());
                pair.0 += 1;
                pair.1 += 1;
            }),
        ];
        reader(&lock);
        join(others);
        assert_eq!(*lock.try_write().unwrap(), (1, 1));
    });
}

/// A writer becomes a reader: no other writer gets in between.
#[test]
fn downgrade() {
    explore(|| {
        let lock = Arc::new(RwLock::new(0));
        let other = spawn(&lock, |lock| *wait_for(lock.write()) += 1);
        let mut guard = wait_for(lock.write());
        *guard += 10;
        let before = *guard;
        let guard = RwLockWriteGuard::downgrade(guard);
        assert_eq!(*guard, before);
        drop(guard);
        join([other]);
        assert_eq!(*lock.try_write().unwrap(), 11);
    });
}

/// A writer gives up, at any stage, between a reader before it and one behind it: it keeps nothing,
/// and holds up neither.
#[test]
fn writer_leaves_between_readers() {
    explore(|| {
        let lock = Arc::new(RwLock::new(0));
        let first = lock.clone().try_read_owned().unwrap();
        let leaver = spawn(&lock, |lock| {
            let (wait, guard) = Hand::begun(lock.write());
            drop(wait);
            if let Some(mut guard) = guard {
                *guard += 1;
                *guard -= 1;
            }
        });
        let reader = spawn(&lock, |lock| assert_eq!(*wait_for(lock.read()), 0));
        drop(first);
        join([leaver, reader]);
        assert!(format!("{lock:?}").contains("waiters: 0"));
        assert_eq!(*lock.try_write().expect("it is free"), 0);
    });
}

/// The same while the reader before it stays: the one behind it does not wait for that.
#[test]
fn writer_leaves_while_a_reader_stays() {
    explore(|| {
        let lock = Arc::new(RwLock::new(0));
        let first = lock.clone().try_read_owned().unwrap();
        let leaver = spawn(&lock, |lock| {
            let (wait, guard) = Hand::begun(lock.write());
            assert!(guard.is_none(), "a reader has it");
            drop(wait);
        });
        let reader = spawn(&lock, |lock| assert_eq!(*wait_for(lock.read()), 0));
        join([leaver, reader]);
        drop(first);
        assert_eq!(*lock.try_write().expect("it is free"), 0);
    });
}

/// A reader gives up, at any stage, behind a writer.
#[test]
fn reader_leaves_behind_a_writer() {
    explore(|| {
        let lock = Arc::new(RwLock::new(0));
        let first = lock.clone().try_write_owned().unwrap();
        let writer = spawn(&lock, |lock| *wait_for(lock.write()) += 1);
        let leaver = spawn(&lock, |lock| {
            let (wait, guard) = Hand::begun(lock.read());
            drop(wait);
            drop(guard);
        });
        drop(first);
        join([writer, leaver]);
        assert_eq!(*lock.try_write().expect("it is free"), 1);
    });
}
