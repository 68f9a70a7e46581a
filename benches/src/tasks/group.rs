//! A group of many tasks.
//!
//! Question: what does a task cost that is spawned into a group and joined with it, its value thrown
//! away? `futures-unordered` keeps tokio's handles in that collection.
//!
//! Does not show: tasks that suspend.

use std::hint::black_box;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinSet;

use super::{on_ringloop, on_tokio, unknown};
use crate::harness::Spec;
use crate::sample::Sample;

const TASKS: u64 = 10_000;

/// `task_group_10k`.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, ringloop),
        "tokio" | "tokio-ct" => on_tokio(spec, join_set),
        "futures-unordered" => on_tokio(spec, unordered),
        _ => unknown(spec),
    }
}

async fn ringloop() -> u64 {
    let group = ringloop::task_group(async |group| {
        for index in 0..TASKS {
            group.spawn(async move { black_box(index) }).detach();
        }
    });
    group.await.expect("no task fails");
    TASKS
}

async fn join_set() -> u64 {
    let mut set = JoinSet::new();
    for index in 0..TASKS {
        set.spawn(async move { black_box(index) });
    }
    while let Some(ended) = set.join_next().await {
        ended.expect("no task fails");
    }
    TASKS
}

async fn unordered() -> u64 {
    let tasks = (0..TASKS).map(|index| tokio::spawn(async move { black_box(index) }));
    let mut tasks: FuturesUnordered<_> = tasks.collect();
    while let Some(ended) = tasks.next().await {
        ended.expect("no task fails");
    }
    TASKS
}
