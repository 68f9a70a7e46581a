//! One event, ten thousand waiters.
//!
//! Question: what does it cost to wait for an event and to be woken by it, together with 9 999
//! others? The event stays set until all have gone on to the next one, and is cleared then.
//!
//! tokio has no event; its users build one from `Notify` and a flag (`tokio`) or from a `watch`
//! channel of a bool (`tokio-watch`).
//!
//! Does not show: how long one waiter waits until it runs, or an event with few waiters.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_channel::mpsc::{self, UnboundedSender};
use futures_lite::StreamExt as _;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// A flag to wait for.
pub trait Event: Send + Sync + 'static {
    /// The value with which a task waits, again and again.
    type Waiter: Send + 'static;

    fn new() -> Self;

    fn waiter(self: &Arc<Self>) -> Self::Waiter;

    fn set(&self);

    fn clear(&self);

    fn wait(waiter: &mut Self::Waiter) -> impl Future<Output = ()> + Send;
}

/// `event_10k`.
pub struct Waiting<E>(pub PhantomData<fn() -> E>);

const WAITERS: u64 = 10_000;

/// Enough to make the spawns of a batch a small part.
const ROUNDS: u64 = 20;

impl<E: Event> Bench for Waiting<E> {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P, E>)))
    }
}

async fn batch<P: Peer, E: Event>() -> u64 {
    // Two events in turn: each is cleared when all tasks wait at the other.
    let events = [Arc::new(E::new()), Arc::new(E::new())];
    let (all_arrived, mut rounds) = mpsc::unbounded();
    let arrivals = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(WAITERS as usize);
    for _ in 0..WAITERS {
        let waiters = [events[0].waiter(), events[1].waiter()];
        tasks.push(P::spawn(wait::<E>(waiters, arrivals.clone(), all_arrived.clone())));
    }
    for round in 0..ROUNDS as usize {
        rounds.next().await.expect("the last to arrive tells of it");
        events[(round + 1) % 2].clear();
        events[round % 2].set();
    }
    for task in tasks {
        P::join(task).await;
    }
    WAITERS * ROUNDS
}

async fn wait<E: Event>(
    mut waiters: [E::Waiter; 2],
    arrivals: Arc<AtomicU64>,
    all_arrived: UnboundedSender<()>,
) {
    for round in 0..ROUNDS as usize {
        // AcqRel: the other event is cleared only after all tasks have left it.
        if (arrivals.fetch_add(1, Ordering::AcqRel) + 1).is_multiple_of(WAITERS) {
            all_arrived.unbounded_send(()).expect("the batch listens");
        }
        E::wait(&mut waiters[round % 2]).await;
    }
}
