//! Running code that blocks, on threads kept for that.

mod limiter;
mod pool;

use std::panic::Location;

pub use self::{
    limiter::{AlreadyBorrowed, Borrower, CapacityLimiter, CapacityToken, TryBorrowError},
    pool::{PoolClosed, PoolSlot, SubmitError, ThreadPool, ThreadPoolBuilder, run_in_executor},
};
use crate::{
    blocking::{self, Kind},
    error::TaskError,
    runtime::Handle,
    task::Task,
};

/// Runs `f` on a thread of the runtime's blocking pool.
///
/// The task can be cancelled until a thread takes it: then it ends at once, and `f` is never called. Once `f` runs, it runs to its end, unless it asks
/// [`check_cancelled`]; at the end of the runtime it is waited for until the deadline. So is its
/// thread, with the destructors of its thread-local values. On that thread, `f` and destructors may block; an
/// `f` that was cancelled is dropped there as well.
///
/// `f` gets copies of the spawner's [inherited](crate::task_local) task-local values, and finds the runtime by
/// [`Handle::current`](crate::Handle::current).
///
/// If the system refuses a thread, `f` waits for those that the pool has; if there is none, the task
/// [fails](crate::TaskError::is_refused).
///
/// When to take this, a task, or a [`ThreadPool`] says the guide to [blocking
/// work](crate::guide::blocking).
///
/// asyncio: `asyncio.to_thread`, and `loop.run_in_executor(None, f)`. There, a cancelled job keeps its place in
/// the queue until a thread comes to it.
///
/// # Panics
///
/// On a thread that belongs to no runtime.
///
/// ```
/// ringloop::run(async {
///     let sum = ringloop::to_thread(|| (1..=100).sum::<u32>()).await.unwrap();
///     assert_eq!(sum, 5050);
/// });
/// ```
#[doc(alias = "spawn_blocking")]
#[track_caller]
pub fn to_thread<F, T>(f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let started_at = Location::caller();
    match Handle::try_current() {
        Ok(handle) => handle.start_blocking(Kind::User, f, started_at),
        Err(error) => panic!("ringloop::to_thread at {started_at}: {error}"),
    }
}

/// Asks, in a job of [`to_thread`], [`run_in_executor`] or [`ThreadPool::submit`], whether the job is to
/// end early: it was cancelled, or its runtime is ending.
///
/// Nothing stops a job that does not ask. A value that it returns after that still goes to a task that waits
/// for it. Everywhere else, also in a task, this is `Ok`.
///
/// anyio: `from_thread.check_cancelled`.
///
/// # Errors
///
/// A [cancelled](TaskError::is_cancelled) error with its cause. In a job that returns `io::Result`, `?`
/// turns it into an `io::Error`.
///
/// ```
/// use ringloop::{check_cancelled, to_thread};
///
/// ringloop::run(async {
///     let (tell, begun) = ringloop::sync::oneshot();
///     let job = to_thread(move || {
///         tell.set(()).unwrap();
///         let mut rounds = 0_u64;
///         while check_cancelled().is_ok() {
///             rounds += 1; // a part of the work
///         }
///         rounds
///     });
///     begun.await.unwrap();
///     job.cancel();
///     assert!(job.await.is_ok()); // it has ended, since it asked
/// });
/// ```
pub fn check_cancelled() -> Result<(), TaskError> {
    blocking::check()
}
