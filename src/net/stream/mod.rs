//! A TCP connection.

mod builder;
mod listener;

use std::{
    fmt, io,
    net::{self, Shutdown, SocketAddr},
    ops::RangeBounds,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

use socket2::SockRef;

pub use self::{builder::TcpListenerBuilder, listener::TcpListener};
use super::{
    addr::ToSocketAddrs,
    connect::Connect,
    faces::in_blocking_mode,
    halves::{self, OwnedReadHalf, OwnedWriteHalf},
};
use crate::{
    io::{Connection, Lease, Plain, Read, ReadBuffer, Write, WriteBuffer, reads, writes},
    loom::global::AtomicBool,
    reactor::Endpoint,
};

/// A TCP connection.
///
/// Reading and writing are those of [`AsyncReadExt`](crate::io::AsyncReadExt) and
/// [`AsyncWriteExt`](crate::io::AsyncWriteExt). A write gives its bytes to the kernel
/// before it returns, unless [`write_lease`](Self::write_lease) has left some that go first:
/// these the runtime sends. Flushing waits until the kernel has everything, and costs next to
/// nothing where it has. Closing flushes, and shuts the write side down.
///
/// # Dropping
///
/// Dropping it closes the connection, and never waits; what was written is still sent. Bytes that
/// have arrived and that nobody has read are thrown away. But bytes that arrive after the drop
/// are answered with a reset, which may overtake what is still on its way: to be certain that the
/// peer gets everything, close the stream, and read until its end.
///
/// There may be copies of a stream's descriptor elsewhere, for which the connection stays open: if
/// it comes from [`from_std`](Self::from_std), if its descriptor was shown
/// ([`socket`](Self::socket), `as_fd`, `as_raw_fd`), or after a fork(3). Two things differ with
/// such a stream. Bytes that have arrived and that nobody has read make the kernel reset the
/// connection. And on io_uring, a stream may be dropped on another thread than that of the worker
/// that has its operations: then the peer sees the end once that worker has ended its present poll.
/// The second is also true of a stream with bytes that [`write_lease`](Self::write_lease) has left.
///
/// asyncio: the pair that `open_connection` returns.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte; a write that is dropped before it returned
/// has sent none. (`read_exact` and `write_all` are made of several, and lose count.)
///
/// ```
/// use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
///
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
///     let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
///     let (mut server, _) = listener.accept().await.unwrap();
///     server.write_all(b"hello").await.unwrap();
///     let mut buf = [0; 5];
///     client.read_exact(&mut buf).await.unwrap();
///     assert_eq!(&buf, b"hello");
/// });
/// ```
pub struct TcpStream {
    connection: Connection,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// An address without an answer does not hold the others up for longer than 250 ms: they are tried in the way of
    /// happy eyeballs, which [`Connect`] describes. It has the options, and the errors of all attempts.
    ///
    /// asyncio: `open_connection`.
    ///
    /// # Cancel safety
    ///
    /// All attempts under way are given up and closed.
    ///
    /// # Errors
    ///
    /// The name was not found, or no address has answered. The error of the last one, with all of them in the text if
    /// there were several.
    pub async fn connect(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        static PLAIN: Connect = Connect::new();
        Ok(PLAIN.connect(addrs).await?)
    }

    #[inline]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Takes a connection over, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(stream: net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let connection = Connection::new(Endpoint::Kernel(stream.into()));
        // There may be copies of it.
        connection.socket().show();
        Ok(connection.into())
    }

    /// Hands the connection over, in blocking mode, when the kernel has taken what was
    /// written. Unread bytes are still in it. It works on any executor.
    ///
    /// # Errors
    ///
    /// Those of [`into_parts`](Self::into_parts). After [`read_lease`](Self::read_lease) there
    /// may be bytes that have left the kernel and are unread: the text says to use `into_parts`,
    /// which hands them over. In each case the connection is closed.
    pub async fn into_std(self) -> io::Result<net::TcpStream> {
        match self.into_parts().await? {
            (stream, unread) if unread.is_empty() => Ok(stream),
            (_, unread) => Err(io::Error::other(format!(
                "{} bytes were received and not read: call into_parts, which hands them over",
                unread.len()
            ))),
        }
    }

    /// Hands the connection over, in blocking mode, with the bytes that were received and
    /// not read. There are none unless [`read_lease`](Self::read_lease) was used. It works on
    /// any executor; one that is not a runtime's polls it again and again until the connection's
    /// worker has let go of it.
    ///
    /// # Errors
    ///
    /// What was written has not all been sent, or the connection has failed, and that was not
    /// reported yet; or the descriptor refuses to be blocking. In each case the connection is
    /// closed, and what was received and not read is lost.
    pub async fn into_parts(self) -> io::Result<(net::TcpStream, Vec<u8>)> {
        let (stream, unread) = self.connection.into_parts().await?;
        Ok((in_blocking_mode(stream)?, unread))
    }

    /// Splits it into two halves that can go to different tasks. The connection is
    /// closed when both are gone; the write half alone shuts its side down.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        halves::split(self.connection)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.connection.socket().endpoint().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.connection.socket().endpoint().local_addr()
    }

    /// Whether small writes are sent at once, without waiting for more (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(&**self.connection.socket()).tcp_nodelay()
    }

    /// Has small writes sent at once, or gathered. asyncio sets it on every connection.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(&**self.connection.socket()).set_tcp_nodelay(nodelay)
    }

    /// How the connection ends when the stream is dropped: `SO_LINGER`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(&**self.connection.socket()).linger()
    }

    /// Says how the connection ends when the stream is dropped.
    ///
    /// With `None`, the default, the kernel goes on to send what was written. With a time of zero it
    /// throws that away, and resets the connection. Any other time is rounded up to whole
    /// seconds, and means the same as `None` to a stream that is dropped: the worker would be
    /// blocked meanwhile. It holds for the socket that [`into_std`](Self::into_std) hands over, whose
    /// drop waits until all is sent and acknowledged, or for that time.
    ///
    /// asyncio: nothing alike; `transport.abort()` resets.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ringloop::net::{TcpListener, TcpStream};
    /// # ringloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    /// stream.set_linger(Some(Duration::from_millis(1))).unwrap();
    /// assert_eq!(stream.linger().unwrap(), Some(Duration::from_secs(1)));
    /// # });
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.connection.socket().set_linger(linger)
    }

    /// The socket, for all its other options.
    ///
    /// Its `set_linger` cuts a time to whole seconds: half a second becomes zero, with which the
    /// drop resets the connection; [`set_linger`](Self::set_linger) rounds up. A stream whose
    /// descriptor was shown, here, by `as_fd` or by `as_raw_fd`, may have copies: its drop does
    /// nothing that a copy would notice, with the consequences that the [type](Self) tells of;
    /// except that it turns a linger time off.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    /// Shuts one or both ways down, at once: shutdown(2). A way that is down already,
    /// or a connection that is gone, is no error. [`close`](crate::io::AsyncWriteExt::close) flushes first.
    ///
    /// tokio: `shutdown` is a method of `AsyncWriteExt`, which does what `close` does here.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2).
    pub fn shutdown_now(&self, how: Shutdown) -> io::Result<()> {
        self.connection.shutdown(how)
    }

    /// Waits until a read would not have to wait: there are bytes, or the end, or an error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.connection.readable().await
    }

    /// Waits until a write would not have to wait: there is room, or an error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn writable(&self) -> io::Result<()> {
        self.connection.writable().await
    }

    /// Reads what is there, without waiting. 0 is the end.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is there.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection.try_read(buf)
    }

    /// Writes what fits, without waiting.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing fits.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.connection.try_write(buf)
    }

    /// Waits for bytes, and copies the first of them without taking them.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection.peek(buf).await
    }

    /// Reads what is there, up to the buffer's size; 0 is the end. Waits if nothing is.
    ///
    /// A borrowed buffer (`&mut [u8]`) gives `io::Result<usize>`, as
    /// [`AsyncReadExt::read`](crate::io::AsyncReadExt::read) does. An owned one
    /// ([`IoBufMut`](crate::io::IoBufMut): `Vec<u8>`, `Box<[u8]>`) comes back with the result;
    /// a vector is filled from its front up to its capacity, and is as long then as what
    /// was read.
    ///
    /// asyncio: `StreamReader.read`, `loop.sock_recv_into`.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost; an owned buffer is.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    ///
    /// ```
    /// # use ringloop::{io::AsyncWriteExt, net::{TcpListener, TcpStream}};
    /// # ringloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// # let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    /// # let (mut server, _) = listener.accept().await.unwrap();
    /// client.write_all(b"twice!").await.unwrap();
    /// let mut array = [0; 3];
    /// assert_eq!(server.read(&mut array).await.unwrap(), 3);
    /// let (result, vector) = server.read(Vec::with_capacity(100)).await;
    /// assert_eq!(result.unwrap(), 3);
    /// assert_eq!(vector, b"ce!");
    /// # });
    /// ```
    pub fn read<B: ReadBuffer>(&mut self, buffer: B) -> Read<'_, B> {
        Read::new(&self.connection, buffer)
    }

    /// Writes from a buffer. Of a borrowed one (`&[u8]`) as much as there is room for; the result
    /// is that number, as with [`AsyncWriteExt::write`](crate::io::AsyncWriteExt::write). Of an
    /// owned one ([`IoBuf`](crate::io::IoBuf): `Vec<u8>`, a [`Lease`]) all of it; it comes back
    /// with the result.
    ///
    /// asyncio: `loop.sock_sendall`.
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
        Write::new(&self.connection, buffer)
    }

    /// Waits for bytes, and gives them on loan: nothing is copied. An empty lease is the
    /// end of the stream.
    ///
    /// On io_uring the connection receives before it is asked, from the first call on. The memory
    /// is shared by all connections of a worker, so that an idle connection has none. Unread bytes
    /// are capped at about 128 KiB; more bytes wait in the kernel. The other ways of reading work
    /// as well, and get what has been received first.
    ///
    /// asyncio: nothing alike; `StreamReader.read` copies.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of recv(2), after the bytes that came before.
    ///
    /// ```
    /// use ringloop::{io::AsyncWriteExt, net::{TcpListener, TcpStream}};
    ///
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ///     let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    ///     let (mut server, _) = listener.accept().await.unwrap();
    ///     client.write_all(b"echo").await.unwrap();
    ///     let lease = server.read_lease().await.unwrap();
    ///     assert_eq!(&*lease, b"echo");
    ///     server.write_lease(lease).await.unwrap();
    ///     assert_eq!(&*client.read_lease().await.unwrap(), b"echo");
    /// });
    /// ```
    pub async fn read_lease(&mut self) -> io::Result<Lease> {
        self.connection.read_lease().await
    }

    /// Sends leased bytes, all of them, without a copy. What the kernel does not take at
    /// once, on io_uring, the runtime goes on sending when this has returned;
    /// [`flush`](crate::io::AsyncWriteExt::flush) waits until the kernel has everything. When
    /// the stream is dropped, it has up to 10 s more, and when the runtime ends, 2 s; what is
    /// left then is given up, and the peer sees a reset, not an end.
    ///
    /// # Cancel safety
    ///
    /// A part of the bytes may have been sent.
    ///
    /// # Errors
    ///
    /// Those of send(2), also of an earlier write whose error was not reported yet.
    pub async fn write_lease(&mut self, lease: Lease) -> io::Result<()> {
        self.connection.write_lease(lease).await
    }
}

impl TcpStream {
    /// Sends a part of a file, from an offset up to another one, or `..` for all of it. The result is the number of
    /// bytes that were sent: fewer than asked for where the file ends before, as when it shrinks meanwhile.
    ///
    /// The file may be a [`fs::File`](crate::fs::File), or any other open file. Its position is neither used nor
    /// changed. A small part goes to the kernel without a copy, by sendfile(2); a large one in pieces of 256 KiB
    /// through the worker's memory, which costs less. No worker waits for the disk: what is not in the page cache is
    /// read on a [thread for files](crate::Builder::file_threads).
    ///
    /// asyncio: `loop.sendfile`; its `offset` and `count` are the range. It moves the file's position, and falls back to
    /// reads where sendfile(2) does not work; this does so, too.
    ///
    /// # Cancel safety
    ///
    /// A part may have been sent, and how much is not known.
    ///
    /// # Errors
    ///
    /// Those of send(2), and of reading the file. It is not a regular file; the range ends before it starts.
    ///
    /// ```
    /// # use ringloop::{io::AsyncReadExt, net::{TcpListener, TcpStream}};
    /// # ringloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let mut client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (mut server, _) = listener.accept().await?;
    /// # let path = std::env::temp_dir().join(format!("ringloop-doc-send-{}", std::process::id()));
    /// # std::fs::write(&path, b"0123456789")?;
    /// let file = std::fs::File::open(&path)?;
    /// assert_eq!(server.send_file(&file, 2..5).await?, 3);
    /// assert_eq!(server.send_file(&file, 8..).await?, 2);
    /// # std::fs::remove_file(&path)?;
    /// let mut got = [0; 5];
    /// client.read_exact(&mut got).await?;
    /// assert_eq!(&got, b"23489");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "sendfile")]
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        range: impl RangeBounds<u64>,
    ) -> io::Result<u64> {
        self.connection.send_file(file, range).await
    }
}

reads!(TcpStream);
writes!(TcpStream);

impl From<Connection> for TcpStream {
    fn from(connection: Connection) -> Self {
        static ENTERED: AtomicBool = AtomicBool::new(false);
        halves::enter::<Self>(&ENTERED);
        Self { connection }
    }
}

impl Plain for TcpStream {
    fn plain(&self) -> Option<&Connection> {
        Some(&self.connection)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket().show()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}
