//! Yielding.
//!
//! Questions: what does one turn through the run queue cost among 100 tasks that only yield
//! (`yield`)? And when the task is alone, so that every yield also checks the reactor, or does
//! whatever a runtime does with an empty queue (`yield_one`)?
//!
//! Does not show: tasks with state that leaves the cache between two turns, or waking by others.

use super::measure;
use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;

/// `yield` and `yield_one`.
pub struct Yield {
    pub tasks: usize,
}

const YIELDS: u64 = 1000;

impl Bench for Yield {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let tasks = self.tasks;
        let batch = move || batch::<P>(tasks);
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch)))
    }
}

async fn batch<P: Peer>(count: usize) -> u64 {
    let mut tasks = Vec::with_capacity(count);
    for _ in 0..count {
        tasks.push(P::spawn(async {
            for _ in 0..YIELDS {
                P::yield_now().await;
            }
        }));
    }
    for task in tasks {
        P::join(task).await;
    }
    YIELDS * count as u64
}
