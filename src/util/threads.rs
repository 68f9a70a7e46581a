//! The one place that starts threads.

use std::{
    io,
    path::Path,
    thread::{self, Builder, JoinHandle},
    time::Duration,
};

use super::clock;

/// How often to look for a thread that ends.
const LOOK: Duration = Duration::from_micros(20);
const LOOK_RARELY: Duration = Duration::from_millis(1);

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

/// Waits until a thread of this process, which is about to end, has: then to join it takes no
/// time. `false`: it has not at the deadline. Where the kernel does not say, it has.
pub(crate) fn wait_for_end(thread: u32, deadline: u64) -> bool {
    let entry = format!("/proc/self/task/{thread}");
    let mut pause = LOOK;
    while Path::new(&entry).exists() {
        if clock::now() >= deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK_RARELY);
    }
    true
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
