//! `Condition`: notifications are neither lost nor doubled, and the lock is held on return.

use std::sync::Arc;
use std::time::Duration;

use ringloop::sync::{Condition, Lock};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every, scaled};
use crate::sync_tools::{
    Hand, by_hand, lets_others_run, meddling_waker, other_executor, send, send_sync,
};
use crate::tools::Count;

#[test]
fn t49_notified_then_cancelled_before_it_runs() {
    // T49, before the notified wait runs. Method: two wait, one is notified and dropped; the other
    // is notified.
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
fn t49_notified_then_cancelled_while_it_locks_again() {
    // T49, while it locks again. Method: as above, but the first one is polled, and finds the lock
    // held; it is dropped while it waits for the lock, or after it got the lock.
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
fn t50_cancelled_wait_leaves_the_lock_to_others() {
    // T50. Goal: a dropped wait never keeps the lock; method: dropped unpolled, waiting, and while
    // it locks again.
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
fn notify_wakes_n_waiters_in_order() {
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
fn a_wait_notified_with_all_passes_nothing_on() {
    // Goal: one of several waits that were all notified is dropped, and no later one is woken for
    // it.
    by_hand("all", || {
        let (lock, condition) = (Lock::new(()), Condition::new());
        let [first, second] =
            [(); 2].map(|()| Hand::waiting(condition.wait(lock.try_lock().unwrap())));
        condition.notify_all(&lock.try_lock().unwrap());
        let later = Hand::waiting(condition.wait(lock.try_lock().unwrap()));
        drop(first);
        assert_eq!(later.wakes(), 0);
        drop(second.finish());
        // A wait that was notified by itself passes it on.
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
    // Goal: nothing is lost between tasks, threads and cancels; method: a buffer of three items
    // with two conditions, producers and consumers on tasks and on threads; some consumers give up
    // now and then.
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
        let sum = Count::new();
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
        // The number of polls is drawn anew each time: consumers that all give up after one poll
        // would pass the lock round among themselves, each dropping it just when it was given.
        let consumers: Vec<_> = (0..4)
            .map(|consumer| {
                let (buffer, sum, mut rng) = (buffer.clone(), sum.clone(), cfg.rng(49 + consumer));
                runtime.spawn(async move {
                    let mut taken = 0;
                    while taken < n / 2 {
                        let turns = 1 + rng.below(5);
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
    // Goal: `notify_all` with a predicate for each task; method: tasks go in the order of a number.
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
    // D-10. Formerly a wait that was ready at once cost no budget.
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

#[test]
fn a_wait_with_a_limit_returns_the_guard() {
    // Formerly only a `timeout` around `wait` set a limit, and it dropped the guard.
    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(1);
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (lock, changed) = (Arc::new(Lock::new(1)), Arc::new(Condition::new()));
            for limit in [Duration::ZERO, SHORT] {
                let guard = lock.lock().await;
                let (mut guard, notified) = changed.wait_timeout(guard, limit).await;
                notified.unwrap_err();
                assert!(lock.is_locked());
                *guard += 1;
                assert_eq!(format!("{changed:?}"), "Condition { waiters: 0 }");
            }
            assert_eq!(*lock.lock().await, 3);

            // Notified in time; by an owned guard.
            let task = {
                let (lock, changed) = (lock.clone(), changed.clone());
                spawn(async move {
                    let guard = lock.lock_owned().await;
                    let (mut guard, notified) = changed.wait_timeout(guard, LONG).await;
                    *guard += 1;
                    notified
                })
            };
            while changed_waiters(&changed) == 0 {
                yield_now().await;
            }
            changed.notify_one(&lock.lock().await);
            assert_eq!(task.await.unwrap(), Ok(()));

            // The value decides, not the notification.
            let guard = lock.lock().await;
            let (guard, idle) = changed.wait_timeout_while(guard, LONG, |value| *value != 4).await;
            assert_eq!((*guard, idle), (4, Ok(())), "at once");
            let (guard, idle) = changed.wait_timeout_while(guard, SHORT, |value| *value == 4).await;
            assert!(idle.is_err() && *guard == 4 && lock.is_locked());
            drop(guard);
            let task = {
                let (lock, changed) = (lock.clone(), changed.clone());
                spawn(async move {
                    let guard = lock.lock_owned().await;
                    let (guard, idle) =
                        changed.wait_timeout_while(guard, LONG, |value| *value < 10).await;
                    (*guard, idle)
                })
            };
            while !task.is_finished() {
                let mut value = lock.lock().await;
                *value += 1;
                changed.notify_all(&value);
                drop(value);
                yield_now().await;
            }
            let (value, idle) = task.await.unwrap();
            assert!(value >= 10 && idle.is_ok());
        });
        let (lock, changed) = (Lock::new(1), Condition::new());
        let (guard, notified) = changed.blocking_wait_timeout(lock.blocking_lock(), SHORT);
        assert!(notified.is_err() && *guard == 1);
        drop(guard);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while changed_waiters(&changed) == 0 {
                    std::thread::yield_now();
                }
                changed.notify_one(&lock.blocking_lock());
            });
            let guard = lock.blocking_lock();
            assert!(changed.blocking_wait_timeout(guard, LONG).1.is_ok());
        });
    });
}

fn changed_waiters(condition: &Condition) -> usize {
    let shown = format!("{condition:?}");
    shown.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
}

#[test]
fn a_wait_that_gives_up_keeps_no_notification() {
    // Goal: a notification is either used or passed on; method: waits with short limits beside
    // waits without; each token is put and notified once, and all are taken.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let n = scaled(40);
        let shared = Arc::new((Lock::new(0usize), Condition::new()));
        let patient = {
            let shared = shared.clone();
            runtime.spawn(async move {
                for _ in 0..n {
                    let (tokens, more) = &*shared;
                    let tokens = tokens.lock().await;
                    *more.wait_while(tokens, |tokens| *tokens == 0).await -= 1;
                }
            })
        };
        let hasty: Vec<_> = (0..3u64)
            .map(|micros| {
                let shared = shared.clone();
                runtime.spawn(async move {
                    let (tokens, more) = &*shared;
                    loop {
                        let limit = Duration::from_micros(20 * micros);
                        let (tokens, _) = more.wait_timeout(tokens.lock().await, limit).await;
                        // A wait that is notified must check, and this one leaves the token to
                        // others.
                        if *tokens > 0 {
                            more.notify_one(&tokens);
                        }
                        drop(tokens);
                        yield_now().await;
                    }
                })
            })
            .collect();
        runtime.must_run(async {
            for _ in 0..n {
                let (tokens, more) = &*shared;
                let mut tokens = tokens.lock().await;
                *tokens += 1;
                more.notify_one(&tokens);
                drop(tokens);
                yield_now().await;
            }
            patient.await.unwrap();
            for task in hasty {
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
            }
        });
        assert_eq!(*shared.0.blocking_lock(), 0);
    });
}
