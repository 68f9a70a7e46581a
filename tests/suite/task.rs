//! Tasks: results, order, cancel, abort, handles.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use ringloop::testing::wait_all_blocked;
use ringloop::time::timeout;
use ringloop::{Handle, Task, spawn, yield_now};

use crate::harness::{
    ErrorLog, Kind, deliberate, must_panic, on_every, scaled, wait_until, wait_until_async,
};
use crate::tools::{Count, Flag, Log, Polled, SetOnDrop, Slot};

#[test]
fn task_spawned_gives_its_value() {
    // Goal: the value comes back, in both forms, and a finished task keeps it until it is awaited.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            assert_eq!(spawn(async { 6 * 7 }).await.unwrap(), 42);
            let task = spawn(async { String::from("kept") });
            wait_all_blocked().await;
            assert!(task.is_finished());
            assert_eq!(task.await.unwrap(), "kept");
        });
    });
}

#[test]
fn task_id_is_unique_and_printable() {
    // Goal: ids differ between tasks and print; method: a set of 1000 ids.
    on_every(|cfg| {
        cfg.once(async {
            let tasks: Vec<_> = (0..1000).map(|_| spawn(async {})).collect();
            let ids: std::collections::HashSet<_> = tasks.iter().map(Task::id).collect();
            assert_eq!(ids.len(), tasks.len());
            assert!(!tasks[0].id().to_string().is_empty());
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn t1_task_cancelled_before_first_poll_never_runs() {
    // Goal: T1; method: with one worker the task cannot have started when main cancels it. With
    // more, another worker may have run it before that, to its value.
    on_every(|cfg| {
        let (ran, dropped) = (Count::new(), Count::new());
        cfg.once(async {
            let guard = dropped.on_drop();
            let task = spawn({
                let ran = ran.clone();
                async move {
                    ran.add();
                    drop(guard);
                }
            });
            task.cancel();
            let result = task.await;
            assert_eq!(ran.get(), usize::from(result.is_ok()));
            assert_eq!(dropped.get(), 1);
            if cfg.single() {
                assert!(result.unwrap_err().is_cancelled());
            }
        });
    });
}

#[test]
fn join_dropped_cancels_the_child_and_watching_handle_does_not() {
    // Goal: T2; method: a parent that awaits its child is cancelled; the child's guard shows
    // whether the child has ended.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for owning in [true, false] {
                let (child_started, child_gone, release) = (Flag::new(), Flag::new(), Flag::new());
                let child = spawn({
                    let (started, gone, release) =
                        (child_started.clone(), child_gone.clone(), release.clone());
                    async move {
                        let _guard = SetOnDrop(gone);
                        started.set();
                        release.wait().await;
                    }
                });
                let parent_started = Flag::new();
                let set = parent_started.clone();
                let parent = spawn(async move {
                    set.set();
                    if owning { child.join().await } else { child.await }
                });
                child_started.wait().await;
                parent_started.wait().await;
                parent.cancel();
                assert!(parent.await.unwrap_err().is_cancelled());
                if !owning {
                    for _ in 0..50 {
                        yield_now().await;
                    }
                    assert!(!child_gone.is_set(), "a watched child lives on");
                    release.set();
                }
                child_gone.wait().await;
            }
        });
    });
}

#[test]
fn join_of_finished_task_gives_value_and_detach_gives_watching_handle() {
    // Goal: the two handles return the same results; method: both on finished and on unfinished
    // tasks.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let task = spawn(async { 1 });
            wait_all_blocked().await;
            assert!(task.is_finished());
            assert_eq!(task.join().await.unwrap(), 1);
            let release = Flag::new();
            let task = spawn({
                let release = release.clone();
                async move {
                    release.wait().await;
                    2
                }
            });
            let task = task.join().detach();
            release.set();
            assert_eq!(task.await.unwrap(), 2);
        });
    });
}

#[test]
fn t3_cancel_after_value_became_ready_delivers_value_then_cancels_next_await() {
    // Goal: T3; method: the awaited flag is set and cancel follows at once, before or while the
    // task is polled; in every order the value, or the step after the flag, must be seen.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for _ in 0..scaled(200) {
                let (flag, passed) = (Flag::new(), Flag::new());
                let value = spawn({
                    let flag = flag.clone();
                    async move {
                        flag.wait().await;
                        7
                    }
                });
                let longer = spawn({
                    let (flag, passed) = (flag.clone(), passed.clone());
                    async move {
                        flag.wait().await;
                        passed.set();
                        pending::<()>().await;
                    }
                });
                wait_all_blocked().await;
                assert_eq!(flag.waiters(), 2);
                flag.set();
                value.cancel();
                longer.cancel();
                assert_eq!(value.await.expect("a value that was ready wins"), 7);
                assert!(longer.await.unwrap_err().is_cancelled());
                assert!(passed.is_set(), "the ready value was delivered before the cancel");
            }
        });
    });
}

#[test]
fn cancel_polls_once_more_and_abort_does_not() {
    // Goal: the difference of the two; method: count polls of a pending future.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for abort in [false, true] {
                let (polls, dropped) = (Count::new(), Count::new());
                let guard = dropped.on_drop();
                let task = spawn(Polled::new(
                    async move {
                        let _guard = guard;
                        pending::<()>().await
                    },
                    &polls,
                ));
                // A request during the first poll would be another case: the task would have ended
                // then.
                wait_all_blocked().await;
                assert_eq!(polls.get(), 1);
                let asked = if abort { task.abort() } else { task.cancel() };
                assert!(asked);
                assert!(task.await.unwrap_err().is_cancelled());
                assert_eq!(dropped.get(), 1);
                assert_eq!(polls.get(), if abort { 1 } else { 2 });
            }
        });
    });
}

#[test]
fn cancel_of_finished_task_changes_nothing() {
    // Goal: `cancel` returns false and the value stays.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let task = spawn(async { "value" });
            wait_all_blocked().await;
            assert!(task.is_finished());
            assert!(!task.cancel());
            assert!(!task.abort());
            assert_eq!(task.await.unwrap(), "value");
        });
    });
}

/// A task that gets its own handle, and runs `body` with it.
async fn with_own_handle<R: Send + 'static>(
    body: impl AsyncBody<R>,
    keep: impl FnOnce(Task<R>, &Slot<Task<R>>),
) {
    let (slot, ready) = (Slot::new(), Flag::new());
    let task = spawn({
        let (slot, ready) = (slot.clone(), ready.clone());
        async move {
            ready.wait().await;
            body.call(slot).await
        }
    });
    keep(task, &slot);
    ready.set();
}

trait AsyncBody<R>: Send + 'static {
    fn call(self, slot: Slot<Task<R>>) -> impl Future<Output = R> + Send;
}

impl<R, F, Fut> AsyncBody<R> for F
where
    F: FnOnce(Slot<Task<R>>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send,
{
    fn call(self, slot: Slot<Task<R>>) -> impl Future<Output = R> + Send {
        self(slot)
    }
}

#[test]
fn task_cancels_itself_at_its_next_await() {
    // Goal: T6, for cancel and abort; method: the task takes its handle from a slot, cancels or
    // aborts itself, and then either suspends (cancelled) or returns in the same poll (the value
    // wins over a cancel).
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for (abort, suspends) in [(false, true), (true, true), (false, false), (true, false)] {
                let (gone, reached) = (Flag::new(), Count::new());
                let guard = SetOnDrop(gone.clone());
                let theirs = reached.clone();
                let done = Slot::new();
                let back = done.clone();
                with_own_handle(
                    move |slot: Slot<Task<u32>>| async move {
                        let _guard = guard;
                        slot.with(|task| if abort { task.abort() } else { task.cancel() });
                        theirs.add();
                        // The handle leaves the slot so that main can await the result.
                        back.put(slot.take().expect("own handle"));
                        if suspends {
                            pending::<()>().await;
                            theirs.add();
                        }
                        5
                    },
                    |task, slot| slot.put(task),
                )
                .await;
                gone.wait().await;
                let result = done.take().expect("passed on").await;
                assert_eq!(reached.get(), 1);
                match (suspends, abort) {
                    (true, _) => assert!(result.unwrap_err().is_cancelled()),
                    (false, false) => assert_eq!(result.unwrap(), 5),
                    // Either end is allowed for a value that was made in the poll that aborted.
                    (false, true) => assert!(result.map_or_else(|e| e.is_cancelled(), |v| v == 5)),
                }
            }
        });
    });
}

#[test]
fn t8_task_that_awaits_itself_panics() {
    // Goal: T8, a panic and no hang; method: the task awaits its own handle, by itself and in a
    // timeout, and its panic passes the handle on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for timed in [false, true] {
                let kept = Slot::new();
                let back = kept.clone();
                let gone = Flag::new();
                let guard = SetOnDrop(gone.clone());
                with_own_handle(
                    move |slot: Slot<Task<()>>| async move {
                        struct Keep(Option<Task<()>>, Slot<Task<()>>);
                        impl Drop for Keep {
                            fn drop(&mut self) {
                                self.1.put(self.0.take().expect("put once"));
                            }
                        }
                        let _guard = guard;
                        let mut keep = Keep(slot.take(), back);
                        let own = keep.0.as_mut().expect("own handle");
                        if timed {
                            let _ = timeout(Duration::from_secs(1000), own).await;
                        } else {
                            let _ = own.await;
                        }
                    },
                    |task, slot| slot.put(task),
                )
                .await;
                gone.wait().await;
                let error = kept.take().expect("passed on").await.unwrap_err();
                assert!(error.is_panicked());
                assert!(error.to_string().contains("awaits itself"), "{error}");
            }
        });
    });
}

#[test]
fn handle_dropped_inside_own_poll_detaches() {
    // Goal: test 41; method: the task takes its own handle from a slot and drops it, then goes on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let done = Flag::new();
            let set = done.clone();
            with_own_handle(
                move |slot: Slot<Task<()>>| async move {
                    drop(slot.take().expect("own handle"));
                    yield_now().await;
                    set.set();
                },
                |task, slot| slot.put(task),
            )
            .await;
            done.wait().await;
        });
    });
}

#[test]
fn abort_from_destructor_ends_both() {
    // Goal: test 41; method: a future whose destructor aborts another task and its own; both end,
    // nothing deadlocks.
    struct Aborts(Vec<Slot<Task<()>>>);
    impl Drop for Aborts {
        fn drop(&mut self) {
            for slot in &self.0 {
                slot.with(|task| task.abort());
            }
        }
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (own, other) = (Slot::new(), Slot::new());
            other.put(spawn(pending::<()>()));
            let guard = Aborts(vec![own.clone(), other.clone()]);
            let started = Flag::new();
            let set = started.clone();
            own.put(spawn(async move {
                let _guard = guard;
                set.set();
                pending::<()>().await
            }));
            started.wait().await;
            own.with(|task| task.cancel());
            for slot in [own, other] {
                wait_until_async(|| slot.with(Task::is_finished).unwrap(), || "it ends".into())
                    .await;
                assert!(slot.take().unwrap().await.unwrap_err().is_cancelled());
            }
        });
    });
}

#[test]
fn join_dropped_inside_destructor_of_another_task_cancels() {
    // Goal: owning handles inside futures that the runtime drops; method: a tree of three levels,
    // the root is aborted, all leaves end.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (started, ended) = (Count::new(), Count::new());
            let root = spawn({
                let (started, ended) = (started.clone(), ended.clone());
                async move {
                    let children: Vec<_> = (0..10)
                        .map(|_| {
                            let (started, ended) = (started.clone(), ended.clone());
                            let child = async move {
                                let leaf = spawn(async move {
                                    let _guard = ended.on_drop();
                                    started.add();
                                    pending::<()>().await
                                });
                                leaf.join().await
                            };
                            spawn(child).join()
                        })
                        .collect();
                    pending::<()>().await;
                    drop(children);
                }
            });
            wait_all_blocked().await;
            assert_eq!(started.get(), 10);
            root.abort();
            wait_all_blocked().await;
            assert_eq!(ended.get(), 10);
            assert!(root.await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn t9_panic_that_is_not_collected_reaches_hook_once() {
    // Goal: T9; method: handles dropped before or after the panic, collected, or cancelled; the
    // hook gets exactly the uncollected panics, each once, and other tasks go on.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let release = Flag::new();
            let blow = |text: &'static str| {
                let release = release.clone();
                async move {
                    release.wait().await;
                    deliberate(text)
                }
            };
            let bystander = spawn(async {
                for _ in 0..100 {
                    yield_now().await;
                }
                1
            });
            drop::<Task<()>>(spawn(blow("dropped before")));
            let after: Task<()> = spawn(blow("dropped after"));
            let awaited: Task<()> = spawn(blow("awaited"));
            let joined = spawn(blow("joined")).join();
            let cancelled = spawn(pending::<()>());
            release.set();
            wait_until_async(|| after.is_finished(), || "it panics".into()).await;
            drop(after);
            let error = awaited.await.unwrap_err();
            assert!(error.is_panicked() && !error.is_cancelled());
            assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "awaited");
            let nothing: Result<(), _> = joined.await;
            assert!(nothing.unwrap_err().is_panicked());
            cancelled.cancel();
            drop(cancelled);
            assert_eq!(bystander.await.unwrap(), 1);
            wait_until_async(|| log.count(Kind::Panic) >= 2, || "the hook is called".into()).await;
        });
        let mut heard = log.take(Kind::Panic);
        heard.sort();
        assert_eq!(heard.len(), 2, "{heard:#?}");
        for (text, word) in heard.iter().zip(["dropped after", "dropped before"]) {
            assert!(heard.iter().any(|t| t.contains(word)), "{word} in {heard:#?}");
            assert!(text.contains("task.rs"), "names where it was spawned: {text}");
        }
        log.assert_silent();
    });
}

#[test]
fn error_hook_that_panics_does_no_harm() {
    // Goal: foreign code in the hook is contained (S8); method: a hook that panics, ten times.
    on_every(|cfg| {
        let heard = Count::new();
        let count = heard.clone();
        let builder = cfg.builder().on_error(move |_| {
            count.add();
            deliberate("in the hook")
        });
        builder
            .run(async {
                for _ in 0..10 {
                    drop::<Task<()>>(spawn(async { deliberate("for the hook") }));
                }
                wait_until_async(|| heard.get() >= 10, || "the hook is called ten times".into())
                    .await;
                assert_eq!(spawn(async { 3 }).await.unwrap(), 3);
            })
            .unwrap();
        assert_eq!(heard.get(), 10);
    });
}

#[test]
fn t11_handle_dropped_of_blocked_task_lets_it_complete() {
    // Goal: T11; method: detach a task blocked on a timer and on a flag; both finish.
    on_every(|cfg| {
        cfg.mocked(async {
            let (flag, done) = (Flag::new(), Count::new());
            let (wait, count) = (flag.clone(), done.clone());
            drop(spawn(async move {
                ringloop::time::sleep(Duration::from_secs(20)).await;
                wait.wait().await;
                count.add();
            }));
            ringloop::time::sleep(Duration::from_secs(21)).await;
            assert_eq!((done.get(), flag.waiters()), (0, 1));
            flag.set();
            wait_all_blocked().await;
            assert_eq!(done.get(), 1);
        });
    });
}

#[test]
fn spawned_tasks_run_in_fifo_order_on_one_worker() {
    // Goal: exact order; method: three tasks that log and yield.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let log = Log::new();
            let tasks: Vec<_> = ["a", "b", "c"]
                .into_iter()
                .map(|name| {
                    let log = log.clone();
                    spawn(async move {
                        for round in 0..3 {
                            log.push(format!("{name}{round}"));
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(log.take(), ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]);
        });
    });
}

#[test]
fn t13_yield_now_lets_each_ready_task_run_once() {
    // Goal: T13; method: main yields once with 100 ready tasks on one worker.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let ran = Count::new();
            let tasks: Vec<_> = (0..100)
                .map(|_| {
                    let ran = ran.clone();
                    spawn(async move {
                        ran.add();
                        yield_now().await;
                        ran.add();
                    })
                })
                .collect();
            yield_now().await;
            assert_eq!(ran.get(), 100);
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn yield_in_combinator_wakes_the_right_task() {
    // Goal: yield_now under a waker that is not the task's own; method: FuturesUnordered of yields.
    use futures_util::stream::{FuturesUnordered, StreamExt};
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut all: FuturesUnordered<_> = (0..50)
                .map(|i| async move {
                    for _ in 0..i {
                        yield_now().await;
                    }
                    i
                })
                .collect();
            let mut sum = 0;
            while let Some(i) = all.next().await {
                sum += i;
            }
            assert_eq!(sum, 49 * 50 / 2);
        });
    });
}

#[test]
fn t16_run_inside_a_task_is_refused() {
    // Goal: T16; method: every form of run and block_on, inside main and inside a task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let refused = || {
                let text = must_panic(|| ringloop::run(async {}));
                assert!(text.contains("await"), "names the fix: {text}");
                let error = ringloop::Builder::new().workers(1).run(async {}).unwrap_err();
                assert!(error.is_nested(), "{error}");
                let error = Handle::current().block_on(async {}).unwrap_err();
                assert!(error.is_nested() && error.to_string().contains("await"), "{error}");
            };
            refused();
            spawn(async move { refused() }).await.unwrap();
        });
    });
}

#[test]
fn t17_foreign_thread_spawns_abandons_and_cancels() {
    // Goal: T17; method: a plain thread spawns by handle, drops one handle, cancels another task.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let (release, done) = (Flag::new(), Count::new());
        let (wait, count) = (release.clone(), done.clone());
        let abandoned = handle.spawn(async move {
            wait.wait().await;
            count.add();
        });
        let cancelled = handle.spawn(pending::<()>());
        drop(abandoned);
        cancelled.cancel();
        assert!(runtime.must_run(cancelled).unwrap_err().is_cancelled());
        release.set();
        wait_until(|| done.get() == 1, || "the abandoned task ends".into());
    });
}

#[test]
fn spawn_from_eight_foreign_threads_runs_everything_once() {
    // Goal: the inbox under contention; method: 8 threads spawn 10 000 tasks each, some detached,
    // some awaited by block_on.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let ran = Count::new();
        let per_thread = scaled(10_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (handle, ran) = (runtime.handle(), ran.clone());
                scope.spawn(move || {
                    for i in 0..per_thread {
                        let ran = ran.clone();
                        let task = handle.spawn(async move { ran.add() });
                        if i % 1000 == 0 {
                            handle.block_on(task).unwrap().unwrap();
                        }
                    }
                });
            }
        });
        wait_until(|| ran.get() >= 8 * per_thread, || format!("{} ran", ran.get()));
        assert_eq!(ran.get(), 8 * per_thread);
    });
}

#[test]
fn tasks_run_on_two_threads_at_once() {
    // Goal: tasks run in parallel; method: two tasks that spin for each other without a yield can
    // only end at the same time.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        cfg.once(async {
            let seen = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
            let spawn_one = |mine: usize| {
                let (mine, other) = (seen[mine].clone(), seen[1 - mine].clone());
                spawn(async move {
                    mine.store(true, Ordering::SeqCst);
                    while !other.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                })
            };
            let (a, b) = (spawn_one(0), spawn_one(1));
            a.await.unwrap();
            b.await.unwrap();
        });
    });
}

#[test]
fn task_of_one_runtime_awaited_in_another() {
    // Goal: handles work across runtimes; method: spawn in A, await, cancel and join in B.
    on_every(|cfg| {
        let (a, b) = (cfg.runtime(), cfg.runtime());
        let handle = a.handle();
        b.must_run(async move {
            let value = handle.spawn(async {
                yield_now().await;
                11
            });
            assert_eq!(value.await.unwrap(), 11);
            let stuck = handle.spawn(pending::<()>());
            stuck.cancel();
            assert!(stuck.join().await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn handle_polled_by_changing_wakers_wakes_the_last() {
    // Goal: the last waker counts; method: poll a handle by hand with ten wakers, one after the
    // other.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let release = Flag::new();
        let wait = release.clone();
        let mut task = runtime.spawn(async move { wait.wait().await });
        let wakers: Vec<_> = (0..10).map(|_| crate::tools::CountWakes::waker()).collect();
        for (waker, _) in &wakers {
            assert!(crate::tools::poll_by_hand(&mut task, waker).is_pending());
        }
        release.set();
        wait_until(|| wakers[9].1.get() == 1, || "the last waker is woken".into());
        let stale: usize = wakers[..9].iter().map(|(_, count)| count.get()).sum();
        assert_eq!(stale, 0);
        assert!(crate::tools::poll_by_hand(&mut task, &wakers[0].0).is_ready());
    });
}

#[test]
fn task_polled_after_its_result_panics() {
    // Goal: a poll after the end panics, and does no harm; method: poll a handle again after Ready.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut task = spawn(async { Box::new(1) });
            assert_eq!(*(&mut task).await.unwrap(), 1);
            let text = poll_fn(|cx| {
                let waker = cx.waker().clone();
                Poll::Ready(must_panic(|| crate::tools::poll_by_hand(&mut task, &waker)))
            })
            .await;
            assert!(text.contains("polled"), "{text}");
        });
    });
}
