//! Callbacks for the end of a task, and lists of tasks.

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use ringloop::task::{
    Builder, Outcome, TaskState, consume_budget, coop, current_task, unconstrained,
};
use ringloop::{TaskId, all_tasks, spawn, spawn_local, spawn_logged, to_thread, yield_now};

use crate::harness::{
    ErrorLog, Kind, deliberate, on_every, on_every_within, scaled, wait_until, wait_until_async,
};
use crate::tools::{Count, Flag, Log, Polled, Slot};

#[test]
fn t10_callbacks_run_once_in_order_and_not_inline() {
    // Goal: T10; method: three callbacks on a task that is released by hand. A lock that the
    // callbacks take is held where an inline call would happen: within the task's last poll, and
    // while a fourth is registered on the ended task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, held, release) = (Log::new(), Arc::new(Mutex::new(())), Flag::new());
            let (theirs, released) = (held.clone(), release.clone());
            let task = spawn(async move {
                released.wait().await;
                let _held = theirs.lock().unwrap();
                7
            });
            let register = |number: usize| {
                let (log, held) = (log.clone(), held.clone());
                task.on_done(move |outcome| {
                    let _held = held.lock().unwrap();
                    assert!(outcome.is_ok());
                    log.push(number.to_string());
                })
                .keep();
            };
            (1..=3).for_each(register);
            release.set();
            let mut logged = Vec::new();
            while logged.len() < 3 {
                yield_now().await;
                logged.extend(log.take());
            }
            assert_eq!(logged, ["1", "2", "3"]);
            {
                let _held = held.lock().unwrap();
                register(4);
                register(5);
                assert!(log.take().is_empty());
            }
            let mut logged = Vec::new();
            while logged.len() < 2 {
                yield_now().await;
                logged.extend(log.take());
            }
            assert_eq!(logged, ["4", "5"]);
            assert_eq!(task.await.unwrap(), 7);
        });
    });
}

#[test]
fn t10_callbacks_get_the_outcome() {
    // Goal: callbacks get each outcome, whether the handle lives or not, and of a job of the
    // blocking pool as well.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let told = Arc::new(Mutex::new(Vec::<(TaskId, Outcome)>::new()));
            let hear = |id: TaskId| {
                let told = told.clone();
                move |outcome| told.lock().unwrap().push((id, outcome))
            };
            let value = spawn(async {});
            let cancelled = spawn(pending::<()>());
            let panicked = spawn(async { deliberate("on purpose") });
            let job = to_thread(|| ());
            let ids = [value.id(), cancelled.id(), panicked.id(), job.id()];
            value.on_done(hear(ids[0])).keep();
            cancelled.on_done(hear(ids[1])).keep();
            panicked.on_done(hear(ids[2])).keep();
            job.on_done(hear(ids[3])).keep();
            cancelled.cancel();
            drop((value, cancelled, panicked, job));
            wait_until_async(|| told.lock().unwrap().len() == 4, || "all are called".into()).await;
            let expected = |id: TaskId| match ids.iter().position(|of| *of == id).unwrap() {
                1 => (false, true, false),
                2 => (false, false, true),
                _ => (true, false, false),
            };
            for (id, outcome) in told.lock().unwrap().iter() {
                assert_eq!(outcome.task(), *id);
                let is = (outcome.is_ok(), outcome.is_cancelled(), outcome.is_panicked());
                assert_eq!(is, expected(*id), "{outcome:?}");
            }
        });
        assert_eq!(log.take(Kind::Panic).len(), 1);
        log.assert_silent();
    });
}

#[test]
fn t10_callback_that_is_removed_or_panics() {
    // Goal: a callback that is removed is not called and its captures are dropped; a panic is
    // reported, with the task's name, and the other callbacks run.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let (called, dropped) = (Count::new(), Count::new());
            let task = Builder::new().name("ends").spawn(pending::<()>());
            let guard = dropped.on_drop();
            let removed = task.on_done(move |_| drop(guard));
            task.on_done(|_| deliberate("in a callback")).keep();
            let last = called.clone();
            task.on_done(move |_| {
                last.add();
            })
            .keep();
            assert!(removed.remove());
            assert_eq!(dropped.get(), 1);
            let late = task.on_done(|_| ());
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            wait_until_async(|| called.get() == 1, || "the last is called".into()).await;
            wait_until_async(|| log.count(Kind::Other) == 1, || "the hook is called".into()).await;
            // Called, or about to be.
            let _ = late.remove();
        });
        let text = &log.take(Kind::Other)[0];
        assert!(text.contains("\"ends\"") && text.contains("in a callback"), "{text}");
        log.assert_silent();
    });
}

#[test]
fn t10_callbacks_from_plain_threads_and_at_the_end_of_the_runtime() {
    // Goal: a callback that a plain thread registers after the end of the task runs on a worker;
    // callbacks of tasks that the end of the runtime cancels run; one that is registered later is
    // dropped.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let done = runtime.spawn(async {});
        wait_until(|| done.is_finished(), || "the task ends".into());
        let (here, there) = (std::thread::current().id(), Slot::new());
        let put = there.clone();
        done.on_done(move |_| put.put(std::thread::current().id())).keep();
        let mut caller = None;
        wait_until(|| there.with(|_| ()).is_some(), || "it is called".into());
        caller.replace(there.take().unwrap());
        assert_ne!(caller, Some(here));

        let (called, dropped) = (Count::new(), Count::new());
        let tasks: Vec<_> = (0..20).map(|_| handle.spawn(pending::<()>())).collect();
        for task in &tasks {
            let called = called.clone();
            task.on_done(move |outcome| {
                assert!(outcome.is_cancelled());
                called.add();
            })
            .keep();
        }
        assert!(runtime.into_inner().shutdown(Duration::from_secs(20)).is_clean());
        assert_eq!(called.get(), 20);
        for task in tasks.iter().chain([&handle.spawn(pending())]) {
            let (called, guard) = (called.clone(), dropped.on_drop());
            task.on_done(move |_| {
                let _guard = guard;
                called.add();
            })
            .keep();
        }
        assert_eq!((called.get(), dropped.get()), (20, 21));
    });
}

#[test]
fn t10_callbacks_registered_while_tasks_end() {
    // Goal: no callback is lost or called twice, and the order holds, whatever thread registers
    // while the task ends; method: a plain thread registers ten on each of many tasks that end at
    // that time.
    on_every_within(Duration::from_secs(120), |cfg| {
        let runtime = cfg.runtime();
        for _ in 0..scaled(200) {
            let order = Arc::new(Mutex::new(Vec::new()));
            let task = runtime.spawn(async {
                yield_now().await;
            });
            for number in 0..10 {
                let order = order.clone();
                task.on_done(move |_| order.lock().unwrap().push(number)).keep();
            }
            wait_until(|| order.lock().unwrap().len() == 10, || "all are called".into());
            assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
        }
    });
}

#[test]
fn t12_tasks_are_listed_while_they_churn() {
    // Goal: T12; method: 10^5 short tasks over five cases, on all workers, listed again and again:
    // no duplicates, no task that had ended when the list began, and none missing that lives
    // throughout.
    on_every_within(Duration::from_secs(120), |cfg| {
        cfg.once(async {
            let lasting = Builder::new().name("lasting").spawn(pending::<()>());
            let over = Arc::new(AtomicBool::new(false));
            let ended: Arc<Mutex<Vec<TaskId>>> = Arc::default();
            let groups: Vec<_> = (0..8)
                .map(|_| {
                    let (over, ended) = (over.clone(), ended.clone());
                    spawn(async move {
                        for _ in 0..scaled(20_000) / 8 / 50 {
                            let tasks: Vec<_> =
                                (0..50).map(|_| spawn(async { yield_now().await })).collect();
                            for task in tasks {
                                let id = task.id();
                                task.await.unwrap();
                                ended.lock().unwrap().push(id);
                            }
                        }
                        over.store(true, Ordering::Relaxed);
                    })
                })
                .collect();
            let mut lists = 0;
            while !over.load(Ordering::Relaxed) || lists == 0 {
                let before: HashSet<TaskId> =
                    std::mem::take(&mut *ended.lock().unwrap()).into_iter().collect();
                let listed = all_tasks();
                let ids: HashSet<TaskId> = listed.iter().map(|info| info.id()).collect();
                assert_eq!(ids.len(), listed.len(), "a task is listed twice");
                assert!(ids.is_disjoint(&before), "a task is listed that had ended");
                assert!(ids.contains(&lasting.id()));
                assert!(ids.contains(&current_task().unwrap().id()));
                lists += 1;
                yield_now().await;
            }
            for group in groups {
                group.await.unwrap();
            }
            lasting.cancel();
            assert!(lasting.await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn t12_list_has_names_and_states_and_ends_with_the_runtime() {
    // Goal: the list's entries of a task that waits and of the one that lists; after the runtime's
    // end the list is empty, though another runtime may have its slot.
    on_every(|cfg| {
        cfg.once(async {
            let waits = Builder::new().name("waits").spawn(pending::<()>());
            let state = |name| {
                let listed = all_tasks();
                listed.iter().find(|info| info.name() == name).map(|info| info.state())
            };
            wait_until_async(
                || state(Some("waits")) == Some(TaskState::Suspended),
                || "it is suspended".into(),
            )
            .await;
            assert_eq!(state(None), Some(TaskState::Active));
            let listed = all_tasks();
            let info = listed.iter().find(|info| info.name().is_some()).unwrap();
            assert_eq!(info.spawned_at(), waits.spawned_at());
            assert!(info.canceller().cancel());
            assert!(waits.await.unwrap_err().is_cancelled());
            assert!(info.canceller().is_finished());
        });
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let task = runtime.spawn(pending::<()>());
        assert_eq!(handle.all_tasks().len(), 1);
        task.abort();
        drop(task);
        drop(runtime);
        assert!(handle.all_tasks().is_empty());
    });
}

#[test]
fn error_of_a_logged_task_reaches_the_hook() {
    // Goal: an error is reported once, when the task ends, whether its handle lives or not; a value
    // and a cancellation are not reported.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            spawn_logged(async { Ok::<_, String>(()) }).await.unwrap();
            let cancelled = spawn_logged(pending::<Result<(), String>>());
            cancelled.cancel();
            assert!(cancelled.await.unwrap_err().is_cancelled());
            assert_eq!(log.count(Kind::Other), 0);
            spawn_logged(async { Err("awaited") }).await.unwrap();
            assert_eq!(log.count(Kind::Other), 1);
            spawn_logged(async { Err("dropped") }).detach();
            wait_until_async(|| log.count(Kind::Other) == 2, || "the hook is called".into()).await;
            let texts = log.take(Kind::Other);
            assert!(texts[0].ends_with("failed: awaited"), "{texts:?}");
            assert!(texts[1].ends_with("failed: dropped"), "{texts:?}");
        });
        log.assert_silent();
    });
}

#[test]
fn budget_is_spent_or_lifted_by_authors_of_futures() {
    // Goal: `consume_budget` yields when the budget is spent, `unconstrained` never does and leaves the
    // budget as it was, also for a task that starts eagerly within; method: polls are counted.
    on_every(|cfg| {
        cfg.once(async {
            let polls = Count::new();
            let spends = |times: usize| async move {
                for _ in 0..times {
                    consume_budget().await;
                }
            };
            spawn_local(Polled::new(Box::pin(spends(128)), &polls)).await.unwrap();
            assert_eq!(polls.get(), 1);
            spawn_local(Polled::new(Box::pin(spends(129)), &polls)).await.unwrap();
            assert_eq!(polls.get(), 3);
            spawn_local(Polled::new(Box::pin(unconstrained(spends(10_000))), &polls))
                .await
                .unwrap();
            assert_eq!(polls.get(), 4);
            let around = async move {
                spends(100).await;
                unconstrained(async {
                    spends(1000).await;
                    let eager = Builder::new().eager().spawn(spends(129));
                    assert!(!eager.is_finished(), "each task has its own budget");
                    eager.detach();
                })
                .await;
                spends(28).await;
            };
            spawn_local(Polled::new(Box::pin(around), &polls)).await.unwrap();
            assert_eq!(polls.get(), 5);
        });
    });
}

#[test]
fn futures_that_know_no_budget_can_be_made_to_spend_it() {
    // Goal: with `coop` a loop over what is always ready yields, and takes nothing when it does;
    // method: polls and items are counted.
    on_every(|cfg| {
        cfg.once(async {
            let (polls, taken) = (Count::new(), Count::new());
            let item = || {
                taken.add();
                std::future::ready(())
            };
            let plain = async {
                for _ in 0..1000 {
                    item().await;
                }
            };
            Polled::new(Box::pin(plain), &polls).await;
            assert_eq!((polls.get(), taken.get()), (1, 1000));
            let items = Count::new();
            let takes = {
                let items = items.clone();
                async move {
                    for _ in 0..129 {
                        coop(std::future::poll_fn(|_| {
                            items.add();
                            std::task::Poll::Ready(())
                        }))
                        .await;
                    }
                }
            };
            spawn_local(Polled::new(Box::pin(takes), &polls)).await.unwrap();
            assert_eq!((polls.get(), items.get()), (3, 129));
            let stream = async {
                let mut ones = coop(futures_util::stream::repeat(1)).take(300);
                while ones.next().await.is_some() {}
            };
            spawn_local(Polled::new(Box::pin(stream), &polls)).await.unwrap();
            assert_eq!(polls.get(), 6);
        });
    });
}
