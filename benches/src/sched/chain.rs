//! A token that travels through 1000 tasks.
//!
//! Question: what does it cost to wake a task that did not run lately, one at a time?
//!
//! Does not show: wakes that come in bursts. Only one task is ready at any moment, so a second
//! worker can do nothing but disturb. The channel (futures-channel, unbounded) is in every figure;
//! `bare` shows it alone.

use std::future::Future as _;
use std::task::{Context, Poll, Waker};

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_lite::StreamExt as _;

use super::{measure, measure_bare};
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

    fn run_bare(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(measure_bare(spec, bare_batch))
    }
}

async fn batch<P: Peer>() -> u64 {
    let mut tasks = Vec::with_capacity(TASKS as usize);
    let (start, mut end) = links(|before, next| tasks.push(P::spawn(pass(before, next))));
    for _ in 0..ROUNDS {
        start.unbounded_send(0).expect("the first task listens");
        assert_eq!(end.next().await, Some(TASKS));
    }
    drop(start);
    for task in tasks {
        P::join(task).await;
    }
    TASKS * ROUNDS
}

fn bare_batch() -> u64 {
    let mut context = Context::from_waker(Waker::noop());
    let mut tasks = Vec::with_capacity(TASKS as usize);
    let (start, mut end) = links(|before, next| tasks.push(Box::pin(pass(before, next))));
    for _ in 0..ROUNDS {
        start.unbounded_send(0).expect("the first task listens");
        for task in &mut tasks {
            let _ = task.as_mut().poll(&mut context);
        }
        let token = end.poll_next(&mut context);
        assert_eq!(token, Poll::Ready(Some(TASKS)));
    }
    TASKS * ROUNDS
}

/// Gives each task its ends of two channels; returns both ends of the chain.
fn links(
    mut each: impl FnMut(UnboundedReceiver<u64>, UnboundedSender<u64>),
) -> (UnboundedSender<u64>, UnboundedReceiver<u64>) {
    let (start, mut before) = mpsc::unbounded();
    for _ in 0..TASKS {
        let (next, after) = mpsc::unbounded();
        each(before, next);
        before = after;
    }
    (start, before)
}

async fn pass(mut before: UnboundedReceiver<u64>, next: UnboundedSender<u64>) {
    while let Some(token) = before.next().await {
        next.unbounded_send(token + 1).expect("the next task listens");
    }
}
