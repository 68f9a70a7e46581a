//! The two halves of a connection, each for a task of its own.

use std::{error::Error, fmt, io, net::SocketAddr};

use super::TcpStream;
use crate::io::{self as core, Connection, Lease, ReadHalf, WriteHalf, reads, writes};

pub(super) fn split(connection: Connection) -> (OwnedReadHalf, OwnedWriteHalf) {
    let (read, write) = core::split(connection);
    (OwnedReadHalf(read), OwnedWriteHalf(write))
}

/// The reading half of a [`TcpStream`], from [`into_split`](TcpStream::into_split).
///
/// asyncio: `StreamReader`, without its buffer.
#[derive(Debug)]
pub struct OwnedReadHalf(ReadHalf);

/// The writing half of a [`TcpStream`], from [`into_split`](TcpStream::into_split).
/// Dropping it shuts the write side down, so that the peer sees the end; in a forked child, that
/// of a half made before is left to the parent.
///
/// asyncio: `StreamWriter`, without its buffer.
#[derive(Debug)]
pub struct OwnedWriteHalf(WriteHalf);

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
    pub fn reunite(self, write: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        match self.0.reunite(write.0) {
            Ok(connection) => Ok(TcpStream::from(connection)),
            Err((read, write)) => Err(ReuniteError(Self(read), OwnedWriteHalf(write))),
        }
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.connection().socket().endpoint().peer_addr()
    }

    /// Waits until a read would not have to wait. See [`TcpStream::readable`].
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.connection().readable().await
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
        self.connection().read_lease().await
    }

    #[inline]
    pub(crate) fn connection(&self) -> &Connection {
        self.0.get()
    }
}

impl OwnedWriteHalf {
    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.connection().socket().endpoint().peer_addr()
    }

    /// Waits until a write would not have to wait. See [`TcpStream::writable`].
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn writable(&self) -> io::Result<()> {
        self.connection().writable().await
    }

    /// Sends leased bytes, all of them. See [`TcpStream::write_lease`].
    ///
    /// # Cancel safety
    ///
    /// A part of the bytes may have been sent.
    ///
    /// # Errors
    ///
    /// Those of send(2), also of an earlier write whose error was not reported yet.
    pub async fn write_lease(&mut self, lease: Lease) -> io::Result<()> {
        self.connection().write_lease(lease).await
    }

    /// Drops the half without shutting its side down: the peer sees the end when the
    /// reading half is dropped too.
    pub fn forget(self) {
        self.0.forget();
    }

    #[inline]
    pub(crate) fn connection(&self) -> &Connection {
        self.0.get()
    }
}

reads!(OwnedReadHalf);
writes!(OwnedWriteHalf);
