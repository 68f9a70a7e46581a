//! gather, wait, as_completed, race, shield: the tasks that they start have ended when they are
//! ready.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use ringloop::time::{sleep, timeout};
use ringloop::{
    Empty, Scope, ScopeKind, Task, Until, as_completed, catch_cancel, finally, gather,
    gather_settled, race, race_staggered, scope, shield, spawn, try_gather, uncancellable, wait,
    yield_now,
};

use crate::harness::{ErrorLog, Kind, deliberate, on_every, wait_until_async};
use crate::tools::{Count, Flag, Log, SetOnDrop};

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

async fn yields(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Never ready; its cleanup takes a few turns and then counts.
async fn with_cleanup(cleaned: &Count) {
    let counted = cleaned.clone();
    let cleanup = async move {
        yields(5).await;
        counted.add();
    };
    let _ = finally(pending::<()>(), cleanup, LONG).await;
    pending::<()>().await;
}

#[test]
fn t18_gather_gives_values_in_order_and_is_ready_when_empty() {
    // Goal: T18; method: members that are released in reverse, as macro and as list.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let flags = [Flag::new(), Flag::new(), Flag::new()];
            let member = |index: usize| {
                let flags = &flags;
                async move {
                    flags[index].wait().await;
                    if index > 0 {
                        flags[index - 1].set();
                    }
                    index
                }
            };
            flags[2].set();
            assert_eq!(ringloop::gather!(member(0), member(1), member(2)).await, (0, 1, 2));
            assert_eq!(gather((0..3).map(member)).await, [0, 1, 2]);
            let () = ringloop::gather!().await;
            assert!(gather(Vec::<std::future::Ready<()>>::new()).await.is_empty());
            assert!(gather_settled(Vec::<Task<()>>::new()).await.is_empty());
            let tasks: Vec<_> = (0..300).map(|n| spawn(async move { n })).collect();
            let values: Vec<_> =
                gather_settled(tasks).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(values, (0..300).collect::<Vec<_>>());
        });
    });
}

#[test]
fn t19_settled_gather_has_failures_in_their_places() {
    // Goal: T19; method: a value, a panic, a cancelled task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let gone = spawn(pending::<u32>());
            gone.cancel();
            let tasks = [spawn(async { 1 }), spawn(async { deliberate("member") }), gone];
            let results = gather_settled(tasks).await;
            assert_eq!(*results[0].as_ref().unwrap(), 1);
            assert!(results[1].as_ref().unwrap_err().is_panicked());
            assert!(results[2].as_ref().unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn t20_cancelled_gather_has_joined_its_members() {
    // Goal: T20, in each form; method: members with cleanup under a timeout.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let member = || with_cleanup(&cleaned);
            assert!(
                timeout(SHORT, ringloop::gather!(member(), member(), yield_now())).await.is_err()
            );
            assert_eq!(cleaned.get(), 2);
            assert!(timeout(SHORT, gather((0..10).map(|_| member()))).await.is_err());
            assert_eq!(cleaned.get(), 12);
            let fallible = || async {
                member().await;
                Ok::<(), ()>(())
            };
            assert!(timeout(SHORT, ringloop::try_gather!(fallible(), fallible())).await.is_err());
            assert_eq!(cleaned.get(), 14);
            let task = || {
                let cleaned = cleaned.clone();
                spawn(async move { with_cleanup(&cleaned).await })
            };
            assert!(timeout(SHORT, gather_settled([task(), task()])).await.is_err());
            // A task may have been cancelled before its first poll: then it has no cleanup.
            let settled = cleaned.get();
            assert!(settled <= 16);
            if cfg.single() {
                assert_eq!(settled, 16);
            }
            assert!(timeout(SHORT, ringloop::gather!(task(), member())).await.is_err());
            assert!(cleaned.get() > settled);
        });
    });
}

#[test]
fn t21_first_error_ends_the_siblings_before_it_is_returned() {
    // Goal: T21; method: siblings with cleanup, in both forms.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let slow = || async {
                with_cleanup(&cleaned).await;
                Ok::<u8, &str>(1)
            };
            let fails = async {
                yields(3).await;
                Err::<u8, _>("failed")
            };
            assert_eq!(ringloop::try_gather!(slow(), fails, slow()).await, Err("failed"));
            assert_eq!(cleaned.get(), 2);
            let list = (0..5).map(|n| {
                let slow = slow();
                async move { if n == 3 { Err("third") } else { slow.await } }
            });
            assert_eq!(try_gather(list).await, Err("third"));
            assert!((2..=6).contains(&cleaned.get()));
            let all = ringloop::try_gather!(async { Ok::<_, ()>(1) }, async { Ok("two") });
            assert_eq!(all.await, Ok((1, "two")));
        });
    });
}

#[test]
fn panic_of_a_member_joins_the_others_and_is_resumed() {
    // Goal: each combinator joins the tasks that it started, also when one member panics.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for dynamic in [false, true] {
                let cleaned = Count::new();
                let counted = cleaned.clone();
                let task = spawn(async move {
                    let bad = || async {
                        yields(2).await;
                        deliberate("member")
                    };
                    if dynamic {
                        let counted = &counted;
                        let members = (0..3).map(|n| async move {
                            if n == 1 { bad().await } else { with_cleanup(counted).await }
                        });
                        gather(members).await;
                    } else {
                        ringloop::gather!(with_cleanup(&counted), bad(), with_cleanup(&counted))
                            .await;
                    }
                });
                assert!(task.await.unwrap_err().is_panicked());
                assert_eq!(cleaned.get(), 2);
            }
        });
    });
}

#[test]
fn cancel_while_members_end_after_a_panic_waits_for_their_end() {
    // Goal: the end of the members is hidden from the scopes around them, also when it began with a
    // panic; method: a member whose cleanup has two regions, with the task cancelled between them.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (begun, go, heard) = (Flag::new(), Flag::new(), Count::new());
            let (begins, waits, hears) = (begun.clone(), go.clone(), heard.clone());
            let task = spawn(async move {
                let slow = async move {
                    let cleanup = async {
                        begins.set();
                        waits.wait().await;
                    };
                    _ = finally(pending::<()>(), cleanup, LONG).await;
                    let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                    assert_eq!(gone.cause().scope(), ScopeKind::Combinator);
                    hears.add();
                };
                let bad = async {
                    yields(2).await;
                    deliberate("member")
                };
                ringloop::gather!(slow, bad).await;
            });
            begun.wait().await;
            task.cancel();
            yields(3).await;
            go.set();
            assert!(task.await.unwrap_err().is_panicked());
            assert_eq!(heard.get(), 1);
        });
    });
}

#[test]
fn t22_wait_first_takes_all_that_ended_and_cancels_none() {
    // Goal: T22; method: two tasks that end in one turn, and one that goes on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (gate, release) = (Flag::new(), Flag::new());
            let task = |flag: &Flag, value| {
                let flag = flag.clone();
                spawn(async move {
                    flag.wait().await;
                    value
                })
            };
            let mut tasks = [task(&gate, 0), task(&release, 1), task(&gate, 2)];
            gate.set();
            wait_until_async(
                || tasks[0].is_finished() && tasks[2].is_finished(),
                || "both end".into(),
            )
            .await;
            let waited = wait(&mut tasks, Until::First, None).await.unwrap();
            assert_eq!((waited.done, waited.pending), (vec![0, 2], vec![1]));
            release.set();
            let waited = wait(&mut tasks, Until::All, None).await.unwrap();
            assert_eq!(waited.done, [0, 1, 2]);
            for (index, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), index);
            }
        });
    });
}

#[test]
fn t23_wait_for_an_error_passes_over_the_cancelled() {
    // Goal: T23; method: a cancelled task, then a panic, then the same without a panic.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let gate = Flag::new();
            let wait_for = gate.clone();
            let gone = spawn(pending::<()>());
            gone.cancel();
            let bad = spawn(async move {
                wait_for.wait().await;
                deliberate("member")
            });
            let mut tasks = [gone, bad, spawn(pending())];
            wait_until_async(|| tasks[0].is_finished(), || "it is cancelled".into()).await;
            let waited = wait(&mut tasks, Until::FirstError, SHORT).await.unwrap();
            assert_eq!(waited.done, [0], "the limit passed");
            gate.set();
            let waited = wait(&mut tasks, Until::FirstError, None).await.unwrap();
            assert_eq!((waited.done, waited.pending), (vec![0, 1], vec![2]));
            tasks[2].cancel();
            let waited = wait(&mut tasks[..], Until::FirstError, None).await.unwrap();
            assert!(waited.done.contains(&1));
            for task in tasks {
                let _ = task.await;
            }
            let mut fine = [spawn(async {}), spawn(async {})];
            let waited = wait(&mut fine, Until::FirstError, None).await.unwrap();
            assert_eq!(waited.done, [0, 1], "without an error: all");
        });
    });
}

#[test]
fn t24_wait_with_a_limit_neither_fails_nor_cancels() {
    // Goal: T24; an empty set is an error.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut tasks = [spawn(pending::<()>())];
            let waited = wait(&mut tasks, Until::All, SHORT).await.unwrap();
            assert_eq!((waited.done, waited.pending), (vec![], vec![0]));
            assert!(!tasks[0].is_finished());
            tasks[0].cancel();
            let empty = wait(&mut [] as &mut [Task<()>], Until::All, None).await;
            assert!(matches!(empty, Err(Empty { .. })));
            assert!(race(Vec::<std::future::Ready<()>>::new()).is_err());
        });
    });
}

#[test]
fn t31_shield_goes_on_and_its_failure_is_reported() {
    // Goal: T31; method: the caller is cancelled, then the inner task panics; and a shield that ends.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let (started, gate) = (Flag::new(), Flag::new());
            let (set, wait_for) = (started.clone(), gate.clone());
            let caller = spawn(async move {
                let inner: Task<()> = shield(async move {
                    wait_for.wait().await;
                    deliberate("shielded")
                });
                set.set();
                inner.await
            });
            started.wait().await;
            caller.cancel();
            assert!(caller.await.unwrap_err().is_cancelled());
            gate.set();
            wait_until_async(|| log.count(Kind::Panic) == 1, || "the hook is called".into()).await;
            log.take(Kind::Panic);

            let done = Flag::new();
            let set = done.clone();
            // When the runtime ends, the inner future still runs to its end.
            shield(async move {
                yields(20).await;
                set.set();
            })
            .detach();
        });
    });
}

#[test]
fn t32_as_completed_gives_each_task_once_in_the_order_of_their_ends() {
    // Goal: T32; method: tasks released in a chosen order; the rest is taken back.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let flags: Vec<_> = (0..4).map(|_| Flag::new()).collect();
            let tasks = flags.iter().enumerate().map(|(index, flag)| {
                let flag = flag.clone();
                spawn(async move {
                    flag.wait().await;
                    index * 10
                })
            });
            let mut completed = as_completed(tasks);
            for index in [2, 0, 3] {
                flags[index].set();
                let (ended, value) = completed.next().await.unwrap();
                assert_eq!((ended, value.unwrap()), (index, index * 10));
            }
            assert!(timeout(SHORT, completed.next()).await.is_err());
            let rest = completed.into_rest();
            assert_eq!(rest.len(), 1);
            assert_eq!(rest[0].0, 1);
            rest[0].1.cancel();
        });
    });
}

#[test]
fn t33_staggered_race() {
    // Goal: T33; method: the first fails early, the second starts at once; two winners in one turn;
    // all fail; a delay that passes.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let begun = Log::new();
            let attempts = (0..3).map(|n| {
                let (begun, cleaned) = (begun.clone(), cleaned.clone());
                async move {
                    begun.push(n.to_string());
                    match n {
                        0 => Err("refused"),
                        1 => Ok(n),
                        _ => {
                            with_cleanup(&cleaned).await;
                            Ok(n)
                        }
                    }
                }
            });
            assert_eq!(race_staggered(LONG, attempts).await, Ok((1, 1)));
            assert_eq!(begun.take(), ["0", "1"]);

            // Both run, and are released in one turn: one wins, the other is cancelled.
            let gate = Flag::new();
            let running = Count::new();
            let ended = Count::new();
            let attempts = (0..2).map(|n| {
                let (gate, running, ended) = (gate.clone(), running.clone(), ended.clone());
                async move {
                    let _guard = ended.on_drop();
                    running.add();
                    gate.wait().await;
                    Ok::<_, ()>(n)
                }
            });
            let opener = async {
                while running.get() < 2 {
                    yield_now().await;
                }
                gate.set();
            };
            let (won, ()) =
                ringloop::gather!(race_staggered(Duration::from_micros(1), attempts), opener).await;
            assert!(won.is_ok());
            assert_eq!(ended.get(), 2);

            let failing = (0..3).map(|n| async move { Err::<(), _>(n) });
            assert_eq!(race_staggered(LONG, failing).await, Err(vec![0, 1, 2]));
            let none = std::iter::empty::<std::future::Ready<Result<(), ()>>>();
            assert_eq!(race_staggered(LONG, none).await, Err(vec![]));

            let slow_first = (0..2).map(|n| {
                let cleaned = cleaned.clone();
                async move {
                    if n == 0 {
                        with_cleanup(&cleaned).await;
                    }
                    Ok::<_, ()>(n)
                }
            });
            let before = cleaned.get();
            assert_eq!(race_staggered(SHORT, slow_first).await, Ok((1, 1)));
            assert_eq!(cleaned.get(), before + 1);
        });
    });
}

#[test]
fn race_joins_its_losers() {
    // Goal: losers are cancelled and joined, futures and tasks; method: cleanup that counts.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let quick = || async {
                yields(3).await;
                "quick"
            };
            let slow = || async {
                with_cleanup(&cleaned).await;
                "slow"
            };
            assert_eq!(ringloop::race!(slow(), quick(), slow()).await, "quick");
            assert_eq!(cleaned.get(), 2);
            let (gone, started) = (Flag::new(), Flag::new());
            let (on_drop, set) = (gone.clone(), started.clone());
            let task = spawn(async move {
                let _guard = SetOnDrop(on_drop);
                set.set();
                pending::<()>().await;
                "task"
            });
            started.wait().await;
            let first = ringloop::race!(task, async { Ok("ready") }).await;
            assert_eq!(first.unwrap(), "ready");
            assert!(gone.is_set());
            let futures: Vec<_> = (0..4u32)
                .map(|n| async move {
                    yields(10 * (4 - n as usize)).await;
                    n
                })
                .collect();
            assert_eq!(race(futures).unwrap().await, (3, 3));
        });
    });
}

#[test]
fn ready_future_in_a_cancelled_race_keeps_its_value() {
    // Goal: the value of a watched task that was ready is not lost with the race; method: the scope
    // is cancelled in the turn in which the task ends.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut task = spawn(async { 5 });
            wait_until_async(|| task.is_finished(), || "it ends".into()).await;
            let ended = scope(async |s: Scope| {
                let first = poll_fn(|_| {
                    s.cancel();
                    Poll::<Result<i32, ringloop::TaskError>>::Pending
                });
                // The race gets the cancel before it polls again.
                let held = async {
                    catch_cancel(pending::<()>()).await.ok();
                    pending().await
                };
                ringloop::race!(first, held).await.unwrap()
            });
            assert!(ended.await.is_err());
            assert_eq!((&mut task).await.unwrap(), 5);
        });
    });
}

#[test]
fn mask_in_a_member_is_waited_for() {
    // Goal: a loser under a mask comes to its end before the race is ready.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let done = Count::new();
            let counted = done.clone();
            let masked = async {
                uncancellable(async {
                    sleep(SHORT).await;
                    counted.add();
                })
                .await;
                pending().await
            };
            assert_eq!(ringloop::race!(masked, async { yields(2).await }).await, ());
            assert_eq!(done.get(), 1);
        });
    });
}

#[test]
fn nested_combinators_clean_up_once_each() {
    // Goal: gather within race within gather under a timeout: every cleanup runs once.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let cleaned = Count::new();
            let leaf = || with_cleanup(&cleaned);
            let race = async {
                ringloop::race!(leaf(), async {
                    ringloop::gather!(leaf(), leaf()).await;
                })
                .await
            };
            let all = ringloop::gather!(leaf(), race, gather([leaf(), leaf()]));
            assert!(timeout(SHORT, all).await.is_err());
            assert_eq!(cleaned.get(), 6);
        });
    });
}

#[test]
fn combinators_dropped_half_way_drop_their_members() {
    // Goal: a hard drop leaves nothing behind: owned tasks are cancelled.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (gone, started) = (Flag::new(), Flag::new());
            let (on_drop, set) = (gone.clone(), started.clone());
            let task = spawn(async move {
                let _guard = SetOnDrop(on_drop);
                set.set();
                pending::<()>().await;
            });
            started.wait().await;
            {
                let mut settled = pin!(gather_settled([task]));
                poll_fn(|cx| {
                    assert!(settled.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            gone.wait().await;
        });
    });
}

#[test]
fn macros_around_futures_that_hold_references_are_send() {
    // Goal: the types that the macros expand to keep a task `Send`, also if values, futures and what holds them
    // borrow; method: it compiles, and gives the values.
    async fn both<'a>(left: &'a str, right: &'a str) -> &'a str {
        let late = async {
            yields(2).await;
            left
        };
        let first = ringloop::race!(late, async { right }, pending()).await;
        let (left, right) = ringloop::gather!(async { left }, async { first }).await;
        let tried =
            ringloop::try_gather!(async { Ok::<_, &str>(right) }, async { Err::<u8, _>(left) });
        tried.await.unwrap_err()
    }

    on_every(|cfg| {
        cfg.everywhere(|| async {
            let task = spawn(async {
                let (left, right) = (String::from("left"), String::from("right"));
                let names = [left.as_str(), right.as_str()];
                let nested = ringloop::race!(both(&left, &right), async {
                    let inner = async { names.first().map_or("none", |name| name) };
                    yields(9).await;
                    ringloop::race!(inner, both(names[0], names[1])).await
                });
                nested.await.to_owned()
            });
            assert_eq!(task.await.unwrap(), "left");
        });
    });
}

#[test]
fn select_of_futures_takes_ours_as_they_are() {
    // Goal: our futures implement what `futures::select!` requires, and report when they have given
    // their value: in a loop each gives it once; method: all kinds beside each other, until none is
    // left.
    on_every(|cfg| {
        cfg.once(async {
            let (promise, mut deferred) = ringloop::sync::oneshot();
            let mut task = spawn(async { 1 });
            let mut join = spawn(async { 2 }).join();
            let mut sleep = sleep(Duration::from_millis(1));
            let mut limited = timeout(Duration::from_secs(60), spawn(async { 4 }));
            let caught = catch_cancel(std::future::ready(5));
            let mut caught = pin!(caught);
            let mut all = as_completed([spawn(async { 6 })]);
            promise.set(3).unwrap();
            let mut given = Vec::new();
            loop {
                let value = futures_util::select! {
                    value = task => value.unwrap(),
                    value = join => value.unwrap(),
                    value = deferred => value.unwrap(),
                    value = limited => value.unwrap().unwrap(),
                    value = caught => value.unwrap(),
                    value = all.select_next_some() => value.1.unwrap(),
                    () = sleep => 7,
                    complete => break,
                };
                given.push(value);
            }
            given.sort_unstable();
            assert_eq!(given, [1, 2, 3, 4, 5, 6, 7]);
            sleep.reset(ringloop::time::Instant::now());
            assert!(!futures_core::FusedFuture::is_terminated(&sleep), "it may be polled again");
            sleep.await;
        });
    });
}
