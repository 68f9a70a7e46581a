//! Cancellation with cleanup: scopes, regions, masks. The rules are those of `src/task/cancel`.

use std::future::{Future, IntoFuture, Pending, pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ringloop::time::{Instant, sleep, timeout, timeout_at};
use ringloop::{
    CancelToken, Cancelled, Scope, ScopeKind, catch_cancel, finally, scope, spawn, uncancellable,
    yield_now,
};

use crate::harness::{deliberate, on_every, settle};
use crate::tools::{Count, Flag, Log, PanicOnDrop, Polled, SetOnDrop, Slot};

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

async fn yields(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// A region that logs when it is cancelled.
async fn region<F: Future>(log: &Log, name: &str, inner: F) -> Result<F::Output, Cancelled> {
    let result = catch_cancel(inner).await;
    if result.is_err() {
        log.push(format!("{name} cancelled"));
    }
    result
}

#[test]
fn t4_task_that_catches_a_cancel_and_returns_is_not_cancelled() {
    // Goal: T4; method: the task answers the region's error with a value.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let started = Flag::new();
            let set = started.clone();
            let task = spawn(async move {
                set.set();
                let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                assert_eq!(gone.cause().scope(), ScopeKind::Task);
                assert!(gone.cause().location().unwrap().file().ends_with("cancel.rs"));
                42
            });
            started.wait().await;
            assert!(task.cancel());
            assert_eq!(task.await.unwrap(), 42);
        });
    });
}

#[test]
fn t5_request_stands_until_it_is_consumed() {
    // Goal: T5; method: two tasks catch the cancel and await again, one of them after `consume`.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for consumes in [false, true] {
                let (started, again) = (Flag::new(), Flag::new());
                let (set, gate) = (started.clone(), again.clone());
                let task = spawn(async move {
                    set.set();
                    let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                    if consumes {
                        assert!(gone.consume());
                    }
                    gate.wait().await;
                    "went on"
                });
                started.wait().await;
                task.cancel();
                if consumes {
                    while again.waiters() == 0 {
                        yield_now().await;
                    }
                    again.set();
                    assert_eq!(task.await.unwrap(), "went on");
                } else {
                    assert!(task.await.unwrap_err().is_cancelled());
                }
            }
        });
    });
}

#[test]
fn consumed_request_may_be_made_again() {
    // Goal: after `consume` a cancel is a new request, with its own reason.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (started, reasons) = (Flag::new(), Log::new());
            let (set, log) = (started.clone(), reasons.clone());
            let task = spawn(async move {
                set.set();
                for _ in 0..3 {
                    let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                    log.push(gone.cause().reason().unwrap());
                    assert!(gone.consume());
                }
                7
            });
            started.wait().await;
            let mut asked = 0;
            while !task.is_finished() {
                asked += usize::from(task.cancel_with(format!("request {asked}")));
                yield_now().await;
            }
            assert_eq!(task.await.unwrap(), 7);
            assert_eq!(reasons.take(), ["request 0", "request 1", "request 2"]);
            assert!(asked >= 3);
        });
    });
}

#[test]
fn t6_task_that_cancels_itself_is_cancelled_at_its_next_await() {
    // Goal: T6; method: it cancels itself through its handle, then returns, or awaits first.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for awaits in [false, true] {
                let handle = Slot::<ringloop::Task<u32>>::new();
                let own = handle.clone();
                let placed = Flag::new();
                let gate = placed.clone();
                let (send, receive) = ringloop::sync::oneshot();
                handle.put(spawn(async move {
                    gate.wait().await;
                    assert!(own.with(ringloop::Task::cancel).unwrap());
                    send.set(()).unwrap();
                    if awaits {
                        pending::<()>().await;
                    }
                    1
                }));
                placed.set();
                receive.await.unwrap();
                let result = handle.take().unwrap().await;
                assert_eq!(result.is_ok(), !awaits);
            }
        });
    });
}

#[test]
fn t7_each_scope_has_its_own_request() {
    // Goal: T7 in scopes: two requests, one consumed, the other stands; method: a scope within a task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, started) = (Log::new(), Flag::new());
            let (said, set) = (log.clone(), started.clone());
            let task = spawn(async move {
                let inner = scope(async |s: Scope| {
                    s.cancel_with("the scope");
                    set.set();
                    let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                    said.push(gone.cause().reason().unwrap_or("the task"));
                    gone.consume();
                    let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                    said.push(gone.cause().reason().unwrap_or("the task"));
                    gone.consume();
                    yield_now().await;
                    "through"
                });
                inner.await.unwrap()
            });
            started.wait().await;
            task.cancel();
            assert_eq!(task.await.unwrap(), "through");
            let mut said = log.take();
            said.sort();
            assert_eq!(said, ["the scope", "the task"]);
        });
    });
}

#[test]
fn regions_are_cancelled_innermost_first_and_each_once() {
    // Goal: rules 10, 12, 13; method: three nested regions, each of which awaits after its cancel.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, started) = (Log::new(), Flag::new());
            let (said, set) = (log.clone(), started.clone());
            let task = spawn(async move {
                let inner = async {
                    set.set();
                    pending::<()>().await;
                };
                let nested = async {
                    let _ = region(&said, "inner", inner).await;
                    pending::<()>().await;
                };
                let _ = region(&said, "outer", async {
                    let _ = region(&said, "middle", nested).await;
                    pending::<()>().await;
                })
                .await;
                pending::<()>().await;
            });
            started.wait().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(log.take(), ["inner cancelled", "middle cancelled", "outer cancelled"]);
        });
    });
}

#[test]
fn regions_in_join_and_select_and_unordered_are_all_reached() {
    // Goal: rules 3 and 4: combinators of other crates, of which one polls only the members that
    // were woken.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, polled) = (Log::new(), Count::new());
            let (said, polls) = (log.clone(), polled.clone());
            let task = spawn(async move {
                let many: FuturesUnordered<_> = (0..5)
                    .map(|i| {
                        let (said, inner) = (said.clone(), Polled::new(pending::<()>(), &polls));
                        async move { drop(region(&said, &format!("unordered {i}"), inner).await) }
                    })
                    .collect();
                let many = many.collect::<Vec<_>>();
                let joined = futures_util::future::join(
                    region(&said, "left", Polled::new(pending::<()>(), &polls)),
                    many,
                );
                let other = region(&said, "right", Polled::new(pending::<()>(), &polls));
                let _ = select(pin!(joined), pin!(other)).await;
                pending::<()>().await;
            });
            while polled.get() < 7 {
                yield_now().await;
            }
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            let mut said = log.take();
            said.sort();
            let right = said.contains(&"right cancelled".to_owned());
            assert!(right || said.len() == 6, "{said:?}");
        });
    });
}

#[test]
fn region_held_unpolled_does_not_keep_the_scope() {
    // Goal: rules 9 and 11; method: a region that was polled once and then only held.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (held, gone) = (Flag::new(), Flag::new());
            let (set, on_drop) = (held.clone(), gone.clone());
            let task = spawn(async move {
                let _guard = SetOnDrop(on_drop);
                let mut region = Box::pin(catch_cancel(pending::<()>()));
                poll_fn(|cx| {
                    assert!(region.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                set.set();
                let outer = catch_cancel(pending::<()>()).await;
                assert!(outer.is_err(), "the region that is polled is cancelled");
                pending::<()>().await;
            });
            held.wait().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert!(gone.is_set());
        });
    });
}

#[test]
fn mask_runs_to_its_end_and_the_request_stands() {
    // Goal: rules 11 and 14; method: a mask that suspends many times, then a plain await.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (started, done) = (Flag::new(), Count::new());
            let (set, counted) = (started.clone(), done.clone());
            let task = spawn(async move {
                uncancellable(async {
                    set.set();
                    for _ in 0..20 {
                        sleep(Duration::from_micros(10)).await;
                        counted.add();
                    }
                    // A scope inside works as always.
                    assert!(timeout(SHORT, pending::<()>()).await.is_err());
                })
                .await;
                counted.add();
                pending::<()>().await;
            });
            started.wait().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(done.get(), 21);
        });
    });
}

#[test]
fn abort_breaks_a_mask_and_cancels_no_region() {
    // Goal: rule 14: abort during cleanup; method: a region is cancelled first, and its cleanup
    // never ends.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (started, cleaning, gone) = (Flag::new(), Flag::new(), Flag::new());
            let (set, inside, on_drop) = (started.clone(), cleaning.clone(), gone.clone());
            let task = spawn(async move {
                let _guard = SetOnDrop(on_drop);
                let _ = catch_cancel(async {
                    set.set();
                    pending::<()>().await;
                })
                .await;
                inside.set();
                uncancellable(pending::<()>()).await;
            });
            started.wait().await;
            task.cancel();
            cleaning.wait().await;
            yields(10).await;
            assert!(!task.is_finished());
            assert!(task.abort());
            assert!(task.await.unwrap_err().is_cancelled());
            assert!(gone.is_set());
        });
    });
}

#[test]
fn t26_timeout_comes_after_the_cleanup() {
    // Goal: T26; method: a body that cleans up in several awaits; an error of the cleanup is the
    // body's own value, and the timeout does not return it.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let said = log.clone();
            let slow = timeout(SHORT, async move {
                let _ = region(&said, "body", pending::<()>()).await;
                uncancellable(async {
                    yields(10).await;
                    sleep(SHORT).await;
                    said.push("clean");
                })
                .await;
                Err::<(), _>("the cleanup failed")
            });
            assert!(slow.named("slow").await.is_err_and(|elapsed| elapsed.name() == Some("slow")));
            assert_eq!(log.take(), ["body cancelled", "clean"]);
        });
    });
}

#[test]
fn t28_of_equal_deadlines_the_outer_reports() {
    // Goal: T28; method: equal and reversed deadlines, and an inner region that logs which scope
    // cancelled it.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for inner_later in [Duration::ZERO, SHORT] {
                let at = Instant::now() + SHORT;
                let inner_elapsed = Count::new();
                let outer = timeout_at(at, async {
                    let told = Slot::new();
                    let put = told.clone();
                    let inner = timeout_at(at + inner_later, async move {
                        let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                        put.put(gone.cause().name().map(str::to_owned));
                        pending::<()>().await;
                    });
                    if inner.named("inner").await.is_err() {
                        inner_elapsed.add();
                    }
                    pending::<()>().await;
                });
                let elapsed = outer.named("outer").await.unwrap_err();
                assert_eq!(elapsed.name(), Some("outer"));
                assert_eq!(elapsed.deadline(), at);
                assert_eq!(inner_elapsed.get(), 0, "a foreign cancel passed through it");
            }
        });
    });
}

#[test]
fn inner_timeout_that_is_due_first_reports_itself() {
    // Goal: the other half of T28: the outer goes on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let outer = timeout(LONG, async {
                let inner = timeout(SHORT, pending::<()>()).named("inner").await;
                inner.unwrap_err().name()
            });
            assert_eq!(outer.await.unwrap(), Some("inner"));
        });
    });
}

#[test]
fn consumed_timeout_does_not_come_again() {
    // Goal: rule 13 for timeouts: `consume` in its region ends it, and then a value wins.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let answered = timeout(SHORT, async {
                let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                assert_eq!(gone.cause().scope(), ScopeKind::Timeout);
                assert!(gone.consume());
                sleep(2 * SHORT).await;
                5
            });
            assert_eq!(answered.await, Ok(5));
        });
    });
}

#[test]
fn t30_scope_is_rescheduled() {
    // Goal: T30: to later, to the past, to never, and after its end.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let handle = Slot::new();
            let put = handle.clone();
            // To later, and to never: it does not fire.
            let kept = scope(async move |s: Scope| {
                put.put(s.clone());
                s.reschedule(Some(Instant::now() + SHORT)).unwrap();
                yield_now().await;
                s.reschedule(Some(Instant::now() + LONG)).unwrap();
                sleep(2 * SHORT).await;
                s.reschedule(None).unwrap();
                yields(3).await;
                assert_eq!(s.deadline(), None);
                9
            });
            assert_eq!(kept.await.unwrap(), 9);
            let ended = handle.take().unwrap();
            assert!(!ended.expired());
            assert!(ended.reschedule(None).is_err());
            assert!(!ended.cancel());
            // To the past: at the next suspension. Without one, the value wins.
            for awaits in [true, false] {
                let late = scope(async move |s: Scope| {
                    s.reschedule(Some(Instant::now())).unwrap();
                    if awaits {
                        pending::<()>().await;
                    }
                });
                assert_eq!(late.await.is_err(), awaits);
            }
        });
    });
}

#[test]
fn scope_is_cancelled_from_another_thread() {
    // Goal: rule 5; method: a thread cancels while the scope waits.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let thread = Slot::new();
            let put = thread.clone();
            let ended = scope(async move |s: Scope| {
                put.put(std::thread::spawn(move || s.cancel_with("from a thread")));
                pending::<()>().await
            });
            let gone = ended.named("work").await.unwrap_err();
            assert_eq!(gone.cause().reason(), Some("from a thread"));
            assert_eq!(gone.cause().name(), Some("work"));
            assert!(thread.take().unwrap().join().unwrap());
        });
    });
}

#[test]
fn outer_scope_acts_where_both_were_cancelled() {
    // Goal: rule 7; method: inner and outer scope are cancelled in one turn; the inner error is
    // never seen.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let inner_ended = Count::new();
            let counted = inner_ended.clone();
            let outer = scope(async |o: Scope| {
                let inner = scope(async |i: Scope| {
                    i.cancel();
                    o.cancel();
                    pending::<()>().await
                });
                if inner.await.is_err() {
                    counted.add();
                }
                pending::<()>().await;
            });
            assert!(outer.await.is_err());
            assert_eq!(inner_ended.get(), 0);
        });
    });
}

#[test]
fn region_moved_to_another_task_is_cancelled_with_that_one() {
    // Goal: rule 3; method: a region is polled by one task, moved to another, and the first is
    // cancelled, then the second.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, polls) = (Log::new(), Count::new());
            let said = log.clone();
            let inner = Polled::new(pending::<()>(), &polls);
            let mut moved: Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(async move { drop(region(&said, "moved", inner).await) });
            let (send, receive) = ringloop::sync::oneshot();
            let first = spawn(async move {
                poll_fn(|cx| {
                    assert!(moved.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                assert!(send.set(moved).is_ok());
                pending::<()>().await;
            });
            let moved = receive.await.unwrap();
            let second = spawn(async move {
                moved.await;
                pending::<()>().await;
            });
            while polls.get() < 2 {
                yield_now().await;
            }
            first.cancel();
            assert!(first.await.unwrap_err().is_cancelled());
            yields(5).await;
            assert!(log.take().is_empty());
            second.cancel();
            assert!(second.await.unwrap_err().is_cancelled());
            assert_eq!(log.take(), ["moved cancelled"]);
        });
    });
}

#[test]
fn mask_dropped_by_another_thread_frees_the_scope() {
    // Goal: a scope is woken from any thread when the mask that it waits for ends.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            type Mask = Pin<Box<dyn Future<Output = ()> + Send>>;
            let cell = Arc::new(std::sync::Mutex::new(None::<Mask>));
            let (held, gone) = (cell.clone(), Flag::new());
            let (waits, on_drop) = (Flag::new(), gone.clone());
            let set = waits.clone();
            let task = spawn(async move {
                let _guard = SetOnDrop(on_drop);
                let mut mask: Mask = Box::pin(uncancellable(pending::<()>()));
                poll_fn(|cx| {
                    assert!(mask.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                *held.lock().unwrap() = Some(mask);
                set.set();
                pending::<()>().await;
            });
            waits.wait().await;
            task.cancel();
            yields(10).await;
            assert!(!gone.is_set(), "a mask is alive");
            let mask = cell.lock().unwrap().take();
            std::thread::spawn(move || drop(mask)).join().unwrap();
            assert!(task.await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn finally_runs_its_cleanup_whatever_happens() {
    // Goal: rule 15; method: a value, a cancel, a second cancel during cleanup, a panic, a limit.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let clean = || {
                let cleaned = cleaned.clone();
                async move {
                    yields(3).await;
                    cleaned.add();
                }
            };
            assert_eq!(finally(async { 1 }, clean(), LONG).await.unwrap(), 1);
            assert_eq!(cleaned.get(), 1);

            let (started, cleaning) = (Flag::new(), Flag::new());
            let (set, inside, cleanup) = (started.clone(), cleaning.clone(), clean());
            let task = spawn(async move {
                let body = async {
                    set.set();
                    pending::<()>().await;
                };
                let cleanup = async {
                    inside.set();
                    cleanup.await;
                };
                finally(body, cleanup, LONG).await.map(drop)
            });
            started.wait().await;
            task.cancel();
            cleaning.wait().await;
            task.cancel();
            // The region's error is the task's value: it was ready.
            assert!(task.await.unwrap().is_err());
            assert_eq!(cleaned.get(), 2);

            let cleanup = clean();
            let panicking = spawn(async {
                finally(async { deliberate("body") }, cleanup, LONG).await.map(|()| 0)
            });
            assert!(panicking.await.unwrap_err().is_panicked());
            assert_eq!(cleaned.get(), 3);

            let stuck = finally(async { 2 }, pending::<()>(), SHORT);
            assert_eq!(stuck.await.unwrap(), 2);
        });
    });
}

#[test]
fn panic_in_cleanup_is_the_result() {
    // Goal: a panic while cleanup runs ends the task as any other does, and the thread lives on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let started = Flag::new();
            let set = started.clone();
            let task = spawn(async move {
                let body = async {
                    set.set();
                    pending::<()>().await;
                };
                let _ = finally(body, async { deliberate("cleanup") }, LONG).await;
            });
            started.wait().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_panicked());
            assert_eq!(spawn(async { 3 }).await.unwrap(), 3);
        });
    });
}

#[test]
fn loop_that_swallows_cancels_holds_its_task_only() {
    // Goal: a loop that catches cancels without consuming them spins, and other tasks run; method:
    // it gives up after many rounds.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (started, rounds) = (Flag::new(), Count::new());
            let (set, counted) = (started.clone(), rounds.clone());
            let task = spawn(async move {
                set.set();
                while catch_cancel(pending::<()>()).await.is_err() && counted.add() < 2000 {}
                "gave up"
            });
            started.wait().await;
            task.cancel();
            let mut turns = 0;
            while !task.is_finished() {
                turns += 1;
                yield_now().await;
            }
            assert_eq!(task.await.unwrap(), "gave up");
            assert!(turns > 0);
            assert!(rounds.get() >= 2000);
        });
    });
}

#[test]
fn t29_value_of_an_inner_task_is_kept_by_its_handle() {
    // Goal: T29; method: the caller is cancelled in the turn in which the task that it watches
    // ends.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let gate = Flag::new();
            let wait = gate.clone();
            let mut inner = spawn(async move {
                wait.wait().await;
                11
            });
            let ended = scope(async |s: Scope| {
                let mut first = true;
                poll_fn(|cx| {
                    if std::mem::take(&mut first) {
                        gate.set();
                        s.cancel();
                    }
                    let _ = cx;
                    Poll::<()>::Pending
                })
                .await;
                (&mut inner).await.unwrap()
            });
            assert!(ended.await.is_err());
            assert_eq!(inner.await.unwrap(), 11);
        });
    });
}

#[test]
fn t2_owning_join_ends_its_task_before_the_scope_ends() {
    // Goal: T2; method: a child whose cleanup takes a while, under a timeout.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, started) = (Log::new(), Flag::new());
            let (said, set) = (log.clone(), started.clone());
            let child = spawn(async move {
                let body = async {
                    set.set();
                    pending::<()>().await;
                };
                let cleanup = async {
                    yields(5).await;
                    sleep(SHORT).await;
                    said.push("child is clean");
                };
                finally(body, cleanup, LONG).await.map(drop)
            });
            started.wait().await;
            assert!(timeout(SHORT, child.join()).await.is_err());
            assert_eq!(log.take(), ["child is clean"]);
        });
    });
}

#[test]
fn token_cancels_its_children_and_what_runs_under_it() {
    // Goal: the token; method: parent, child, grandchild, a listener and a scope; a child made too late.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let parent = CancelToken::new();
            let (child, other) = (parent.child(), parent.child());
            let grandchild = child.child();
            assert!(other.cancel());
            assert!(!parent.is_cancelled());
            let listening = grandchild.clone();
            let listener = spawn(async move { listening.cancelled().await });
            let under = child.clone();
            let job = spawn(async move { under.run(pending::<()>()).await.unwrap_err() });
            yields(3).await;
            assert!(parent.cancel_with("over"));
            assert!(!parent.cancel());
            assert_eq!(listener.await.unwrap().reason(), Some("over"));
            let gone = job.await.unwrap();
            assert_eq!(gone.cause().scope(), ScopeKind::Token);
            assert_eq!(gone.cause().reason(), Some("over"));
            assert!(parent.child().is_cancelled());
            assert!(parent.run(pending::<()>()).await.is_err());
            assert_eq!(parent.run(async { 1 }).await.unwrap(), 1, "a value that is ready wins");
        });
    });
}

#[test]
fn select_of_another_crate_drops_a_region_without_a_cancel() {
    // Goal: a case without a promise: a hard drop cancels no region, and leaves the tree in order.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let said = log.clone();
            let result = timeout(LONG, async move {
                let left = Box::pin(region(&said, "left", pending::<()>()));
                let right = Box::pin(yield_now());
                match select(left, right).await {
                    Either::Right(((), left)) => drop(left),
                    Either::Left(_) => unreachable!(),
                }
                1
            });
            assert_eq!(result.await, Ok(1));
            assert!(log.take().is_empty());
        });
    });
}

#[test]
fn regions_work_without_a_runtime() {
    // Goal: another executor may poll scopes and regions; method: polls by hand.
    let told = AtomicUsize::new(0);
    let handle = Slot::new();
    let put = handle.clone();
    let body = scope(|s: Scope| {
        put.put(s);
        async {
            if catch_cancel(pending::<()>()).await.is_err() {
                told.fetch_add(1, Ordering::Relaxed);
            }
            pending::<()>().await;
        }
    });
    let mut body = pin!(body);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(body.as_mut().poll(&mut cx).is_pending());
    handle.take().unwrap().cancel();
    let polls = (0..10).take_while(|_| body.as_mut().poll(&mut cx).is_pending()).count();
    assert!(polls < 10, "it ended");
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn many_regions_below_one_scope() {
    // Goal: links are made and removed in less than quadratic time, and none is left; method: 20
    // 000.
    on_every(|cfg| {
        cfg.once(async {
            let told = Count::new();
            let all = timeout(SHORT, async {
                let many: FuturesUnordered<_> = (0..20_000)
                    .map(|_| {
                        let told = told.clone();
                        async move {
                            if catch_cancel(pending::<()>()).await.is_err() {
                                told.add();
                            }
                        }
                    })
                    .collect();
                many.collect::<Vec<_>>().await
            });
            assert!(all.await.is_err());
            assert_eq!(told.get(), 20_000);
            settle(1).await;
        });
    });
}

#[test]
fn t14_cleanup_of_leftovers_completes_at_the_end_of_run() {
    // Goal: T14 with cleanup that awaits; method: leftovers in `finally`, one of them in a group.
    on_every(|cfg| {
        let cleaned = Count::new();
        let started = Count::new();
        cfg.builder()
            .run(async {
                for in_group in [false, true] {
                    let (cleaned, begun) = (cleaned.clone(), started.clone());
                    let leftover = async move {
                        let body = async {
                            begun.add();
                            pending::<()>().await;
                        };
                        let cleanup = async {
                            sleep(SHORT).await;
                            yields(3).await;
                            cleaned.add();
                        };
                        let _ = finally(body, cleanup, LONG).await;
                    };
                    if in_group {
                        let group = ringloop::task_group(async |g: ringloop::Group| {
                            g.spawn(leftover).detach();
                            pending::<()>().await;
                        });
                        spawn(async move { group.await.map_err(drop) }).detach();
                    } else {
                        spawn(leftover).detach();
                    }
                }
                while started.get() < 2 {
                    yield_now().await;
                }
            })
            .unwrap();
        assert_eq!(cleaned.get(), 2);
    });
}

/// A future that panics in its second poll, and what has become of it; it is kept until the task ends.
async fn panics_and_is_kept<F: Future>(
    region: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
    started: Flag,
    cleaned: Count,
) {
    let bad = async {
        yield_now().await;
        deliberate("inside a region")
    };
    let mut kept = pin!(AssertUnwindSafe(region(Box::pin(bad))).catch_unwind());
    assert!(kept.as_mut().await.is_err());
    let body = async {
        started.set();
        pending::<()>().await;
    };
    let cleanup = async {
        yields(3).await;
        cleaned.add();
    };
    _ = finally(body, cleanup, LONG).await;
    pending::<()>().await;
}

#[test]
fn task_that_keeps_what_has_panicked_is_cancelled_as_any_other() {
    // Goal: a panic ends a region, and leaves no request that stands; method: each kind of region and scope
    // panics, the task catches that and keeps the future; then it is cancelled.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (started, cleaned) = (Flag::new(), Count::new());
            macro_rules! ends {
                ($region:expr) => {
                    let (started, cleaned) = (Flag::new(), Count::new());
                    let task = spawn(panics_and_is_kept($region, started.clone(), cleaned.clone()));
                    started.wait().await;
                    task.cancel();
                    assert!(task.await.unwrap_err().is_cancelled());
                    assert_eq!(cleaned.get(), 1);
                };
            }
            ends!(uncancellable);
            ends!(catch_cancel);
            ends!(|bad| catch_cancel(uncancellable(bad)));
            ends!(|bad| uncancellable(catch_cancel(bad)));
            ends!(|bad| timeout(LONG, uncancellable(bad)));
            ends!(|bad| scope(move |_| uncancellable(bad)));
            ends!(|bad| finally(yields(2), bad, LONG));
            ends!(|bad| finally(bad, yields(2), LONG));
            ends!(|bad| ringloop::gather([uncancellable(bad)]));
            ends!(|bad| uncancellable(ringloop::gather([bad])));
            let task = spawn(panics_and_is_kept(
                |bad| {
                    let beside = pending::<()>();
                    async { ringloop::gather!(catch_cancel(beside), uncancellable(bad)).await }
                },
                started.clone(),
                cleaned.clone(),
            ));
            started.wait().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(cleaned.get(), 1);
        });
    });
}

#[test]
fn cleanup_runs_after_a_panic_outside_of_the_polls() {
    // Goal: `finally` runs its cleanup whatever has become of the future; method: a destructor panics
    // when the future is cancelled, and when it is ready; the future cannot be made.
    struct NoFuture;
    impl IntoFuture for NoFuture {
        type Output = ();
        type IntoFuture = Pending<()>;
        fn into_future(self) -> Pending<()> {
            deliberate("into_future")
        }
    }
    struct ReadyAtOnce(PanicOnDrop);
    impl Future for ReadyAtOnce {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            let _ = &self.0;
            Poll::Ready(())
        }
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let cleanup = || {
                let cleaned = cleaned.clone();
                async move {
                    yields(3).await;
                    cleaned.add();
                }
            };
            let started = Flag::new();
            let set = started.clone();
            let body = async move {
                let _bomb = PanicOnDrop;
                set.set();
                pending::<()>().await;
            };
            let cancelled = spawn(finally(body, cleanup(), LONG));
            started.wait().await;
            cancelled.cancel();
            assert!(cancelled.await.unwrap_err().is_panicked());
            assert_eq!(cleaned.get(), 1);
            let ready = spawn(finally(ReadyAtOnce(PanicOnDrop), cleanup(), LONG));
            assert!(ready.await.unwrap_err().is_panicked());
            assert_eq!(cleaned.get(), 2);
            let made = spawn(finally(NoFuture, cleanup(), LONG));
            assert!(made.await.unwrap_err().is_panicked());
            assert_eq!(cleaned.get(), 3);
        });
    });
}
