//! `ringloop::testing`: polls by hand, turns, and waits until everything waits.

use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_util::future::join;
use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::sync::{Event, Lock, channel, oneshot};
use ringloop::testing::{
    Sequencer, assert_no_yields, assert_yields, counted, poll_once, wait_all_blocked,
};
use ringloop::time::sleep;
use ringloop::{Handle, spawn, yield_now};

use crate::harness::{on_every, panic_text, scaled};

#[test]
fn poll_once_polls_once_and_leaves_the_future_usable() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let event = Arc::new(Event::new());
            let (wait, counts) = counted(event.wait());
            let mut wait = pin!(wait);
            assert!(poll_once(&mut wait).is_pending());
            assert_eq!((counts.polls(), counts.wakes()), (1, 0));
            let task = spawn({
                let event = event.clone();
                async move { event.set() }
            });
            // The waker of this poll counts, not that of the first.
            wait.await;
            assert_eq!((counts.polls(), counts.wakes()), (3, 1));
            task.await.unwrap();
            assert_eq!(poll_once(ready(7)), Poll::Ready(7));
            assert!(poll_once(Box::pin(sleep(Duration::from_secs(3600)))).is_pending());
        });
    });
}

#[test]
fn counts_are_of_the_future_and_not_of_its_task() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (promise, deferred) = oneshot();
            let (future, counts) = counted(deferred);
            let both = spawn(join(future, async {
                for _ in 0..5 {
                    yield_now().await;
                }
            }));
            wait_all_blocked().await;
            // All of the `join!` is polled each time, and only one wake is this future's.
            assert_eq!((counts.polls(), counts.wakes()), (6, 0));
            promise.set(5).unwrap();
            assert_eq!(both.await.unwrap().0, Ok(5));
            assert_eq!((counts.polls(), counts.wakes()), (7, 1));
        });
    });
}

#[test]
fn assert_yields_and_assert_no_yields() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (lock, event) = (Lock::new(()), Event::new());
            event.set();
            drop(assert_yields(lock.lock()).await);
            assert_yields(event.wait()).await;
            assert_yields(yield_now()).await;
            assert_yields(sleep(Duration::ZERO)).await;
            // It suspends, though what is ready afterwards costs no budget.
            assert_yields(async {
                yield_now().await;
                ready(1).await
            })
            .await;
            assert_no_yields(ready(1)).await;
            assert!(assert_no_yields(async { lock.try_lock().is_ok() }).await);

            let message = |task: ringloop::Task<i32>| async move {
                panic_text(&*task.await.unwrap_err().into_panic()).to_owned()
            };
            let text = message(spawn(assert_yields(ready(1)))).await;
            assert!(text.contains(file!()) && text.contains("took nothing"), "{text}");
            let yields = async {
                yield_now().await;
                1
            };
            let text = message(spawn(assert_no_yields(yields))).await;
            assert!(text.contains(file!()) && text.contains("not to suspend"), "{text}");
            let spends = async {
                drop(Lock::new(1).lock().await);
                1
            };
            let text = message(spawn(assert_no_yields(spends))).await;
            assert!(text.contains("budget"), "{text}");
        });
    });
    let outside = catch_unwind(|| poll_once(assert_yields(ready(1))));
    assert!(outside.is_err(), "there is no budget");
}

#[test]
fn sequencer_orders_tasks_on_all_workers() {
    // Method: as many tasks as turns, spawned in another order.
    on_every(|cfg| {
        let turns = scaled(200);
        cfg.everywhere(|| async move {
            let (sequencer, log) = (Sequencer::new(), Arc::new(Mutex::new(Vec::new())));
            let tasks: Vec<_> = (0..turns)
                .map(|task| {
                    let (sequencer, log) = (sequencer.clone(), log.clone());
                    spawn(async move {
                        // 77 and `turns` have no common factor.
                        let turn = sequencer.turn(task * 77 % turns).await;
                        yield_now().await;
                        log.lock().unwrap().push(turn.number());
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*log.lock().unwrap(), (0..turns).collect::<Vec<_>>());
        });
    });
}

#[test]
fn sequencer_refuses_a_number_twice_and_reports_a_turn_that_cannot_come() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let turns = Sequencer::new();
            let first = turns.turn(0).await;
            assert!(catch_unwind(AssertUnwindSafe(|| turns.turn(0))).is_err());
            let later = [2, 3].map(|number| spawn(turns.turn(number)));
            let mut second = pin!(turns.turn(1));
            assert!(poll_once(&mut second).is_pending());
            let given_up = spawn(turns.turn(4));
            wait_all_blocked().await;
            given_up.cancel();
            assert!(given_up.await.unwrap_err().is_cancelled());
            // Earlier turns are not affected.
            drop(first);
            drop(second.await);
            let mut held = Vec::new();
            for task in later {
                held.push(task.await.unwrap().number());
            }
            assert_eq!(held, [2, 3]);
            let error = spawn(turns.turn(5)).await.unwrap_err();
            let text = panic_text(&*error.into_panic()).to_owned();
            assert!(text.contains("turn 5") && text.contains("turn 4"), "{text}");
            assert!(format!("{turns:?}").contains("abandoned: Some(4)"), "{turns:?}");
        });
    });
}

#[test]
fn all_blocked_comes_when_every_other_task_waits() {
    // Method: tasks pass a value round the workers many times; when everything waits, it has
    // reached its end, every time.
    on_every(|cfg| {
        let rounds = scaled(300);
        cfg.everywhere(|| async move {
            for _ in 0..10 {
                let passed = Arc::new(AtomicUsize::new(0));
                let (mut next, mut tasks) = (None, Vec::new());
                for _ in 0..8 {
                    let (sender, receiver) = channel::<usize>(1);
                    let (to, passed) = (next.replace(sender), passed.clone());
                    tasks.push(spawn(async move {
                        while let Ok(value) = receiver.recv().await {
                            passed.fetch_add(1, Ordering::Relaxed);
                            yield_now().await;
                            if let Some(to) = &to {
                                to.send(value).await.unwrap();
                            }
                        }
                    }));
                }
                let first = next.unwrap();
                let feed = spawn(async move {
                    for value in 0..rounds {
                        first.send(value).await.unwrap();
                    }
                    pending::<()>().await;
                });
                wait_all_blocked().await;
                assert_eq!(passed.load(Ordering::Relaxed), 8 * rounds);
                assert!(!feed.is_finished());
                feed.cancel();
                for task in tasks {
                    task.await.unwrap();
                }
            }
        });
    });
}

#[test]
fn all_blocked_waits_for_arrivals_of_sockets() {
    // Method: an echo over loopback is on its way; its bytes have been processed each time. One
    // worker: with several, the documentation says, this depends on timing.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let server = spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buf = [0; 8];
                while stream.read_exact(&mut buf).await.is_ok() {
                    stream.write_all(&buf).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let rounds = Arc::new(AtomicUsize::new(0));
            let client = spawn({
                let rounds = rounds.clone();
                async move {
                    let mut buf = *b"8 bytes.";
                    for _ in 0..50 {
                        stream.write_all(&buf).await.unwrap();
                        stream.flush().await.unwrap();
                        stream.read_exact(&mut buf).await.unwrap();
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                    pending::<()>().await;
                }
            });
            wait_all_blocked().await;
            assert_eq!(rounds.load(Ordering::Relaxed), 50);
            client.cancel();
            assert!(client.await.is_err());
            server.await.unwrap();
        });
    });
}

#[test]
fn all_blocked_may_be_awaited_by_several_and_given_up() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            // Given up before its end.
            let mut given_up = Box::pin(wait_all_blocked());
            assert!(poll_once(&mut given_up).is_pending());
            drop(given_up);
            let waits: Vec<_> = (0..10).map(|_| spawn(wait_all_blocked())).collect();
            wait_all_blocked().await;
            for wait in waits {
                wait.await.unwrap();
            }
            // A task that waits for a thread, or for time, counts as blocked.
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            let job = ringloop::to_thread(move || receiver.recv().is_ok());
            let timer = spawn(sleep(Duration::from_secs(3600)));
            wait_all_blocked().await;
            assert!(!job.is_finished() && !timer.is_finished());
            sender.send(()).unwrap();
            assert!(job.await.unwrap());
            timer.cancel();
            assert!(timer.await.is_err());
        });
    });
}

#[test]
fn all_blocked_beside_threads_that_spawn() {
    // Goal: no wake is lost, and no task sleeps for ever. Method: another thread spawns all the
    // time.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let spawner = thread::spawn(move || {
            for _ in 0..scaled(300) {
                let task = handle.spawn(async { yield_now().await });
                handle.block_on(task).unwrap().unwrap();
            }
        });
        while !spawner.is_finished() {
            runtime.must_run(wait_all_blocked());
        }
        spawner.join().unwrap();
        let outside = catch_unwind(|| poll_once(wait_all_blocked()));
        assert!(outside.is_err());
        assert!(Handle::try_current().is_err());
    });
}
