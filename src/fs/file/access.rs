//! How an open file is read and written: at once, in the ring, or on a thread.
//!
//! | file | read | write |
//! |---|---|---|
//! | in memory (tmpfs, memfd) | at once | at once |
//! | regular, cached | at once, by `RWF_NOWAIT` | in the ring |
//! | regular, not cached | in the ring | in the ring |
//! | pipe, terminal, device | at once if there is something, else in the ring | in the ring |
//! | opened with `O_DIRECT`, or on a file system without `RWF_NOWAIT` | in the ring | in the ring |
//!
//! At once means: a system call on the task's worker, which cannot wait for a disk. Calls of more than
//! 1 MiB take long even so: they go to a thread. Where a kernel or a backend has no ring, a thread makes the
//! call as well.
//!
//! Source: the manual page preadv2(2); measured in `docs/decisions.md`, "Why is a read of a cached file a
//! system call, and not an operation of the ring?".

use std::{
    fs::File,
    io::{self, IoSlice},
    ops::{Deref, Range},
    os::fd::{AsFd, BorrowedFd, IntoRawFd},
    sync::Arc,
};

use rustix::fs::{OFlags, fcntl_getfl};

use super::super::{
    cached::{self, Place},
    lane::on_lane,
};
use crate::{
    buf::{IoBuf, IoBufMut},
    loom::global::{AtomicU8, Ordering},
    reactor::files::{self, Buffers, ReadAt, ReadVectoredAt, WriteAt, WriteVectoredAt},
    runtime::{Route, count, perform, perform_on_thread},
    task,
    util::file_system::FileSystem,
};

/// The most bytes that a worker copies in one call.
pub(super) const AT_ONCE: usize = 1 << 20;

/// An open file, shared with the operations on it: it is closed with the last of them.
#[derive(Debug)]
pub(super) struct Access {
    file: File,
    /// A [`Way`]. Relaxed: it follows from the file alone, so any thread finds the same.
    way: AtomicU8,
}

/// What may be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Way {
    /// It has not been found out.
    Unknown,
    /// All: nothing waits for a disk.
    Memory,
    /// Reads of what is cached.
    Cached,
    /// A read of what has come, of a file that has no places, such as a pipe.
    Stream,
    /// Nothing, of a file that has no places.
    SlowStream,
    /// Nothing.
    Waits,
}

impl Way {
    /// Of a regular file.
    fn of(system: FileSystem) -> Self {
        match system {
            FileSystem::Memory => Way::Memory,
            FileSystem::Disk => Way::Cached,
            FileSystem::Other => Way::Waits,
        }
    }

    const ALL: [Way; 6] =
        [Way::Unknown, Way::Memory, Way::Cached, Way::Stream, Way::SlowStream, Way::Waits];
}

impl AsFd for Access {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Deref for Access {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Access {
    pub(super) fn new(file: File) -> Self {
        Self { file, way: AtomicU8::new(Way::Unknown as u8) }
    }

    /// What may be done at once, as far as that is found out without waiting.
    pub(super) fn way(&self) -> Way {
        match Way::ALL[usize::from(self.way.load(Ordering::Relaxed))] {
            Way::Unknown => self.find_out(),
            way => way,
        }
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// close(2), with its error. The descriptor is closed in every case.
    pub(super) fn close(self) -> io::Result<()> {
        // SAFETY: the descriptor is ours, and nobody uses it after this.
        match unsafe { libc::close(self.file.into_raw_fd()) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                error => Err(error),
            },
        }
    }

    fn set_way(&self, way: Way) {
        self.way.store(way as u8, Ordering::Relaxed);
    }

    #[cold]
    fn find_out(&self) -> Way {
        let is_direct = fcntl_getfl(&self.file).map(|flags| flags.contains(OFlags::DIRECT));
        let way = match (is_direct, cached::look_at(&self.file)) {
            // A direct read without a wait still waits for the disk.
            (Ok(true) | Err(_), _) | (_, None) => Way::Waits,
            (_, Some((false, _))) => Way::Stream,
            (_, Some((true, Some(system)))) => Way::of(system),
            (_, Some((true, None))) => Way::Unknown,
        };
        self.set_way(way);
        way
    }

    /// Finds out what may be done at once, if it has not been yet.
    pub(super) async fn known(self: &Arc<Self>) -> Way {
        let way = self.way();
        if way != Way::Unknown {
            return way;
        }
        // A file system on a server may have to wait for an answer.
        let this = self.clone();
        let found = on_lane(move || Ok(Place::of(&*this))).await;
        let way = match found {
            Ok(Some(place)) => {
                cached::remember_mount(place);
                Way::of(place.system)
            }
            // The next call has the same error, if it is one.
            _ => Way::Waits,
        };
        self.set_way(way);
        way
    }

    /// Reads at the cursor at once, if nothing has to be waited for.
    pub(super) fn read_now_into(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let room = files::iovec(buf.as_mut_ptr(), buf.len());
        // SAFETY: it is a mutable slice.
        unsafe { self.read_now(self.way(), &[room], files::CURRENT) }
    }

    /// Reads at once, if nothing has to be waited for.
    ///
    /// # Safety
    ///
    /// The memory may be written to.
    unsafe fn read_now(
        &self,
        way: Way,
        room: &[libc::iovec],
        offset: u64,
    ) -> Option<io::Result<usize>> {
        let flags = match way {
            _ if total(room) > AT_ONCE => return None,
            Way::Memory => 0,
            Way::Cached | Way::Stream => libc::RWF_NOWAIT,
            Way::Unknown | Way::SlowStream | Way::Waits => return None,
        };
        loop {
            // SAFETY: by the caller.
            let error = match unsafe { files::read(self.as_fd(), room, offset, flags) } {
                Ok(read) => {
                    count(Route::AtOnce);
                    return Some(Ok(read as usize));
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) if flags != 0 => return None,
                // The file system or the kernel does not have it.
                Some(libc::EOPNOTSUPP | libc::ENOSYS) if flags != 0 => {
                    let is_stream = way == Way::Stream;
                    self.set_way(if is_stream { Way::SlowStream } else { Way::Waits });
                    return None;
                }
                _ => return Some(Err(error)),
            }
        }
    }

    /// Writes slices at the cursor at once, if nothing has to be waited for.
    pub(super) fn write_now_from(&self, slices: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let part = |slice: &IoSlice<'_>| files::iovec(slice.as_ptr(), slice.len());
        let parts: Vec<_> = slices.iter().map(part).collect();
        // SAFETY: they are slices.
        unsafe { self.write_now(self.way(), &parts, files::CURRENT) }
    }

    fn write_slice_now(&self, way: Way, bytes: &[u8], offset: u64) -> Option<io::Result<usize>> {
        let part = [files::iovec(bytes.as_ptr(), bytes.len())];
        // SAFETY: it is a slice.
        unsafe { self.write_now(way, &part, offset) }
    }

    /// Writes at once, if nothing has to be waited for.
    ///
    /// # Safety
    ///
    /// The memory may be read.
    unsafe fn write_now(
        &self,
        way: Way,
        bytes: &[libc::iovec],
        offset: u64,
    ) -> Option<io::Result<usize>> {
        if way != Way::Memory || total(bytes) > AT_ONCE {
            return None;
        }
        loop {
            // SAFETY: by the caller.
            match unsafe { files::write(self.as_fd(), bytes, offset) } {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    count(Route::AtOnce);
                    return Some(result.map(|written| written as usize));
                }
            }
        }
    }
}

fn total(parts: &[libc::iovec]) -> usize {
    parts.iter().map(|part| part.iov_len).sum()
}

/// Reads into a part of the buffer until that is full or the file ends; of a file that has no places, what there is. The
/// buffer's first byte belongs at the offset. What is before the part is filled already, and does not count.
pub(super) async fn read<B: IoBufMut>(
    file: &Arc<Access>,
    mut buf: B,
    part: Range<usize>,
    offset: u64,
) -> (io::Result<usize>, B) {
    assert!(part.end <= buf.capacity());
    task::consume_budget().await;
    let mut way = file.known().await;
    let mut filled = part.start;
    let result = loop {
        let at = match offset {
            files::CURRENT => offset,
            _ => offset + filled as u64,
        };
        let rest = files::iovec(buf.as_mut_ptr().wrapping_add(filled), part.end - filled);
        // SAFETY: room that is the buffer's own, by the contract of `IoBufMut`.
        let result = match unsafe { file.read_now(way, &[rest], at) } {
            Some(result) => result,
            None => {
                let operation =
                    ReadAt { file: file.clone(), buf, part: filled..part.end, offset: at };
                let (result, back) = match rest.iov_len > AT_ONCE {
                    true => perform_on_thread(operation).await,
                    false => perform(operation).await,
                };
                buf = back;
                way = file.way();
                result
            }
        };
        match result {
            Ok(read) => filled += read,
            Err(_) if filled > part.start => break Ok(filled - part.start),
            Err(error) => break Err(error),
        }
        // A read that may be made at once says cheaply whether that was the end.
        let is_over = matches!(result, Ok(0)) || filled == part.end;
        if is_over || !matches!(way, Way::Memory | Way::Cached) {
            break Ok(filled - part.start);
        }
    };
    if result.is_ok() {
        // SAFETY: so many have been written, at the front.
        unsafe { buf.set_written(filled) };
    }
    (result, buf)
}

/// Writes bytes of the buffer, from `written` on, in one call.
pub(super) async fn write<B: IoBuf>(
    file: &Arc<Access>,
    buf: B,
    written: usize,
    offset: u64,
) -> (io::Result<usize>, B) {
    task::consume_budget().await;
    let way = file.known().await;
    let bytes = &buf.as_bytes()[written..];
    if let Some(result) = file.write_slice_now(way, bytes, offset) {
        return (result, buf);
    }
    let is_long = bytes.len() > AT_ONCE;
    let operation = WriteAt { file: file.clone(), buf, written, offset };
    match is_long {
        true => perform_on_thread(operation).await,
        false => perform(operation).await,
    }
}

/// Reads into several buffers, in one call.
pub(super) async fn read_vectored<B: IoBufMut>(
    file: &Arc<Access>,
    bufs: Vec<B>,
    offset: u64,
) -> (io::Result<usize>, Vec<B>) {
    task::consume_budget().await;
    let way = file.known().await;
    let bufs = Buffers::empty(bufs);
    // SAFETY: room that is the buffers' own.
    match unsafe { file.read_now(way, bufs.parts(), offset) } {
        // SAFETY: so many bytes were read.
        Some(Ok(read)) => return (Ok(read), unsafe { bufs.filled(read) }),
        Some(Err(error)) => return (Err(error), bufs.into_inner()),
        None => {}
    }
    let is_long = bufs.len() > AT_ONCE;
    let operation = ReadVectoredAt { file: file.clone(), bufs, offset };
    match is_long {
        true => perform_on_thread(operation).await,
        false => perform(operation).await,
    }
}

/// Writes from several buffers, in one call.
pub(super) async fn write_vectored<B: IoBuf>(
    file: &Arc<Access>,
    bufs: Vec<B>,
    offset: u64,
) -> (io::Result<usize>, Vec<B>) {
    task::consume_budget().await;
    let way = file.known().await;
    let bufs = Buffers::full(bufs);
    // SAFETY: bytes that are the buffers' own.
    if let Some(result) = unsafe { file.write_now(way, bufs.parts(), offset) } {
        return (result, bufs.into_inner());
    }
    let is_long = bufs.len() > AT_ONCE;
    let operation = WriteVectoredAt { file: file.clone(), bufs, offset };
    match is_long {
        true => perform_on_thread(operation).await,
        false => perform(operation).await,
    }
}
