//! The scheduler without I/O.
//!
//! One file per question; each is generic over [`crate::peers::Peer`]. All bodies run as a task on
//! a worker. A case repeats batches until the window is over; the clock is read once per batch.

mod chain;
mod fanout;
mod foreign;
mod idle;
mod pingpong;
mod spawn;
mod spawn_remote;
mod yielding;

pub use fanout::{STEPS, work, work_alone};

use std::future::Future;
use std::time::{Duration, Instant};

use crate::harness::Spec;
use crate::peers::dispatch;
use crate::sample::Sample;
use crate::sys::Meter;

/// Runs the case in this process; `last_core` has no worker where there are enough cores.
pub fn run(spec: &Spec, last_core: usize) -> Result<Sample, String> {
    match spec.case.name {
        "spawn_join" => dispatch(&spawn::Join, spec),
        "spawn_one" => dispatch(&spawn::One, spec),
        "spawn_detached" => dispatch(&spawn::Detached, spec),
        "spawn_remote" => dispatch(&spawn_remote::Remote { core: last_core }, spec),
        "foreign_latency" => dispatch(&foreign::Foreign { core: last_core }, spec),
        "yield" => dispatch(&yielding::Yield { tasks: 100 }, spec),
        "yield_one" => dispatch(&yielding::Yield { tasks: 1 }, spec),
        "pingpong" => dispatch(&pingpong::PingPong, spec),
        "chain" => dispatch(&chain::Chain, spec),
        "fanout" => dispatch(&fanout::Fanout { micros: 20 }, spec),
        "fanout_1us" => dispatch(&fanout::Fanout { micros: 1 }, spec),
        "idle_task_bytes" => dispatch(&idle::Idle, spec),
        other => Err(format!("sched has no case {other:?}")),
    }
}

/// The same for a batch that needs no runtime.
fn measure_bare(spec: &Spec, mut batch: impl FnMut() -> u64) -> Sample {
    let batch = || std::future::ready(batch());
    futures_lite::future::block_on(measure(spec.warmup, spec.window, batch))
}

/// Repeats `batch`, which returns its number of operations, for a warm-up and a measured window.
pub async fn measure<F, B>(warmup: Duration, window: Duration, mut batch: F) -> Sample
where
    F: FnMut() -> B,
    B: Future<Output = u64>,
{
    let warm = Instant::now() + warmup;
    while Instant::now() < warm {
        batch().await;
    }
    let meter = Meter::start();
    let mut operations = 0;
    while meter.elapsed() < window {
        operations += batch().await;
    }
    meter.finish(operations)
}
