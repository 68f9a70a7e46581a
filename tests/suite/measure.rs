//! The kernel's figures of this process: descriptors, threads, memory, CPU, context switches.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Open descriptors, with what each points to. The one used for listing is left out.
pub fn open_fds() -> BTreeMap<i32, String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    let numbers: Vec<i32> =
        entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    let link =
        |n: i32| Some((n, fs::read_link(format!("/proc/self/fd/{n}")).ok()?.display().to_string()));
    numbers.into_iter().filter_map(link).filter(|(_, target)| !target.contains("/fd")).collect()
}

pub fn thread_count() -> usize {
    thread_ids().len()
}

pub fn thread_ids() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/task").expect("/proc/self/task");
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Resident memory in bytes.
pub fn resident_bytes() -> usize {
    status_number("/proc/self/status", "VmRSS:").expect("VmRSS") * 1024
}

/// CPU used by the whole process, user and system.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU used by the calling thread.
pub fn own_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Voluntary and involuntary context switches of each thread, by id.
pub fn context_switches() -> BTreeMap<i32, usize> {
    let of = |id: i32| {
        let path = format!("/proc/self/task/{id}/status");
        let voluntary = status_number(&path, "voluntary_ctxt_switches:")?;
        Some((id, voluntary))
    };
    thread_ids().into_iter().filter_map(of).collect()
}

pub fn own_thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// A number of a file such as `/proc/self/status`.
pub fn status_number(path: &str, key: &str) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// One line per thread: name, state and where in the kernel it waits; printed when a test hangs.
pub fn threads_in_words() -> String {
    let mut text = String::from("threads:");
    // The hang may come from a lack of descriptors, without which the threads cannot be listed.
    let ids = std::panic::catch_unwind(thread_ids).unwrap_or_default();
    for id in ids {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/self/task/{id}/{file}")).unwrap_or_default()
        };
        let state =
            read("status").lines().find(|l| l.starts_with("State:")).unwrap_or("").to_owned();
        text += &format!("\n  {id} {:16} {state} in {}", read("comm").trim(), read("wchan").trim());
    }
    text
}
