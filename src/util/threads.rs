//! The one place that starts threads, and asks the kernel about them.

use std::{
    ffi::CString,
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
///
/// The kernel keeps 15 bytes of a name. Of one that is longer and ends in a number, it keeps the
/// number, so that a list of threads shows which is which.
pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<Started> {
    spawn_with(name, None, body)
}

/// A stack below this would overflow, which ends the process.
pub(crate) const SMALLEST_STACK: usize = 64 * 1024;

/// The same, with a stack of so many bytes.
pub(crate) fn spawn_with(
    name: String,
    stack_size: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Started> {
    let short = (name.len() > KERNEL_NAME).then(|| shortened(&name)).flatten();
    let known = Arc::new(AtomicU32::new(0));
    let own = known.clone();
    let body = move || {
        if let Some(short) = short {
            // Refused: the name is cut at its end.
            let _ = rustix::thread::set_name(&short);
        }
        // Relaxed: as in `ends_by`.
        own.store(id(), Ordering::Relaxed);
        body();
    };
    let builder = Builder::new().name(name);
    let builder = match stack_size {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    };
    let thread = builder.spawn(body)?;
    Ok(Started { thread, id: known })
}

/// The bytes of a thread's name that the kernel keeps.
const KERNEL_NAME: usize = 15;

/// A long name cut before the number at its end, if there is one.
fn shortened(name: &str) -> Option<CString> {
    let (head, number) = name.rsplit_once('-')?;
    let room = KERNEL_NAME.checked_sub(number.len() + 1)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fits = |end: &usize| head.is_char_boundary(*end);
    let end = (0..=room.min(head.len())).rev().find(fits)?;
    CString::new(format!("{}-{number}", &head[..end])).ok()
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
        if clock::machine() >= deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK_RARELY);
    }
    true
}

/// Whether a thread of this process sleeps in the kernel: it waits for something, unlike one that
/// has no core, or is stopped. Where the kernel does not say, it does. See proc(5), stat.
pub(crate) fn is_asleep(thread: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    // The name, in brackets, may hold any character.
    let state = stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
    state.is_none_or(|state| matches!(state, 'S' | 'D'))
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
    fn long_name_is_cut_before_its_number() {
        let cut = |name| shortened(name).map(|name| name.into_string().unwrap());
        assert_eq!(cut("payments-gateway-0").unwrap(), "payments-gate-0");
        assert_eq!(cut("payments-gateway-12").unwrap(), "payments-gat-12");
        assert_eq!(cut("größenabhängig-3").unwrap(), "größenabhä-3");
        assert_eq!(cut("payments-gateway-pool"), None);
        assert_eq!(cut("without_a_number_at_all"), None);
        assert_eq!(cut("a-1234567890123456"), None);
        let (sender, receiver) = std::sync::mpsc::channel();
        let names = move || {
            let kernel = std::fs::read_to_string(format!("/proc/self/task/{}/comm", id()));
            sender.send((kernel.unwrap(), thread::current().name().map(str::to_owned))).unwrap();
        };
        spawn("payments-gateway-7".to_owned(), names).unwrap().join();
        let (kernel, own) = receiver.recv().unwrap();
        assert_eq!(kernel.trim_end(), "payments-gate-7");
        assert_eq!(own.as_deref(), Some("payments-gateway-7"));
    }

    #[test]
    fn thread_is_asleep_while_it_waits() {
        assert!(!is_asleep(id()), "it runs");
        let (sender, receiver) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let waiter = spawn("a) R (b".to_owned(), move || {
            sender.send(id()).unwrap();
            ended.recv().unwrap();
        });
        let thread = receiver.recv().unwrap();
        while !is_asleep(thread) {
            thread::yield_now();
        }
        end.send(()).unwrap();
        waiter.unwrap().join();
    }

    #[test]
    fn thread_that_there_is_not_has_not_run() {
        const PAST_PID_MAX: u32 = 1 << 23;
        assert_eq!(ran(PAST_PID_MAX), 0);
    }
}
