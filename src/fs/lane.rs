//! Calls on the threads for files.

use std::io;

use crate::{
    blocking::Kind,
    runtime::{Handle, Route, call_on, count, operation},
};

/// Makes a call that may block on a thread for files.
///
/// # Cancel safety
///
/// The call is never made, or goes on to its end; its result is dropped then.
///
/// # Errors
///
/// Those of the call; and an error if it could not be made: on a thread that belongs to no runtime, when the
/// runtime ends, or when no thread can be had.
///
/// # Panics
///
/// If the call does.
pub(super) async fn on_lane<T, F>(call: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let handle = Handle::try_current().map_err(|_| operation::not_a_worker())?;
    count(Route::Thread);
    call_on(&handle, Kind::Files, call).await
}
