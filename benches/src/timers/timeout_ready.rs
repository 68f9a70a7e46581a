//! A timeout around a future that is ready.
//!
//! Question: what does a timeout cost when the operation finishes at its first poll, the most
//! common case of a server under load?
//!
//! Does not show: operations that suspend (`timer_arm_cancel` has that cost). async-io has no
//! timeout of its own; its users race the future against a timer. Yields every 32, as in
//! `timer_arm_cancel`.

use std::future::ready;
use std::hint::black_box;
use std::time::Duration;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// `timeout_ready`.
pub struct TimeoutReady;

const CHUNK: u64 = 32;
const CHUNKS: u64 = 64;

impl Bench for TimeoutReady {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P>)))
    }
}

async fn batch<P: Peer>() -> u64 {
    for _ in 0..CHUNKS {
        for index in 0..CHUNK {
            let found = P::timeout(Duration::from_secs(1), ready(black_box(index))).await;
            assert_eq!(found, Some(index));
        }
        P::yield_now().await;
    }
    CHUNKS * CHUNK
}
