//! The two halves of a connection, each for a task of its own.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    io::{self, IoSlice, IoSliceMut},
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::{
    TcpStream,
    stream::{as_uninit, first_buffer},
};
use crate::{io::Lease, reactor::socket::Chunk, util::fork};

pub(super) fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(stream);
    let write =
        OwnedWriteHalf { stream: stream.clone(), shut_on_drop: true, process: fork::generation() };
    (OwnedReadHalf { stream }, write)
}

/// The reading half of a [`TcpStream`], from [`into_split`](TcpStream::into_split).
///
/// asyncio: `StreamReader`, without its buffer.
#[derive(Debug)]
pub struct OwnedReadHalf {
    stream: Arc<TcpStream>,
}

/// The writing half of a [`TcpStream`], from [`into_split`](TcpStream::into_split).
/// Dropping it shuts the write side down, so that the peer sees the end; in a forked child, that
/// of a half made before is left to the parent.
///
/// asyncio: `StreamWriter`, without its buffer.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    stream: Arc<TcpStream>,
    shut_on_drop: bool,
    /// The process that made it: in a forked child the connection is still the parent's.
    process: fork::Generation,
}

/// The halves are of two connections. Both come back.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same connection")
    }
}

impl Error for ReuniteError {}

impl OwnedReadHalf {
    /// Makes one stream of the two halves again.
    ///
    /// # Errors
    ///
    /// They are of two connections.
    ///
    /// ```
    /// # use ringloop::net::{TcpListener, TcpStream};
    /// # ringloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    /// let (reader, writer) = stream.into_split();
    /// let stream: TcpStream = reader.reunite(writer).unwrap();
    /// # });
    /// ```
    pub fn reunite(self, mut write: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.stream, &write.stream) {
            return Err(ReuniteError(self, write));
        }
        write.shut_on_drop = false;
        drop(write);
        Ok(Arc::into_inner(self.stream).expect("the other half is gone, and there are two"))
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Waits until a read would not have to wait. See [`TcpStream::readable`].
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Waits for bytes, and gives them on loan. See [`TcpStream::read_lease`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of recv(2), after the bytes that came before.
    pub async fn read_lease(&mut self) -> io::Result<Lease> {
        poll_fn(|cx| self.stream.poll_read_lease(cx)).await
    }

    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for optional features"))]
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl OwnedWriteHalf {
    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Waits until a write would not have to wait. See [`TcpStream::writable`].
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Sends leased bytes, all of them. See [`TcpStream::write_lease`].
    ///
    /// # Cancel safety
    ///
    /// A part of the bytes may have been sent.
    ///
    /// # Errors
    ///
    /// Those of send(2); of an earlier write, if it could not be told then.
    pub async fn write_lease(&mut self, lease: Lease) -> io::Result<()> {
        let mut chunk = Some(Chunk::Lease(lease));
        poll_fn(|cx| self.stream.poll_send(cx, &mut chunk)).await
    }

    /// Drops the half without shutting its side down: the peer sees the end when the
    /// reading half is dropped too.
    pub fn forget(mut self) {
        self.shut_on_drop = false;
    }

    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for optional features"))]
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.shut_on_drop && self.process == fork::generation() {
            // A connection that is gone needs no shutting.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_read_uninit(cx, as_uninit(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_read_uninit(cx, as_uninit(first_buffer(bufs)))
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write_slice(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write_slices(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush_all(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown_write(cx)
    }
}
