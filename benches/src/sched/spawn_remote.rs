//! Spawning from a plain thread.
//!
//! Question: what does a task cost, to its end, that a thread outside the runtime spawns through a
//! handle, with up to 1000 of them at once?
//!
//! Does not show: several threads that contend, or the latency of a single spawn on a sleeping
//! runtime. The thread runs on the last core; with as many workers as cores it shares that core.
//! CPU per operation includes the thread's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sys::{self, Meter};

const BATCH: u64 = 1000;

/// `spawn_remote`; the thread runs on `core`.
pub struct Remote {
    pub core: usize,
}

impl Bench for Remote {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let (core, warmup, window) = (self.core, spec.warmup, spec.window);
        P::run(spec.workers, async move {
            let handle = P::handle();
            let (finished, sample) = oneshot::channel();
            thread::spawn(move || {
                sys::pin_to(core);
                let _ = finished.send(measure_from_outside::<P>(&handle, warmup, window));
            });
            sample.await.map_err(|_| "the plain thread failed".into())
        })
    }
}

fn measure_from_outside<P: Peer>(handle: &P::Handle, warmup: Duration, window: Duration) -> Sample {
    let warm = Instant::now() + warmup;
    while Instant::now() < warm {
        batch::<P>(handle);
    }
    let meter = Meter::start();
    let mut operations = 0;
    while meter.elapsed() < window {
        operations += batch::<P>(handle);
    }
    meter.finish(operations)
}

struct Batch {
    left: AtomicU64,
    thread: Thread,
}

fn batch<P: Peer>(handle: &P::Handle) -> u64 {
    let batch = Arc::new(Batch { left: AtomicU64::new(BATCH), thread: thread::current() });
    for _ in 0..BATCH {
        let batch = batch.clone();
        P::spawn_from_outside(handle, async move {
            // Release: pairs with the Acquire below, so that the thread sees the tasks' ends.
            if batch.left.fetch_sub(1, Ordering::Release) == 1 {
                batch.thread.unpark();
            }
        });
    }
    while batch.left.load(Ordering::Acquire) != 0 {
        thread::park();
    }
    BATCH
}
