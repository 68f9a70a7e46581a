//! Bounded queues.
//!
//! Question: what does a number cost from put to get, between one producer and one consumer
//! (`queue_1_1`), eight and one (`queue_8_1`), eight and eight (`queue_8_8`)?
//!
//! All hold 128 numbers, so that producers wait for consumers and the reverse; with one worker a
//! side works until the queue is full or empty, and the wait is paid once for 128. Each consumer
//! takes its share of the known number, so that closing is in no figure. tokio's channel has one
//! receiver; for eight consumers it is behind tokio's lock, as its users write it.
//!
//! Does not show: values larger than a word, or the delay of one value through an idle queue.

use std::future::Future;
use std::marker::PhantomData;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// A bounded queue of numbers.
pub trait Queue: 'static {
    type Sender: Clone + Send + 'static;
    type Receiver: Send + 'static;

    /// `receivers` receivers of one queue.
    fn bounded(capacity: usize, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>);

    fn send(sender: &Self::Sender, value: u64) -> impl Future<Output = ()> + Send;

    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = u64> + Send;
}

/// `queue_1_1`, `queue_8_1` and `queue_8_8`.
pub struct Passing<Q> {
    pub producers: u64,
    pub consumers: u64,
    pub queue: PhantomData<fn() -> Q>,
}

const CAPACITY: usize = 128;
/// Numbers of a batch, over all producers.
const NUMBERS: u64 = 16_000;

impl<Q: Queue> Bench for Passing<Q> {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let (producers, consumers) = (self.producers, self.consumers);
        let batch = move || batch::<P, Q>(producers, consumers);
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch)))
    }
}

async fn batch<P: Peer, Q: Queue>(producers: u64, consumers: u64) -> u64 {
    let (sender, receivers) = Q::bounded(CAPACITY, consumers as usize);
    let mut consuming = Vec::with_capacity(consumers as usize);
    for mut receiver in receivers {
        consuming.push(P::spawn(async move {
            let mut sum = 0;
            for _ in 0..NUMBERS / consumers {
                sum += Q::receive(&mut receiver).await;
            }
            // Back to the batch: while a receiver lives, no sender may find the queue closed.
            (sum, receiver)
        }));
    }
    let mut producing = Vec::with_capacity(producers as usize);
    for _ in 0..producers {
        let sender = sender.clone();
        producing.push(P::spawn(async move {
            for number in 0..NUMBERS / producers {
                Q::send(&sender, number).await;
            }
        }));
    }
    for task in producing {
        P::join(task).await;
    }
    let mut sum = 0;
    let mut receivers = Vec::with_capacity(consumers as usize);
    for task in consuming {
        let (part, receiver) = P::join(task).await;
        sum += part;
        receivers.push(receiver);
    }
    let each = NUMBERS / producers;
    assert_eq!(sum, producers * each * (each - 1) / 2);
    NUMBERS
}
