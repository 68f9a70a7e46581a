//! Any descriptor that epoll can wait for.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use super::{
    private::Private,
    ready::{Interest, Ready, ready},
};
use crate::{
    reactor::{Direction, Source},
    runtime::operation::{self, Operation},
};

/// A descriptor of somebody else's making (a pipe, an eventfd, a device, a socket of
/// another library) that tasks can wait for.
///
/// Several tasks may wait for one; two for one descriptor are not supported: share one, in an
/// [`Arc`](std::sync::Arc), or wait for a duplicate. In a forked child, one for which the parent
/// has waited refuses to wait, as [sockets](crate::net) do.
///
/// asyncio: `loop.add_reader` and `loop.add_writer`.
///
/// ```
/// use std::io::{Read, Write};
///
/// ringloop::run(async {
///     let (reader, mut writer) = std::io::pipe().unwrap();
///     let reader = ringloop::io::AsyncFd::new(reader).unwrap();
///     writer.write_all(b"hi").unwrap();
///     let mut buf = [0; 8];
///     let n = reader.read_with(|mut pipe| pipe.read(&mut buf)).await.unwrap();
///     assert_eq!(&buf[..n], b"hi");
/// });
/// ```
pub struct AsyncFd<T: AsFd> {
    source: Source<Private<T>>,
}

impl<T: AsFd> AsyncFd<T> {
    /// Takes the descriptor's owner over, and makes the descriptor non-blocking.
    ///
    /// A terminal, or a pipe that is standard input, output or error, shares its open file with
    /// other descriptors and other processes, which want it to block. It is opened once more, and
    /// the descriptor refers to that open file until the `AsyncFd` is dropped: others see no
    /// change, also if the process ends before. With every other descriptor, and where it cannot be
    /// opened again (there is no procfs, or the terminal is another user's), the flag is set for
    /// every user of the open file, and stays. `println!` panics where it finds it.
    ///
    /// asyncio: `connect_read_pipe` sets the flag for everybody, and leaves it.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking. One that cannot be waited for, such as
    /// a regular file, is not refused: it is always ready.
    pub fn new(io: T) -> io::Result<Self> {
        Ok(Self { source: Source::new(Private::new(io)?) })
    }

    /// What was taken over.
    pub fn get_ref(&self) -> &T {
        self.source.get().get()
    }

    /// What was taken over. It must keep its descriptor: one that is put in its place, or
    /// closed, is not what is waited for. [`into_inner`](Self::into_inner) and
    /// [`new`](Self::new) change it.
    pub fn get_mut(&mut self) -> &mut T {
        self.source.get_mut().get_mut()
    }

    /// Hands it back, with the open file that it had; with the others that [`new`](Self::new) names,
    /// still non-blocking.
    pub fn into_inner(self) -> T {
        self.source.into_inner().into_inner()
    }

    /// Waits until it is readable, at its end, or in error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime; or the descriptor is not ready, and cannot be waited
    /// for.
    pub async fn readable(&self) -> io::Result<()> {
        operation::run(&self.source, Wait::<{ READ }>).await
    }

    /// Waits until it is writable, or in error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    pub async fn writable(&self) -> io::Result<()> {
        operation::run(&self.source, Wait::<{ WRITE }>).await
    }

    /// Waits until it is readable, writable, or either of them, and says which.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    ///
    /// ```
    /// use ringloop::io::{AsyncFd, Interest};
    ///
    /// ringloop::run(async {
    ///     let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    ///     let near = AsyncFd::new(near).unwrap();
    ///     let ready = near.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
    ///     assert!(ready.is_writable() && !ready.is_readable());
    /// });
    /// ```
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        ready(interest, self.readable(), self.writable()).await
    }

    /// Tries `f` until it no longer says [`WouldBlock`](io::ErrorKind::WouldBlock),
    /// waiting for the descriptor to become readable in between.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: `f` is not called while it waits.
    ///
    /// # Errors
    ///
    /// Those of `f`, and as [`readable`](Self::readable).
    pub async fn read_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        operation::run(&self.source, With::<_, { READ }>(f)).await
    }

    /// The same for writing.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: `f` is not called while it waits.
    ///
    /// # Errors
    ///
    /// Those of `f`, and as [`readable`](Self::readable).
    pub async fn write_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        operation::run(&self.source, With::<_, { WRITE }>(f)).await
    }
}

const READ: bool = true;
const WRITE: bool = false;

const fn direction(read: bool) -> Direction {
    if read { Direction::Read } else { Direction::Write }
}

/// Nothing but the wait.
struct Wait<const READ: bool>;

impl<T: AsFd, const READ: bool> Operation<Private<T>> for Wait<READ> {
    type Output = ();

    const DIRECTION: Direction = direction(READ);

    fn attempt(&mut self, io: &Private<T>) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        // poll(2) reports the end and errors whatever it is asked for.
        let wanted = if READ { PollFlags::IN | PollFlags::PRI } else { PollFlags::OUT };
        match poll(&mut [PollFd::new(io, wanted)], Some(&Timespec::default()))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }
}

/// A closure as an operation.
struct With<F, const READ: bool>(F);

impl<T, R, F, const READ: bool> Operation<Private<T>> for With<F, READ>
where
    T: AsFd,
    F: FnMut(&T) -> io::Result<R>,
{
    type Output = R;

    const DIRECTION: Direction = direction(READ);

    fn attempt(&mut self, io: &Private<T>) -> io::Result<R> {
        (self.0)(io.get())
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd> AsRawFd for AsyncFd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFd").field(self.get_ref()).finish()
    }
}
