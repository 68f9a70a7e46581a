//! The one place that starts threads, and asks the kernel about them.

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

/// For how long a thread of this process has run on a core, in ns in all; 0 where the kernel
/// does not say, or there is no such thread. Exact while it runs, and costs a system call. See
/// clock_gettime(2) and pthread_getcpuclockid(3).
pub(crate) fn ran(thread: u32) -> u64 {
    /// What the kernel measures (`CPUCLOCK_SCHED`), and that it is one thread's.
    const TIME_OF_THREAD: libc::clockid_t = 2 | 4;
    let clock = !(thread as libc::clockid_t) << 3 | TIME_OF_THREAD;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, if anything.
    let done = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if done == 0 { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 } else { 0 }
}

/// The cores this process may run on (affinity and cgroup quota counted).
pub(crate) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    #[test]
    fn time_of_a_thread_is_what_its_own_clock_says() {
        let own = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
        };
        let (before, ran, after) = (own(), ran(id()), own());
        assert!((before..=after).contains(&ran), "{before} {ran} {after}");
    }

    #[test]
    fn thread_that_there_is_not_has_not_run() {
        const PAST_PID_MAX: u32 = 1 << 23;
        assert_eq!(ran(PAST_PID_MAX), 0);
    }
}
