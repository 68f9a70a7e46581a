//! `Condition`: notifications are neither lost nor doubled, and the lock is held on return.

use std::sync::Arc;

use ringloop::sync::{Condition, Lock};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every, scaled};
use crate::sync_tools::{
    Hand, by_hand, lets_others_run, meddling_waker, other_executor, send, send_sync,
};
use crate::tools::Count;

#[test]
fn notified_then_cancelled_before_it_runs() {
    // T49, before the wake arrives. Method: two wait, one is notified and dropped; the other gets it.
    by_hand("T49 before", || {
        let (lock, condition) = (Lock::new(()), Condition::new());
        let [first, second] =
            [(); 2].map(|()| Hand::waiting(condition.wait(lock.try_lock().unwrap())));
        condition.notify_one(&lock.try_lock().unwrap());
        assert_eq!((first.wakes(), second.wakes()), (1, 0));
        drop(first);
        drop(second.finish());
        assert!(lock.try_lock().is_ok());
        assert_eq!(format!("{condition:?}"), "Condition { waiters: 0 }");
    });
}

#[test]
fn notified_then_cancelled_while_it_locks_again() {
    // T49, while re-locking. Method: as above, but the first one is polled, and finds the lock held; it
    // goes while it waits for the lock, or after the lock was handed to it.
    by_hand("T49 re-locking", || {
        for granted in [false, true] {
            let (lock, condition) = (Lock::new(()), Condition::new());
            let [mut first, mut second] =
                [(); 2].map(|()| Hand::waiting(condition.wait(lock.try_lock().unwrap())));
            let guard = lock.try_lock().unwrap();
            condition.notify_one(&guard);
            assert!(first.poll().is_none(), "the lock is held");
            assert!(format!("{lock:?}").contains("waiters: 1"));
            if granted {
                drop(guard);
                assert!(lock.try_lock().is_err(), "it is the first one's");
                drop(first);
            } else {
                drop(first);
                drop(guard);
            }
            assert_eq!(second.wakes(), 1);
            let guard = second.poll().expect("it is notified, and the lock is free");
            assert!(lock.try_lock().is_err(), "T50: it returns with the lock held");
            drop(guard);
            assert!(lock.try_lock().is_ok());
        }
    });
}

#[test]
fn cancelled_wait_leaves_the_lock_to_others() {
    // T50. Goal: the lock is never held by a wait that is gone; method: dropped unpolled, waiting, and
    // while it locks again.
    by_hand("T50", || {
        let (lock, condition) = (Lock::new(()), Condition::new());
        drop(condition.wait(lock.try_lock().unwrap()));
        assert!(lock.try_lock().is_ok(), "unpolled");
        drop(Hand::waiting(condition.wait(lock.try_lock().unwrap())));
        assert!(lock.try_lock().is_ok(), "waiting");
        let mut wait = Hand::waiting(condition.wait(lock.try_lock().unwrap()));
        let guard = lock.try_lock().unwrap();
        condition.notify_one(&guard);
        assert!(wait.poll().is_none());
        drop(wait);
        drop(guard);
        assert!(lock.try_lock().is_ok(), "re-locking");
    });
}

#[test]
fn as_many_as_asked_for_in_order() {
    by_hand("count", || {
        let (lock, condition) = (Lock::new(()), Condition::new());
        let waits: Vec<_> =
            (0..80).map(|_| Hand::waiting(condition.wait(lock.try_lock().unwrap()))).collect();
        condition.notify(0, &lock.try_lock().unwrap());
        condition.notify(40, &lock.try_lock().unwrap());
        let woken: Vec<_> = waits.iter().map(Hand::wakes).collect();
        assert_eq!(woken, [vec![1; 40], vec![0; 40]].concat());
        condition.notify_all(&lock.try_lock().unwrap());
        waits.into_iter().for_each(|wait| drop(wait.finish()));
        condition.notify_one(&lock.try_lock().unwrap());
        condition.notify_all(&lock.try_lock().unwrap());
        let late = Hand::waiting(condition.wait(lock.try_lock().unwrap()));
        assert_eq!(late.wakes(), 0, "a notification is not kept");
    });
}

#[test]
fn everyone_is_no_one_in_particular() {
    // Goal: one of those who were all notified leaves, and nobody who came later is woken for it.
    by_hand("all", || {
        let (lock, condition) = (Lock::new(()), Condition::new());
        let [first, second] =
            [(); 2].map(|()| Hand::waiting(condition.wait(lock.try_lock().unwrap())));
        condition.notify_all(&lock.try_lock().unwrap());
        let later = Hand::waiting(condition.wait(lock.try_lock().unwrap()));
        drop(first);
        assert_eq!(later.wakes(), 0);
        drop(second.finish());
        // One that was notified by itself passes it on.
        let next = Hand::waiting(condition.wait(lock.try_lock().unwrap()));
        condition.notify_one(&lock.try_lock().unwrap());
        assert_eq!((later.wakes(), next.wakes()), (1, 0));
        drop(later);
        drop(next.finish());
    });
}

#[test]
fn one_lock_at_a_time() {
    by_hand("two locks", || {
        let (lock, other, condition) = (Lock::new(()), Lock::new(()), Condition::new());
        let wait = Hand::waiting(condition.wait(lock.try_lock().unwrap()));
        let guard = other.try_lock().unwrap();
        for notify in [Condition::notify_one, Condition::notify_all] {
            let text = must_panic(|| notify(&condition, &guard));
            assert_eq!(text, "one condition was used with two locks at a time");
        }
        must_panic(|| Hand::new(condition.wait(guard)).poll());
        assert!(other.try_lock().is_ok(), "its guard was dropped");
        drop(wait);
        let wait = Hand::waiting(condition.wait(other.try_lock().unwrap()));
        condition.notify_one(&other.try_lock().unwrap());
        drop(wait.finish());
    });
}

#[test]
fn owned_guards_wait_as_well() {
    by_hand("owned", || {
        let (lock, condition) = (Arc::new(Lock::new(3)), Arc::new(Condition::new()));
        send_sync(&condition);
        let wait = condition.wait_while(lock.clone().try_lock_owned().unwrap(), |n| *n > 0);
        send(&wait);
        let mut wait = Hand::waiting(wait);
        for left in (0..3).rev() {
            let mut guard = lock.clone().try_lock_owned().unwrap();
            *guard = left;
            condition.notify_one(&guard);
            drop(guard);
            let got = wait.poll();
            assert_eq!(got.map(|guard| *guard), (left == 0).then_some(0));
        }
    });
}

#[test]
fn a_waker_may_use_condition_and_lock() {
    // S6.
    by_hand("meddling", || {
        let (lock, condition) = (Arc::new(Lock::new(())), Arc::new(Condition::new()));
        let mut waits = Vec::new();
        for _ in 0..40 {
            let mut wait = Hand::new(condition.wait(lock.try_lock().unwrap()));
            let (lock, condition) = (lock.clone(), condition.clone());
            let waker = meddling_waker(move || {
                let _ = format!("{lock:?} {condition:?}");
                if let Ok(guard) = lock.try_lock() {
                    condition.notify(0, &guard);
                }
            });
            assert!(wait.poll_with(&waker).is_none());
            waits.push(wait);
        }
        condition.notify_all(&lock.try_lock().unwrap());
        for mut wait in waits {
            drop(wait.poll().expect("notified"));
        }
    });
}

#[test]
fn producers_and_consumers() {
    // Goal: nothing is lost between tasks, threads and cancels; method: a buffer of three places with two
    // conditions, producers and consumers on tasks and on threads; some consumers give up now and then.
    struct Buffer {
        items: Lock<Vec<usize>>,
        more: Condition,
        room: Condition,
    }
    impl Buffer {
        async fn put(&self, item: usize) {
            let items = self.items.lock().await;
            let mut items = self.room.wait_while(items, |items| items.len() == 3).await;
            items.push(item);
            self.more.notify_one(&items);
        }
        async fn take(&self) -> usize {
            let items = self.items.lock().await;
            let mut items = self.more.wait_while(items, |items| items.is_empty()).await;
            let item = items.pop().expect("it is not empty");
            self.room.notify_one(&items);
            item
        }
    }
    on_every(|cfg| {
        let buffer = Arc::new(Buffer {
            items: Lock::new(Vec::new()),
            more: Condition::new(),
            room: Condition::new(),
        });
        let n = scaled(60);
        let runtime = cfg.runtime();
        let (sum, mut rng) = (Count::new(), cfg.rng(49));
        let thread = {
            let buffer = buffer.clone();
            std::thread::spawn(move || {
                for i in 0..n {
                    other_executor(buffer.put(i));
                }
            })
        };
        let producer = {
            let buffer = buffer.clone();
            runtime.spawn(async move {
                for i in 0..n {
                    buffer.put(i).await;
                }
            })
        };
        let consumers: Vec<_> = (0..4)
            .map(|_| {
                let (buffer, sum, turns) = (buffer.clone(), sum.clone(), 1 + rng.below(5));
                runtime.spawn(async move {
                    let mut taken = 0;
                    while taken < n / 2 {
                        let take = crate::tools::GiveUpAfter::new(turns, buffer.take());
                        if take.await.is_some() {
                            taken += 1;
                            sum.add();
                        }
                        yield_now().await;
                    }
                })
            })
            .collect();
        runtime.must_run(async {
            producer.await.unwrap();
            for consumer in consumers {
                consumer.await.unwrap();
            }
        });
        thread.join().unwrap();
        assert_eq!((sum.get(), buffer.items.blocking_lock().len()), (2 * n, 0));
    });
}

#[test]
fn tasks_wait_for_their_turn() {
    // Goal: `notify_all` and a predicate of one's own each; method: tasks go in the order of a number.
    on_every(|cfg| {
        cfg.once(async {
            let shared = Arc::new((Lock::new(0), Condition::new()));
            let tasks: Vec<_> = (0..10)
                .rev()
                .map(|turn| {
                    let shared = shared.clone();
                    spawn(async move {
                        let (now, changed) = &*shared;
                        let now = now.lock().await;
                        let mut now = changed.wait_while(now, |now| *now != turn).await;
                        *now += 1;
                        changed.notify_all(&now);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*shared.0.lock().await, 10);
        });
    });
}

#[test]
fn a_value_that_is_not_busy_does_not_keep_the_worker() {
    // D-10. Once: a wait that had not to wait was free.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let (lock, condition) = (Lock::new(0), Condition::new());
            let mut guard = Some(lock.lock().await);
            lets_others_run("wait_while", async || {
                let kept = guard.take().unwrap();
                guard = Some(condition.wait_while(kept, |value| *value != 0).await);
                assert!(lock.is_locked(), "also while it yields");
            })
            .await;
        });
    });
}
