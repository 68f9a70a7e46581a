//! Calls to a pool of one process, each after the answer of the one before.
//!
//! The process is this program, started again; Python's is forked. Both pools are up when the
//! window begins. Python's thread waits for each result itself (`submit(..).result()`), so no event
//! loop adds to its figure, as it would to asyncio's `run_in_executor`.
//!
//! CPU is that of both processes: each reports its own.
//!
//! Does not show: arguments of more than some bytes, and several processes.

use std::time::Instant;

use ringloop::process::{Function, ProcessPool};

use crate::harness::Spec;
use crate::peers::{Peer, Ringloop};
use crate::sample::Sample;
use crate::sys;

/// Calls between two reads of the clock.
const BATCH: u64 = 16;

static SAME: Function<u64, u64> = Function::new("same", |number| number);
static USAGE: Function<(), (u64, u64)> = Function::new("usage", |()| sys::own_usage());

/// Answers calls in this process, if a pool has started it.
pub fn serve() {
    ProcessPool::serve(&[&SAME, &USAGE]);
}

pub fn run(spec: &Spec) -> Sample {
    let (warmup, window) = (spec.warmup, spec.window);
    Ringloop::run(spec.workers, async move {
        let pool = ProcessPool::new(1).expect("the program serves");
        let call = async |number| {
            assert_eq!(pool.call(&SAME, number).await.expect("it is answered"), number);
        };
        let usage = async || {
            let own = sys::own_usage();
            let its = pool.call(&USAGE, ()).await.expect("it is answered");
            (own.0 + its.0, own.1 + its.1)
        };
        let warm = Instant::now() + warmup;
        while Instant::now() < warm {
            call(1).await;
        }
        let (cpu_ns, switches) = usage().await;
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < window {
            for number in calls..calls + BATCH {
                call(number).await;
            }
            calls += BATCH;
        }
        let wall = start.elapsed();
        let after = usage().await;
        pool.shutdown().await;
        Sample::per_operation(calls, wall, after.0 - cpu_ns, after.1 - switches)
    })
}
