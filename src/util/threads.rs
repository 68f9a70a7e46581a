//! The one place that starts threads, and asks the kernel about them.

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::{self, Builder, JoinHandle},
    time::Duration,
};

use super::clock;
use crate::loom::global::{AtomicU32, Ordering};

/// How often to look for a thread that ends.
const LOOK: Duration = Duration::from_micros(20);
const LOOK_RARELY: Duration = Duration::from_millis(1);

/// A thread that was started. Dropped, it is left to itself.
#[derive(Debug)]
pub(crate) struct Started {
    thread: JoinHandle<()>,
    /// The kernel's number of it, once it runs.
    id: Arc<AtomicU32>,
}

impl Started {
    pub(crate) fn unpark(&self) {
        self.thread.thread().unpark();
    }

    /// Waits until it has ended, destructors of its thread-local values included. `false`: it has
    /// not at the deadline. To [`join`](Self::join) it takes no time then.
    pub(crate) fn ends_by(&self, deadline: u64) -> bool {
        // Relaxed: the number is seen sooner or later; until then it is 0.
        let id = || self.id.load(Ordering::Relaxed);
        look_until(|| self.thread.is_finished() && id() != 0, deadline)
            && wait_for_end(id(), deadline)
    }

    /// Waits for its end, and gives its stack back.
    pub(crate) fn join(self) {
        // What we start contains its panics.
        let _ = self.thread.join();
    }
}

/// Starts a named thread. A refusal (EAGAIN at a limit) is an error, not a panic.
pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<Started> {
    let known = Arc::new(AtomicU32::new(0));
    let own = known.clone();
    let body = move || {
        // Relaxed: as in `ends_by`.
        own.store(id(), Ordering::Relaxed);
        body();
    };
    let thread = Builder::new().name(name).spawn(body)?;
    Ok(Started { thread, id: known })
}

/// The number by which the kernel knows the calling thread.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Waits until a thread of this process, which is about to end, has: then to join it takes no
/// time. `false`: it has not at the deadline. Where the kernel does not say, it has.
fn wait_for_end(thread: u32, deadline: u64) -> bool {
    let entry = format!("/proc/self/task/{thread}");
    look_until(|| !Path::new(&entry).exists(), deadline)
}

/// Looks again and again, until `done` or the deadline. Says whether it is done.
fn look_until(done: impl Fn() -> bool, deadline: u64) -> bool {
    let mut pause = LOOK;
    while !done() {
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
