//! What is known of file systems, by the number of their device.
//!
//! The system answers at once which device a file is on, but a call on a network file system may wait
//! for its server. So what a device is gets asked once, on a thread for files, and is kept.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, StatxFlags, fstatfs, statx};

/// Of so many devices it is kept: more are forgotten, and asked again.
const MOST: usize = 1024;

/// Whether each device keeps its files in memory.
static KNOWN: Mutex<BTreeMap<Device, bool>> = Mutex::new(BTreeMap::new());

/// Major and minor number.
type Device = (u32, u32);

const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const HUGETLBFS: u64 = 0x9584_58f6;

/// What a file is, without a call that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) is_regular: bool,
    /// Whether the file lies in memory, if that is known.
    pub(super) in_memory: Option<bool>,
}

/// Finds out what a file is. `None`: the system does not say.
pub(super) fn place_of(file: BorrowedFd<'_>) -> Option<Place> {
    let (device, is_regular) = device_of(file).ok()?;
    Some(Place { is_regular, in_memory: KNOWN.lock().get(&device).copied() })
}

/// Asks the file system of a file what it is. This may wait for a server.
pub(super) fn learn(file: &impl AsFd) -> io::Result<()> {
    let (device, _) = device_of(file.as_fd())?;
    let kind = fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    let mut known = KNOWN.lock();
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(device, [TMPFS, RAMFS, HUGETLBFS].contains(&kind));
    Ok(())
}

/// The device, and whether it is a regular file.
fn device_of(file: BorrowedFd<'_>) -> io::Result<(Device, bool)> {
    // No server is asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(file, c"", flags, StatxFlags::TYPE)?;
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    Ok(((found.stx_dev_major, found.stx_dev_minor), kind == FileType::RegularFile))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn files_in_memory_are_known_once_their_device_was_asked() {
        let file = memfd_create("ringloop", MemfdFlags::CLOEXEC).unwrap();
        learn(&file).unwrap();
        let place = Place { is_regular: true, in_memory: Some(true) };
        assert_eq!(place_of(file.as_fd()), Some(place));
        let proc = std::fs::File::open("/proc/self/stat").unwrap();
        learn(&proc).unwrap();
        assert_eq!(place_of(proc.as_fd()).unwrap().in_memory, Some(false));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(!place_of(reader.as_fd()).unwrap().is_regular);
    }
}
