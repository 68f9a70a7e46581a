//! Tasks with panics in every possible call, and hostile futures.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ringloop::{Builder, ErrorEvent, Task, TaskError, spawn, spawn_logged, to_thread, yield_now};

use crate::harness::{
    ErrorLog, Kind, deliberate, on_every, on_every_within, panic_text, scaled, wait_until_async,
};
use crate::tools::{Count, Flag, Polled};

/// Panics when dropped.
struct Bomb(&'static str, Count);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.1.add();
        deliberate(self.0);
    }
}

/// The runtime still works.
async fn assert_alive() {
    assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
    ringloop::time::sleep(Duration::from_millis(1)).await;
    let many: Vec<_> = (0..64).map(|i| spawn(async move { (yield_now().await, i).1 })).collect();
    for (i, task) in many.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), i);
    }
}

#[test]
fn panic_in_poll_becomes_the_result() {
    // Goal: test 34; method: panics at the first and at a later poll, by text and by value.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let first: Task<()> = spawn(async { deliberate("first poll") });
            let later: Task<()> = spawn(async {
                yield_now().await;
                std::panic::resume_unwind(Box::new(17_u64))
            });
            let error = first.await.unwrap_err();
            assert!(error.to_string().contains("first poll"), "{error}");
            assert_eq!(panic_text(&*error.into_panic()), "first poll");
            let payload = later.await.unwrap_err().into_panic();
            assert_eq!(*payload.downcast::<u64>().unwrap(), 17);
            assert_alive().await;
        });
    });
}

#[test]
fn panic_with_a_payload_that_panics_is_contained() {
    // Goal: S8 also for payloads; method: the payload's own destructor panics, collected or not.
    on_every(|cfg| {
        let (log, drops) = (ErrorLog::default(), Count::new());
        cfg.once_with(&log, async {
            for _ in 0..3 {
                let bomb = Bomb("payload", drops.clone());
                drop::<Task<()>>(spawn(async move { std::panic::resume_unwind(Box::new(bomb)) }));
            }
            wait_until_async(|| drops.get() >= 3, || "payloads dropped".into()).await;
            assert_alive().await;
        });
        assert_eq!(drops.get(), 3);
        assert_eq!(log.take(Kind::Panic).len(), 3);
    });
}

#[test]
fn panic_in_future_destructor_is_contained() {
    // Goal: test 35; method: a captured value panics in its drop at completion, at cancel, at
    // abort, and when a task is cancelled unpolled; each task ends and workers live on.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let (drops, started) = (Count::new(), Count::new());
            let make = |ends: bool| {
                let (bomb, started) = (Bomb("destructor", drops.clone()), started.clone());
                async move {
                    let _bomb = bomb;
                    started.add();
                    if !ends {
                        pending::<()>().await;
                    }
                }
            };
            let results: Vec<Task<()>> = (0..4).map(|i| spawn(make(i == 0))).collect();
            results[3].cancel();
            wait_until_async(|| started.get() >= 3, || "they start".into()).await;
            results[1].cancel();
            results[2].abort();
            for task in results {
                let error: TaskError = task.await.expect_err("a drop in it panicked");
                // A panic says more than a cancel, but both are correct ends.
                assert!(error.is_panicked() || error.is_cancelled());
            }
            assert_eq!(drops.get(), 4);
            assert_alive().await;
        });
        log.take(Kind::Panic);
    });
}

#[test]
fn panic_in_output_destructor_is_contained() {
    // Goal: test 35; method: outputs that panic when dropped, handle gone before or after the end.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let (drops, release) = (Count::new(), Flag::new());
            let make = || {
                let (bomb, release) = (Bomb("output", drops.clone()), release.clone());
                async move {
                    release.wait().await;
                    bomb
                }
            };
            drop(spawn(make()));
            let kept = spawn(make());
            release.set();
            wait_until_async(|| kept.is_finished(), || "it ends".into()).await;
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(kept)));
            // Dropped by our own code here: the runtime may report it or not.
            drop(dropped);
            wait_until_async(|| drops.get() == 2, || "both are dropped".into()).await;
            assert_alive().await;
        });
        log.take(Kind::Panic);
    });
}

#[test]
fn panic_in_blocking_job_becomes_the_result() {
    // Goal: test 37; method: panicking jobs, collected and detached; the pool lives on.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            for _ in 0..20 {
                let task: Task<()> = to_thread(|| deliberate("in a job"));
                assert_eq!(panic_text(&*task.await.unwrap_err().into_panic()), "in a job");
            }
            drop::<Task<()>>(to_thread(|| deliberate("detached job")));
            wait_until_async(|| log.count(Kind::Panic) == 1, || "the hook is called".into()).await;
            assert_eq!(to_thread(|| 5).await.unwrap(), 5);
            assert_alive().await;
        });
        assert!(log.take(Kind::Panic)[0].contains("detached job"));
        log.assert_silent();
    });
}

#[test]
fn future_that_wakes_itself_a_million_times_is_polled_once_more() {
    // Goal: test 58; method: count polls after a million wakes during one poll, and after a million
    // wakes from main while it waits.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (polls, waker, release) = (Count::new(), crate::tools::Slot::new(), Flag::new());
            let task = spawn(Polled::new(
                {
                    let (waker, release) = (waker.clone(), release.clone());
                    let mut first = true;
                    poll_fn(move |cx| {
                        if std::mem::take(&mut first) {
                            for _ in 0..1_000_000 {
                                cx.waker().wake_by_ref();
                            }
                            waker.put(cx.waker().clone());
                        }
                        if release.is_set() { Poll::Ready(()) } else { Poll::Pending }
                    })
                },
                &polls,
            ));
            wait_until_async(|| polls.get() == 2, || "polled again".into()).await;
            for _ in 0..100 {
                yield_now().await;
            }
            assert_eq!(polls.get(), 2);
            let kept: std::task::Waker = waker.take().expect("kept");
            release.set();
            for _ in 0..1_000_000 {
                kept.wake_by_ref();
            }
            task.await.unwrap();
            assert!(polls.get() >= 3);
        });
    });
}

#[test]
fn future_that_never_wakes_ends_by_cancel() {
    // Goal: test 58; method: pending for ever, no waker kept; cancel and abort end it.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (a, b) = (spawn(pending::<()>()), spawn(pending::<()>()));
            yield_now().await;
            a.cancel();
            b.abort();
            assert!(a.await.unwrap_err().is_cancelled());
            assert!(b.await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn future_of_a_megabyte_works() {
    // Goal: test 58; method: a 1 MiB future made on a thread with room for its moves; workers have
    // stacks of the default 2 MiB, so the runtime must poll, cancel and complete it in place.
    on_every(|cfg| {
        std::thread::scope(|scope| {
            let body = || {
                let runtime = cfg.runtime();
                let make = |ends: bool| {
                    let mut big = [0_u8; 1 << 20];
                    big[12_345] = 7;
                    async move {
                        yield_now().await;
                        if !ends {
                            pending::<()>().await;
                        }
                        let sum: u32 = big.iter().map(|&byte| u32::from(byte)).sum();
                        sum + u32::from(big[12_345])
                    }
                };
                let (value, detached) = (runtime.spawn(make(true)), runtime.spawn(make(true)));
                let (cancelled, aborted) = (runtime.spawn(make(false)), runtime.spawn(make(false)));
                drop(detached);
                cancelled.cancel();
                aborted.abort();
                assert_eq!(runtime.must_run(value).unwrap(), 14);
                assert!(runtime.must_run(cancelled).unwrap_err().is_cancelled());
                assert!(runtime.must_run(aborted).unwrap_err().is_cancelled());
            };
            let thread = std::thread::Builder::new().stack_size(64 << 20);
            thread.spawn_scoped(scope, body).unwrap().join().unwrap();
        });
    });
}

#[test]
fn future_without_size_and_strict_alignment_work() {
    // Goal: test 58, layout; method: a zero-sized future, and one aligned to 256 bytes whose output
    // is aligned to 512.
    struct Nothing;
    impl Future for Nothing {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
    #[repr(align(256))]
    struct Strict(u8);
    #[repr(align(512))]
    struct Stricter(u8);
    impl Future for Strict {
        type Output = Stricter;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Stricter> {
            assert_eq!(std::ptr::from_ref(&*self).addr() % 256, 0);
            Poll::Ready(Stricter(self.0))
        }
    }
    assert_eq!(size_of::<Nothing>(), 0);
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for i in 0..100 {
                spawn(Nothing).await.unwrap();
                let output = spawn(Strict(i)).await.unwrap();
                assert_eq!(std::ptr::from_ref(&output).addr() % 512, 0);
                assert_eq!(output.0, i);
            }
        });
    });
}

#[test]
fn future_that_drops_and_spawns_during_its_drop_is_fine() {
    // Goal: destructors may use the runtime; method: a destructor that spawns a task and wakes one.
    struct SpawnsOnDrop(Count, Flag);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            let count = self.0.clone();
            drop(spawn(async move {
                count.add();
            }));
            self.1.set();
        }
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (ran, flag) = (Count::new(), Flag::new());
            for i in 0..20 {
                let guard = SpawnsOnDrop(ran.clone(), flag.clone());
                let task = spawn(async move {
                    let _guard = guard;
                    if i % 2 == 0 {
                        pending::<()>().await;
                    }
                });
                if i % 4 == 0 {
                    task.abort();
                } else {
                    task.cancel();
                }
                let _ = task.await;
            }
            flag.wait().await;
            wait_until_async(|| ran.get() == 20, || "spawned by destructors".into()).await;
        });
    });
}

#[test]
fn panics_in_a_storm_leave_workers_alive() {
    // Goal: S8 under load; method: thousands of tasks, a third of which panic, mixed with cancels.
    on_every_within(Duration::from_secs(60), |cfg| {
        let mut rng = cfg.rng(1);
        cfg.once(async {
            for _ in 0..scaled(20) {
                let tasks: Vec<_> = (0..300)
                    .map(|_| {
                        let (turns, blows) = (rng.below(4), rng.one_in(3));
                        let task = spawn(async move {
                            for _ in 0..turns {
                                yield_now().await;
                            }
                            if blows {
                                deliberate("storm");
                            }
                        });
                        if rng.one_in(4) {
                            task.cancel();
                        }
                        (task, blows)
                    })
                    .collect();
                for (task, blows) in tasks {
                    match task.await {
                        Ok(()) => assert!(!blows),
                        Err(error) if error.is_panicked() => assert!(blows),
                        Err(error) => assert!(error.is_cancelled()),
                    }
                }
            }
            assert_alive().await;
        });
    });
}

#[test]
fn t71_failing_hook_and_its_events_reach_standard_error() {
    // Goal: T71; method: a hook that panics at each event: a panic that is not collected, a
    // callback that panics and an error of `spawn_logged`; the runtime lives on.
    crate::processes::isolated(|| {
        let text = crate::backend_choice::stderr_of(|| {
            let failing = |_: &ErrorEvent| deliberate("of the hook");
            let runtime = Builder::new().workers(2).on_error(failing).build().unwrap();
            runtime
                .run(async {
                    spawn(async { deliberate("of a task") }).detach();
                    let called = Flag::new();
                    let done = spawn(async {});
                    done.on_done(|_| deliberate("of a callback")).keep();
                    let calls = called.clone();
                    done.on_done(move |_| calls.set()).keep();
                    called.wait().await;
                    spawn_logged(async { Err("an error") }).await.unwrap();
                    assert_alive().await;
                })
                .unwrap();
            assert!(runtime.shutdown(Duration::from_secs(20)).is_clean());
        });
        for heard in ["of a task", "of a callback", "failed: an error"] {
            assert_eq!(text.matches(heard).count(), 1, "{text}");
        }
        assert_eq!(text.matches("the error hook panicked: of the hook").count(), 3, "{text}");
    });
}
