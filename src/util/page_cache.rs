//! What the kernel's page cache has of a file.

use std::os::fd::{AsFd, AsRawFd};

/// cachestat(2), since Linux 6.5; its number is the same on all machines.
const CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct Range {
    off: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Stat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all pages of a part of a file are in the cache, so that a read does not wait for the disk. `false`
/// where the kernel does not tell: it is an old one, or the file is another user's.
pub(crate) fn has_all(file: impl AsFd, offset: u64, len: u64) -> bool {
    // SAFETY: it takes a number and gives one.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as u64;
    let pages = (offset + len).div_ceil(page) - offset / page;
    let range = Range { off: offset, len };
    let mut stat = Stat::default();
    // SAFETY: the kernel reads the range and fills the counts, and both live until it returns.
    let done = unsafe {
        let file = file.as_fd().as_raw_fd();
        libc::syscall(CACHESTAT, file, &raw const range, &raw mut stat, 0)
    };
    done == 0 && stat.cache >= pages
}
