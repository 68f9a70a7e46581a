//! A timer that never fires.
//!
//! Question: what does it cost to arm a sleep of 1 s (by a poll) and to drop it, as a timeout does
//! around an operation that finishes in time but not at once?
//!
//! Does not show: timers armed on one worker and dropped on another, or a wheel full of others. The
//! task yields once every 32 timers: tokio's cooperative budget (128 polls) would otherwise be
//! spent, after which a sleep no longer arms anything. One thirty-second of the yield is in the
//! figure.

use std::time::Duration;

use futures_lite::future::poll_once;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// `timer_arm_cancel`.
pub struct ArmCancel;

const CHUNK: u64 = 32;
const CHUNKS: u64 = 64;

impl Bench for ArmCancel {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P>)))
    }
}

async fn batch<P: Peer>() -> u64 {
    for _ in 0..CHUNKS {
        for _ in 0..CHUNK {
            let fired = poll_once(P::sleep(Duration::from_secs(1))).await;
            assert!(fired.is_none(), "a second has not passed");
        }
        P::yield_now().await;
    }
    CHUNKS * CHUNK
}
