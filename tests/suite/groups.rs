//! Task groups: no child outlives its group, no error is lost.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringloop::time::{sleep, timeout};
use ringloop::{
    Group, GroupClosed, GroupError, Scope, ScopeKind, Task, TryGroup, catch_cancel, finally, scope,
    spawn, task_group, try_task_group, yield_now,
};

use crate::harness::{deliberate, on_every, scaled, settle};
use crate::tools::{Count, Flag, Log, PanicOnDrop, SetOnDrop, Slot};

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

async fn yields(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Never ready; sets `started`, and its cleanup takes a few turns and then counts.
async fn with_cleanup(started: Flag, cleaned: Count) {
    let body = async {
        started.set();
        pending::<()>().await;
    };
    let cleanup = async {
        yields(5).await;
        cleaned.add();
    };
    let _ = finally(body, cleanup, LONG).await;
    pending::<()>().await;
}

#[test]
fn group_waits_for_its_children_and_gives_the_bodys_value() {
    // Goal: the plain case; children of children count; handles return values.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let done = Count::new();
            let value = task_group(async |g: Group| {
                let twice = g.spawn(async { 21 * 2 });
                for _ in 0..10 {
                    let (group, done) = (g.clone(), done.clone());
                    g.spawn(async move {
                        yields(3).await;
                        let inner = done.clone();
                        group.spawn(async move { inner.add() }).detach();
                        done.add();
                    })
                    .detach();
                }
                twice.await.unwrap()
            });
            assert_eq!(value.await.unwrap(), 42);
            assert_eq!(done.get(), 20);
            settle(1).await;
        });
    });
}

#[test]
fn t34_errors_during_cleanup_are_all_in_the_group_error() {
    // Goal: T34; method: two siblings fail while they are being cancelled, a third is only cleaned up.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let result = try_task_group(async |g: TryGroup<&'static str>| {
                let started: Vec<_> = (0..3).map(|_| Flag::new()).collect();
                for name in ["second", "third"] {
                    let set = started[usize::from(name == "third")].clone();
                    g.spawn(async move {
                        set.set();
                        let _ = catch_cancel(pending::<()>()).await;
                        Err::<(), _>(name)
                    })
                    .detach();
                }
                let (set, counted) = (started[2].clone(), cleaned.clone());
                g.spawn(async move {
                    with_cleanup(set, counted).await;
                    Ok(())
                })
                .detach();
                for flag in &started {
                    flag.wait().await;
                }
                g.spawn(async { Err::<(), _>("first") }).detach();
                pending::<()>().await;
                Ok(())
            });
            let error = result.await.unwrap_err();
            assert_eq!(error.errors()[0], "first");
            let mut all = error.errors().to_vec();
            all.sort();
            assert_eq!(all, ["first", "second", "third"]);
            assert_eq!(cleaned.get(), 1);
            assert_eq!(error.cancel_cause().unwrap().scope(), ScopeKind::Group);
            settle(1).await;
        });
    });
}

#[test]
fn t35_child_cancelled_alone_does_no_harm() {
    // Goal: T35; method: one child is cancelled by its handle, the others give values.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let value = task_group(async |g: Group| {
                let gone = g.spawn(pending::<()>());
                let other = g.spawn(async {
                    yields(5).await;
                    1
                });
                gone.cancel();
                assert!(gone.await.unwrap_err().is_cancelled());
                other.await.unwrap()
            });
            assert_eq!(value.await.unwrap(), 1);
        });
    });
}

#[test]
fn t36_closed_group_takes_no_tasks() {
    // Goal: T36; method: a group that is over, one that is being cancelled, one that only waits.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let handle = Slot::new();
            let put = handle.clone();
            task_group(async |g: Group| put.put(g)).await.unwrap();
            let over = handle.take().unwrap();
            let (polled, dropped) = (Count::new(), Count::new());
            let probe = || {
                let (polled, guard) = (polled.clone(), dropped.on_drop());
                async move {
                    let _guard = guard;
                    polled.add();
                }
            };
            let GroupClosed(back) = over.try_spawn(probe()).unwrap_err();
            drop(back);
            let refused = over.spawn(probe());
            let error = refused.await.unwrap_err();
            assert_eq!(error.cancel_cause().unwrap().scope(), ScopeKind::Group);
            assert_eq!((polled.get(), dropped.get()), (0, 2));

            // While it is being cancelled: a child tries to spawn in its cleanup.
            let result = task_group(async |g: Group| {
                let (group, probe) = (g.clone(), probe());
                let started = Flag::new();
                let set = started.clone();
                g.spawn(async move {
                    set.set();
                    let _ = catch_cancel(pending::<()>()).await;
                    assert!(group.try_spawn(probe).is_err());
                })
                .detach();
                started.wait().await;
                g.cancel_with("enough");
                pending::<()>().await;
            });
            let error = result.await.unwrap_err();
            assert!(error.is_cancelled());
            assert_eq!(error.cancel_cause().unwrap().reason(), Some("enough"));
            assert_eq!((polled.get(), dropped.get()), (0, 3));

            // While it only waits for its children: they may spawn.
            let late = Count::new();
            let counted = late.clone();
            task_group(async |g: Group| {
                let group = g.clone();
                g.spawn(async move {
                    yields(10).await;
                    group.spawn(async move { counted.add() }).detach();
                })
                .detach();
            })
            .await
            .unwrap();
            assert_eq!(late.get(), 1);
        });
    });
}

#[test]
fn t37_child_error_and_outside_cancel_together() {
    // Goal: T37: the error is returned, and the next await is cancelled; method: the scope around
    // it is cancelled in the poll in which the child fails.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, past) = (Log::new(), Count::new());
            let ended = scope(async |outer: Scope| {
                let result = try_task_group(async |g: TryGroup<&'static str>| {
                    g.spawn(async move {
                        outer.cancel();
                        Err::<(), _>("child")
                    })
                    .detach();
                    pending::<()>().await;
                    Ok(())
                });
                log.push(result.await.unwrap_err().errors()[0]);
                yield_now().await;
                yield_now().await;
                past.add();
                pending::<()>().await;
            });
            assert!(ended.await.is_err());
            assert_eq!(log.take(), ["child"]);
            assert_eq!(past.get(), 0, "the request was still pending");
        });
    });
}

#[test]
fn t38_outer_group_cancel_is_not_swallowed_by_an_inner_handled_error() {
    // Goal: T38 (cpython 116720, anyio 787); method: inner and outer child fail in one turn; the inner
    // error is handled.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let went_on = Count::new();
            let counted = went_on.clone();
            let result = try_task_group(async |outer: TryGroup<&'static str>| {
                let gate = Flag::new();
                let (one, two) = (gate.clone(), gate.clone());
                outer
                    .spawn(async move {
                        one.wait().await;
                        Err::<(), _>("outer")
                    })
                    .detach();
                let opener = outer.clone();
                let inner = try_task_group(async move |g: TryGroup<&'static str>| {
                    g.spawn(async move {
                        two.wait().await;
                        Err::<(), _>("inner")
                    })
                    .detach();
                    opener
                        .spawn(async move {
                            yields(3).await;
                            gate.set();
                            Ok(())
                        })
                        .detach();
                    pending::<()>().await;
                    Ok(())
                });
                let _handled = inner.await;
                sleep(LONG).await;
                counted.add();
                Ok(())
            });
            let error = timeout(LONG, result).await.unwrap().unwrap_err();
            assert_eq!(error.errors(), ["outer"]);
            assert_eq!(went_on.get(), 0);
        });
    });
}

#[test]
fn t39_outer_timeout_surfaces_though_the_group_cancelled_itself() {
    // Goal: T39 (cpython 155433); method: a group that cancels itself, with cleanup that outlasts the
    // timeout.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let counted = cleaned.clone();
            let result = timeout(Duration::from_millis(2), async {
                task_group(async |g: Group| {
                    let started = Flag::new();
                    let set = started.clone();
                    g.spawn(async move {
                        let body = async {
                            set.set();
                            pending::<()>().await;
                        };
                        let cleanup = async {
                            sleep(Duration::from_millis(10)).await;
                            counted.add();
                        };
                        let _ = finally(body, cleanup, LONG).await;
                    })
                    .detach();
                    started.wait().await;
                    g.cancel();
                    pending::<()>().await;
                })
                .await
            });
            assert!(result.await.is_err(), "Elapsed, not the group's own error");
            assert_eq!(cleaned.get(), 1);
        });
    });
}

#[test]
fn t40_group_ends_though_children_keep_spawning() {
    // Goal: T40; method: each child spawns two, until one fails.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let count = Count::new();
            fn grow(
                g: TryGroup<u32>,
                count: Count,
            ) -> impl Future<Output = Result<(), u32>> + Send {
                Box::pin(async move {
                    if count.add() == 200 {
                        return Err(7);
                    }
                    for _ in 0..2 {
                        let (group, count) = (g.clone(), count.clone());
                        let next: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
                            Box::pin(grow(group, count));
                        g.spawn(next).detach();
                        yield_now().await;
                    }
                    Ok(())
                })
            }
            let result = try_task_group(async |g: TryGroup<u32>| {
                g.spawn(grow(g.clone(), count.clone())).detach();
                Ok(())
            });
            assert_eq!(result.await.unwrap_err().errors(), [7]);
            settle(1).await;
        });
    });
}

#[test]
fn t41_group_leaves_no_request_behind() {
    // Goal: T41: after a group that failed, or cancelled itself, awaits work as before.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let task = spawn(async {
                let failed = try_task_group(async |g: TryGroup<()>| {
                    g.spawn(async { Err::<(), ()>(()) }).detach();
                    pending::<()>().await;
                    Ok(())
                });
                assert!(failed.await.is_err());
                let cancelled = task_group(async |g: Group| {
                    g.cancel();
                    pending::<()>().await;
                });
                assert!(cancelled.await.is_err());
                yields(5).await;
                sleep(SHORT).await;
                "fine"
            });
            assert_eq!(task.await.unwrap(), "fine");
        });
    });
}

#[test]
fn child_that_cancels_its_group_before_it_suspends_ends_with_it() {
    // Goal: cpython 155418.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let past = Count::new();
            let counted = past.clone();
            let result = task_group(async |g: Group| {
                let group = g.clone();
                g.spawn(async move {
                    group.cancel();
                    yields(2).await;
                    pending::<()>().await;
                    counted.add();
                })
                .detach();
                pending::<()>().await;
            });
            assert!(result.await.unwrap_err().is_cancelled());
            assert_eq!(past.get(), 0);
        });
    });
}

#[test]
fn body_that_catches_the_cancel_and_fails_by_itself() {
    // Goal: cpython 95289: no request is left over and none is lost.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let after = Log::new();
            let said = after.clone();
            let task = spawn(async move {
                let result = try_task_group(async |g: TryGroup<&'static str>| {
                    g.spawn(async { Err::<(), _>("child") }).detach();
                    let _ = catch_cancel(pending::<()>()).await;
                    Err::<(), _>("body")
                });
                let mut errors = result.await.unwrap_err().into_parts().0;
                errors.sort();
                said.push(errors.join(" "));
                yields(3).await;
                said.push("went on");
            });
            task.await.unwrap();
            assert_eq!(after.take(), ["body child", "went on"]);
        });
    });
}

#[test]
fn panics_are_listed_apart_and_a_body_that_panics_joins_its_children() {
    // Goal: panics are in a list of their own; method: one child panics beside one that fails; then
    // a body that panics.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let result = try_task_group(async |g: TryGroup<&'static str>| {
                let started = Flag::new();
                let set = started.clone();
                g.spawn(async move {
                    set.set();
                    let _ = catch_cancel(pending::<()>()).await;
                    Err::<(), _>("second")
                })
                .detach();
                started.wait().await;
                let bad: Task<()> = g.spawn(async { deliberate("child") });
                let error = bad.await.unwrap_err();
                assert!(error.is_cancelled(), "the group has the panic");
                pending::<()>().await;
                Ok(())
            });
            let error = result.await.unwrap_err();
            assert_eq!(error.errors(), ["second"]);
            assert_eq!(error.panics().len(), 1);
            assert!(error.panics()[0].is_panicked());

            let cleaned = Count::new();
            let counted = cleaned.clone();
            let task = spawn(async move {
                let result: Result<(), GroupError> = task_group(async |g: Group| {
                    let started = Flag::new();
                    g.spawn(with_cleanup(started.clone(), counted)).detach();
                    started.wait().await;
                    deliberate("body")
                })
                .await;
                result
            });
            assert!(task.await.unwrap_err().is_panicked());
            assert_eq!(cleaned.get(), 1);
        });
    });
}

#[test]
fn body_that_panics_outside_of_its_polls_joins_its_children() {
    // Goal: no child outlives its group; method: the body's destructor panics when the group is
    // cancelled; a closure panics before there is a body.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (begun, cleaned) = (Flag::new(), Count::new());
            let (begins, counted) = (begun.clone(), cleaned.clone());
            let task = spawn(async move {
                task_group(async |g: Group| {
                    let _bomb = PanicOnDrop;
                    let started = Flag::new();
                    g.spawn(with_cleanup(started.clone(), counted)).detach();
                    started.wait().await;
                    begins.set();
                    pending::<()>().await;
                })
                .await
            });
            begun.wait().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_panicked());
            assert_eq!(cleaned.get(), 1);

            let gone = Flag::new();
            let set = SetOnDrop(gone.clone());
            let task = spawn(async move {
                task_group(|g: Group| {
                    let child = async move {
                        let _set = set;
                        pending::<()>().await;
                    };
                    g.spawn(child).detach();
                    if g.len() == 1 {
                        deliberate("closure");
                    }
                    std::future::ready(())
                })
                .await
            });
            assert!(task.await.unwrap_err().is_panicked());
            assert!(gone.is_set());
        });
    });
}

#[test]
fn cancel_from_outside_joins_the_children() {
    // Goal: rule 16; method: a timeout around a group whose children clean up; an abort of the task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let counted = cleaned.clone();
            let ended = timeout(
                SHORT,
                task_group(async |g: Group| {
                    for _ in 0..10 {
                        g.spawn(with_cleanup(Flag::new(), counted.clone())).detach();
                    }
                    yields(20).await;
                    pending::<()>().await;
                }),
            );
            assert!(ended.await.is_err());
            if cfg.single() {
                assert_eq!(cleaned.get(), 10);
            }
            settle(1).await;

            let (gone, started) = (Flag::new(), Flag::new());
            let (on_drop, set) = (gone.clone(), started.clone());
            let task = spawn(task_group(async move |g: Group| {
                g.spawn(async move {
                    let _guard = SetOnDrop(on_drop);
                    set.set();
                    pending::<()>().await;
                })
                .detach();
                pending::<()>().await;
            }));
            started.wait().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            // A hard drop: the children were cancelled, and the runtime polls them to their end.
            gone.wait().await;
        });
    });
}

#[test]
fn group_that_is_dropped_cancels_its_children() {
    // Goal: no child is unowned; method: the group's future is polled and dropped.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (gone, started) = (Flag::new(), Flag::new());
            {
                let (on_drop, set) = (gone.clone(), started.clone());
                let mut group = pin!(task_group(async move |g: Group| {
                    g.spawn(async move {
                        let _guard = SetOnDrop(on_drop);
                        set.set();
                        pending::<()>().await;
                    })
                    .detach();
                    pending::<()>().await;
                }));
                poll_fn(|cx| {
                    assert!(group.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                started.wait().await;
            }
            gone.wait().await;
        });
    });
}

#[test]
fn start_waits_until_the_child_is_ready() {
    // Goal: start; method: a child that reports a number and goes on; one that never reports.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let value = task_group(async |g: Group| {
                let port = g.start(|started| async move {
                    yields(3).await;
                    started.ready(8080);
                    pending::<()>().await;
                });
                let port: u16 = port.await.unwrap();
                let silent = g.start::<_, (), _>(|started| async move { drop(started) });
                assert!(silent.await.is_err());
                g.cancel();
                port
            });
            assert_eq!(value.await.unwrap(), 8080, "the body had its value");
        });
    });
}

#[test]
fn limited_group_runs_a_few_at_a_time() {
    // Goal: the limit; method: the largest number that ran at once.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (now, most) = (Count::new(), std::sync::Arc::new(std::sync::Mutex::new(0)));
            let ended = Count::new();
            task_group(async |g: Group| {
                let few = g.with_limit(3);
                for _ in 0..50 {
                    let (now, most, ended) = (now.clone(), most.clone(), ended.clone());
                    few.spawn(async move {
                        let running = now.add() - ended.get();
                        {
                            let mut most = most.lock().unwrap();
                            *most = running.max(*most);
                        }
                        yields(2).await;
                        ended.add();
                    })
                    .await
                    .detach();
                }
            })
            .await
            .unwrap();
            assert_eq!(ended.get(), 50);
            assert!(*most.lock().unwrap() <= 3);
        });
    });
}

#[test]
fn many_children_of_one_group() {
    // Goal: no quadratic time, and nothing is left; method: children that end at once, and children
    // that are cancelled together.
    on_every(|cfg| {
        cfg.once(async {
            let n = scaled(5000);
            let done = Count::new();
            task_group(async |g: Group| {
                for _ in 0..n {
                    let done = done.clone();
                    g.spawn(async move { done.add() }).detach();
                }
            })
            .await
            .unwrap();
            assert_eq!(done.get(), n);
            let result = task_group(async |g: Group| {
                for _ in 0..n {
                    g.spawn(pending::<()>()).detach();
                }
                yields(3).await;
                assert_eq!(g.len(), n);
                g.cancel();
                pending::<()>().await;
            });
            assert!(result.await.is_err());
            settle(1).await;
        });
    });
}

#[test]
fn child_cannot_consume_the_request_of_its_group() {
    // Goal: a child cannot consume its group's request, or the group would wait for ever; the same
    // for an owning join.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let body = |started: Flag, consumed: Log| async move {
                started.set();
                let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                consumed.push(gone.consume().to_string());
                pending::<()>().await;
            };
            let consumed = Log::new();
            let result = task_group(async |g: Group| {
                let started = Flag::new();
                let child = g.spawn(body(started.clone(), consumed.clone()));
                started.wait().await;
                // A request by its handle first: the group's takes precedence.
                child.cancel();
                g.cancel();
                pending::<()>().await;
            });
            assert!(result.await.is_err());
            let started = Flag::new();
            let owned = spawn(body(started.clone(), consumed.clone()));
            started.wait().await;
            assert!(timeout(SHORT, owned.join()).await.is_err());
            let answers = consumed.take();
            assert_eq!(answers.last().unwrap(), "false");
            if cfg.single() {
                assert_eq!(answers, ["false", "false"]);
            }
        });
    });
}
