//! Mutual exclusion.
//!
//! Questions: what do lock and unlock cost without contention (`lock_1`), between two tasks
//! (`lock_2`), and among many (`lock_16`)?
//!
//! Every eighth critical section yields. Without that, no task would ever wait where there is one
//! worker: a task runs until it awaits, and would find the lock free each time. Once a task has
//! yielded with the lock held the others queue up, and a fair lock (tokio's, ours) keeps them in
//! the queue from then on: each operation passes the lock on and switches tasks. A lock that a
//! running task may take again before those that wait (async-lock's, for half a millisecond) makes
//! fewer switches and is fast here because it is unfair.
//!
//! Does not show: long critical sections, where the lock's own cost does not matter.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::DerefMut;
use std::sync::Arc;

use crate::harness::Spec;
use crate::peers::{Bench, Peer};
use crate::sample::Sample;
use crate::sched::measure;

/// A lock over a number.
pub trait Lock: Send + Sync + 'static {
    type Guard<'a>: DerefMut<Target = u64> + Send;

    fn new() -> Self;

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + Send;
}

/// `lock_1`, `lock_2` and `lock_16`.
pub struct Locking<L> {
    pub tasks: u64,
    pub lock: PhantomData<fn() -> L>,
}

/// Operations of a batch, over all tasks.
const OPERATIONS: u64 = 16_000;
const YIELD_EVERY: u64 = 8;

impl<L: Lock> Bench for Locking<L> {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        let tasks = self.tasks;
        let batch = move || batch::<P, L>(tasks);
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch)))
    }
}

async fn batch<P: Peer, L: Lock>(count: u64) -> u64 {
    let lock = Arc::new(L::new());
    let mut tasks = Vec::with_capacity(count as usize);
    for index in 0..count {
        let lock = lock.clone();
        let contended = count > 1;
        tasks.push(P::spawn(async move {
            for turn in 0..OPERATIONS / count {
                let mut guard = lock.lock().await;
                *guard += 1;
                if contended && (turn + index) % YIELD_EVERY == 0 {
                    P::yield_now().await;
                }
            }
        }));
    }
    for task in tasks {
        P::join(task).await;
    }
    assert_eq!(*lock.lock().await, OPERATIONS);
    OPERATIONS
}
