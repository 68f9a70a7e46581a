//! `RwLock` and `OnceCell`, and a property of all primitives.

use std::sync::Arc;

use futures_util::StreamExt;
use ringloop::sync::{
    Barrier, OnceCell, Queue, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, channel,
};
use ringloop::{spawn, yield_now};

use crate::harness::{deliberate, must_panic, on_every, scaled};
use crate::sync_tools::{
    Hand, by_hand, lets_others_run, meddling_waker, other_executor, send, send_sync,
};
use crate::tools::{Count, Flag, GiveUpAfter};

#[test]
fn readers_share_and_writers_do_not() {
    by_hand("rwlock", || {
        let lock = RwLock::new(1);
        let [one, two] = [(); 2].map(|()| lock.try_read().unwrap());
        assert!(lock.try_write().is_err());
        let writer = Hand::waiting(lock.write());
        assert!(lock.try_read().is_err(), "behind the writer");
        let reader = Hand::waiting(lock.read());
        assert_eq!(*one + *two, 2);
        drop(one);
        assert_eq!(writer.wakes(), 0);
        let shown = "RwLock { value: <locked>, readers: 1, written: false, waiters: 2 }";
        assert_eq!(format!("{lock:?}"), shown);
        drop(two);
        let mut guard = writer.finish();
        *guard += 1;
        assert_eq!(reader.wakes(), 0);
        let shown = "RwLock { value: <locked>, readers: 0, written: true, waiters: 1 }";
        assert_eq!(format!("{lock:?}"), shown);
        drop(guard);
        assert_eq!(*reader.finish(), 2);
        assert_eq!(
            format!("{lock:?}"),
            "RwLock { value: 2, readers: 0, written: false, waiters: 0 }"
        );
    });
}

#[test]
fn a_writer_that_leaves_lets_the_readers_go() {
    by_hand("rwlock cancel", || {
        let lock = RwLock::new(());
        let reader = lock.try_read().unwrap();
        let writer = Hand::waiting(lock.write());
        let readers = [(); 40].map(|()| Hand::waiting(lock.read()));
        drop(writer);
        let guards = readers.map(Hand::finish);
        drop(guards);
        // Granted, and dropped before it ran.
        let writer = Hand::waiting(lock.write());
        let next = Hand::waiting(lock.read());
        drop(reader);
        assert_eq!((writer.wakes(), next.wakes()), (1, 0));
        drop(writer);
        drop(next.finish());
        assert!(lock.try_write().is_ok());
    });
}

#[test]
fn downgrade_map_and_owned() {
    by_hand("rwlock guards", || {
        let lock = Arc::new(RwLock::new((1, [2, 3])));
        let mut guard = lock.try_write().unwrap();
        guard.0 = 5;
        let writer = Hand::waiting(lock.write());
        let guard = RwLockWriteGuard::downgrade(guard);
        assert_eq!((guard.0, writer.wakes()), (5, 0), "no writer gets in between");
        drop(writer);
        assert!(lock.try_read().is_ok());
        let list = RwLockReadGuard::map(guard, |pair| &pair.1);
        assert_eq!(*list, [2, 3]);
        assert!(lock.try_write().is_err());
        drop(list);
        let mut second = RwLockWriteGuard::map(lock.try_write().unwrap(), |pair| &mut pair.1[1]);
        *second = 9;
        assert!(lock.try_read().is_err());
        drop(second);
        let mut guard = other_executor(lock.clone().write_owned());
        guard.0 = 6;
        let guard = ringloop::sync::OwnedRwLockWriteGuard::downgrade(guard);
        let other = other_executor(lock.clone().read_owned());
        assert_eq!((guard.0, other.1), (6, [2, 9]));
        assert!(lock.clone().try_write_owned().is_err());
        drop((guard, other));
        send_sync(&lock);
        send(&lock.read());
        assert_eq!(Arc::into_inner(lock).unwrap().into_inner(), (6, [2, 9]));
        let words: Arc<RwLock<[u8]>> = Arc::new(RwLock::new([1, 2]));
        assert_eq!(words.clone().try_read_owned().unwrap().len(), words.blocking_read().len());
        words.blocking_write()[0] = 3;
    });
}

#[test]
fn readers_and_writers_on_all_workers() {
    // Goal: a writer is alone, readers see whole values; method: two numbers that are equal except
    // during a write; some of both give up.
    on_every(|cfg| {
        let lock = Arc::new(RwLock::new((0, 0)));
        let mut rng = cfg.rng(7);
        cfg.once(async {
            let tasks: Vec<_> = (0..12)
                .map(|i| {
                    let (lock, turns) = (lock.clone(), rng.below(6));
                    spawn(async move {
                        for _ in 0..scaled(20) {
                            if i % 3 == 0 {
                                let wait = GiveUpAfter::new(turns, lock.write());
                                let Some(mut pair) = wait.await else { continue };
                                pair.0 += 1;
                                yield_now().await;
                                pair.1 += 1;
                            } else {
                                let wait = GiveUpAfter::new(turns, lock.read());
                                let Some(pair) = wait.await else { continue };
                                assert_eq!(pair.0, pair.1);
                                yield_now().await;
                                assert_eq!(pair.0, pair.1);
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert!(lock.try_write().is_ok());
    });
}

#[test]
fn the_value_is_made_once() {
    on_every(|cfg| {
        let (cell, made) = (Arc::new(OnceCell::new()), Count::new());
        cfg.once(async {
            let tasks: Vec<_> = (0..20)
                .map(|i| {
                    let (cell, made) = (cell.clone(), made.clone());
                    spawn(async move {
                        let value = cell.get_or_init(async || {
                            made.add();
                            yield_now().await;
                            i
                        });
                        *value.await
                    })
                })
                .collect();
            for task in tasks {
                assert_eq!(task.await.ok().as_ref(), cell.get());
            }
        });
        assert_eq!(made.get(), 1);
    });
}

#[test]
fn a_failed_initialization_is_left_to_the_next() {
    // Method: the first is cancelled, the second fails, the third panics, the fourth makes it, the fifth
    // gets it.
    by_hand("once cell", || {
        let cell = OnceCell::new();
        let go = Flag::new();
        let first = Hand::waiting(cell.get_or_try_init(async || {
            go.wait().await;
            Ok::<_, &str>(1)
        }));
        let mut second = Hand::waiting(cell.get_or_try_init(async || Err("no")));
        let mut third = Hand::waiting(cell.get_or_init(async || deliberate("no value")));
        let mut fourth = Hand::waiting(cell.get_or_init(async || 4));
        let fifth = Hand::waiting(cell.get_or_init(async || unreachable!("there is a value")));
        assert!(!cell.set(9).unwrap_err().is_already_set());
        assert_eq!(format!("{cell:?}"), "OnceCell { value: None, waiters: 4 }");
        drop(first);
        assert_eq!(second.poll(), Some(Err("no")));
        must_panic(|| third.poll());
        drop(third);
        assert_eq!(fourth.poll(), Some(&4));
        assert_eq!(fifth.finish(), &4);
        assert_eq!(cell.get(), Some(&4));
        assert!(cell.set(9).unwrap_err().is_already_set());
        assert_eq!(format!("{cell:?}"), "OnceCell { value: Some(4), waiters: 0 }");
    });
}

#[test]
fn plain_ways_of_a_once_cell() {
    by_hand("once cell ways", || {
        let mut cell = OnceCell::from("a".to_owned());
        cell.get_mut().unwrap().push('b');
        assert_eq!(cell.into_inner().as_deref(), Some("ab"));
        assert_eq!(OnceCell::<u8>::default().get(), None);
        let cell = Arc::new(OnceCell::new());
        let mut waits = Vec::new();
        let making = Hand::waiting(cell.get_or_init(std::future::pending));
        for _ in 0..3 {
            let mut wait = Hand::new(cell.get_or_init(async || 1));
            let cell = cell.clone();
            let waker = meddling_waker(move || drop(format!("{cell:?}")));
            assert!(wait.poll_with(&waker).is_none());
            waits.push(wait);
        }
        drop(making);
        assert!(waits.iter_mut().all(|wait| wait.poll() == Some(&1)));
        send_sync(&cell);
    });
}

#[test]
fn a_value_that_is_there_does_not_keep_the_worker() {
    // D-10.
    on_every(|cfg| {
        cfg.once(async {
            let (cell, lock, done) = (OnceCell::from(1), RwLock::new(1), Flag::new());
            let other = {
                let done = done.clone();
                spawn(async move { done.set() })
            };
            while !done.is_set() {
                cell.get_or_init(async || 2).await;
            }
            other.await.unwrap();
            let done = Flag::new();
            let other = {
                let done = done.clone();
                spawn(async move { done.set() })
            };
            while !done.is_set() {
                drop(lock.read().await);
            }
            other.await.unwrap();
        });
    });
}

#[test]
fn closed_primitives_do_not_keep_the_worker() {
    // D-10. Formerly an immediate refusal cost no budget.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let semaphore = Semaphore::new(1);
            semaphore.close();
            lets_others_run("acquire", async || assert!(semaphore.acquire().await.is_err())).await;
            let queue = Queue::bounded(1);
            queue.shutdown();
            lets_others_run("get", async || assert!(queue.get().await.is_err())).await;
            lets_others_run("put", async || assert!(queue.put(1).await.is_err())).await;
            lets_others_run("join", async || queue.join().await).await;
            let mut items = queue.stream();
            lets_others_run("stream", async || assert_eq!(items.next().await, None)).await;
            let (sender, receiver) = channel(1);
            lets_others_run("send and recv", async || {
                sender.send(1).await.unwrap();
                assert_eq!(receiver.recv().await, Ok(1));
            })
            .await;
            drop(sender);
            lets_others_run("recv", async || assert!(receiver.recv().await.is_err())).await;
            let (sender, receiver) = channel(1);
            drop(receiver);
            lets_others_run("send", async || assert!(sender.send(1).await.is_err())).await;
            let barrier = Barrier::new(2);
            barrier.abort();
            lets_others_run("barrier", async || assert!(barrier.wait().await.is_err())).await;
        });
    });
}
