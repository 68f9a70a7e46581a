//! Limited concurrency.
//!
//! Question: what does it cost to take and give back one of 4 permits that 16 tasks share?
//!
//! Every fourth holder yields with the permit held; without that no task would wait where there is
//! one worker (see [`super::lock`]).
//!
//! Does not show: acquiring several permits at once, or permits that are held for long.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// A semaphore.
pub trait Semaphore: Send + Sync + 'static {
    type Permit<'a>: Send;

    fn new(permits: usize) -> Self;

    fn acquire(&self) -> impl Future<Output = Self::Permit<'_>> + Send;
}

/// `semaphore_16x4`.
pub struct Limited<S>(pub PhantomData<fn() -> S>);

const TASKS: u64 = 16;
const PERMITS: usize = 4;
const TURNS: u64 = 1000;
const YIELD_EVERY: u64 = 4;

impl<S: Semaphore> Bench for Limited<S> {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P, S>)))
    }
}

async fn batch<P: Peer, S: Semaphore>() -> u64 {
    let semaphore = Arc::new(S::new(PERMITS));
    let mut tasks = Vec::with_capacity(TASKS as usize);
    for index in 0..TASKS {
        let semaphore = semaphore.clone();
        tasks.push(P::spawn(async move {
            for turn in 0..TURNS {
                let permit = semaphore.acquire().await;
                if (turn + index) % YIELD_EVERY == 0 {
                    P::yield_now().await;
                }
                drop(permit);
            }
        }));
    }
    for task in tasks {
        P::join(task).await;
    }
    TASKS * TURNS
}
