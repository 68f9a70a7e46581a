//! The core of every stream: a socket, and the ways of reading and writing it.
//!
//! The public types ([`TcpStream`](crate::net::TcpStream) and its halves, the ends of a
//! [`Pipe`](super::Pipe)) are thin: each has a [`Connection`], its own constructors and its own options. What
//! they share is here:
//!
//! * [`read`]: the reading side, by the poll face, by leases and into owned buffers;
//! * [`write`]: the writing side, by direct calls and by what its home sends;
//! * [`halves`]: the two sides, each for a task of its own;
//! * [`buffers`]: what a read fills and a write sends, borrowed or owned;
//! * [`splice`]: moves to and from pipes, without a copy;
//! * [`handle`]: the owner's reference, whose drop ends what is under way.

mod buffers;
mod halves;
mod handle;
mod read;
mod splice;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fmt,
    future::poll_fn,
    io,
    ops::RangeBounds,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockAddr;

pub use self::buffers::{Read, ReadBuffer, Write, WriteBuffer};
pub(crate) use self::read::{Readable, as_uninit, first_buffer};
pub(crate) use self::{
    halves::{ReadHalf, WriteHalf, split},
    handle::Handle,
    splice::Spliced,
    write::{Writable, sent},
};
use super::{
    SendFile,
    ready::{self, Interest, Ready},
};
use crate::{
    reactor::{Endpoint, Socket},
    runtime::operation,
    time::sleep,
};

/// Between two tries to connect to a Unix socket with a full backlog; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// One end of a connection, which closes when this is dropped.
///
/// It is `pub` for traits of the public face that cannot be called from outside.
pub struct Connection {
    socket: Handle,
}

impl Connection {
    /// An endpoint that is connected.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { socket: Handle::new(Socket::new(endpoint)) }
    }

    /// A pair of streams of this process's own: what is written to one is read from the other, both ways.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (near, far) = operation::pair()?;
        Ok((Self::new(near), Self::new(far)))
    }

    /// A stream of this process's own, and the descriptor of its other end.
    #[cfg(feature = "process-pool")]
    pub(crate) fn pair_with_fd() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = Endpoint::pair()?;
        Ok((Self::new(near), far.into_fd()))
    }

    /// Connects to a Unix socket.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    pub(crate) async fn connect_unix(addr: &SockAddr) -> io::Result<Self> {
        let mut pause = FIRST_PAUSE;
        loop {
            match operation::connect_unix(addr) {
                // The backlog is full. No event tells of room in it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(pause).await;
                    pause = LAST_PAUSE.min(pause * 2);
                }
                connected => return Ok(Self::new(connected?)),
            }
        }
    }

    #[inline]
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        self.socket.get()
    }

    /// Hands the descriptor over, with the bytes that were received and not read, once the kernel
    /// has what was written.
    pub(crate) async fn into_parts(self) -> io::Result<(OwnedFd, Vec<u8>)> {
        let (endpoint, unread) = self.socket.into_parts().await?;
        Ok((endpoint.into_fd(), unread))
    }

    /// Sends a part of a file, for the owner of the write side. The number of bytes, fewer where the file ends before.
    pub(crate) async fn send_file(
        &self,
        file: impl AsFd,
        range: impl RangeBounds<u64>,
    ) -> io::Result<u64> {
        let mut file = SendFile::new(file, range)?;
        poll_fn(|cx| file.poll(cx, self)).await
    }

    /// Waits until one direction of `interest` is ready, or both.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        ready::ready(interest, self.readable(), self.writable()).await
    }

    /// Flushes, and shuts the write side down.
    pub(crate) fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Poll::Ready(self.shutdown(std::net::Shutdown::Write))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

/// A socket that is connected.
impl From<Handle> for Connection {
    fn from(socket: Handle) -> Self {
        Self { socket }
    }
}

/// The traits of `futures_io` for a public type that reads, by its method `connection`.
macro_rules! reads {
    ($type:ty $(where $generic:ident)?) => {
        impl$(<$generic>)? ::futures_io::AsyncRead for $type {
            fn poll_read(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
                buf: &mut [u8],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                self.connection().poll_read(cx, $crate::io::as_uninit(buf))
            }

            fn poll_read_vectored(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
                bufs: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                let buf = $crate::io::first_buffer(bufs);
                self.connection().poll_read(cx, $crate::io::as_uninit(buf))
            }
        }
    };
}

/// The same for one that writes.
macro_rules! writes {
    ($type:ty $(where $generic:ident)?) => {
        impl$(<$generic>)? ::futures_io::AsyncWrite for $type {
            fn poll_write(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
                buf: &[u8],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                self.connection().poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
                bufs: &[::std::io::IoSlice<'_>],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                self.connection().poll_write_slices(cx, bufs)
            }

            fn poll_flush(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                self.connection().poll_flush(cx)
            }

            fn poll_close(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                self.connection().poll_shutdown_write(cx)
            }
        }
    };
}

pub(crate) use {reads, writes};
