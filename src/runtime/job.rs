//! Calls that block, each on a thread of a lane, as futures.

use std::{io, panic::Location};

use super::Handle;
use crate::{blocking::Kind, task::Task};

/// Calls `f` on a thread of a lane.
///
/// # Cancel safety
///
/// A call that still waits for a thread is never made. One that has begun goes on to its end, and nobody
/// waits for it: its result is dropped on its thread.
///
/// # Errors
///
/// Those of `f`; and an error if it could not be called, because the runtime ends, or because the system
/// refuses threads.
///
/// # Panics
///
/// If `f` does.
pub(crate) async fn call_on<T, F>(handle: &Handle, kind: Kind, f: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let mut job = Forgotten(handle.start_blocking(kind, f, Location::caller()));
    match (&mut job.0).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(error.into()),
        },
    }
}

/// A job that is given up with this: it ends if it is still queued, and is left to itself if not. A
/// [`join`](Task::join) would wait for it.
struct Forgotten<T>(Task<T>);

impl<T> Drop for Forgotten<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
