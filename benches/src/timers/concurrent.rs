//! Many sleeps at once.
//!
//! Question: what does a task cost that sleeps once, 1 to 20 ms, among 100 000 that do the same,
//! and how late does it wake?
//!
//! Does not show: the timer alone (spawn and join are in the figure; see `spawn_join`), or an
//! unloaded runtime's precision: the workers are busy, and lateness (p50, p99; every 64th task
//! measures it) is mostly the time in the queue. Wall time cannot fall under 20 ms a batch, that is
//! 200 ns; CPU time can. tokio's timers tick in milliseconds.

use std::time::{Duration, Instant};

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::{self, Sample};
use crate::sys::Meter;

/// `timers_100k`.
pub struct Concurrent;

const TASKS: u64 = 100_000;
const PROBE: u64 = 64;

impl Bench for Concurrent {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let window = spec.window;
        Ok(P::run(spec.workers, async move {
            let mut latencies = sample::latencies();
            batch::<P>().await;
            let meter = Meter::start();
            let mut operations = 0;
            while meter.elapsed() < window {
                for late in batch::<P>().await {
                    latencies.saturating_record(late.as_nanos() as u64);
                }
                operations += TASKS;
            }
            meter.finish(operations).with_latencies(&latencies)
        }))
    }
}

/// Returns how late the measured tasks woke.
async fn batch<P: Peer>() -> Vec<Duration> {
    let mut tasks = Vec::with_capacity(TASKS as usize);
    for index in 0..TASKS {
        tasks.push(P::spawn(sleeper::<P>(index)));
    }
    let mut late = Vec::with_capacity((TASKS / PROBE) as usize + 1);
    for task in tasks {
        late.extend(P::join(task).await);
    }
    late
}

async fn sleeper<P: Peer>(index: u64) -> Option<Duration> {
    // A fixed hash of the index: 1 to 20 ms in steps of a nanosecond, the same for all peers.
    let mixed = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let duration = Duration::from_nanos(1_000_000 + mixed * 19_000_000 / u64::from(u32::MAX));
    if !index.is_multiple_of(PROBE) {
        P::sleep(duration).await;
        return None;
    }
    let due = Instant::now() + duration;
    P::sleep(duration).await;
    Some(Instant::now().saturating_duration_since(due))
}
