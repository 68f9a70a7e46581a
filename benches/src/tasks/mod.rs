//! Tasks and futures that belong together: groups, combinators, scopes.
//!
//! One file per question. Each peer is written as its own users would: a feature that a runtime
//! lacks comes from the crate that is usual beside it, and the peer's name says so. All bodies run
//! as a task on a worker.

mod cancel_tree;
mod gather;
mod group;
mod race;
mod scopes;

use std::future::Future;

use crate::harness::Spec;
use crate::peers::{CurrentThread, MultiThread, Peer, Ringloop};
use crate::sample::Sample;
use crate::sched::measure;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    match spec.case.name {
        "task_group_10k" => group::run(spec),
        "gather_10k_futures" => gather::futures(spec),
        "gather_10k_tasks" => gather::tasks(spec),
        "race_2_ready" => race::ready(spec),
        "race_2_tasks" => race::tasks(spec),
        "cancel_tree_10k" => cancel_tree::run(spec),
        "timeout_at_ready" => scopes::timeout_at_ready(spec),
        "scope_enter" => scopes::scope_enter(spec),
        "catch_cancel_1" => scopes::catch_cancel_1(spec),
        other => Err(format!("tasks has no case {other:?}")),
    }
}

/// Repeats a batch on ringloop.
fn on_ringloop<B: Future<Output = u64> + Send + 'static>(
    spec: &Spec,
    batch: impl FnMut() -> B + Send + 'static,
) -> Result<Sample, String> {
    Ok(Ringloop::run(spec.workers, measure(spec.warmup, spec.window, batch)))
}

/// Repeats a batch on tokio; on its single-threaded runtime for peers with that name.
fn on_tokio<B: Future<Output = u64> + Send + 'static>(
    spec: &Spec,
    batch: impl FnMut() -> B + Send + 'static,
) -> Result<Sample, String> {
    let body = measure(spec.warmup, spec.window, batch);
    Ok(match spec.peer.ends_with("-ct") {
        true => CurrentThread::run(spec.workers, body),
        false => MultiThread::run(spec.workers, body),
    })
}

fn unknown(spec: &Spec) -> Result<Sample, String> {
    Err(format!("{} has no peer {:?}", spec.case.name, spec.peer))
}
