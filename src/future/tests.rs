//! The rules of cancellation, one by one, polled by hand where that is enough. For each there is a
//! mutant in `loom-tests/src/bin/mutants/tables/cancel.rs`.
//!
//! What is polled by hand has no task, so that nothing wakes it: a scope that has something to tell is
//! polled again, a bounded number of times. So a mistake that would hang fails instead.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::{
    Builder, Scope, catch_cancel, finally, scope, spawn, task_group, time::timeout, uncancellable,
    yield_now,
};

/// Polls a few times; what it gives by then.
fn drive<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..50).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

/// Runs it as the main future of a runtime with one worker, up to a generous limit.
fn run<T>(main: impl Future<Output = T>) -> T {
    let main = async { timeout(Duration::from_secs(20), main).await.expect("in time") };
    Builder::new().workers(1).run(main).expect("a runtime")
}

/// A scope that is cancelled once its body was polled.
async fn cancelled<T>(body: impl Future<Output = T>) -> bool {
    let gone = scope(async |s: Scope| {
        let mut body = pin!(body);
        poll_fn(|cx| {
            let polled = body.as_mut().poll(cx);
            s.cancel();
            polled
        })
        .await
    });
    gone.await.is_err()
}

type Said = Rc<RefCell<Vec<&'static str>>>;

async fn region(said: &Said, name: &'static str, inner: impl Future) {
    if catch_cancel(inner).await.is_err() {
        said.borrow_mut().push(name);
    }
}

#[test]
fn rule_1_inner_scopes_are_part_of_the_tree() {
    let said = Said::default();
    let inner = scope(|_| region(&said, "inner", pending::<()>()));
    let body = async {
        _ = inner.await;
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert_eq!(*said.borrow(), ["inner"]);
}

#[test]
fn rule_2_panic_leaves_the_chain_in_order() {
    let said = Said::default();
    let body = async {
        let mut panics = Box::pin(scope(|_| async { std::panic::resume_unwind(Box::new(())) }));
        poll_fn(|cx| {
            let poll: Result<Poll<Result<(), _>>, _> =
                catch_unwind(AssertUnwindSafe(|| panics.as_mut().poll(cx)));
            assert!(poll.is_err());
            Poll::Ready(())
        })
        .await;
        drop(panics);
        region(&said, "after", pending::<()>()).await;
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert_eq!(*said.borrow(), ["after"]);
}

#[test]
fn rule_3_region_follows_who_polls_it() {
    let said = Said::default();
    let mut moved = Box::pin(region(&said, "moved", pending::<()>()));
    let first = async {
        assert!(poll_fn(|cx| Poll::Ready(moved.as_mut().poll(cx))).await.is_pending());
        pending::<()>().await;
    };
    {
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(scope(|_| first));
        assert!(first.as_mut().poll(&mut cx).is_pending());
    }
    let second = async {
        moved.await;
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(second)), Some(true));
    assert_eq!(*said.borrow(), ["moved"]);
}

#[test]
fn rule_4_regions_are_reached_by_their_own_wakers() {
    let said = Said::default();
    let one = || Box::pin(region(&said, "one", pending::<()>()));
    let many: FuturesUnordered<_> = (0..2).map(|_| one()).collect();
    let body = async {
        // It has another waker from its second poll on.
        let mut moved = one();
        poll_fn(|cx| {
            assert!(moved.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        many.push(moved);
        many.collect::<Vec<_>>().await;
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert_eq!(said.borrow().len(), 3);
}

#[test]
fn rule_5_whoever_asks_wakes_the_scope() {
    let woken = run(async {
        let ended = scope(async |s: Scope| {
            spawn(async move { s.cancel() }).detach();
            pending::<()>().await
        });
        ended.await.is_err()
    });
    assert!(woken);
}

#[test]
fn rule_6_ready_value_wins_but_not_over_a_timeout_that_was_delivered() {
    assert_eq!(drive(scope(async |s: Scope| s.cancel())).map(|ended| ended.is_ok()), Some(true));
    let late = run(async {
        let body = async {
            _ = catch_cancel(pending::<()>()).await;
            "a value"
        };
        timeout(Duration::from_millis(1), body).await
    });
    assert!(late.is_err());
}

#[test]
fn rule_7_outer_scope_acts_first() {
    let seen = Cell::new(false);
    let outer = scope(async |outer: Scope| {
        let inner = scope(async |inner: Scope| {
            outer.cancel();
            inner.cancel();
            pending::<()>().await
        });
        _ = inner.await;
        seen.set(true);
        pending::<()>().await
    });
    assert_eq!(drive(outer).map(|ended| ended.is_err()), Some(true));
    assert!(!seen.get(), "the inner scope did not end by itself");
}

#[test]
fn rule_8_task_that_was_woken_has_one_more_turn() {
    let value = run(async {
        let own = Rc::new(RefCell::new(None::<crate::Task<u8>>));
        let handle = own.clone();
        let task = crate::spawn_local(async move {
            yield_now().await;
            handle.borrow().as_ref().expect("placed").cancel();
            yield_now().await;
            // This poll began with the request, and the task is woken in it: what woke it may be the
            // value.
            yield_now().await;
            7
        });
        *own.borrow_mut() = Some(task);
        while !own.borrow().as_ref().expect("placed").is_finished() {
            yield_now().await;
        }
        let task = own.borrow_mut().take().expect("placed");
        task.await
    });
    assert_eq!(value.expect("the value won"), 7);
}

#[test]
fn rule_9_region_that_nobody_polls_is_passed_over() {
    let said = Said::default();
    let body = async {
        let mut held = Box::pin(region(&said, "held", pending::<()>()));
        poll_fn(|cx| {
            assert!(held.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        region(&said, "polled", pending::<()>()).await;
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert_eq!(*said.borrow(), ["polled"]);
}

#[test]
fn rule_10_innermost_region_is_told_first() {
    let said = Said::default();
    let body = async {
        let inner = async {
            region(&said, "inner", pending::<()>()).await;
            // The outer scope delivers at this suspension, not before: it does not end what is ready by then.
            turns(1).await;
            said.borrow_mut().push("cleaned up");
            pending::<()>().await;
        };
        region(&said, "outer", inner).await;
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert_eq!(*said.borrow(), ["inner", "cleaned up", "outer"]);
}

/// Pending so many times.
async fn turns(count: usize) {
    let mut left = count;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn rule_11_scope_waits_for_the_end_of_a_mask() {
    let ended = Cell::new(false);
    let body = async {
        uncancellable(turns(5)).await;
        ended.set(true);
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert!(ended.get());
}

#[test]
fn rule_11_scope_that_waits_is_woken_when_the_mask_goes_elsewhere() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let mut nobody = Context::from_waker(Waker::noop());
    let mask = RefCell::new(Box::pin(uncancellable(turns(1))));
    let mut first = true;
    let body = poll_fn(|cx| {
        if std::mem::take(&mut first) {
            assert!(mask.borrow_mut().as_mut().poll(cx).is_pending());
        }
        Poll::<()>::Pending
    });
    let mut ended = pin!(cancelled(body));
    assert!(ended.as_mut().poll(&mut nobody).is_pending());
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut waits = Context::from_waker(&waker);
    assert!(ended.as_mut().poll(&mut waits).is_pending(), "the mask is alive");
    woken.0.store(false, Ordering::Relaxed);
    assert!(mask.borrow_mut().as_mut().poll(&mut nobody).is_ready());
    assert!(woken.0.load(Ordering::Relaxed), "nobody else would wake it");
    assert_eq!(ended.as_mut().poll(&mut waits), Poll::Ready(true));
}

#[test]
fn rule_12_region_that_appears_inside_hears_first() {
    let said = Said::default();
    // The request reaches the outer region while nothing is inside; in the poll that would end it,
    // a region appears.
    let outer = catch_cancel(async {
        turns(1).await;
        region(&said, "inner", pending::<()>()).await;
        pending::<()>().await;
    });
    let body = async {
        if outer.await.is_err() {
            said.borrow_mut().push("outer");
        }
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert_eq!(*said.borrow(), ["inner", "outer"]);
}

#[test]
fn rule_13_request_stands_until_it_is_consumed() {
    for consumes in [false, true] {
        let body = async {
            let gone = catch_cancel(pending::<()>()).await.unwrap_err();
            if consumes {
                assert!(gone.consume());
            }
            turns(3).await;
        };
        let mut first = true;
        let ended = scope(async |s: Scope| {
            let mut body = pin!(body);
            poll_fn(|cx| {
                let polled = body.as_mut().poll(cx);
                if std::mem::take(&mut first) {
                    s.cancel();
                }
                polled
            })
            .await
        });
        assert_eq!(drive(ended).map(|ended| ended.is_ok()), Some(consumes));
    }
}

#[test]
fn rule_14_scopes_inside_a_mask_work_as_always() {
    let inner_ended = Cell::new(false);
    let body = async {
        let inner = scope(async |s: Scope| {
            turns(2).await;
            s.cancel();
            pending::<()>().await
        });
        inner_ended.set(uncancellable(inner).await.is_err());
        pending::<()>().await;
    };
    assert_eq!(drive(cancelled(body)), Some(true));
    assert!(inner_ended.get());
}

#[test]
fn rule_15_cleanup_is_not_cancelled_and_runs_after_a_panic() {
    let cleaned = Cell::new(0);
    let clean = || async {
        turns(3).await;
        cleaned.set(cleaned.get() + 1);
    };
    let limit = Duration::from_secs(3600);
    run(async {
        let body = async {
            _ = finally(pending::<()>(), clean(), limit).await;
            pending::<()>().await;
        };
        assert!(cancelled(body).await);
        assert_eq!(cleaned.get(), 1);
        let mut panics: Pin<Box<dyn Future<Output = _>>> = Box::pin(finally(
            async { std::panic::resume_unwind(Box::new("body")) },
            clean(),
            limit,
        ));
        let panicked =
            poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| panics.as_mut().poll(cx))) {
                Ok(polled) => polled.map(|ended: Result<(), _>| ended.is_err()),
                Err(_) => Poll::Ready(true),
            });
        assert!(panicked.await);
    });
    assert_eq!(cleaned.get(), 2);
}

#[test]
fn rule_16_group_joins_its_children_and_the_outer_request_stands() {
    let cleaned = Arc::new(AtomicUsize::new(0));
    let past = Cell::new(false);
    run(async {
        let counted = cleaned.clone();
        let body = async {
            let group = task_group(async |g: crate::Group| {
                let begun = Arc::new(AtomicBool::new(false));
                let set = begun.clone();
                g.spawn(async move {
                    let body = async {
                        set.store(true, Ordering::Relaxed);
                        pending::<()>().await;
                    };
                    let clean = async {
                        turns(5).await;
                        counted.fetch_add(1, Ordering::Relaxed);
                    };
                    _ = finally(body, clean, Duration::from_secs(3600)).await;
                })
                .detach();
                while !begun.load(Ordering::Relaxed) {
                    yield_now().await;
                }
                pending::<()>().await;
            });
            _ = group.await;
            past.set(true);
            pending::<()>().await;
        };
        let ended = timeout(Duration::from_millis(5), body).await;
        assert!(ended.is_err());
        assert_eq!(cleaned.load(Ordering::Relaxed), 1, "before the scope around the group ended");
    });
    assert!(!past.get(), "with nothing to tell, the scope around goes first");
}
