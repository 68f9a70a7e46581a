//! Many tasks at once: storms of cancels, races of abort, a million alive.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use ringloop::{Handle, Task, spawn, yield_now};

use crate::harness::{on_every, on_every_within, scaled, wait_until_async};
use crate::tools::{Count, Flag};

#[test]
fn cancel_storm_ends_every_task_exactly_once() {
    // Goal: test 39; method: 100 000 tasks of four kinds; a third is cancelled, aborted, joined and
    // dropped or detached at random turns; ends and drops are counted.
    on_every(|cfg| {
        let (mut rng, total) = (cfg.rng(2), scaled(100_000));
        let (dropped, finished) = (Count::new(), Count::new());
        cfg.once(async {
            let (mut values, mut cancelled) = (0, 0);
            let mut left = total;
            while left > 0 {
                let batch = left.min(5000);
                left -= batch;
                let mut tasks: Vec<Task<usize>> = Vec::with_capacity(batch);
                for _ in 0..batch {
                    let (kind, turns) = (rng.below(5), rng.below(3));
                    let (guard, finished) = (dropped.on_drop(), finished.clone());
                    tasks.push(spawn(async move {
                        let _guard = guard;
                        match kind {
                            0 => pending().await,
                            1 => ringloop::time::sleep(Duration::from_micros(50)).await,
                            2 => ringloop::time::sleep(Duration::from_secs(1000)).await,
                            _ => {
                                for _ in 0..turns {
                                    yield_now().await;
                                }
                            }
                        }
                        finished.add();
                        turns
                    }));
                    if rng.one_in(4) {
                        let victim = &tasks[rng.below(tasks.len())];
                        if rng.one_in(2) {
                            victim.cancel()
                        } else {
                            victim.abort()
                        };
                    }
                    if rng.one_in(200) {
                        yield_now().await;
                    }
                }
                for task in &tasks {
                    // Cancels tasks that would never end; on ended ones it has no effect.
                    task.cancel();
                }
                for task in tasks {
                    match task.await {
                        Ok(_) => values += 1,
                        Err(error) => {
                            assert!(error.is_cancelled());
                            cancelled += 1;
                        }
                    }
                }
            }
            assert_eq!(values + cancelled, total);
            assert_eq!(values, finished.get());
            assert_eq!(dropped.get(), total);
        });
    });
}

#[test]
fn abort_racing_completion_gives_exactly_one_end() {
    // Goal: test 40; method: batches of tasks about to end are aborted or cancelled by a foreign
    // thread while workers run them; each gives a value or an error, and its future drops once.
    on_every(|cfg| {
        let mut rng = cfg.rng(3);
        let runtime = cfg.runtime();
        let (ran, dropped) = (AtomicUsize::new(0), Count::new());
        let ran: &'static AtomicUsize = Box::leak(Box::new(ran));
        let (mut values, mut cancelled) = (0, 0);
        let total = scaled(100_000);
        for _ in 0..total / 100 {
            let tasks: Vec<Task<usize>> = (0..100)
                .map(|i| {
                    let (turns, guard) = (rng.below(3), dropped.on_drop());
                    runtime.spawn(async move {
                        let _guard = guard;
                        for _ in 0..turns {
                            yield_now().await;
                        }
                        ran.fetch_add(1, Ordering::SeqCst);
                        i
                    })
                })
                .collect();
            for task in &tasks {
                if rng.one_in(2) {
                    task.abort()
                } else {
                    task.cancel()
                };
            }
            for (i, result) in runtime.must_run(join_all(tasks)).into_iter().enumerate() {
                match result {
                    Ok(value) => {
                        assert_eq!(value, i);
                        values += 1;
                    }
                    Err(error) => {
                        assert!(error.is_cancelled());
                        cancelled += 1;
                    }
                }
            }
        }
        assert_eq!(values + cancelled, total);
        assert!(ran.load(Ordering::SeqCst) >= values, "no value without its body");
        assert_eq!(dropped.get(), total);
    });
}

#[test]
fn abort_from_two_threads_while_polling_ends_once() {
    // Goal: requests of several threads on one running task; method: tasks that yield for ever, two
    // threads that cancel and abort them, a third that polls the handles.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        for _ in 0..scaled(50) {
            let dropped = Count::new();
            let tasks: Vec<Task<()>> = (0..20)
                .map(|_| {
                    let guard = dropped.on_drop();
                    runtime.spawn(async move {
                        let _guard = guard;
                        loop {
                            yield_now().await;
                        }
                    })
                })
                .collect();
            std::thread::scope(|scope| {
                scope.spawn(|| tasks.iter().map(Task::cancel).filter(|asked| *asked).count());
                scope.spawn(|| tasks.iter().rev().map(Task::abort).filter(|asked| *asked).count());
            });
            for result in runtime.must_run(join_all(tasks)) {
                assert!(result.unwrap_err().is_cancelled());
            }
            assert_eq!(dropped.get(), 20);
        }
    });
}

#[test]
fn million_tasks_are_alive_at_once_and_finish() {
    // Goal: the number of tasks has no small limit; method: a million wait on one flag, the counter
    // shows them, the flag is set and all end.
    on_every_within(Duration::from_secs(120), |cfg| {
        let n = 1_000_000;
        cfg.once(async {
            let (release, ended) = (Flag::new(), Count::new());
            for _ in 0..n {
                let (wait, ended) = (release.wait(), ended.clone());
                drop(spawn(async move {
                    wait.await;
                    ended.add();
                }));
            }
            assert!(Handle::current().metrics().live_tasks >= n as u64);
            wait_until_async(|| release.waiters() == n, || "all wait".into()).await;
            release.set();
            wait_until_async(|| ended.get() == n, || format!("{} ended", ended.get())).await;
        });
    });
}

#[test]
fn tasks_that_spawn_tasks_all_end() {
    // Goal: deep trees of spawns from all workers; method: a binary tree of 2^15 leaves, awaited.
    fn tree(depth: usize) -> std::pin::Pin<Box<dyn Future<Output = usize> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                return 1;
            }
            let (left, right) = (spawn(tree(depth - 1)), spawn(tree(depth - 1)));
            left.await.unwrap() + right.await.unwrap()
        })
    }
    on_every(|cfg| {
        cfg.everywhere(|| async { assert_eq!(tree(15).await, 1 << 15) });
    });
}

#[test]
fn ping_pong_between_two_tasks_never_loses_a_wake() {
    // Goal: lost wakes; method: pairs of tasks pass a token by wakers, on the same and on different
    // workers, tens of thousands of times.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let pairs: Vec<_> = (0..4)
                .map(|_| {
                    let (ping, pong) = (Token::default(), Token::default());
                    let rounds = scaled(5000);
                    let a = spawn({
                        let (ping, pong) = (ping.clone(), pong.clone());
                        async move {
                            for _ in 0..rounds {
                                ping.pass();
                                pong.take().await;
                            }
                        }
                    });
                    let b = spawn(async move {
                        for _ in 0..rounds {
                            ping.take().await;
                            pong.pass();
                        }
                    });
                    (a, b)
                })
                .collect();
            for (a, b) in pairs {
                a.await.unwrap();
                b.await.unwrap();
            }
        });
    });
}

/// A token that one task passes and another takes.
#[derive(Clone, Default)]
struct Token(std::sync::Arc<std::sync::Mutex<(bool, Option<std::task::Waker>)>>);

impl Token {
    fn pass(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn take(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if std::mem::take(&mut state.0) {
                return std::task::Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}

#[test]
fn ping_pong_with_a_plain_thread_never_loses_a_wake() {
    // Goal: inbox, doorbell and park; method: a plain thread sets a token, the task answers by a
    // channel, thousands of times, so that the workers park between.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let token = Token::default();
        let (answer, heard) = std::sync::mpsc::channel();
        let rounds = scaled(3000);
        let theirs = token.clone();
        let task = runtime.spawn(async move {
            for i in 0..rounds {
                theirs.take().await;
                answer.send(i).unwrap();
            }
        });
        for i in 0..rounds {
            token.pass();
            assert_eq!(heard.recv().unwrap(), i);
        }
        runtime.must_run(task).unwrap();
    });
}
