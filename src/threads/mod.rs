//! Running code that blocks, on threads kept for that.

use std::panic::Location;

use crate::{runtime::Handle, task::Task};

/// Runs `f` on a thread of the runtime's blocking pool.
///
/// The task can be cancelled until a thread takes it; `f` itself, once it runs, runs to
/// its end, and at the end of the runtime is waited for until the deadline. So is its thread, with
/// the destructors of its thread-local values. On that thread, `f` and destructors may block.
///
/// If the system refuses a thread, `f` waits for those that the pool has; if there is none, the task
/// [fails](crate::TaskError::is_refused).
///
/// asyncio: `asyncio.to_thread`.
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
#[doc(alias = "run_in_executor")]
#[doc(alias = "spawn_blocking")]
#[track_caller]
pub fn to_thread<F, T>(f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let started_at = Location::caller();
    match Handle::try_current() {
        Ok(handle) => handle.start_blocking(f, started_at),
        Err(error) => panic!("ringloop::to_thread at {started_at}: {error}"),
    }
}
