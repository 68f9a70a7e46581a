//! A token that travels through 1000 tasks.
//!
//! Question: what does it cost to wake a task that did not run lately, one at a time?
//!
//! Does not show: wakes that come in bursts. Only one task is ready at any moment, so a second
//! worker can do nothing but disturb. The channel (futures-channel, unbounded) is in every figure.

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_lite::StreamExt as _;

use super::measure;
use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;

/// `chain`.
pub struct Chain;

const TASKS: u64 = 1000;

/// Rounds of the token in a batch: enough to make the spawns of a batch invisible.
const ROUNDS: u64 = 50;

impl Bench for Chain {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P>)))
    }
}

async fn batch<P: Peer>() -> u64 {
    let (start, mut before) = mpsc::unbounded::<u64>();
    let mut tasks = Vec::with_capacity(TASKS as usize);
    for _ in 0..TASKS {
        let (next, after) = mpsc::unbounded();
        tasks.push(P::spawn(pass(before, next)));
        before = after;
    }
    for _ in 0..ROUNDS {
        start.unbounded_send(0).expect("the first task listens");
        assert_eq!(before.next().await, Some(TASKS));
    }
    drop(start);
    for task in tasks {
        P::join(task).await;
    }
    TASKS * ROUNDS
}

async fn pass(mut before: UnboundedReceiver<u64>, next: UnboundedSender<u64>) {
    while let Some(token) = before.next().await {
        next.unbounded_send(token + 1).expect("the next task listens");
    }
}
