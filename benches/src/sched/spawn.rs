//! Spawning from a task.
//!
//! Questions: what does a task cost from spawn to joined result when there are enough of them to
//! amortise a tick of the scheduler (`spawn_join`)? When there is one at a time and its end is
//! awaited (`spawn_one`)? When it is not joined (`spawn_detached`)?
//!
//! Does not show: futures larger than a few words, tasks that suspend, spawns onto a runtime that
//! is busy with I/O. With 2 workers the work is too small to be worth sharing; a scheduler that
//! shares it nevertheless pays for it here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_channel::oneshot;

use super::measure;
use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;

const BATCH: u64 = 100;

/// `spawn_join`: a batch is spawned, then joined in the same order.
pub struct Join;

impl Bench for Join {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, join_batch::<P>)))
    }
}

async fn join_batch<P: Peer>() -> u64 {
    let mut tasks = Vec::with_capacity(BATCH as usize);
    for index in 0..BATCH {
        tasks.push(P::spawn(async move { index }));
    }
    let mut sum = 0;
    for task in tasks {
        sum += P::join(task).await;
    }
    assert_eq!(sum, BATCH * (BATCH - 1) / 2);
    BATCH
}

/// `spawn_one`: one task at a time, awaited.
pub struct One;

impl Bench for One {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, one_batch::<P>)))
    }
}

async fn one_batch<P: Peer>() -> u64 {
    for index in 0..BATCH {
        let task = P::spawn(async move { index });
        assert_eq!(P::join(task).await, index);
    }
    BATCH
}

/// `spawn_detached`: the last task of a batch reports the end.
pub struct Detached;

impl Bench for Detached {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, detached_batch::<P>)))
    }
}

async fn detached_batch<P: Peer>() -> u64 {
    let (finished, all_finished) = oneshot::channel();
    let left = Arc::new((AtomicU64::new(BATCH), std::sync::Mutex::new(Some(finished))));
    for _ in 0..BATCH {
        let left = left.clone();
        P::detach(P::spawn(async move {
            // AcqRel: the last task sees what the others did before they counted down.
            if left.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                let finished = left.1.lock().expect("no task panics").take();
                finished.expect("only one task is the last").send(()).expect("the batch waits");
            }
        }));
    }
    all_finished.await.expect("the last task sends");
    BATCH
}
