//! Memory of tasks that wait.
//!
//! Question: how many bytes of resident memory does a runtime add for each task that waits, with a
//! future of a few words and no join handle?
//!
//! Does not show: the size of real futures (a connection with a 4 KiB buffer is far larger), or
//! fragmentation after churn. Bytes are the growth of VmRSS over 1 000 000 tasks (200 000 with
//! `--quick`); the table in which their wakers wait is touched before.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sys::{self, Meter};

/// `idle_task_bytes`.
pub struct Idle;

impl Bench for Idle {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let tasks = if spec.quick { 200_000 } else { 1_000_000 };
        P::run(spec.workers, body::<P>(tasks))
    }
}

/// Tasks are spawned in portions, and each portion is suspended before the next, so that no queue
/// grows to the number of tasks and counts as memory of a waiting task.
const PORTION: usize = 1000;

async fn body<P: Peer>(tasks: usize) -> Result<Sample, String> {
    let gate = Arc::new(Gate::new(tasks));
    spawn_portion::<P>(&gate, 0).await;
    let before = sys::rss().map_err(|error| error.to_string())?;
    let meter = Meter::start();
    for first in (PORTION..tasks).step_by(PORTION) {
        spawn_portion::<P>(&gate, first).await;
    }
    let counted = (tasks - PORTION) as u64;
    let sample = meter.finish(counted);
    let grown = sys::rss().map_err(|error| error.to_string())?.saturating_sub(before);
    gate.open();
    Ok(Sample { bytes_per_op: Some(grown as f64 / counted as f64), ..sample })
}

async fn spawn_portion<P: Peer>(gate: &Arc<Gate>, first: usize) {
    for place in first..first + PORTION {
        P::detach(P::spawn(Waiting { gate: gate.clone(), place }));
    }
    while gate.waiting() < first + PORTION {
        P::yield_now().await;
    }
}

/// Tasks wait at it until it opens.
struct Gate {
    state: Mutex<GateState>,
}

struct GateState {
    open: bool,
    waiting: usize,
    wakers: Vec<Waker>,
}

impl Gate {
    fn new(places: usize) -> Gate {
        // Filled, not merely reserved: its pages must be resident before the first reading.
        let wakers = vec![Waker::noop().clone(); places];
        Gate { state: Mutex::new(GateState { open: false, waiting: 0, wakers }) }
    }

    fn waiting(&self) -> usize {
        self.state.lock().expect("no task panics").waiting
    }

    fn open(&self) {
        let wakers = {
            let mut state = self.state.lock().expect("no task panics");
            state.open = true;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

struct Waiting {
    gate: Arc<Gate>,
    place: usize,
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.gate.state.lock().expect("no task panics");
        if state.open {
            return Poll::Ready(());
        }
        state.wakers[self.place] = context.waker().clone();
        state.waiting += 1;
        Poll::Pending
    }
}
