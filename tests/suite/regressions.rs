//! Faults of the past, each with the shortest program that showed it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use ringloop::{Builder, Handle, Task, spawn, time::sleep, to_thread, yield_now};

use crate::{
    harness::{on_every, scaled},
    tools::{Count, Flag},
};

fn spin(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn poll_of_many_tasks_reaches_the_one_that_is_finished() {
    // Formerly each poll of an unfinished task spent budget, so that the 129th was never polled.
    on_every(|cfg| {
        cfg.once(async {
            let release = Flag::new();
            let mut tasks: Vec<_> = (0..200)
                .map(|i| {
                    let wait = release.wait();
                    spawn(async move {
                        if i != 150 {
                            wait.await;
                        }
                        i
                    })
                })
                .collect();
            let first = poll_fn(|cx| {
                for task in &mut tasks {
                    if let Poll::Ready(value) = Pin::new(task).poll(cx) {
                        return Poll::Ready(value.unwrap());
                    }
                }
                Poll::Pending
            });
            assert_eq!(first.await, 150);
            release.set();
            tasks.remove(150).detach();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn job_may_drive_futures_of_its_own() {
    // Formerly a job counted as the poll of a task, with a budget that was never refilled.
    fn drive<T>(mut task: Task<T>) -> T {
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match Pin::new(&mut task).poll(&mut cx) {
                Poll::Ready(value) => return value.ok().unwrap(),
                Poll::Pending => std::thread::yield_now(),
            }
        }
    }
    on_every(|cfg| {
        cfg.once(async {
            let sum = to_thread(|| (0..300).map(|i| drive(spawn(async move { i }))).sum::<i32>());
            assert_eq!(sum.await.unwrap(), 299 * 150);
            let nested = to_thread(|| Handle::current().block_on(async { 7 }).unwrap());
            assert_eq!(nested.await.unwrap(), 7);
        });
    });
}

#[test]
fn worker_survives_a_standard_error_that_is_closed() {
    // Formerly the default error hook panicked when its pipe was closed, and ended the worker.
    let close_stderr = |command: &mut Command| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stderr(writer);
    };
    crate::processes::isolated_with(close_stderr, || {
        for workers in [1, 2] {
            let runtime = Builder::new().workers(workers).build().unwrap();
            for _ in 0..10 {
                runtime.spawn(async { panic!("to nobody") }).detach();
                runtime.run(async { spawn(async {}).await.unwrap() }).unwrap();
            }
        }
    });
}

#[test]
fn polls_that_become_long_do_not_hold_up_timers() {
    // Formerly up to 64 polls were made after cheap ones before the clock was read again.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        // Several rounds: the count of polls at the moment of the change is random.
        for round in 0..6 {
            cfg.once(turn_long(1000 + 37 * round));
        }
    });
}

/// Eight tasks make cheap polls for `turns` rounds, and then long ones while a timer waits.
async fn turn_long(turns: usize) {
    let (warm, polls) = (Arc::new(AtomicBool::new(false)), Count::new());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (warm, polls) = (warm.clone(), polls.clone());
            spawn(async move {
                while !warm.load(Ordering::Relaxed) {
                    yield_now().await;
                }
                for _ in 0..10 {
                    spin(Duration::from_millis(3));
                    polls.add();
                    yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..turns {
        yield_now().await;
    }
    warm.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(5)).await;
    // 16 until the clock is read, and one round of the others; formerly it was 64 more.
    assert!(polls.get() < 30, "{} polls of 3 ms each", polls.get());
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn doorbell_rings_are_not_lost_while_workers_seem_held() {
    // Formerly a patrol that collected the events of a held worker also took the ring of its
    // doorbell.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..cfg.workers)
            .map(|_| {
                let stop = stop.clone();
                runtime.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        spin(Duration::from_millis(5));
                        sleep(Duration::from_millis(1)).await;
                    }
                })
            })
            .collect();
        for i in 0..scaled(100) {
            assert_eq!(runtime.must_run(async move { spawn(async move { i }).await.unwrap() }), i);
        }
        stop.store(true, Ordering::Relaxed);
        for hog in hogs {
            runtime.must_run(hog).unwrap();
        }
    });
}
