//! Making a descriptor non-blocking, and no other descriptor of its file.
//!
//! `O_NONBLOCK` belongs to the open file, which a terminal's descriptors share over processes: the
//! shell would find its terminal non-blocking, and `println!` panics when it is full. So a
//! terminal, or a pipe that is a standard stream, is opened once more; the new open file takes the
//! descriptor's place, and the old one comes back at the end. If the process ends before, only
//! the new one had the flag.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fcntl_getfl, fstat, major, minor, open},
    io::{DupFlags, FdFlags, dup3, fcntl_dupfd_cloexec, fcntl_getfd},
};

/// The device numbers of the multiplexer of terminals: opening it makes a new terminal.
const MULTIPLEXER: (u32, u32) = (5, 2);
/// The kind of old terminals' master sides.
const OLD_MASTERS: u32 = 2;
/// Standard input, output and error.
const LAST_STANDARD: i32 = 2;

/// A descriptor in non-blocking mode.
pub(super) struct Private<T: AsFd> {
    /// Taken by `into_inner` only.
    io: Option<T>,
    /// The open file that the descriptor had, if it has another one now.
    original: Option<OwnedFd>,
}

impl<T: AsFd> Private<T> {
    pub(super) fn new(io: T) -> io::Result<Self> {
        // If there is no other open file to be had, it has to be this one.
        let original = open_again(io.as_fd()).unwrap_or_default();
        if original.is_none() {
            rustix::io::ioctl_fionbio(&io, true)?;
        }
        Ok(Self { io: Some(io), original })
    }

    pub(super) fn get(&self) -> &T {
        self.io.as_ref().expect("only `into_inner` takes it")
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.io.as_mut().expect("only `into_inner` takes it")
    }

    /// Hands it back, with the open file that it had.
    pub(super) fn into_inner(mut self) -> T {
        self.restore();
        self.io.take().expect("only `into_inner` takes it")
    }

    fn restore(&mut self) {
        let (Some(io), Some(original)) = (&self.io, self.original.take()) else { return };
        // The owner may have put another descriptor in its place.
        let is_same = match (fstat(io), fstat(&original)) {
            (Ok(now), Ok(then)) => identity(&now) == identity(&then),
            _ => false,
        };
        if is_same {
            // If that fails, the flag stays with an open file of our own.
            let _ = replace(io.as_fd(), &original);
        }
    }
}

impl<T: AsFd> Drop for Private<T> {
    fn drop(&mut self) {
        self.restore();
    }
}

impl<T: AsFd> AsFd for Private<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

/// Gives `fd` an open file of its own, in non-blocking mode, and returns the old one. `None`: it is
/// not one that is shared, or not blocking.
fn open_again(fd: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) || !is_shared(fd)? {
        return Ok(None);
    }
    let private = reopen(fd, flags & (OFlags::ACCMODE | OFlags::APPEND | OFlags::DIRECT))?;
    let original = fcntl_dupfd_cloexec(fd, LAST_STANDARD + 1)?;
    replace(fd, &private)?;
    Ok(Some(original))
}

/// Another open file of a terminal or a pipe, in non-blocking mode.
pub(super) fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let new = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Of this thread, which may have descriptors of its own.
    let path = format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
    Ok(open(path, flags | new, Mode::empty())?)
}

/// Whether other processes are likely to have the same open file, and opening it again is the same.
fn is_shared(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = fstat(fd)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => {
            let device = (major(stat.st_rdev), minor(stat.st_rdev));
            device != MULTIPLEXER && device.0 != OLD_MASTERS && is_terminal(fd)
        }
        FileType::Fifo => fd.as_raw_fd() <= LAST_STANDARD,
        _ => false,
    })
}

fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    std::io::IsTerminal::is_terminal(&fd)
}

/// Has `fd` refer to the open file of `by`.
fn replace(fd: BorrowedFd<'_>, by: &OwnedFd) -> io::Result<()> {
    let flags = match fcntl_getfd(fd)?.contains(FdFlags::CLOEXEC) {
        true => DupFlags::CLOEXEC,
        false => DupFlags::empty(),
    };
    // SAFETY: the number is open, since it is borrowed, and it stays so: dup3(2) changes what it
    // refers to at once, and what stands for its owner here is not dropped.
    let mut number = unsafe { ManuallyDrop::new(OwnedFd::from_raw_fd(fd.as_raw_fd())) };
    Ok(dup3(by, &mut number, flags)?)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
