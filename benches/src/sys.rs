//! System calls of the harness: cores, clocks, counters, limits.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::sample::Sample;

/// The cores this process may use, lowest first.
pub fn cores() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("the kernel knows our cores");
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

/// Pins the calling thread, and those it will create, to the first `count` cores.
pub fn pin_to_first(count: usize) {
    let cores = cores();
    pin(&cores[..count.min(cores.len())]);
}

/// Pins the calling thread to the core with the number `core`, also outside of the mask of the
/// process.
pub fn pin_to(core: usize) {
    pin(&[core]);
}

fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set).expect("these cores were ours");
}

/// Kills this process when its parent dies, or after `limit` (a run that hangs must not stay).
pub fn die_with_parent(limit: Duration) {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .expect("SIGKILL is a signal");
    // SAFETY: alarm takes a number and touches no memory of ours.
    unsafe { libc::alarm(limit.as_secs().max(1) as u32) };
}

/// Raises the limit of open descriptors to the greatest that is allowed.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // A refusal shows as EMFILE later, with the case's name beside it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many descriptors this process may have open.
pub fn descriptor_limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize)
}

/// Lets the calling thread sleep to the microsecond, and run before all ordinary ones on its core
/// if that is allowed.
pub fn take_precedence() {
    // Always allowed; the default is 50 us.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZero::new(1));
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: `parameters` may be read. Without the right to it the call fails: then the thread
    // goes on as an ordinary one.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
}

/// Has the calling thread never interrupt another one when it is woken: it waits until its core is free.
pub fn give_way() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` may be read. Every thread may do this.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) };
}

/// CPU time, user and system, of all threads of process `pid`, living and ended.
pub fn cpu_ns_of(pid: u32) -> io::Result<u64> {
    let mut clock = 0;
    // SAFETY: `clock` is a valid place for the identifier.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Context switches of all living threads of process `pid`.
pub fn switches_of(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = match fs::read_to_string(thread?.path().join("status")) {
            // It has ended since it was listed.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
                continue;
            }
            status => status?,
        };
        sum += status
            .lines()
            .filter(|line| line.contains("ctxt_switches"))
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(sum)
}

/// Descriptors that process `pid` has open.
pub fn descriptors_of(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Resident memory of process `pid`, in bytes, summed over its mappings: unlike in `VmRSS`, no
/// count of another core is missing.
pub fn resident_of(pid: u32) -> io::Result<u64> {
    bytes_of(&format!("/proc/{pid}/smaps_rollup"), "Rss:")
}

/// The most memory that process `pid` had resident, in bytes. Unlike `ru_maxrss` it does not begin
/// with the parent's memory at the fork.
pub fn peak_rss_of(pid: u32) -> io::Result<u64> {
    status_bytes(pid, "VmHWM:")
}

/// Resident memory of this process, in bytes.
pub fn rss() -> io::Result<u64> {
    status_bytes(std::process::id(), "VmRSS:")
}

fn status_bytes(pid: u32, field: &str) -> io::Result<u64> {
    bytes_of(&format!("/proc/{pid}/status"), field)
}

/// A field in KiB of a file with one field per line.
fn bytes_of(path: &str, field: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("{path} has no {field}")))
}

/// Wall time, CPU time and context switches of this process since a start.
pub struct Meter {
    start: Instant,
    /// Whether children that were waited for count as well.
    children: bool,
    cpu_ns: u64,
    switches: u64,
}

impl Meter {
    pub fn start() -> Meter {
        Meter::of(false)
    }

    /// A meter that also counts the use of children, once they were waited for.
    pub fn with_children() -> Meter {
        Meter::of(true)
    }

    fn of(children: bool) -> Meter {
        let (cpu_ns, switches) = usage_with(children);
        Meter { start: Instant::now(), children, cpu_ns, switches }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The figures per operation; includes the peak memory so far.
    pub fn finish(self, operations: u64) -> Sample {
        let wall = self.elapsed();
        let (cpu_ns, switches) = usage_with(self.children);
        Sample {
            peak_rss_bytes: peak_rss_of(std::process::id()).ok().map(|bytes| bytes as f64),
            ..Sample::per_operation(
                operations,
                wall,
                cpu_ns - self.cpu_ns,
                switches - self.switches,
            )
        }
    }
}

/// CPU time of all children that were waited for, in seconds.
pub fn children_seconds() -> f64 {
    usage(libc::RUSAGE_CHILDREN).0 as f64 / 1e9
}

/// CPU time in ns and context switches of this process.
pub fn own_usage() -> (u64, u64) {
    usage(libc::RUSAGE_SELF)
}

fn usage_with(children: bool) -> (u64, u64) {
    let (own, theirs) = (usage(libc::RUSAGE_SELF), usage(libc::RUSAGE_CHILDREN));
    match children {
        true => (own.0 + theirs.0, own.1 + theirs.1),
        false => own,
    }
}

/// CPU nanoseconds and context switches of this process or of its children.
fn usage(who: libc::c_int) -> (u64, u64) {
    // SAFETY: rusage is made of plain numbers, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the result.
    let result = unsafe { libc::getrusage(who, &mut usage) };
    assert_eq!(result, 0, "getrusage of the own process cannot fail");
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    (ns(usage.ru_utime) + ns(usage.ru_stime), (usage.ru_nvcsw + usage.ru_nivcsw) as u64)
}
