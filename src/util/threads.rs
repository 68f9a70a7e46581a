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

/// The number by which the kernel knows the calling thread.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// For how long a thread of this process has been ready to run without a core, in ns in
/// all; 0 where the kernel does not say. See proc(5), schedstat.
pub(crate) fn waited(thread: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"));
    let field = |stat: String| stat.split_whitespace().nth(1)?.parse().ok();
    stat.ok().and_then(field).unwrap_or(0)
}

/// The cores this process may run on (affinity and cgroup quota counted).
pub(crate) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
