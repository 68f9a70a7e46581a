//! Tasks that wait for each other.
//!
//! Question: what does one arrival cost at a barrier of 64 tasks that meet again and again?
//!
//! Does not show: parties that arrive at different times, as those of real work do.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// A barrier.
pub trait Barrier: Send + Sync + 'static {
    fn new(parties: usize) -> Self;

    /// Returns whether this one was the leader of its round.
    fn wait(&self) -> impl Future<Output = bool> + Send;
}

/// `barrier_64`.
pub struct Meeting<B>(pub PhantomData<fn() -> B>);

const PARTIES: u64 = 64;
const ROUNDS: u64 = 100;

impl<B: Barrier> Bench for Meeting<B> {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P, B>)))
    }
}

async fn batch<P: Peer, B: Barrier>() -> u64 {
    let barrier = Arc::new(B::new(PARTIES as usize));
    let mut tasks = Vec::with_capacity(PARTIES as usize);
    for _ in 0..PARTIES {
        let barrier = barrier.clone();
        tasks.push(P::spawn(async move {
            let mut led = 0;
            for _ in 0..ROUNDS {
                led += u64::from(barrier.wait().await);
            }
            led
        }));
    }
    let mut led = 0;
    for task in tasks {
        led += P::join(task).await;
    }
    assert_eq!(led, ROUNDS, "one leader a round");
    PARTIES * ROUNDS
}
