//! `Barrier`: rounds, indexes, and broken rounds; compared with an oracle.

use std::sync::Arc;
use std::task::Poll;

use proptest::prelude::*;
use ringloop::sync::{Barrier, Broken};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every, scaled};
use crate::sync_tools::{
    Hand, by_hand, calling_waker, other_executor, polled, send_sync, spend_budget,
};
use crate::tools::Flag;

#[test]
fn t51_cancelled_while_filling_leaves_unique_indexes() {
    // T51, D-37. Method: of two that wait, one leaves; two later arrivals complete the round.
    by_hand("T51", || {
        for leaver in 0..2 {
            let barrier = Barrier::new(3);
            let mut waits = vec![Hand::waiting(barrier.wait()), Hand::waiting(barrier.wait())];
            assert_eq!(barrier.waiting(), 2);
            drop(waits.remove(leaver));
            assert_eq!((barrier.waiting(), barrier.is_broken()), (1, false));
            waits.push(Hand::waiting(barrier.wait()));
            let last = Hand::new(barrier.wait()).poll().expect("it is the third").unwrap();
            assert_eq!((last.index, last.leader), (2, true));
            for (index, wait) in waits.into_iter().enumerate() {
                let arrival = wait.finish().unwrap();
                assert_eq!((arrival.index, arrival.leader), (index, false));
            }
            assert_eq!(barrier.waiting(), 0);
        }
    });
}

#[test]
fn the_last_arrives_also_without_budget() {
    // Formerly it yielded first, and a task that left meanwhile kept the round from its end.
    on_every(|cfg| {
        cfg.once(async {
            let barrier = Barrier::new(2);
            let mut first = Box::pin(barrier.wait());
            assert!(polled(first.as_mut()).await.is_pending());
            spend_budget().await;
            let mut last = Box::pin(barrier.wait());
            assert!(polled(last.as_mut()).await.is_pending());
            assert_eq!(barrier.waiting(), 0, "the round is complete");
            assert_eq!(polled(first.as_mut()).await.map(|end| end.unwrap().index), Poll::Ready(0));
            barrier.abort();
            yield_now().await;
            assert!(last.await.is_ok_and(|arrival| arrival.leader));
        });
    });
}

#[test]
fn t52_reset_breaks_waits_of_this_round_only() {
    // T52.
    by_hand("T52 reset", || {
        let barrier = Barrier::new(2);
        let wait = Hand::waiting(barrier.wait());
        barrier.reset();
        assert_eq!(wait.finish().unwrap_err().to_string(), "the barrier is broken");
        let wait = Hand::waiting(barrier.wait());
        assert!(other_executor(barrier.wait()).is_ok());
        barrier.reset();
        assert!(wait.finish().is_ok(), "its round was complete");
        assert!(!barrier.is_broken());
    });
}

#[test]
fn t52_abort_breaks_until_reset() {
    // T52.
    by_hand("T52 abort", || {
        let barrier = Barrier::new(2);
        let wait = Hand::waiting(barrier.wait());
        barrier.abort();
        assert!(wait.finish().is_err());
        assert!(barrier.is_broken());
        for _ in 0..3 {
            assert!(Hand::new(barrier.wait()).poll().expect("at once").is_err());
        }
        assert_eq!(format!("{barrier:?}"), "Barrier { parties: 2, broken: true, waiters: 0 }");
        barrier.reset();
        let wait = Hand::waiting(barrier.wait());
        assert!(other_executor(barrier.wait()).unwrap().leader);
        assert_eq!(wait.finish().unwrap().index, 0);
    });
}

#[test]
fn t52_arrivals_while_others_leave_belong_to_the_next_round() {
    // T52. Method: more than a batch; the next round begins in the wakers of this one, and is
    // broken while not all waiters of this one have been woken.
    by_hand("T52 draining", || {
        let n = 70;
        let barrier = Arc::new(Barrier::new(n + 1));
        let next = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut waits: Vec<_> = (0..n).map(|_| Hand::new(barrier.wait())).collect();
        for wait in &mut waits {
            let (barrier, next) = (barrier.clone(), next.clone());
            let waker = calling_waker(move || {
                let own = barrier.clone();
                next.lock().unwrap().push(Hand::waiting(async move { own.wait().await }));
                if next.lock().unwrap().len() == 40 {
                    barrier.reset();
                }
            });
            assert!(wait.poll_with(&waker).is_none());
        }
        let last = Hand::new(barrier.wait()).poll().expect("complete").unwrap();
        assert_eq!(last.index, n);
        let mut indexes: Vec<_> =
            waits.iter_mut().map(|wait| wait.poll().expect("complete").unwrap().index).collect();
        indexes.sort();
        assert_eq!(indexes, Vec::from_iter(0..n));
        drop(waits);
        let next = std::mem::take(&mut *next.lock().unwrap());
        let broken = next.iter().filter(|wait| wait.wakes() == 1).count();
        assert_eq!(broken, 40, "the arrivals before the reset");
        assert_eq!(barrier.waiting(), next.len() - broken);
    });
}

#[test]
fn rounds_of_tasks_stay_together() {
    // Goal: no task is a round ahead, each round has one leader; method: tasks note their rounds.
    on_every(|cfg| {
        let (n, rounds) = (8, scaled(20));
        cfg.once(async {
            let (barrier, leaders) = (Arc::new(Barrier::new(n)), crate::tools::Count::new());
            let at = Arc::new(std::sync::Mutex::new(vec![0; n]));
            let tasks: Vec<_> = (0..n)
                .map(|me| {
                    let (barrier, leaders, at) = (barrier.clone(), leaders.clone(), at.clone());
                    spawn(async move {
                        for round in 0..rounds {
                            at.lock().unwrap()[me] = round;
                            if me % 3 == 0 {
                                yield_now().await;
                            }
                            if barrier.wait().await.unwrap().leader {
                                leaders.add();
                            }
                            assert!(
                                at.lock()
                                    .unwrap()
                                    .iter()
                                    .all(|at| *at == round || *at == round + 1)
                            );
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(leaders.get(), rounds);
        });
    });
}

#[test]
fn a_barrier_of_one_does_not_keep_the_worker() {
    // D-10.
    on_every(|cfg| {
        cfg.once(async {
            let (barrier, done) = (Barrier::new(1), Flag::new());
            let other = {
                let done = done.clone();
                spawn(async move { done.set() })
            };
            while !done.is_set() {
                assert_eq!(barrier.wait().await.unwrap().index, 0);
            }
            other.await.unwrap();
        });
    });
}

#[test]
fn threads_arrive_as_well() {
    by_hand("threads", || {
        static BARRIER: Barrier = Barrier::new(4);
        send_sync(&BARRIER);
        let threads =
            [(); 4].map(|()| std::thread::spawn(|| BARRIER.blocking_wait().unwrap().index));
        let mut indexes = threads.map(|thread| thread.join().unwrap());
        indexes.sort();
        assert_eq!(indexes, [0, 1, 2, 3]);
        assert_eq!(BARRIER.parties(), 4);
        assert_eq!(must_panic(|| Barrier::new(0)), "a barrier is for one task at least");
    });
}

#[derive(Debug, Clone)]
enum Step {
    Arrive,
    Cancel(usize),
    Poll(usize),
    Reset,
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Arrive),
        3 => any::<usize>().prop_map(Step::Cancel),
        4 => any::<usize>().prop_map(Step::Poll),
        1 => Just(Step::Reset),
        1 => Just(Step::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Every answer, every wake and every count is that of a simple barrier.
    #[test]
    fn does_what_the_oracle_does(
        parties in 1usize..5,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let barrier = Barrier::new(parties);
        // For each wait without a result: the result that the oracle has given it.
        let mut waits: Vec<(Option<Result<usize, ()>>, Hand<_>)> = Vec::new();
        let mut aborted = false;
        for step in steps {
            match step {
                Step::Arrive => {
                    let mut wait = Hand::new(barrier.wait());
                    let got: Option<Result<usize, Broken>> =
                        wait.poll().map(|got| got.map(|arrival| arrival.index));
                    let here = waits.iter().filter(|(told, _)| told.is_none()).count();
                    if aborted {
                        prop_assert!(got.expect("at once").is_err());
                    } else if here + 1 == parties {
                        prop_assert_eq!(got.expect("at once").unwrap(), parties - 1);
                        let open = waits.iter_mut().filter(|(told, _)| told.is_none());
                        open.enumerate().for_each(|(index, (told, _))| *told = Some(Ok(index)));
                    } else {
                        prop_assert!(got.is_none());
                        waits.push((None, wait));
                    }
                }
                Step::Cancel(index) if !waits.is_empty() => {
                    drop(waits.remove(index % waits.len()));
                }
                Step::Poll(index) if !waits.is_empty() => {
                    let index = index % waits.len();
                    let got = waits[index].1.poll();
                    let got = got.map(|got| got.map(|arrival| arrival.index).map_err(drop));
                    prop_assert_eq!(got, waits[index].0);
                    if got.is_some() {
                        waits.remove(index);
                    }
                }
                Step::Reset | Step::Abort => {
                    aborted = matches!(step, Step::Abort);
                    if aborted { barrier.abort() } else { barrier.reset() }
                    let open = waits.iter_mut().filter(|(told, _)| told.is_none());
                    open.for_each(|(told, _)| *told = Some(Err(())));
                }
                _ => {}
            }
            let here = waits.iter().filter(|(told, _)| told.is_none()).count();
            prop_assert_eq!((barrier.waiting(), barrier.is_broken()), (here, aborted));
            for (told, wait) in &waits {
                prop_assert_eq!(wait.wakes(), usize::from(told.is_some()));
            }
        }
    }
}
