//! The two halves of a connection, each for a task of its own.

use std::{
    error::Error,
    fmt,
    io::{self, IoSlice},
    marker::PhantomData,
    net::SocketAddr,
    os::unix::net as unix,
    task::{Context, Poll},
};

use super::{
    TcpStream, UnixStream,
    faces::{read_methods, write_methods},
};
use crate::{
    io::{
        Connection, ConnectionReadHalf, ConnectionWriteHalf, Ends, IntoEnds, Plain, PlainKind,
        enter_plain,
        outgoing::Sink,
        reads,
        source::{Source, Unread, poll_connection},
        split_connection, writes,
    },
    loom::global::AtomicBool,
};

pub(super) fn split<S>(connection: Connection) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let (read, write) = split_connection(connection);
    (OwnedReadHalf(read, PhantomData), OwnedWriteHalf(write, PhantomData))
}

/// Has copies know a type of stream and its halves.
#[inline]
pub(super) fn enter<S: Plain>(entered: &AtomicBool) {
    enter_plain(
        entered,
        &[
            PlainKind::of::<S>,
            PlainKind::of::<OwnedReadHalf<S>>,
            PlainKind::of::<OwnedWriteHalf<S>>,
        ],
    );
}

/// The reading half of a [`TcpStream`] or of another stream `S`, from [`into_split`](TcpStream::into_split).
///
/// asyncio: `StreamReader`, without its buffer.
pub struct OwnedReadHalf<S = TcpStream>(ConnectionReadHalf, PhantomData<fn() -> S>);

/// The writing half of a [`TcpStream`] or of another stream `S`, from [`into_split`](TcpStream::into_split).
/// Dropping it shuts the write side down, so that the peer sees the end; in a forked child, that
/// of a half made before is left to the parent.
///
/// asyncio: `StreamWriter`, without its buffer.
pub struct OwnedWriteHalf<S = TcpStream>(ConnectionWriteHalf, PhantomData<fn() -> S>);

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

    #[inline]
    pub(crate) fn connection(&self) -> &Connection {
        self.0.get()
    }
}

impl<S> OwnedWriteHalf<S> {
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

read_methods!(OwnedReadHalf<S> where S);
write_methods!(OwnedWriteHalf<S> where S);
reads!(OwnedReadHalf<S> where S);
writes!(OwnedWriteHalf<S> where S);

impl<S: 'static> Plain for OwnedReadHalf<S> {
    fn plain(&self) -> Option<&Connection> {
        Some(self.connection())
    }
}

impl<S: 'static> Plain for OwnedWriteHalf<S> {
    fn plain(&self) -> Option<&Connection> {
        Some(self.connection())
    }
}

impl<S> Source for OwnedReadHalf<S> {
    fn poll_more(&mut self, cx: &mut Context<'_>, unread: &mut Unread) -> Poll<io::Result<usize>> {
        poll_connection(self.connection(), cx, unread)
    }
}

impl<S> Sink for OwnedWriteHalf<S> {
    fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection().try_write_slices(bufs)
    }

    fn connection(&self) -> Option<&Connection> {
        Some(self.connection())
    }

    fn closes_by_drop(&self) -> bool {
        true
    }

    fn abort(self: Box<Self>) {
        self.connection().socket().endpoint().reset();
        self.forget();
    }
}

macro_rules! ends {
    ($($stream:ty),*) => { $(
        impl IntoEnds for $stream {
            fn into_ends(self) -> Ends {
                let (reader, writer) = self.into_split();
                Ends { source: Box::new(reader), sink: Box::new(writer) }
            }
        }
    )* };
}

ends!(TcpStream, UnixStream);
