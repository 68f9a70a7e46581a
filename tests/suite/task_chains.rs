//! Long chains of tasks (test 57): no code recurses, so a stack of 256 KiB is enough.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use ringloop::{Join, Task, spawn};

use crate::harness::{Cfg, on_every_within, scale};
use crate::tools::{Count, Flag};

const DEADLINE: Duration = Duration::from_secs(120);

/// A million at full scale; a tenth of it by default, still far more than fit on any stack.
fn length() -> usize {
    if scale() > 1 { 1_000_000 } else { 100_000 }
}

/// Runs `main` one-shot on a thread with a stack of 256 KiB.
fn on_small_stack<F>(cfg: &Cfg, main: impl FnOnce() -> F + Send)
where
    F: Future<Output = ()>,
{
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let body = || cfg.once(main());
        if let Err(payload) = thread.spawn_scoped(scope, body).unwrap().join() {
            std::panic::resume_unwind(payload);
        }
    });
}

async fn link(previous: Option<Task<usize>>) -> usize {
    match previous {
        Some(task) => task.await.unwrap() + 1,
        None => 0,
    }
}

#[test]
fn chain_of_awaiting_tasks_completes() {
    // Goal: completion wakes the next link without recursion; method: each task awaits the one
    // before, the first is released last.
    on_every_within(DEADLINE, |cfg| {
        on_small_stack(cfg, || async {
            let release = Flag::new();
            let wait = release.clone();
            let mut task = spawn(async move {
                wait.wait().await;
                0
            });
            for _ in 0..length() {
                task = spawn(link(Some(task)));
            }
            release.set();
            assert_eq!(task.await.unwrap(), length());
        });
    });
}

#[test]
fn chain_of_watching_handles_is_dropped() {
    // Goal: the drop of the last link's future drops a handle, which only detaches; method: abort
    // every second link of the chain, newest first, then release the rest.
    on_every_within(DEADLINE, |cfg| {
        on_small_stack(cfg, || async {
            let release = Flag::new();
            let wait = release.clone();
            let mut task = spawn(async move {
                wait.wait().await;
                0
            });
            for _ in 0..length() {
                task = spawn(link(Some(task)));
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            release.set();
        });
    });
}

async fn owner(previous: Option<Join<()>>, ended: Count) {
    let _guard = ended.on_drop();
    match previous {
        // An unwrap would put the error of each link into the panic of the next.
        Some(join) => drop(join.await),
        None => pending().await,
    }
}

#[test]
fn chain_of_owning_joins_is_cancelled_from_the_end() {
    // Goal: each drop cancels the link before, a million deep; method: abort or cancel the last,
    // and count the ends.
    on_every_within(DEADLINE, |cfg| {
        for abort in [true, false] {
            on_small_stack(cfg, || async {
                let ended = Count::new();
                let mut task = spawn(owner(None, ended.clone()));
                for _ in 0..length() {
                    task = spawn(owner(Some(task.join()), ended.clone()));
                }
                // A chain that was never polled would be dropped unpolled, which is another case.
                if abort {
                    task.abort();
                } else {
                    task.cancel();
                }
                assert!(task.await.unwrap_err().is_cancelled());
                let all = || ended.get() == length() + 1;
                crate::harness::wait_until_async(
                    || all() || ringloop::Handle::current().metrics().live_tasks <= 1,
                    || format!("{} ended", ended.get()),
                )
                .await;
            });
        }
    });
}

#[test]
fn chain_of_owning_joins_dies_with_the_runtime() {
    // Goal: shutdown of a deep ownership chain; method: leave it behind at the end of run.
    on_every_within(DEADLINE, |cfg| {
        let ended = Count::new();
        std::thread::scope(|scope| {
            let body = || {
                let main = async {
                    let started = Flag::new();
                    let set = started.clone();
                    let count = ended.clone();
                    let mut task = spawn(async move {
                        let _guard = count.on_drop();
                        set.set();
                        pending::<()>().await
                    });
                    for _ in 0..length() {
                        let (join, count) = (task.join(), ended.clone());
                        let guard = count.on_drop();
                        task = spawn(async move {
                            let _guard = guard;
                            drop(join.await);
                        });
                    }
                    started.wait().await;
                    drop(task);
                };
                cfg.builder().shutdown_deadline(DEADLINE).run(main).unwrap();
            };
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, body).unwrap().join().unwrap();
        });
        assert_eq!(ended.get(), length() + 1);
    });
}

/// An output that holds the handle of a task with such an output.
struct Nest(Option<Task<Nest>>);

#[test]
fn chain_of_nested_outputs_is_dropped() {
    // Goal: an unclaimed output whose handle holds an unclaimed output, and so on; method: all tasks
    // have finished, then the last handle is dropped, and once the last is detached before its end.
    on_every_within(DEADLINE, |cfg| {
        for detach in [false, true] {
            on_small_stack(cfg, || async {
                let release = Flag::new();
                let mut task = spawn(async { Nest(None) });
                for _ in 0..length() {
                    task = spawn(async move { Nest(Some(task)) });
                }
                let wait = release.clone();
                let last = spawn(async move {
                    wait.wait().await;
                    Nest(Some(task))
                });
                crate::harness::wait_until_async(
                    || ringloop::Handle::current().metrics().live_tasks <= 2,
                    || "all but the last finish".into(),
                )
                .await;
                if detach {
                    drop(last);
                    release.set();
                } else {
                    release.set();
                    let Nest(inner) = last.await.unwrap();
                    drop(inner);
                }
            });
        }
    });
}

#[test]
fn nested_output_is_dropped_with_its_handle() {
    // Goal: when a handle of an ended task has been dropped, the task's result has been dropped as
    // well, also in a destructor of another task's result; method: results whose destructors drop
    // the handle of an ended task, and check whether its result is dropped, several levels deep.
    struct Looks(Option<Task<Looks>>, Count, Arc<AtomicBool>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(inner) = self.0.take() {
                let before = self.1.get();
                drop(inner);
                if self.1.get() == before {
                    self.2.store(true, Ordering::SeqCst);
                }
            }
            self.1.add();
        }
    }
    on_every_within(DEADLINE, |cfg| {
        cfg.once(async {
            let (gone, late) = (Count::new(), Arc::new(AtomicBool::new(false)));
            let nest = |inner| Looks(inner, gone.clone(), late.clone());
            let innermost = nest(None);
            let mut task = spawn(async move { innermost });
            for _ in 0..7 {
                let outer = nest(Some(task));
                task = spawn(async move { outer });
            }
            crate::harness::wait_until_async(
                || ringloop::Handle::current().metrics().live_tasks <= 1,
                || "all end".into(),
            )
            .await;
            drop(task);
            assert_eq!(gone.get(), 8);
            assert!(!late.load(Ordering::SeqCst), "a handle was dropped before its task's result");
        });
    });
}

#[test]
fn chain_of_wakers_held_by_futures_ends_with_the_runtime() {
    // Goal: futures that hold the waker of the task before; method: leave them all pending at the
    // end of run, and count each drop once.
    on_every_within(DEADLINE, |cfg| {
        let dropped = Count::new();
        let n = length() / 10;
        let log = crate::harness::ErrorLog::default();
        let main = async {
            let (started, last) = (Count::new(), crate::tools::Slot::<Waker>::new());
            for _ in 0..n {
                let (started, last, guard) = (started.clone(), last.clone(), dropped.on_drop());
                drop(spawn(async move {
                    let _guard = guard;
                    let mut before = None;
                    poll_fn(|cx| {
                        if before.is_none() {
                            before = Some(last.take());
                            last.put(cx.waker().clone());
                            started.add();
                        }
                        Poll::<()>::Pending
                    })
                    .await;
                }));
            }
            crate::harness::wait_until_async(|| started.get() >= n, || "all start".into()).await;
        };
        cfg.builder_with(&log).shutdown_deadline(DEADLINE).run(main).unwrap();
        log.assert_silent();
        assert_eq!(dropped.get(), n);
    });
}
