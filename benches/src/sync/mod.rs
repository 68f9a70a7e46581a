//! Locks, semaphores, queues, events and barriers.
//!
//! One file per kind; each is generic over the runtime ([`crate::peers::Peer`]) and over a trait of
//! its own for the primitive, which [`peers`] implements as the users of each would. A primitive
//! runs on the runtime of its own family; kanal and flume have none and run on tokio, their most
//! common one. `A-on-B` names another runtime: `ringloop-on-tokio` and `tokio-on-ringloop` show
//! which part of a difference is the primitive's and which is the scheduler's.

mod barrier;
mod event;
mod lock;
mod peers;
mod queue;
mod semaphore;

use crate::harness::Spec;
use crate::sample::Sample;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    let (set, runtime) = split(&spec.peer);
    let found = match spec.case.name {
        "lock_1" => peers::lock(set, runtime, spec, 1),
        "lock_2" => peers::lock(set, runtime, spec, 2),
        "lock_16" => peers::lock(set, runtime, spec, 16),
        "semaphore_16x4" => peers::semaphore(set, runtime, spec),
        "queue_1_1" => peers::queue(set, runtime, spec, 1, 1),
        "queue_8_1" => peers::queue(set, runtime, spec, 8, 1),
        "queue_8_8" => peers::queue(set, runtime, spec, 8, 8),
        "event_10k" => peers::event(set, runtime, spec),
        "barrier_64" => peers::barrier(set, runtime, spec),
        other => return Err(format!("sync has no case {other:?}")),
    };
    found.unwrap_or_else(|| Err(format!("{} has no peer {:?}", spec.case.name, spec.peer)))
}

/// The primitives of a peer and their runtime.
fn split(peer: &str) -> (&str, &str) {
    match peer {
        "tokio-ct" => ("tokio", "tokio-ct"),
        "tokio" | "tokio-watch" | "kanal" | "flume" => (peer, "tokio"),
        "async-lock" | "async-channel" | "event-listener" => (peer, "async-executor"),
        _ => peer.split_once("-on-").unwrap_or((peer, "ringloop")),
    }
}
