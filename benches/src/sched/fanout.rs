//! CPU work spread over the workers.
//!
//! Question: how near does a runtime come to (work / workers) when one task spawns 2000 tasks of
//! about 20 us CPU each (`fanout`), or of about 1 us (`fanout_1us`), and joins them?
//!
//! Does not show: unequal work, memory-bound work. The work itself is in the figure and is measured
//! alone beside it (`work_ns_per_op`): what a runtime adds is the time per operation less
//! work / workers.

use std::hint::black_box;
use std::time::Instant;

use super::measure;
use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;

/// `fanout` and `fanout_1us`.
pub struct Fanout {
    /// CPU time of a task, about, on a processor of 3 GHz.
    pub micros: u64,
}

const TASKS: u64 = 2000;

/// Steps of the generator in a microsecond.
pub const STEPS: u64 = 450;

impl Bench for Fanout {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let steps = self.micros * STEPS;
        let alone = work_alone(steps);
        let batch = move || batch::<P>(steps);
        let sample = P::run(spec.workers, measure(spec.warmup, spec.window, batch));
        Ok(Sample { work_ns_per_op: Some(alone), ..sample })
    }
}

async fn batch<P: Peer>(steps: u64) -> u64 {
    let mut tasks = Vec::with_capacity(TASKS as usize);
    for seed in 0..TASKS {
        tasks.push(P::spawn(async move { work(seed, steps) }));
    }
    for task in tasks {
        black_box(P::join(task).await);
    }
    TASKS
}

/// A chain of dependent steps: no memory, no vectors, the same time for every seed. The shift keeps
/// the compiler from folding several multiplications into one.
pub fn work(seed: u64, steps: u64) -> u64 {
    let mut state = black_box(seed);
    for _ in 0..steps {
        state = (state ^ (state >> 29)).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(state)
}

pub fn work_alone(steps: u64) -> f64 {
    const REPEATS: u64 = 500;
    let start = Instant::now();
    for seed in 0..REPEATS {
        work(seed, steps);
    }
    start.elapsed().as_nanos() as f64 / REPEATS as f64
}
