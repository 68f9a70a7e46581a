//! The two halves of a connection, each for a task of its own.

use std::{error::Error, fmt, io, marker::PhantomData, net::SocketAddr, os::unix::net as unix};

use super::{TcpStream, UnixStream};
use crate::io::{
    self as core, Connection, Lease, Read, ReadBuffer, ReadHalf, Write, WriteBuffer, WriteHalf,
    reads, writes,
};

pub(super) fn split<S>(connection: Connection) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let (read, write) = core::split(connection);
    (OwnedReadHalf(read, PhantomData), OwnedWriteHalf(write, PhantomData))
}

/// The reading half of a [`TcpStream`] or of another stream `S`, from [`into_split`](TcpStream::into_split).
///
/// asyncio: `StreamReader`, without its buffer.
pub struct OwnedReadHalf<S = TcpStream>(ReadHalf, PhantomData<fn() -> S>);

/// The writing half of a [`TcpStream`] or of another stream `S`, from [`into_split`](TcpStream::into_split).
/// Dropping it shuts the write side down, so that the peer sees the end; in a forked child, that
/// of a half made before is left to the parent.
///
/// asyncio: `StreamWriter`, without its buffer.
pub struct OwnedWriteHalf<S = TcpStream>(WriteHalf, PhantomData<fn() -> S>);

/// The halves are of two connections. Both come back.
#[derive(Debug)]
pub struct ReuniteError<S = TcpStream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same connection")
    }
}

impl<S: fmt::Debug> Error for ReuniteError<S> {}

impl<S> fmt::Debug for OwnedReadHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedReadHalf").field(&self.0).finish()
    }
}

impl<S> fmt::Debug for OwnedWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedWriteHalf").field(&self.0).finish()
    }
}

macro_rules! addresses {
    ($stream:ty, $addr:ty, $peer:ident, $local:ident) => {
        addresses!(@ OwnedReadHalf<$stream>, $addr, $peer, $local);
        addresses!(@ OwnedWriteHalf<$stream>, $addr, $peer, $local);
    };
    (@ $half:ty, $addr:ty, $peer:ident, $local:ident) => {
        impl $half {
            /// The address of the other end.
            ///
            /// # Errors
            ///
            /// Those of getpeername(2).
            pub fn peer_addr(&self) -> io::Result<$addr> {
                self.connection().socket().endpoint().$peer()
            }

            /// The address of this end.
            ///
            /// # Errors
            ///
            /// Those of getsockname(2).
            pub fn local_addr(&self) -> io::Result<$addr> {
                self.connection().socket().endpoint().$local()
            }
        }
    };
}

addresses!(TcpStream, SocketAddr, peer_addr, local_addr);
addresses!(UnixStream, unix::SocketAddr, peer_unix_addr, local_unix_addr);

impl<S> OwnedReadHalf<S> {
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
    pub fn reunite(self, write: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>>
    where
        S: From<Connection>,
    {
        match self.0.reunite(write.0) {
            Ok(connection) => Ok(S::from(connection)),
            Err((read, write)) => {
                Err(ReuniteError(Self(read, PhantomData), OwnedWriteHalf(write, PhantomData)))
            }
        }
    }

    /// Waits until a read would not have to wait. See [`TcpStream::readable`].
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.connection().readable().await
    }

    /// Reads what is there, without waiting. See [`TcpStream::try_read`].
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is there.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection().try_read(buf)
    }

    /// Waits for bytes, and copies the first of them without taking them. See [`TcpStream::peek`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection().peek(buf).await
    }

    /// Reads what is there into a borrowed or an owned buffer. See [`TcpStream::read`].
    ///
    /// # Cancel safety
    ///
    /// No byte is lost; an owned buffer is.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub fn read<B: ReadBuffer>(&mut self, buffer: B) -> Read<'_, B> {
        Read::new(self.connection(), buffer)
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

impl<S> OwnedWriteHalf<S> {
    /// Waits until a write would not have to wait. See [`TcpStream::writable`].
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn writable(&self) -> io::Result<()> {
        self.connection().writable().await
    }

    /// Writes what fits, without waiting. See [`TcpStream::try_write`].
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing fits.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.connection().try_write(buf)
    }

    /// Writes from a borrowed or an owned buffer. See [`TcpStream::write`].
    ///
    /// # Cancel safety
    ///
    /// A write of a borrowed buffer that is dropped has sent nothing. One of an owned buffer
    /// may have sent a part.
    ///
    /// # Errors
    ///
    /// Those of send(2).
    pub fn write<B: WriteBuffer>(&mut self, buffer: B) -> Write<'_, B> {
        Write::new(self.connection(), buffer)
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

reads!(OwnedReadHalf<S> where S);
writes!(OwnedWriteHalf<S> where S);
