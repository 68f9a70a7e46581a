//! The one place that starts threads.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// Starts a named thread. A refusal (EAGAIN at a limit) is an error, not a panic.
pub(crate) fn spawn(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name).spawn(body)
}

/// The cores this process may run on (affinity and cgroup quota counted).
pub(crate) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
