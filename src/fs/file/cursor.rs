//! The cursor: reads and writes one after the other, through the traits of `futures-io`.
//!
//! The cursor is the kernel's own, so that pipes and devices have one, files opened to append are right, and
//! descriptors that were duplicated share it. An operation that has to be waited for works on memory of its own, since
//! the caller's buffer is only lent. It is kept here, and goes on if its future is dropped. What comes next waits
//! for it:
//!
//! * Bytes of a read that nobody took go to the next read. A write or a seek first moves the cursor back to
//!   where they began.
//! * A write that has begun is made, also if its future is dropped. If the next write has the same bytes, it was
//!   tried again, and this is its result; else its bytes come after them. The next write, flush or seek
//!   returns its error.
//!
//! What has no places, such as a terminal, reads and writes in two directions that know nothing of each other.

use std::{
    io::{self, IoSlice, SeekFrom},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use rustix::fs::seek;

use super::{
    File,
    access::{self, AT_ONCE, Access, Way},
};
use crate::{fs::lane::on_lane, reactor::files, util::current};

type Transfer = Pin<Box<dyn Future<Output = (io::Result<usize>, Vec<u8>)> + Send + Sync>>;
type Seek = Pin<Box<dyn Future<Output = io::Result<u64>> + Send + Sync>>;

/// The most slices that are written in one call.
const SLICES: usize = 64;
/// The most bytes that a read takes which has to be waited for.
const READ: usize = 256 << 10;

/// What has been begun and not been taken.
#[derive(Default)]
pub(super) struct Cursor {
    read: Read,
    write: Write,
    seek: Option<(SeekFrom, Seek)>,
    /// Where to go, for traits that say it before they wait.
    #[cfg(feature = "tokio")]
    target: Option<SeekFrom>,
}

#[derive(Default)]
enum Read {
    #[default]
    Idle,
    InFlight(Transfer),
    /// The bytes, and how many of them are taken: less than there are.
    Done(Vec<u8>, usize),
}

#[derive(Default)]
enum Write {
    #[default]
    Idle,
    InFlight(Transfer),
    /// Nobody has taken the result.
    Done(io::Result<usize>, Vec<u8>),
}

impl Read {
    /// Waits for what is in flight. An error means that nothing was read.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Read::InFlight(transfer) = self {
            let (result, bytes) = ready!(transfer.as_mut().poll(cx));
            *self = match result {
                Ok(1..) => Read::Done(bytes, 0),
                _ => Read::Idle,
            };
            return Poll::Ready(result.map(|_| ()));
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, buf: &mut [u8]) -> Option<usize> {
        let Read::Done(bytes, taken) = self else { return None };
        let n = buf.len().min(bytes.len() - *taken);
        buf[..n].copy_from_slice(&bytes[*taken..*taken + n]);
        *taken += n;
        if *taken == bytes.len() {
            *self = Read::Idle;
        }
        Some(n)
    }
}

impl Write {
    /// Waits for what is in flight.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Write::InFlight(transfer) = self {
            let (result, bytes) = ready!(transfer.as_mut().poll(cx));
            *self = Write::Done(result, bytes);
        }
        Poll::Ready(())
    }

    /// The error of a write, if nothing has returned it yet.
    fn take_error(&mut self) -> io::Result<()> {
        match mem::take(self) {
            Write::Done(Err(error), _) => Err(error),
            other => {
                *self = other;
                Ok(())
            }
        }
    }
}

impl File {
    fn is_stream(&self) -> bool {
        matches!(self.access.way(), Way::Stream | Way::SlowStream)
    }

    /// Waits for a read and a seek that are in flight, and has the cursor stand where the last byte was taken.
    fn poll_in_place(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((_, seek)) = &mut self.cursor.seek {
            // Its own caller is gone.
            let _: io::Result<u64> = ready!(seek.as_mut().poll(cx));
            self.cursor.seek = None;
        }
        if self.is_stream() {
            return Poll::Ready(Ok(()));
        }
        // An error comes again at the next read.
        let _: io::Result<()> = ready!(self.cursor.read.poll(cx));
        if let Read::Done(bytes, taken) = &self.cursor.read {
            let back = (bytes.len() - taken) as i64;
            seek(&*self.access, rustix::fs::SeekFrom::Current(-back))?;
            self.cursor.read = Read::Idle;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.cursor.write.poll(cx));
            match mem::take(&mut self.cursor.write) {
                // It was this one, or one whose error is not known yet.
                Write::Done(result, bytes) if result.is_err() || begin_with(slices, &bytes) => {
                    return Poll::Ready(result);
                }
                _ => {}
            }
            ready!(self.poll_in_place(cx))?;
            ready!(current::poll_budget(cx));
            // Most are one slice, and the kernel takes no more than so many.
            let some = &slices[..slices.len().min(SLICES)];
            if let Some(result) = self.access.write_now_from(some) {
                return Poll::Ready(result);
            }
            let write = write(self.access.clone(), gathered(slices));
            self.cursor.write = Write::InFlight(Box::pin(write));
        }
    }

    /// Waits for a write in flight, and tells its error.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.cursor.write.poll(cx));
        Poll::Ready(self.cursor.write.take_error())
    }

    /// Says where a seek is to go.
    #[cfg(feature = "tokio")]
    pub(crate) fn begin_seek(&mut self, to: SeekFrom) {
        self.cursor.target = Some(to);
    }

    /// Makes the seek that was said, or else tells where the cursor is.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_seek_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let to = self.cursor.target.unwrap_or(SeekFrom::Current(0));
        let result = ready!(Pin::new(&mut *self).poll_seek(cx, to));
        self.cursor.target = None;
        Poll::Ready(result)
    }

    /// Waits for all that is in flight, and has the cursor stand where the last byte was taken.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            ready!(self.poll_in_place(cx))?;
            self.poll_written(cx)
        })
        .await
    }
}

/// The front of the slices' bytes, as memory of its own.
fn gathered(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let len = slices.iter().map(|slice| slice.len()).sum::<usize>().min(AT_ONCE);
    let mut bytes = Vec::with_capacity(len);
    for slice in slices {
        bytes.extend_from_slice(&slice[..slice.len().min(len - bytes.len())]);
    }
    bytes
}

/// Whether the slices' bytes begin with these.
fn begin_with(slices: &[IoSlice<'_>], mut bytes: &[u8]) -> bool {
    for slice in slices {
        let (front, rest) = bytes.split_at(bytes.len().min(slice.len()));
        if !slice.starts_with(front) {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}

async fn read(file: Arc<Access>, room: usize) -> (io::Result<usize>, Vec<u8>) {
    access::read(&file, Vec::with_capacity(room), 0..room, files::CURRENT).await
}

async fn write(file: Arc<Access>, bytes: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
    access::write(&file, bytes, 0, files::CURRENT).await
}

/// # Cancel safety
///
/// No byte is lost: what a read brings whose future was dropped goes to the next one, as the file was then. A
/// seek throws it away.
impl AsyncRead for File {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Read::Idle = this.cursor.read {
            if !this.is_stream() {
                ready!(this.cursor.write.poll(cx));
                ready!(this.poll_in_place(cx))?;
            }
            ready!(current::poll_budget(cx));
            let len = buf.len().min(AT_ONCE);
            if let Some(result) = this.access.read_now_into(&mut buf[..len]) {
                return Poll::Ready(result);
            }
            let read = read(this.access.clone(), len.min(READ));
            this.cursor.read = Read::InFlight(Box::pin(read));
        }
        ready!(this.cursor.read.poll(cx))?;
        Poll::Ready(Ok(this.cursor.read.take(buf).unwrap_or(0)))
    }
}

/// # Cancel safety
///
/// A write whose future was dropped was not begun, or is made all the same, as far as one call goes. The next write,
/// flush or seek waits for it, and tells its error. The same bytes, written again, are written once.
impl AsyncWrite for File {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }
}

/// # Cancel safety
///
/// The cursor is moved, or not.
impl AsyncSeek for File {
    fn poll_seek(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        let this = &mut *self;
        if let Some((wanted, seek)) = &mut this.cursor.seek
            && *wanted == to
        {
            let result = ready!(seek.as_mut().poll(cx));
            this.cursor.seek = None;
            return Poll::Ready(result);
        }
        ready!(this.poll_in_place(cx))?;
        ready!(this.poll_written(cx))?;
        ready!(current::poll_budget(cx));
        let target = match to {
            SeekFrom::Start(at) => rustix::fs::SeekFrom::Start(at),
            SeekFrom::End(by) => rustix::fs::SeekFrom::End(by),
            SeekFrom::Current(by) => rustix::fs::SeekFrom::Current(by),
        };
        // The end of a file on a server may have to be asked for.
        if matches!(to, SeekFrom::End(_)) && !matches!(this.access.way(), Way::Memory | Way::Cached)
        {
            let file = this.access.clone();
            let mut seek: Seek = Box::pin(on_lane(move || Ok(seek(&*file, target)?)));
            if let Poll::Ready(result) = seek.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            this.cursor.seek = Some((to, seek));
            return Poll::Pending;
        }
        Poll::Ready(Ok(seek(&*this.access, target)?))
    }
}
