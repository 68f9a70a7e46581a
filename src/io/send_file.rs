//! Sending a part of a file by a stream.
//!
//! No step waits for the disk on a worker:
//!
//! 1. A small part, all of whose pages are in the page cache, goes by sendfile(2), without a copy.
//! 2. Else what the cache has is read into the thread's buffer, by preadv2(2) with `RWF_NOWAIT`, and sent at once.
//!    For large parts that costs less than sendfile(2), which goes on in steps of 64 KiB.
//! 3. What the cache has not is read on a thread for files, and sent from there. So is everything of a file system
//!    that does not know the flag, unless it is one in memory.
//!
//! While the stream takes no more, no memory is held, but for what a thread has read; the rest of a buffer is read
//! again. Each wait makes the next piece small, and each piece that goes out at once makes it larger.

use std::{
    io::{self, IoSliceMut},
    ops::{Bound, RangeBounds},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    fs::{AtFlags, FileType, StatxFlags, statx},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};

use super::{Connection, connection::sent, copy::Buffer};
use crate::{
    blocking::Kind,
    reactor::{Direction, Endpoint, socket::Socket},
    runtime::{
        Handle, call_on,
        operation::{self, Operation},
    },
    util::{file_system::FileSystem, page_cache, signals},
};

/// At most so much goes by sendfile(2).
const SMALL: u64 = 128 << 10;
/// The first piece that is read, and the one behind a wait.
const FIRST: usize = 64 << 10;
/// The largest piece.
const LARGEST: usize = 256 << 10;

/// How a file is read.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    /// If the cache has it.
    Cached,
    /// At once.
    Directly,
    /// On a thread.
    OnThread,
}

type Job = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>;

/// A file on its way.
pub(crate) struct SendFile<F> {
    file: F,
    offset: u64,
    end: u64,
    /// Where the file seemed to end.
    size: u64,
    sent: u64,
    piece: usize,
    reads: Reads,
    by_kernel: bool,
    job: Option<Job>,
    /// What a thread has read, and how much of that was sent.
    read: Option<(Vec<u8>, usize)>,
}

/// What a step has done.
enum Step {
    /// So many bytes were sent, of so many that were asked for.
    Sent(usize, usize),
    /// The file has no more.
    End,
    /// The cache has nothing of it.
    NotCached,
    /// sendfile(2) does not work here.
    Refused,
}

impl<F: AsFd> SendFile<F> {
    pub(crate) fn new(file: F, range: impl RangeBounds<u64>) -> io::Result<Self> {
        let (offset, end) = bounds(range)?;
        // Without a question to a server: only the kind has to be right.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(&file, c"", flags, StatxFlags::TYPE | StatxFlags::SIZE)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            let text = "send_file sends regular files only; use io::copy for pipes and devices";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self {
            file,
            offset,
            end,
            size: stat.stx_size,
            sent: 0,
            piece: FIRST,
            reads: Reads::Cached,
            // It would raise the signal where send(2) does not.
            by_kernel: !signals::is_default(libc::SIGPIPE),
            job: None,
            read: None,
        })
    }

    /// Sends the rest by a connection, for the owner of its write side. The number of bytes of all calls.
    ///
    /// # Cancel safety
    ///
    /// What was sent is not known.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
    ) -> Poll<io::Result<u64>> {
        // What was left to be sent goes first.
        ready!(connection.poll_flush(cx))?;
        loop {
            if !ready!(self.poll_read(cx))? {
                return Poll::Ready(Ok(self.sent));
            }
            if let Some((bytes, start)) = &mut self.read {
                let sent = ready!(connection.poll_write(cx, &bytes[*start..]))?;
                *start += sent;
                if *start == bytes.len() {
                    self.read = None;
                }
                self.advance(sent);
                continue;
            }
            let socket = connection.socket();
            let mut step = Pass { file: self, socket };
            match ready!(operation::poll(socket, cx, &mut step))? {
                Step::Sent(sent, asked) => {
                    self.advance(sent);
                    self.piece = if sent < asked { FIRST } else { LARGEST.min(2 * self.piece) };
                }
                Step::End => return Poll::Ready(Ok(self.sent)),
                Step::NotCached => self.start_job()?,
                Step::Refused => self.by_kernel = false,
            }
        }
    }

    /// The next bytes, for a stream without a connection; none is the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            if !ready!(self.poll_read(cx))? {
                return Poll::Ready(Ok(Vec::new()));
            }
            if let Some((bytes, _)) = self.read.take() {
                self.advance(bytes.len());
                return Poll::Ready(Ok(bytes));
            }
            let mut bytes = vec![0; self.rest(FIRST)];
            match self.read_now(&mut bytes)? {
                Some(len) => {
                    bytes.truncate(len);
                    self.advance(len);
                    return Poll::Ready(Ok(bytes));
                }
                None => self.start_job()?,
            }
        }
    }

    /// Whether the file has ended before the range that was to be sent. A range without an end ends with the file.
    pub(crate) fn is_cut(&self) -> bool {
        self.end != u64::MAX && self.offset < self.end
    }

    /// The same with a descriptor of its own.
    pub(crate) fn into_owned(self) -> io::Result<SendFile<OwnedFd>> {
        let Self { file, offset, end, size, sent, piece, reads, by_kernel, job, read } = self;
        let file = file.as_fd().try_clone_to_owned()?;
        Ok(SendFile { file, offset, end, size, sent, piece, reads, by_kernel, job, read })
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits for the thread that reads, if there is one. `false`: that was all.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(job) = &mut self.job {
            let bytes = ready!(job.as_mut().poll(cx));
            self.job = None;
            let bytes = bytes?;
            if bytes.is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.read = Some((bytes, 0));
        }
        Poll::Ready(Ok(self.offset < self.end))
    }

    fn advance(&mut self, sent: usize) {
        self.offset += sent as u64;
        self.sent += sent as u64;
    }

    /// How much is to be sent, `most` at most.
    fn rest(&self, most: usize) -> usize {
        usize::try_from(self.end - self.offset).map_or(most, |rest| rest.min(most))
    }

    /// Has a thread read the next piece.
    fn start_job(&mut self) -> io::Result<()> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        // Its own descriptor: the file may be closed before the thread has read.
        let file = self.file.as_fd().try_clone_to_owned()?;
        let (offset, len) = (self.offset, self.rest(LARGEST));
        let read = move || {
            let mut bytes = vec![0; len];
            let len = uninterrupted(|| pread(&file, &mut bytes[..], offset))?;
            bytes.truncate(len);
            Ok(bytes)
        };
        self.job = Some(Box::pin(async move { call_on(&handle, Kind::Files, read).await }));
        Ok(())
    }

    /// Reads what can be had without waiting. `None`: a thread has to.
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if self.reads == Reads::Cached {
            let mut slices = [IoSliceMut::new(buf)];
            let flags = ReadWriteFlags::NOWAIT;
            match uninterrupted(|| preadv2(&self.file, &mut slices, self.offset, flags)) {
                Ok(len) => return Ok(Some(len)),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    // A read of theirs never waits for a device.
                    let in_memory = FileSystem::of(&self.file) == Some(FileSystem::Memory);
                    self.reads = if in_memory { Reads::Directly } else { Reads::OnThread };
                }
                Err(error) => return Err(error.into()),
            }
        }
        match self.reads {
            Reads::Directly => {
                Ok(Some(uninterrupted(|| pread(&self.file, &mut *buf, self.offset))?))
            }
            _ => Ok(None),
        }
    }

    /// Whether the rest is little, and all of it in the cache.
    fn goes_by_kernel(&self) -> Option<usize> {
        let rest = self.end.min(self.size).checked_sub(self.offset)?;
        let is_small = self.by_kernel && rest > 0 && rest <= SMALL;
        (is_small && page_cache::has_all(&self.file, self.offset, rest)).then_some(rest as usize)
    }
}

/// Sends once, where the stream is ready.
struct Pass<'a, F> {
    file: &'a mut SendFile<F>,
    socket: &'a Socket,
}

impl<F: AsFd> Pass<'_, F> {
    fn step(&mut self) -> io::Result<Step> {
        if let Some(len) = self.file.goes_by_kernel() {
            return match self.socket.send_file(&self.file.file, self.file.offset, len) {
                Ok(0) => Ok(Step::End),
                Ok(sent) => Ok(Step::Sent(sent, len)),
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(Step::Refused),
                Err(error) => Err(error.into()),
            };
        }
        let room = self.file.rest(self.file.piece);
        let mut buffer = Buffer::take(LARGEST);
        let bytes = buffer.get(room, false);
        match self.file.read_now(bytes)? {
            Some(0) => Ok(Step::End),
            Some(len) => Ok(Step::Sent(self.socket.send(&bytes[..len])?, len)),
            None => Ok(Step::NotCached),
        }
    }
}

impl<F: AsFd> Operation<Endpoint> for Pass<'_, F> {
    type Output = Step;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, _: &Endpoint) -> io::Result<Step> {
        let socket = self.socket;
        let step = sent(socket.outbound.send_as_owner(|| self.step()));
        if matches!(&step, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.file.piece = FIRST;
        }
        step
    }
}

fn bounds(range: impl RangeBounds<u64>) -> io::Result<(u64, u64)> {
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.checked_add(1),
        Bound::Excluded(end) => Some(*end),
        Bound::Unbounded => Some(u64::MAX),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end => Ok((start, end)),
        _ => {
            let text = "the range of bytes to send ends before it starts";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

fn uninterrupted<R>(mut call: impl FnMut() -> Result<R, Errno>) -> Result<R, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
