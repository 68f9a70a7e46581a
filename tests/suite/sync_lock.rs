//! `Lock`: order, passing on, cancellation, guards.

use std::sync::Arc;

use ringloop::sync::{Lock, LockGuard, OwnedLockGuard, Semaphore};
use ringloop::{Task, spawn, yield_now};

use crate::harness::{
    ErrorLog, Kind, deliberate, must_panic, on_every, scaled, wait_until, wait_until_async,
};
use crate::sync_tools::{
    Hand, by_hand, meddling_waker, other_executor, panicking_waker, polled, send, send_sync,
};
use crate::tools::{Count, CountWakes, Flag, Log};

#[test]
fn t42_grants_rotate() {
    // T42. Goal: first come, first served; method: three tasks loop on a lock and let the others run
    // while they hold it. On one worker the order is exact.
    on_every(|cfg| {
        let (lock, log) = (Arc::new(Lock::new(())), Log::new());
        let run = async {
            let tasks = ["a", "b", "c"].map(|name| {
                let (lock, log) = (lock.clone(), log.clone());
                spawn(async move {
                    for _ in 0..4 {
                        let _guard = lock.lock().await;
                        log.push(name);
                        yield_now().await;
                    }
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
        };
        cfg.once(run);
        let order = log.take().concat();
        assert_eq!(order.len(), 12);
        if cfg.single() {
            assert_eq!(order, "abcabcabcabc");
        }
    });
}

#[test]
fn t43_granted_then_cancelled_goes_to_the_next() {
    // T43. Goal: never two owners, never none; method: the first waiter is granted the lock and
    // dropped before it runs, in each position of the queue.
    by_hand("T43", || {
        let lock = Lock::new(0);
        let holder = lock.try_lock().unwrap();
        let first = Hand::waiting(lock.lock());
        let mut second = Hand::waiting(lock.lock());
        let third = Hand::waiting(lock.lock());
        drop(holder);
        assert_eq!((first.wakes(), second.wakes()), (1, 0));
        assert!(lock.try_lock().is_err(), "the first has it");
        assert!(second.poll().is_none(), "and not the second");
        drop(first);
        assert_eq!((second.wakes(), third.wakes()), (1, 0));
        assert!(lock.try_lock().is_err(), "the second has it");
        let guard = second.finish();
        assert_eq!(third.wakes(), 0);
        drop(guard);
        drop(third.finish());
        assert_eq!(lock.into_inner(), 0);
    });
}

#[test]
fn t44_cancelled_in_the_queue_is_passed_over() {
    // T44. Method: of four waiters, the first, one in the middle and the last are dropped before
    // the holder unlocks.
    by_hand("T44", || {
        let lock = Lock::new(());
        let holder = lock.try_lock().unwrap();
        let [a, b, c, d] = [(); 4].map(|()| Hand::waiting(lock.lock()));
        drop(a);
        drop(c);
        drop(d);
        drop(holder);
        drop(b.finish());
        // The queue is empty again.
        let holder = lock.try_lock().unwrap();
        let e = Hand::waiting(lock.lock());
        drop(holder);
        drop(e.finish());
        assert!(lock.try_lock().is_ok());
    });
}

#[test]
fn t45_panic_cancel_and_abort_unlock() {
    // T45. Goal: a guard that is dropped in any way unlocks for the next.
    on_every(|cfg| {
        for way in 0..3 {
            cfg.once(async {
                let lock = Arc::new(Lock::new(0));
                let (held, go) = (Flag::new(), Flag::new());
                let holder = {
                    let (lock, held, go) = (lock.clone(), held.clone(), go.clone());
                    spawn(async move {
                        let _guard = lock.lock().await;
                        held.set();
                        go.wait().await;
                        deliberate("with the lock");
                    })
                };
                held.wait().await;
                let next = {
                    let lock = lock.clone();
                    spawn(async move { *lock.lock().await += 1 })
                };
                match way {
                    0 => go.set(),
                    1 => drop(holder.cancel()),
                    _ => drop(holder.abort()),
                }
                next.await.unwrap();
                assert_eq!(holder.await.unwrap_err().is_panicked(), way == 0);
                assert_eq!(*lock.try_lock().unwrap(), 1);
            });
        }
    });
}

#[test]
fn newcomers_wait_behind_the_queue() {
    // Goal: no barging; method: the lock is the first waiter's from the moment that it is released.
    by_hand("no barging", || {
        let lock = Lock::new(());
        let holder = lock.try_lock().unwrap();
        let first = Hand::waiting(lock.lock());
        drop(holder);
        let newcomer = Hand::waiting(lock.lock());
        assert!(lock.try_lock().is_err());
        let guard = first.finish();
        assert_eq!(newcomer.wakes(), 0);
        drop(guard);
        drop(newcomer.finish());
    });
}

#[test]
fn a_free_lock_does_not_keep_the_worker() {
    // D-10. Goal: others run beside a task that finds the lock free again and again; method: it
    // goes on until another task has run, on one worker too.
    on_every(|cfg| {
        cfg.once(async {
            let (lock, done) = (Lock::new(()), Flag::new());
            let other = {
                let done = done.clone();
                spawn(async move { done.set() })
            };
            while !done.is_set() {
                drop(lock.lock().await);
            }
            other.await.unwrap();
        });
    });
}

#[test]
fn only_the_last_waker_is_woken() {
    // Goal: a wait that moves to another task is woken there; method: two wakers, one after the
    // other.
    by_hand("wakers", || {
        let lock = Lock::new(());
        let holder = lock.try_lock().unwrap();
        let mut wait = Hand::waiting(lock.lock());
        let (waker, wakes) = CountWakes::waker();
        assert!(wait.poll_with(&waker).is_none());
        drop(holder);
        assert_eq!((wait.wakes(), wakes.get()), (0, 1));
        assert!(wait.poll_with(&waker).is_some());
    });
}

#[test]
fn wakers_are_called_without_the_lock() {
    // S6. Method: a waker whose wake and drop try to lock.
    by_hand("meddling", || {
        let lock = Arc::new(Lock::new(()));
        for _ in 0..3 {
            let meddler = || {
                let lock = lock.clone();
                meddling_waker(move || {
                    let _ = format!("{lock:?}");
                    drop(lock.try_lock());
                })
            };
            let holder = lock.try_lock().unwrap();
            let mut waits = [(); 4].map(|()| Hand::new(lock.lock()));
            for wait in &mut waits {
                assert!(wait.poll_with(&meddler()).is_none());
                assert!(wait.poll_with(&meddler()).is_none());
            }
            let [a, b, c, mut d] = waits;
            drop(b);
            drop(holder);
            drop(a);
            drop(c);
            drop(d.poll().expect("it is its turn"));
        }
    });
}

#[test]
fn a_panic_in_a_waker_affects_no_other() {
    // S8. Method: the first waiter's waker panics; it keeps its position, and the next is woken.
    by_hand("panic in a waker", || {
        let lock = Lock::new(());
        let holder = lock.try_lock().unwrap();
        let mut first = Hand::new(lock.lock());
        assert!(first.poll_with(&panicking_waker()).is_none());
        let second = Hand::waiting(lock.lock());
        drop(holder);
        drop(first.poll().expect("it was granted"));
        drop(second.finish());
    });
}

#[test]
fn guards_borrowed_owned_and_mapped() {
    by_hand("guards", || {
        let lock = Arc::new(Lock::new((1, vec![2, 3])));
        {
            let mut guard = lock.try_lock().unwrap();
            guard.0 += 10;
            let mut list = LockGuard::map(guard, |pair| &mut pair.1);
            list.push(4);
            let Ok(guard) = lock.try_lock() else {
                let mut last = ringloop::sync::MappedLockGuard::map(list, |list| &mut list[2]);
                *last += 1;
                assert!(lock.try_lock().is_err());
                assert_eq!(format!("{last} {last:?}"), "5 5");
                drop(last);
                assert_eq!(*lock.try_lock().unwrap(), (11, vec![2, 3, 5]));
                return;
            };
            unreachable!("a mapped guard holds the lock: {guard:?}");
        }
    });
    by_hand("owned guards", || {
        let lock = Arc::new(Lock::new((1, vec![2, 3])));
        let guard = lock.clone().try_lock_owned().unwrap();
        let Err(guard) = OwnedLockGuard::try_map(guard, |pair| pair.1.get_mut(9)) else {
            unreachable!("there are two owners");
        };
        let mut second = OwnedLockGuard::map(guard, |pair| &mut pair.1);
        second[0] = 7;
        assert!(lock.try_lock().is_err());
        drop(second);
        let first =
            LockGuard::try_map(lock.try_lock().unwrap(), |pair| pair.1.first_mut()).unwrap();
        assert_eq!(*first, 7);
        drop(first);
        let mut guard = other_executor(lock.clone().lock_owned());
        guard.0 = 0;
        drop(guard);
        assert_eq!(Arc::into_inner(lock).unwrap().into_inner(), (0, vec![7, 3]));
    });
}

#[test]
fn unsized_values_and_plain_ways() {
    by_hand("unsized", || {
        let shapes: Arc<Lock<[u8]>> = Arc::new(Lock::new([1, 2, 3]));
        shapes.try_lock().unwrap()[1] = 9;
        assert_eq!(shapes.clone().try_lock_owned().unwrap().iter().sum::<u8>(), 13);
        let mut lock = Lock::<u32>::default();
        *lock.get_mut() = 4;
        assert_eq!(Lock::from(4).into_inner(), lock.into_inner());
        static LOCK: Lock<u32> = Lock::new(3);
        assert_eq!(*LOCK.try_lock().unwrap(), 3);
    });
}

#[test]
fn threads_and_tasks_share_a_queue() {
    // Goal: `blocking_lock` beside tasks; method: both count with the lock held.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let lock = Arc::new(Lock::new(0));
        let n = scaled(200);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                std::thread::spawn(move || (0..n).for_each(|_| *lock.blocking_lock() += 1))
            })
            .collect();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let lock = lock.clone();
                runtime.spawn(async move {
                    for _ in 0..n {
                        let mut guard = lock.lock().await;
                        let before = *guard;
                        yield_now().await;
                        *guard = before + 1;
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| runtime.must_run(task).unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*lock.blocking_lock_owned(), 6 * n);
    });
}

#[test]
fn blocking_inside_a_task_is_refused() {
    on_every(|cfg| {
        cfg.once(async {
            let lock = Lock::new(());
            let text = must_panic(|| drop(lock.blocking_lock()));
            assert!(text.contains("blocking call on a worker's thread"), "{text}");
            assert!(lock.try_lock().is_ok());
            // Threads of the pool may block.
            let lock = Arc::new(lock);
            ringloop::to_thread(move || drop(lock.blocking_lock())).await.unwrap();
        });
    });
}

#[test]
fn a_task_that_waits_for_itself_is_named() {
    // Goal: the debug report; method: one future of a `join!` holds the lock for which the other
    // waits. It is reported once, and the wait ends when the first unlocks.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let lock = Arc::new(Lock::new(()));
            let task = spawn(async move {
                for _ in 0..3 {
                    let guard = lock.lock().await;
                    let mut again = Box::pin(lock.lock());
                    assert!(polled(again.as_mut()).await.is_pending());
                    if cfg!(debug_assertions) {
                        let shown = format!("{lock:?}");
                        assert!(shown.contains("holder: TaskId("), "{shown}");
                    }
                    drop(guard);
                    drop(again.await);
                }
                // A task that waits for another one is not named.
                let guard = lock.clone().lock_owned().await;
                let other = spawn(async move { drop(lock.lock().await) });
                yield_now().await;
                drop(guard);
                other.await.unwrap();
            });
            let id = task.id();
            task.await.unwrap();
            let texts = log.take(Kind::Other);
            if cfg!(debug_assertions) {
                assert_eq!(texts.len(), 1, "{texts:?}");
                assert!(texts[0].starts_with(&format!("task {id} ")), "{texts:?}");
                assert!(texts[0].contains("a lock that it acquired itself"), "{texts:?}");
            } else {
                assert!(texts.is_empty());
            }
        });
        log.assert_silent();
    });
}

#[test]
fn a_guard_passed_to_another_task_uses_up_no_other_report() {
    // Formerly a lock was reported once in all, even for a task that had passed its guard on.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let lock = Arc::new(Lock::new(()));
            let theirs = lock.clone();
            let hands_on = spawn(async move {
                let guard = theirs.clone().lock_owned().await;
                let go = Arc::new(Semaphore::new(0));
                let going = go.clone();
                let other = spawn(async move {
                    let _guard = guard;
                    drop(going.acquire().await);
                });
                let mut wait = Box::pin(theirs.lock());
                assert!(polled(wait.as_mut()).await.is_pending());
                go.add_permits(1);
                drop(wait.await);
                other.await.unwrap();
            });
            hands_on.await.unwrap();
            let waits_for_itself = spawn(async move {
                let guard = lock.lock().await;
                let mut again = Box::pin(lock.lock());
                assert!(polled(again.as_mut()).await.is_pending());
                drop(guard);
                drop(again.await);
            });
            let id = waits_for_itself.id();
            waits_for_itself.await.unwrap();
            let texts = log.take(Kind::Other);
            if cfg!(debug_assertions) {
                assert_eq!(texts.len(), 2, "{texts:?}");
                assert!(texts[0].contains("unless it handed the guard on"), "{texts:?}");
                assert!(texts[1].starts_with(&format!("task {id} ")), "{texts:?}");
            } else {
                assert!(texts.is_empty());
            }
        });
        log.assert_silent();
    });
}

#[test]
fn debug_shows_state_and_waiters() {
    by_hand("debug", || {
        let lock = Lock::new(7);
        assert_eq!(format!("{lock:?}"), "Lock { value: 7, waiters: 0 }");
        let guard = lock.try_lock().unwrap();
        let waits = [(); 2].map(|()| Hand::waiting(lock.lock()));
        assert_eq!(format!("{lock:?}"), "Lock { value: <locked>, waiters: 2 }");
        drop((guard, waits));
        assert_eq!(lock.try_lock().map(|guard| *guard), Ok(7));
        let error = {
            let _guard = lock.try_lock().unwrap();
            lock.try_lock().unwrap_err()
        };
        assert_eq!(error.to_string(), "the lock is held");
    });
}

#[test]
fn send_and_sync() {
    by_hand("bounds", || {
        let lock = Arc::new(Lock::new(std::cell::Cell::new(1)));
        send_sync(&lock);
        let guard = lock.try_lock().unwrap();
        send(&guard);
        send(&LockGuard::map(guard, |cell| cell));
        let guard = lock.clone().try_lock_owned().unwrap();
        send(&guard);
        send(&OwnedLockGuard::map(guard, |cell| cell));
        send(&lock.lock());
        let lock = Lock::new(1);
        send_sync(&lock.try_lock().unwrap());
        send_sync(&Semaphore::new(1).try_acquire().unwrap());
    });
}

#[test]
fn cancels_at_every_turn_keep_the_lock_intact() {
    // Goal: mutual exclusion and no lost lock with random cancels; method: tasks that give up after
    // a few turns, some of them aborted; at the end the lock is free and the count right.
    on_every(|cfg| {
        let (lock, counted) = (Arc::new(Lock::new(0)), Count::new());
        let mut rng = cfg.rng(42);
        cfg.once(async {
            let tasks: Vec<Task<()>> = (0..scaled(150))
                .map(|_| {
                    let (lock, counted, turns) = (lock.clone(), counted.clone(), rng.below(6));
                    spawn(async move {
                        for _ in 0..10 {
                            let wait = crate::tools::GiveUpAfter::new(turns, lock.lock());
                            let Some(mut guard) = wait.await else { continue };
                            let before = *guard;
                            yield_now().await;
                            *guard = before + 1;
                            counted.add();
                        }
                    })
                })
                .collect();
            for (i, task) in tasks.iter().enumerate() {
                if i % 7 == 0 {
                    task.abort();
                }
                yield_now().await;
            }
            for task in tasks {
                let _ = task.await;
            }
            wait_until_async(|| lock.try_lock().is_ok(), || "the lock is free".into()).await;
        });
        // An aborted task may not have counted the last change that it made.
        let value = *lock.try_lock().unwrap();
        assert!(value >= counted.get() && value > 0, "{value} {}", counted.get());
        assert!(format!("{lock:?}").contains("waiters: 0"));
        wait_until(|| !lock.is_locked(), || "free".into());
    });
}
