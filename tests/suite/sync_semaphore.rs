//! `Semaphore`: order, passing on, many permits at once, closing; compared with an oracle.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use ringloop::sync::{OwnedPermit, Permit, Semaphore};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every};
use crate::sync_tools::{Hand, by_hand, meddling_waker, other_executor};
use crate::tools::{Count, Flag};

#[test]
fn acquire_of_none_is_ready_at_once() {
    // Formerly an acquire of no permits waited in the queue.
    by_hand("none", || {
        let semaphore = Arc::new(Semaphore::new(1));
        let many = Hand::waiting(semaphore.acquire_many(2));
        assert!(semaphore.try_acquire().is_err());
        assert_eq!(semaphore.try_acquire_many(0).map(|none| none.count()), Ok(0));
        let none = Hand::new(semaphore.acquire_many(0)).poll().expect("at once").unwrap();
        assert_eq!((many.wakes(), semaphore.available_permits()), (0, 1));
        drop(none);
        assert!(Hand::new(semaphore.clone().acquire_many_owned(0)).poll().is_some());
        semaphore.add_permits(1);
        assert_eq!(many.finish().unwrap().count(), 2);
        semaphore.close();
        assert!(semaphore.try_acquire_many(0).is_err_and(|error| error.is_closed()));
        assert!(Hand::new(semaphore.acquire_many(0)).poll().is_some_and(|none| none.is_err()));
    });
}

#[test]
fn t46_waiters_in_order_newcomer_last() {
    // T46. Method: no permit is left and three wait; three are added, and a newcomer acquires
    // before they run.
    by_hand("T46", || {
        let semaphore = Semaphore::new(0);
        let waits = [(); 3].map(|()| Hand::waiting(semaphore.acquire()));
        semaphore.add_permits(2);
        let newcomer = Hand::waiting(semaphore.acquire());
        assert!(semaphore.try_acquire().unwrap_err().is_no_permits());
        assert_eq!(waits.each_ref().map(Hand::wakes), [1, 1, 0]);
        semaphore.add_permits(1);
        assert_eq!(newcomer.wakes(), 0);
        let permits = waits.map(|wait| wait.finish().unwrap());
        let newcomer = {
            drop(permits);
            newcomer.finish().unwrap()
        };
        assert_eq!(semaphore.available_permits(), 2);
        drop(newcomer);
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn t46_newcomer_runs_last_on_one_worker() {
    // T46 with tasks.
    on_every(|cfg| {
        cfg.once(async {
            let (semaphore, log) = (Arc::new(Semaphore::new(0)), crate::tools::Log::new());
            let start = |name: &'static str| {
                let (semaphore, log) = (semaphore.clone(), log.clone());
                spawn(async move {
                    let _permit = semaphore.acquire().await.unwrap();
                    log.push(name);
                    yield_now().await;
                })
            };
            let mut tasks: Vec<_> = ["a", "b", "c"].into_iter().map(start).collect();
            for _ in 0..10 {
                yield_now().await;
            }
            semaphore.add_permits(3);
            tasks.push(start("d"));
            for task in tasks {
                task.await.unwrap();
            }
            let order = log.take().concat();
            // The order in which granted tasks run is the scheduler's.
            if cfg.single() {
                assert!(order.ends_with('d'), "{order}");
            }
        });
    });
}

#[test]
fn a_large_acquire_holds_up_the_queue_behind_it() {
    // Goal: a large acquire is not starved, and when it is dropped, those behind it go on.
    by_hand("many", || {
        let semaphore = Semaphore::new(3);
        let one = semaphore.try_acquire().unwrap();
        let many = Hand::waiting(semaphore.acquire_many(3));
        let small = Hand::waiting(semaphore.acquire());
        assert_eq!(semaphore.available_permits(), 2, "kept for the first");
        assert!(semaphore.try_acquire().is_err());
        drop(many);
        drop(small.finish().unwrap());
        let many = Hand::waiting(semaphore.acquire_many(3));
        drop(one);
        assert_eq!(many.finish().unwrap().count(), 3);
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn closing_refuses_all() {
    by_hand("close", || {
        let semaphore = Semaphore::new(1);
        let permit = semaphore.try_acquire().unwrap();
        let waits = [(); 70].map(|()| Hand::waiting(semaphore.acquire()));
        semaphore.close();
        assert!(semaphore.is_closed());
        for wait in waits {
            assert_eq!(wait.finish().unwrap_err().to_string(), "the semaphore is closed");
        }
        drop(permit);
        assert_eq!(semaphore.available_permits(), 1);
        assert!(semaphore.try_acquire().unwrap_err().is_closed());
        assert!(other_executor(semaphore.acquire()).is_err());
        semaphore.close();
        assert_eq!(format!("{semaphore:?}"), "Semaphore { permits: 1, closed: true, waiters: 0 }");
    });
}

#[test]
fn more_waiters_than_a_batch_are_woken_once_each() {
    by_hand("batches", || {
        for n in [31, 32, 33, 64, 100] {
            let semaphore = Semaphore::new(0);
            let waits: Vec<_> = (0..n).map(|_| Hand::waiting(semaphore.acquire())).collect();
            semaphore.add_permits(n);
            for wait in waits {
                wait.finish().unwrap().forget();
            }
            assert_eq!(semaphore.available_permits(), 0);
            assert!(format!("{semaphore:?}").contains("waiters: 0"));
            // A large acquire that is dropped frees many.
            let large = Hand::waiting(semaphore.acquire_many(n + 1));
            let waits: Vec<_> = (0..n).map(|_| Hand::waiting(semaphore.acquire())).collect();
            semaphore.add_permits(n);
            drop(large);
            waits.into_iter().for_each(|wait| wait.finish().unwrap().forget());
        }
    });
}

#[test]
fn a_waker_in_a_batch_may_use_the_semaphore() {
    // S6. Method: wakers that acquire, release and inspect, in a batch.
    by_hand("meddling", || {
        let semaphore = Arc::new(Semaphore::new(0));
        let mut waits: Vec<_> = (0..40).map(|_| Hand::new(semaphore.acquire())).collect();
        for wait in &mut waits {
            let semaphore = semaphore.clone();
            let waker = meddling_waker(move || {
                let _ = format!("{semaphore:?}");
                drop(semaphore.try_acquire());
            });
            assert!(wait.poll_with(&waker).is_none());
        }
        semaphore.add_permits(20);
        waits.drain(10..30).for_each(drop);
        for mut wait in waits {
            drop(wait.poll().expect("granted").unwrap());
        }
        assert_eq!(semaphore.available_permits(), 20);
    });
}

#[test]
fn permits_split_merge_and_are_forgotten() {
    by_hand("permits", || {
        let semaphore = Arc::new(Semaphore::bounded(5));
        let mut all = semaphore.try_acquire_many(5).unwrap();
        let two = all.split(2).unwrap();
        assert!(all.split(4).is_none());
        assert_eq!((all.count(), two.count()), (3, 2));
        drop(all);
        assert_eq!(semaphore.available_permits(), 3);
        two.forget();
        semaphore.add_permits(2);
        let text = must_panic(|| semaphore.add_permits(1));
        assert_eq!(text, "5 permits and 1 more are more than 5");
        assert_eq!(semaphore.available_permits(), 5);
        // Permits that are held count.
        let mut owned: OwnedPermit = semaphore.clone().try_acquire_many_owned(3).unwrap();
        must_panic(|| semaphore.add_permits(1));
        let mut other = owned.split(1).unwrap();
        other.merge(owned);
        assert_eq!((other.count(), Arc::ptr_eq(other.semaphore(), &semaphore)), (3, true));
        drop(other);
        assert_eq!(semaphore.available_permits(), 5);
        let foreign = Semaphore::new(1);
        let mut mine = semaphore.try_acquire().unwrap();
        must_panic(|| mine.merge(foreign.try_acquire().unwrap()));
        must_panic(|| Semaphore::new(Semaphore::MAX_PERMITS).add_permits(1));
        must_panic(|| Semaphore::new(usize::MAX));
    });
}

#[test]
fn locked_is_when_an_acquire_would_wait() {
    by_hand("locked", || {
        let semaphore = Semaphore::new(2);
        assert!(!semaphore.is_locked());
        let permit = semaphore.try_acquire().unwrap();
        assert!(!semaphore.is_locked());
        let large = Hand::waiting(semaphore.acquire_many(2));
        assert_eq!((semaphore.is_locked(), semaphore.available_permits()), (true, 1), "it is kept");
        assert!(semaphore.try_acquire().is_err());
        drop(large);
        assert!(!semaphore.is_locked());
        let large = Hand::waiting(semaphore.acquire_many(2));
        drop(permit);
        assert_eq!((semaphore.is_locked(), semaphore.available_permits()), (true, 0), "granted");
        drop(large.finish());
        assert!(!semaphore.is_locked());
        semaphore.close();
        assert!(!semaphore.is_locked(), "no acquire waits any more");
    });
}

#[test]
fn a_permit_that_is_left_is_free_though_another_was_granted() {
    // In asyncio the second task waits until the third has run: [1, 2, 3, 4]. See
    // docs/decisions.md.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let semaphore = Arc::new(Semaphore::new(1));
            let order = Arc::new(std::sync::Mutex::new(Vec::new()));
            let task = |first: u32, again: Option<u32>| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                spawn(async move {
                    semaphore.acquire().await.unwrap().forget();
                    order.lock().unwrap().push(first);
                    if let Some(again) = again {
                        semaphore.add_permits(1);
                        semaphore.acquire().await.unwrap().forget();
                        order.lock().unwrap().push(again);
                    }
                })
            };
            let tasks = [task(1, None), task(2, Some(4)), task(3, None)];
            while order.lock().unwrap().is_empty() {
                yield_now().await;
            }
            semaphore.add_permits(2);
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*order.lock().unwrap(), [1, 2, 4, 3]);
        });
    });
}

#[test]
fn free_permits_can_be_forgotten() {
    by_hand("forget", || {
        let semaphore = Semaphore::bounded(5);
        let permits = semaphore.try_acquire_many(2).unwrap();
        assert_eq!((semaphore.forget_permits(1), semaphore.available_permits()), (1, 2));
        assert_eq!((semaphore.forget_permits(9), semaphore.available_permits()), (2, 0));
        assert_eq!((semaphore.forget_permits(9), semaphore.forget_permits(0)), (0, 0));
        drop(permits);
        assert_eq!(semaphore.available_permits(), 2, "those that were held are back");
        semaphore.add_permits(3);
        assert!(must_panic(|| semaphore.add_permits(1)).contains("more than 5"), "its bound stays");

        // Also permits that are kept for a larger acquire; it waits on, and the next is served.
        let semaphore = Semaphore::new(2);
        let (large, small) =
            (Hand::waiting(semaphore.acquire_many(3)), Hand::waiting(semaphore.acquire()));
        assert_eq!((semaphore.forget_permits(1), semaphore.available_permits()), (1, 1));
        semaphore.add_permits(1);
        assert_eq!((large.wakes(), small.wakes()), (0, 0));
        drop(large);
        drop(small.finish());
        assert_eq!(semaphore.available_permits(), 2);
        semaphore.close();
        assert_eq!((semaphore.forget_permits(1), semaphore.available_permits()), (1, 1));
        assert!(semaphore.is_closed());
    });
    by_hand("forget beside others", || {
        let semaphore = Semaphore::new(8);
        let taken = Count::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| drop(semaphore.blocking_acquire_many(3))));
            }
            scope.spawn(|| {
                for _ in 0..500 {
                    let forgotten = semaphore.forget_permits(2);
                    (0..forgotten).for_each(|_| _ = taken.add());
                    semaphore.add_permits(forgotten);
                }
            });
        });
        assert_eq!(semaphore.available_permits(), 8, "{} were taken away", taken.get());
    });
}

#[test]
fn at_most_as_many_as_permits() {
    on_every(|cfg| {
        let (semaphore, inside) = (Arc::new(Semaphore::new(3)), Arc::new(Semaphore::new(3)));
        cfg.once(async {
            let tasks: Vec<_> = (0..30)
                .map(|_| {
                    let (semaphore, inside) = (semaphore.clone(), inside.clone());
                    spawn(async move {
                        for _ in 0..10 {
                            let _permit = semaphore.acquire().await.unwrap();
                            let _inside = inside.try_acquire().expect("not more than three");
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn free_permits_do_not_keep_the_worker() {
    // D-10.
    on_every(|cfg| {
        cfg.once(async {
            let (semaphore, done) = (Semaphore::new(1), Flag::new());
            let other = {
                let done = done.clone();
                spawn(async move { done.set() })
            };
            while !done.is_set() {
                drop(semaphore.acquire().await.unwrap());
            }
            other.await.unwrap();
        });
    });
}

#[derive(Debug, Clone)]
enum Step {
    Acquire(usize),
    TryAcquire(usize),
    /// Polls one of the futures.
    Poll(usize),
    /// Drops one of them.
    Cancel(usize),
    Release(usize),
    Forget(usize),
    Add(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..4).prop_map(Step::Acquire),
        1 => (0usize..4).prop_map(Step::TryAcquire),
        3 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Cancel),
        4 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Forget),
        1 => (0usize..3).prop_map(Step::Add),
    ]
}

/// The expected behaviour of a semaphore, in the simplest form.
struct Oracle {
    left: usize,
    /// Number and permits of each acquire that waits.
    line: VecDeque<(usize, usize)>,
    granted: Vec<usize>,
}

impl Oracle {
    fn settle(&mut self) {
        while let Some(&(who, wish)) = self.line.front()
            && wish <= self.left
        {
            self.left -= wish;
            self.line.pop_front();
            self.granted.push(who);
        }
    }

    /// Whether it gets the permits at once.
    fn ask(&mut self, wish: usize) -> bool {
        let now = wish == 0 || self.line.is_empty() && wish <= self.left;
        self.left -= if now { wish } else { 0 };
        now
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Every answer, every wake and every count is that of the oracle.
    #[test]
    fn does_what_the_oracle_does(
        first in 0usize..4,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let semaphore = Semaphore::new(first);
        let mut oracle = Oracle { left: first, line: VecDeque::new(), granted: Vec::new() };
        let mut waits: Vec<(usize, usize, Hand<_>)> = Vec::new();
        let mut held: Vec<Permit<'_>> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Acquire(wish) => {
                    let mut wait = Hand::new(semaphore.acquire_many(wish));
                    let got = wait.poll();
                    prop_assert_eq!(got.is_some(), oracle.ask(wish));
                    match got {
                        Some(permit) => held.push(permit.unwrap()),
                        None => {
                            oracle.line.push_back((number, wish));
                            waits.push((number, wish, wait));
                        }
                    }
                }
                Step::TryAcquire(wish) => {
                    let got = semaphore.try_acquire_many(wish);
                    prop_assert_eq!(got.is_ok(), oracle.ask(wish));
                    held.extend(got);
                }
                Step::Poll(index) if !waits.is_empty() => {
                    let index = index % waits.len();
                    let granted = oracle.granted.contains(&waits[index].0);
                    let got = waits[index].2.poll();
                    prop_assert_eq!(got.is_some(), granted);
                    if let Some(permit) = got {
                        held.push(permit.unwrap());
                        let (who, ..) = waits.remove(index);
                        oracle.granted.retain(|granted| *granted != who);
                    }
                }
                Step::Cancel(index) if !waits.is_empty() => {
                    let (who, wish, wait) = waits.remove(index % waits.len());
                    drop(wait);
                    if oracle.granted.contains(&who) {
                        oracle.left += wish;
                    }
                    oracle.granted.retain(|granted| *granted != who);
                    oracle.line.retain(|(waiting, _)| *waiting != who);
                    oracle.settle();
                }
                Step::Release(index) if !held.is_empty() => {
                    let permit = held.swap_remove(index % held.len());
                    oracle.left += permit.count();
                    drop(permit);
                    oracle.settle();
                }
                Step::Forget(index) if !held.is_empty() => {
                    held.swap_remove(index % held.len()).forget();
                }
                Step::Add(count) => {
                    semaphore.add_permits(count);
                    oracle.left += count;
                    oracle.settle();
                }
                _ => {}
            }
            prop_assert_eq!(semaphore.available_permits(), oracle.left);
            for (who, _, wait) in &waits {
                prop_assert_eq!(wait.wakes(), usize::from(oracle.granted.contains(who)));
            }
        }
    }
}
