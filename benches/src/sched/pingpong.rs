//! Two tasks that wake each other.
//!
//! Question: what does a wake from task to task cost, there and back, over the same channel for all
//! (futures-channel's unbounded one)?
//!
//! Does not show: a runtime's own channels; the channel's share (two allocations and four atomic
//! operations a round trip) is in every figure. With 2 workers the best a scheduler can do is to
//! keep both tasks on one.

use futures_channel::mpsc;
use futures_lite::StreamExt as _;

use super::measure;
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
}

async fn batch<P: Peer>() -> u64 {
    let (ping, mut pings) = mpsc::unbounded();
    let (pong, mut pongs) = mpsc::unbounded();
    let one = P::spawn(async move {
        for index in 0..ROUND_TRIPS {
            ping.unbounded_send(index).expect("the other task listens");
            assert_eq!(pongs.next().await, Some(index));
        }
    });
    let other = P::spawn(async move {
        while let Some(index) = pings.next().await {
            pong.unbounded_send(index).expect("the first task listens");
        }
    });
    P::join(one).await;
    P::join(other).await;
    ROUND_TRIPS
}
