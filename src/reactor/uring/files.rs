//! Operations on files.
#![cfg_attr(not(test), allow(dead_code, reason = "for files, which are still to come"))]

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    slice,
    sync::Arc,
};

use io_uring::{opcode, squeue, types::Fd};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::owned::Owned;
use crate::buf::{IoBuf, IoBufMut};

/// The most that the kernel reads or writes in one call.
const MOST: usize = 0x7fff_f000;

/// pread(2) into the front of a buffer.
pub(crate) struct ReadAt<B> {
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) buf: B,
    pub(crate) offset: u64,
}

// SAFETY: by `IoBufMut` the bytes stay where they are; the file stays open.
unsafe impl<B: IoBufMut> Owned for ReadAt<B> {
    /// How much was read, and the buffer.
    type Output = (io::Result<usize>, B);

    const OPCODE: u8 = opcode::Read::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let room = self.buf.capacity().min(MOST) as u32;
        opcode::Read::new(Fd(self.file.as_raw_fd()), self.buf.as_mut_ptr(), room)
            .offset(self.offset)
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        let (at, room) = (self.buf.as_mut_ptr().cast::<MaybeUninit<u8>>(), self.buf.capacity());
        // SAFETY: room that is the buffer's own.
        let room = unsafe { slice::from_raw_parts_mut(at, room.min(MOST)) };
        Ok(rustix::io::pread(&self.file, room, self.offset).map(|(read, _)| read.len() as u32)?)
    }

    fn finish(mut self, result: io::Result<u32>) -> (io::Result<usize>, B) {
        if let Ok(read) = &result {
            // SAFETY: the kernel says that it wrote so many.
            unsafe { self.buf.set_written(*read as usize) };
        }
        (result.map(|read| read as usize), self.buf)
    }
}

/// pwrite(2) from a buffer.
pub(crate) struct WriteAt<B> {
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) buf: B,
    pub(crate) offset: u64,
}

// SAFETY: by `IoBuf` the bytes stay where they are; the file stays open.
unsafe impl<B: IoBuf> Owned for WriteAt<B> {
    /// How much was written, and the buffer.
    type Output = (io::Result<usize>, B);

    const OPCODE: u8 = opcode::Write::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let len = self.buf.len().min(MOST) as u32;
        opcode::Write::new(Fd(self.file.as_raw_fd()), self.buf.as_ptr(), len)
            .offset(self.offset)
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        let bytes = self.buf.as_bytes();
        let written = rustix::io::pwrite(&self.file, &bytes[..bytes.len().min(MOST)], self.offset)?;
        Ok(written as u32)
    }

    fn finish(self, result: io::Result<u32>) -> (io::Result<usize>, B) {
        (result.map(|written| written as usize), self.buf)
    }
}

/// openat(2).
pub(crate) struct Open {
    pub(crate) path: CString,
    /// `CLOEXEC` is added (S9).
    pub(crate) flags: OFlags,
    /// The permissions of a file that is made.
    pub(crate) mode: Mode,
}

// SAFETY: the path's bytes are on the heap, and stay where they are.
unsafe impl Owned for Open {
    type Output = io::Result<OwnedFd>;

    const OPCODE: u8 = opcode::OpenAt::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let flags = (self.flags | OFlags::CLOEXEC).bits() as i32;
        opcode::OpenAt::new(Fd(libc::AT_FDCWD), self.path.as_ptr())
            .flags(flags)
            .mode(self.mode.bits())
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        use std::os::fd::IntoRawFd;
        let opened = openat(CWD, &*self.path, self.flags | OFlags::CLOEXEC, self.mode)?;
        Ok(opened.into_raw_fd() as u32)
    }

    fn finish(self, result: io::Result<u32>) -> io::Result<OwnedFd> {
        // SAFETY: the kernel has just opened it, for this operation.
        result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}
