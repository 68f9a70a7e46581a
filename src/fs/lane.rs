//! Calls on the threads for files.

use std::io;

use crate::{
    blocking::Kind,
    runtime::{Handle, call_on},
};

/// Makes a call that may block on a thread for files.
///
/// # Cancel safety
///
/// The call is never made, or goes on to its end; its result is dropped then.
///
/// # Errors
///
/// Those of the call; and an error if it could not be made, because the runtime ends or no thread can
/// be had.
///
/// # Panics
///
/// Outside of a runtime.
pub(super) async fn on_lane<T, F>(call: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    call_on(&Handle::current(), Kind::Files, call).await
}
