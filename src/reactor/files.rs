//! Operations on files.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Arc,
};

use io_uring::{opcode, squeue, types};
use rustix::fs::{fdatasync, fsync};

use super::Owned;
use crate::buf::{IoBuf, IoBufMut};

/// The most that the kernel reads or writes in one call.
const MOST: usize = 0x7fff_f000;

/// Instead of an offset: where the open file stands. It moves on by what is read or written.
pub(crate) const CURRENT: u64 = u64::MAX;

/// A file that an operation keeps open.
pub(crate) trait Open: AsFd + Send + Sync + 'static {}

impl<F: AsFd + Send + Sync + 'static> Open for F {}

fn fd(file: &impl AsFd) -> types::Fd {
    types::Fd(file.as_fd().as_raw_fd())
}

/// Memory, as readv(2) and writev(2) take it.
pub(crate) fn iovec(at: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: at.cast_mut().cast(), iov_len: len.min(MOST) }
}

fn result(n: isize) -> io::Result<u32> {
    match n {
        // No more than `MOST`.
        0.. => Ok(n as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// preadv2(2).
///
/// # Safety
///
/// All of the memory may be written to.
pub(crate) unsafe fn read(
    file: BorrowedFd<'_>,
    room: &[libc::iovec],
    offset: u64,
    flags: i32,
) -> io::Result<u32> {
    let (at, len) = (room.as_ptr(), room.len() as i32);
    // SAFETY: by the caller.
    result(unsafe { libc::preadv2(file.as_raw_fd(), at, len, offset as i64, flags) })
}

/// pwritev2(2).
///
/// # Safety
///
/// All of the memory may be read.
pub(crate) unsafe fn write(
    file: BorrowedFd<'_>,
    bytes: &[libc::iovec],
    offset: u64,
) -> io::Result<u32> {
    let (at, len) = (bytes.as_ptr(), bytes.len() as i32);
    // SAFETY: by the caller.
    result(unsafe { libc::pwritev2(file.as_raw_fd(), at, len, offset as i64, 0) })
}

/// A read into a part of a buffer.
pub(crate) struct ReadAt<F, B> {
    pub(crate) file: Arc<F>,
    pub(crate) buf: B,
    /// Within the buffer's capacity. What is before it is filled already.
    pub(crate) part: Range<usize>,
    /// Of the file, or [`CURRENT`].
    pub(crate) offset: u64,
}

impl<F, B: IoBufMut> ReadAt<F, B> {
    fn room(&mut self) -> libc::iovec {
        assert!(self.part.end <= self.buf.capacity());
        iovec(self.buf.as_mut_ptr().wrapping_add(self.part.start), self.part.len())
    }
}

// SAFETY: by `IoBufMut` the bytes stay where they are; the file stays open.
unsafe impl<F: Open, B: IoBufMut> Owned for ReadAt<F, B> {
    /// How much was read, and the buffer. What is before the part, and what was read, is its length.
    type Output = (io::Result<usize>, B);

    const OPCODE: u8 = opcode::Read::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let room = self.room();
        opcode::Read::new(fd(&*self.file), room.iov_base.cast(), room.iov_len as u32)
            .offset(self.offset)
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        let room = [self.room()];
        // SAFETY: room that is the buffer's own.
        unsafe { read(self.file.as_fd(), &room, self.offset, 0) }
    }

    fn finish(mut self, result: io::Result<u32>) -> (io::Result<usize>, B) {
        if let Ok(read) = &result {
            // SAFETY: the kernel says that it wrote so many, behind those that are there.
            unsafe { self.buf.set_written(self.part.start + *read as usize) };
        }
        (result.map(|read| read as usize), self.buf)
    }
}

/// A write from a buffer, from `written` on.
pub(crate) struct WriteAt<F, B> {
    pub(crate) file: Arc<F>,
    pub(crate) buf: B,
    /// How many bytes of the buffer are written already.
    pub(crate) written: usize,
    /// Of the file, or [`CURRENT`].
    pub(crate) offset: u64,
}

impl<F, B: IoBuf> WriteAt<F, B> {
    fn bytes(&self) -> libc::iovec {
        let bytes = &self.buf.as_bytes()[self.written..];
        iovec(bytes.as_ptr(), bytes.len())
    }
}

// SAFETY: by `IoBuf` the bytes stay where they are; the file stays open.
unsafe impl<F: Open, B: IoBuf> Owned for WriteAt<F, B> {
    /// How much was written, and the buffer.
    type Output = (io::Result<usize>, B);

    const OPCODE: u8 = opcode::Write::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let bytes = self.bytes();
        opcode::Write::new(fd(&*self.file), bytes.iov_base.cast(), bytes.iov_len as u32)
            .offset(self.offset)
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        // SAFETY: bytes that are the buffer's own.
        unsafe { write(self.file.as_fd(), &[self.bytes()], self.offset) }
    }

    fn finish(self, result: io::Result<u32>) -> (io::Result<usize>, B) {
        (result.map(|written| written as usize), self.buf)
    }
}

/// Buffers one behind the other, and their memory as the kernel takes it.
pub(crate) struct Buffers<B> {
    bufs: Vec<B>,
    parts: Vec<libc::iovec>,
}

// SAFETY: the parts are of the buffers, which may be sent.
unsafe impl<B: Send> Send for Buffers<B> {}

/// The most buffers that the kernel takes in one call (`IOV_MAX`).
const MOST_PARTS: usize = 1024;

impl<B: IoBuf> Buffers<B> {
    /// To be written.
    pub(crate) fn full(bufs: Vec<B>) -> Self {
        let part = |buf: &B| iovec(buf.as_ptr(), buf.len());
        let parts = bufs.iter().take(MOST_PARTS).map(part).collect();
        Self { bufs, parts }
    }
}

impl<B: IoBufMut> Buffers<B> {
    /// To be read into.
    pub(crate) fn empty(mut bufs: Vec<B>) -> Self {
        let part = |buf: &mut B| iovec(buf.as_mut_ptr(), buf.capacity());
        let parts = bufs.iter_mut().take(MOST_PARTS).map(part).collect();
        Self { bufs, parts }
    }

    /// The buffers, of which so many bytes have been written to.
    ///
    /// # Safety
    ///
    /// They have.
    pub(crate) unsafe fn filled(mut self, mut len: usize) -> Vec<B> {
        for (buf, part) in self.bufs.iter_mut().zip(&self.parts) {
            let written = len.min(part.iov_len);
            // SAFETY: by the caller.
            unsafe { buf.set_written(written) };
            len -= written;
        }
        self.bufs
    }
}

impl<B> Buffers<B> {
    pub(crate) fn parts(&self) -> &[libc::iovec] {
        &self.parts
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.iov_len).sum()
    }

    pub(crate) fn into_inner(self) -> Vec<B> {
        self.bufs
    }
}

/// A read into several buffers.
pub(crate) struct ReadVectoredAt<F, B> {
    pub(crate) file: Arc<F>,
    pub(crate) bufs: Buffers<B>,
    /// Of the file, or [`CURRENT`].
    pub(crate) offset: u64,
}

// SAFETY: by `IoBufMut` the bytes stay where they are, and the parts are on the heap; the file stays open.
unsafe impl<F: Open, B: IoBufMut> Owned for ReadVectoredAt<F, B> {
    /// How much was read, and the buffers.
    type Output = (io::Result<usize>, Vec<B>);

    const OPCODE: u8 = opcode::Readv::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let parts = &self.bufs.parts;
        opcode::Readv::new(fd(&*self.file), parts.as_ptr(), parts.len() as u32)
            .offset(self.offset)
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        // SAFETY: room that is the buffers' own.
        unsafe { read(self.file.as_fd(), &self.bufs.parts, self.offset, 0) }
    }

    fn finish(self, result: io::Result<u32>) -> (io::Result<usize>, Vec<B>) {
        match result {
            // SAFETY: the kernel says so.
            Ok(read) => (Ok(read as usize), unsafe { self.bufs.filled(read as usize) }),
            Err(error) => (Err(error), self.bufs.bufs),
        }
    }
}

/// A write from several buffers.
pub(crate) struct WriteVectoredAt<F, B> {
    pub(crate) file: Arc<F>,
    pub(crate) bufs: Buffers<B>,
    /// Of the file, or [`CURRENT`].
    pub(crate) offset: u64,
}

// SAFETY: by `IoBuf` the bytes stay where they are, and the parts are on the heap; the file stays open.
unsafe impl<F: Open, B: IoBuf> Owned for WriteVectoredAt<F, B> {
    /// How much was written, and the buffers.
    type Output = (io::Result<usize>, Vec<B>);

    const OPCODE: u8 = opcode::Writev::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let parts = &self.bufs.parts;
        opcode::Writev::new(fd(&*self.file), parts.as_ptr(), parts.len() as u32)
            .offset(self.offset)
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        // SAFETY: bytes that are the buffers' own.
        unsafe { write(self.file.as_fd(), &self.bufs.parts, self.offset) }
    }

    fn finish(self, result: io::Result<u32>) -> (io::Result<usize>, Vec<B>) {
        (result.map(|written| written as usize), self.bufs.bufs)
    }
}

/// fsync(2), or fdatasync(2).
pub(crate) struct Fsync<F> {
    pub(crate) file: Arc<F>,
    /// Without what is only about the file, such as its times.
    pub(crate) data_only: bool,
}

// SAFETY: there is no memory; the file stays open.
unsafe impl<F: Open> Owned for Fsync<F> {
    type Output = io::Result<()>;

    const OPCODE: u8 = opcode::Fsync::CODE;

    fn entry(&mut self) -> squeue::Entry {
        let flags = match self.data_only {
            true => types::FsyncFlags::DATASYNC,
            false => types::FsyncFlags::empty(),
        };
        opcode::Fsync::new(fd(&*self.file)).flags(flags).build()
    }

    fn call(&mut self) -> io::Result<u32> {
        match self.data_only {
            true => fdatasync(&*self.file)?,
            false => fsync(&*self.file)?,
        }
        Ok(0)
    }

    fn finish(self, result: io::Result<u32>) -> io::Result<()> {
        result.map(|_| ())
    }
}
