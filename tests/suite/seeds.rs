//! Rows of `docs/seeds.md` that no other test or program proves.

use std::{
    collections::BTreeSet,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ringloop::{GroupError, all_tasks, spawn, time::timeout, try_task_group};

use crate::harness::on_every;

#[test]
fn after_a_group_that_fails_only_the_caller_is_left() {
    on_every(|cfg| {
        cfg.once(async {
            let ids = || all_tasks().iter().map(|task| task.id()).collect::<BTreeSet<_>>();
            let before = ids();
            let result: Result<(), GroupError<&str>> = try_task_group(async |group| {
                for _ in 0..3 {
                    group.spawn(pending::<Result<(), _>>()).detach();
                }
                assert_eq!(ids().len(), before.len() + 3);
                group.spawn(async { Err::<(), _>("broken") }).detach();
                pending().await
            })
            .await;
            assert_eq!(result.unwrap_err().errors(), ["broken"]);
            assert_eq!(ids(), before, "those that were there before");
        });
    });
}

#[test]
fn a_future_that_is_dropped_has_done_nothing() {
    let runs = AtomicU32::new(0);
    let count = async || {
        runs.fetch_add(1, Ordering::Relaxed);
    };
    drop(count());
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    on_every(|cfg| {
        runs.store(0, Ordering::Relaxed);
        cfg.once(async {
            drop(count());
            count().await;
        });
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}

/// Suspends so often, and then gives the number of its polls.
struct Countdown {
    left: u32,
    polls: u32,
}

impl Countdown {
    fn new(left: u32) -> Self {
        Self { left, polls: 0 }
    }
}

impl Future for Countdown {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        self.polls += 1;
        if self.left == 0 {
            return Poll::Ready(self.polls);
        }
        self.left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Never ready, and wakes nobody.
struct Never(#[expect(dead_code, reason = "its owner counts")] Arc<()>);

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[test]
fn a_future_written_by_hand_is_awaited_spawned_and_limited() {
    on_every(|cfg| {
        cfg.once(async {
            assert_eq!(Countdown::new(3).await, 4);
            assert_eq!(spawn(Countdown::new(5)).await.unwrap(), 6);
            assert_eq!(timeout(Duration::from_secs(60), Countdown::new(2)).await.unwrap(), 3);
            let owned = Arc::new(());
            timeout(Duration::from_millis(1), Never(owned.clone())).await.unwrap_err();
            assert_eq!(Arc::strong_count(&owned), 1, "it was dropped before the error came");
        });
    });
}

#[derive(Clone)]
struct Doubler(u32);

impl Doubler {
    async fn twice(self) -> u32 {
        self.0 * 2
    }

    async fn of(number: u32) -> u32 {
        Self(number).twice().await
    }
}

#[test]
fn methods_functions_of_a_type_and_closures_are_spawned() {
    on_every(|cfg| {
        cfg.once(async {
            assert_eq!(spawn(Doubler(2).twice()).await.unwrap(), 4);
            assert_eq!(spawn(Doubler::of(3)).await.unwrap(), 6);
            // In place of `__call__`: an async closure that owns what it uses.
            let doubler = Doubler(4);
            let call = async move |more: u32| doubler.twice().await + more;
            assert_eq!(spawn(call(1)).await.unwrap(), 9);
        });
    });
}
