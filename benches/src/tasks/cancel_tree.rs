//! A tree of tasks that is cancelled as a whole.
//!
//! Question: what does one of about 10 000 tasks cost, in three levels of groups, that is spawned,
//! waits, is cancelled from the root, and is joined? tokio's tree is of `JoinSet`s. Its root shuts
//! down and joins its own. The sets of those abort the next level when they are dropped. No task
//! can join that level, so the root waits until the last task has counted its end.
//!
//! Does not show: tasks with cleanup, for which only groups wait.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::{on_ringloop, on_tokio, unknown};
use crate::harness::Spec;
use crate::sample::Sample;

/// Children of a task, by level.
const WIDTHS: [u64; 3] = [10, 10, 100];
/// 10 + 100 + 10 000.
const TASKS: u64 = 10_110;

/// `cancel_tree_10k`.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, ringloop),
        "tokio" | "tokio-ct" => on_tokio(spec, tokio),
        _ => unknown(spec),
    }
}

type Tree = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks that run, and those that have ended.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

struct Counted(Arc<Counts>);

impl Counted {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.begun.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ringloop() -> u64 {
    fn node(counts: Arc<Counts>, widths: &'static [u64]) -> Tree {
        Box::pin(async move {
            let _counted = Counted::begin(&counts);
            let Some((width, below)) = widths.split_first() else { return pending().await };
            let group = ringloop::task_group(async |group| {
                for _ in 0..*width {
                    group.spawn(node(counts.clone(), below)).detach();
                }
            });
            _ = group.await;
        })
    }

    let counts = Arc::new(Counts::default());
    let tree = ringloop::task_group(async |group| {
        for _ in 0..WIDTHS[0] {
            group.spawn(node(counts.clone(), &WIDTHS[1..])).detach();
        }
        while counts.begun.load(Ordering::Relaxed) < TASKS {
            ringloop::yield_now().await;
        }
        group.cancel();
    });
    _ = tree.await;
    assert_eq!(counts.ended.load(Ordering::Relaxed), TASKS, "all were joined");
    TASKS
}

async fn tokio() -> u64 {
    fn node(counts: Arc<Counts>, widths: &'static [u64]) -> Tree {
        Box::pin(async move {
            let _counted = Counted::begin(&counts);
            let Some((width, below)) = widths.split_first() else { return pending().await };
            let mut set = JoinSet::new();
            for _ in 0..*width {
                set.spawn(node(counts.clone(), below));
            }
            while set.join_next().await.is_some() {}
        })
    }

    let counts = Arc::new(Counts::default());
    let mut set = JoinSet::new();
    for _ in 0..WIDTHS[0] {
        set.spawn(node(counts.clone(), &WIDTHS[1..]));
    }
    while counts.begun.load(Ordering::Relaxed) < TASKS {
        tokio::task::yield_now().await;
    }
    set.shutdown().await;
    while counts.ended.load(Ordering::Relaxed) < TASKS {
        tokio::task::yield_now().await;
    }
    TASKS
}
