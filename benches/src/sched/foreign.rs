//! Work from a plain thread while a task holds a worker.
//!
//! Question: how long does a thread outside the runtime wait for a task that does nothing, spawned
//! through a handle, while another task holds one worker for 30 ms of every 40?
//!
//! Does not show: the cost while no worker is held (`spawn_remote`). The thread runs on the last
//! core and pauses between two tasks, so that workers go to sleep; with as many workers as cores it
//! shares that core. With one worker it waits until that worker is no longer held, with any
//! runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::{self, Sample};
use crate::sys::{self, Meter};

const HELD: Duration = Duration::from_millis(30);
const FREE: Duration = Duration::from_millis(10);
/// The pause between a task's end and the next task.
const PAUSE: Duration = Duration::from_micros(300);

/// `foreign_latency`; the thread runs on `core`.
pub struct Foreign {
    pub core: usize,
}

impl Bench for Foreign {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let (core, warmup, window) = (self.core, spec.warmup, spec.window);
        P::run(spec.workers, async move {
            let stop = Arc::new(AtomicBool::new(false));
            let holder = P::spawn(hold::<P>(stop.clone()));
            let handle = P::handle();
            let (finished, sample) = oneshot::channel();
            thread::spawn(move || {
                sys::pin_to(core);
                let _ = finished.send(measure_from_outside::<P>(&handle, warmup, window));
            });
            let sample = sample.await;
            // Relaxed: it only has to be seen at some time.
            stop.store(true, Ordering::Relaxed);
            P::join(holder).await;
            sample.map_err(|_| "the plain thread failed".into())
        })
    }
}

async fn hold<P: Peer>(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let end = Instant::now() + HELD;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        P::sleep(FREE).await;
    }
}

fn measure_from_outside<P: Peer>(handle: &P::Handle, warmup: Duration, window: Duration) -> Sample {
    let mut latencies = sample::latencies();
    let warm = Instant::now() + warmup;
    while Instant::now() < warm {
        hand_over::<P>(handle);
    }
    let meter = Meter::start();
    let mut operations = 0;
    while meter.elapsed() < window {
        latencies.saturating_record(hand_over::<P>(handle).as_nanos() as u64);
        operations += 1;
    }
    meter.finish(operations).with_latencies(&latencies)
}

/// The time from the spawn until the thread sees the task's end.
fn hand_over<P: Peer>(handle: &P::Handle) -> Duration {
    thread::sleep(PAUSE);
    let begin = Instant::now();
    let (done, thread) = (Arc::new(AtomicBool::new(false)), thread::current());
    let tell = done.clone();
    P::spawn_from_outside(handle, async move {
        // Release: pairs with the Acquire below.
        tell.store(true, Ordering::Release);
        thread.unpark();
    });
    while !done.load(Ordering::Acquire) {
        thread::park();
    }
    begin.elapsed()
}
