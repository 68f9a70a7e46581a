//! Two tasks that wake each other.
//!
//! Question: what does a wake from task to task cost, there and back, over the same channel for all
//! (futures-channel's unbounded one)?
//!
//! Does not show: a runtime's own channels; the channel's share (two allocations, and a waker
//! registered and woken twice per round trip) is in every figure, and `bare` shows it alone. With 2
//! workers the best that a scheduler can do is to keep both tasks on one.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_channel::mpsc;
use futures_lite::StreamExt as _;

use super::{measure, measure_bare};
use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;

/// `pingpong`.
pub struct PingPong;

const ROUND_TRIPS: u64 = 1000;

impl Bench for PingPong {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P>)))
    }

    fn run_bare(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(measure_bare(spec, bare_batch))
    }
}

async fn batch<P: Peer>() -> u64 {
    let (one, other) = pair();
    let (one, other) = (P::spawn(one), P::spawn(other));
    P::join(one).await;
    P::join(other).await;
    ROUND_TRIPS
}

fn bare_batch() -> u64 {
    let (one, other) = pair();
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut context = Context::from_waker(Waker::noop());
    while one.as_mut().poll(&mut context).is_pending() {
        let _ = other.as_mut().poll(&mut context);
    }
    ROUND_TRIPS
}

fn pair() -> (impl Future<Output = ()> + Send, impl Future<Output = ()> + Send) {
    let (ping, mut pings) = mpsc::unbounded();
    let (pong, mut pongs) = mpsc::unbounded();
    let one = async move {
        for index in 0..ROUND_TRIPS {
            ping.unbounded_send(index).expect("the other task listens");
            assert_eq!(pongs.next().await, Some(index));
        }
    };
    let other = async move {
        while let Some(index) = pings.next().await {
            pong.unbounded_send(index).expect("the first task listens");
        }
    };
    (one, other)
}
