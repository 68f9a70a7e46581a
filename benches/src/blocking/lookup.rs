//! Look-ups of a name, one after the other, alone and beside jobs that keep all threads asleep.
//!
//! All peers have the same number of threads for jobs. Twice as many tasks submit jobs that sleep,
//! so that half of the jobs wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::Pool;
use crate::harness::Spec;
use crate::sample::{Sample, latencies};
use crate::sys::Meter;

/// Threads for jobs.
const THREADS: usize = 4;
const NAME: &str = "localhost:80";
const SLEEP: Duration = Duration::from_millis(2);

/// Look-ups beside `sleepers` tasks whose jobs sleep.
pub fn run<P: Pool>(spec: &Spec, sleepers: usize) -> Sample {
    let (warmup, window) = (spec.warmup, spec.window);
    P::run(spec.workers, THREADS, async move {
        let over = Arc::new(AtomicBool::new(false));
        let sleepers: Vec<_> =
            (0..sleepers).map(|_| P::spawn(sleep_on::<P>(over.clone()))).collect();
        let warm = Instant::now() + warmup;
        while Instant::now() < warm {
            assert!(P::look_up(NAME).await > 0);
        }
        let (meter, mut waits, mut look_ups) = (Meter::start(), latencies(), 0);
        while meter.elapsed() < window {
            let start = Instant::now();
            assert!(P::look_up(NAME).await > 0);
            waits.saturating_record(start.elapsed().as_nanos() as u64);
            look_ups += 1;
        }
        let sample = meter.finish(look_ups).with_latencies(&waits);
        over.store(true, Relaxed);
        for sleeper in sleepers {
            sleeper.await;
        }
        sample
    })
}

/// Submits jobs that sleep, one after the other.
async fn sleep_on<P: Pool>(over: Arc<AtomicBool>) {
    while !over.load(Relaxed) {
        P::hand_over(|| thread::sleep(SLEEP)).await;
    }
}
