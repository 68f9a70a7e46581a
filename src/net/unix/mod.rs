//! Unix stream sockets.

mod datagram;
mod fds;
mod listener;
mod path;

use std::{
    fmt,
    future::poll_fn,
    io,
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net,
    },
    path::Path,
};

use rustix::net::sockopt::socket_peercred;
use socket2::{SockAddr, SockRef};

use self::path::{by_addr, by_path, explain};
pub use self::{datagram::UnixDatagram, fds::RecvFds, listener::UnixListener};
use super::{
    faces::{in_blocking_mode, read_methods, write_methods},
    halves::{self, OwnedReadHalf, OwnedWriteHalf},
};
use crate::{
    io::{Connection, Plain, reads, writes},
    loom::global::AtomicBool,
    reactor::Endpoint,
};

/// A connection between processes of this machine.
///
/// It reads and writes as a [`TcpStream`](super::TcpStream) does, in the same three ways, and what
/// that one says about dropping holds as well. A 64 byte message costs less than half of what it costs
/// by TCP on the loopback.
///
/// Descriptors that the other end sends along are for [`recv_fds`](Self::recv_fds); the other ways of reading
/// close them.
///
/// asyncio: the pair that `open_unix_connection` returns.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte; a write that is dropped before it returned
/// has sent none.
///
/// ```
/// use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, net::{UnixListener, UnixStream}};
///
/// ringloop::run(async {
///     let path = std::env::temp_dir().join(format!("ringloop-doc-{}", std::process::id()));
///     let listener = UnixListener::bind(&path).unwrap();
///     let mut client = UnixStream::connect(&path).await.unwrap();
///     let (mut server, _) = listener.accept().await.unwrap();
///     server.write_all(b"hello").await.unwrap();
///     let mut buf = [0; 5];
///     client.read_exact(&mut buf).await.unwrap();
///     assert_eq!(&buf, b"hello");
/// });
/// ```
#[doc(alias = "open_unix_connection")]
pub struct UnixStream {
    connection: Connection,
}

/// The process that has the other end of a Unix socket, as the kernel says: `SO_PEERCRED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UCred {
    pid: Option<i32>,
    uid: u32,
    gid: u32,
}

impl UCred {
    /// The process that connected, or that listened; `None` if it is of a namespace that this process does
    /// not see.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Its effective user then.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Its effective group then.
    pub fn gid(&self) -> u32 {
        self.gid
    }
}

impl UnixStream {
    /// Connects to the socket at a path.
    ///
    /// If the other side has accepted so few connections that no more may wait, it waits until there is room.
    ///
    /// asyncio: `open_unix_connection(path)`.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    ///
    /// # Errors
    ///
    /// Nothing is at the path, nobody listens there, or it is not permitted; the path is too long. The text
    /// says which, and what to do.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_to(&by_path(path.as_ref())?).await
    }

    /// Connects to an address, which may be an abstract name
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect). An address without a name is an error, too.
    ///
    /// ```
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// use ringloop::net::{UnixListener, UnixStream};
    ///
    /// ringloop::run(async {
    ///     let name = format!("ringloop-doc-{}", std::process::id());
    ///     let addr = SocketAddr::from_abstract_name(name).unwrap();
    ///     let listener = UnixListener::bind_addr(&addr).unwrap();
    ///     let client = UnixStream::connect_addr(&addr).await.unwrap();
    ///     let (_server, _) = listener.accept().await.unwrap();
    ///     assert_eq!(client.peer_addr().unwrap().as_abstract_name(), addr.as_abstract_name());
    /// });
    /// ```
    pub async fn connect_addr(addr: &net::SocketAddr) -> io::Result<Self> {
        Self::connect_to(&by_addr(addr)?).await
    }

    async fn connect_to(addr: &SockAddr) -> io::Result<Self> {
        match Connection::connect_unix(addr).await {
            Ok(connection) => Ok(connection.into()),
            Err(error) => Err(explain("connect to", addr, error)),
        }
    }

    /// Two streams that are connected to each other.
    ///
    /// asyncio: `socket.socketpair()`.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2): no descriptors are left.
    ///
    /// ```
    /// use ringloop::{io::AsyncWriteExt, net::UnixStream};
    ///
    /// ringloop::run(async {
    ///     let (mut left, mut right) = UnixStream::pair().unwrap();
    ///     left.write_all(b"across").await.unwrap();
    ///     assert_eq!(&*right.read_lease().await.unwrap(), b"across");
    /// });
    /// ```
    #[doc(alias = "socketpair")]
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = Connection::pair()?;
        Ok((left.into(), right.into()))
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
    pub fn from_std(stream: net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let connection = Connection::new(Endpoint::Unix(stream.into()));
        // There may be copies of it.
        connection.socket().show();
        Ok(connection.into())
    }

    /// Hands the connection over, in blocking mode, when the kernel has taken what was written. Unread bytes
    /// are still in it.
    ///
    /// # Errors
    ///
    /// What was written has not all been sent, or the connection has failed, and that was not
    /// reported yet; or the descriptor refuses to be blocking. The connection is closed then.
    pub async fn into_std(self) -> io::Result<net::UnixStream> {
        let (stream, unread) = self.connection.into_parts().await?;
        debug_assert!(unread.is_empty(), "nothing is received ahead");
        in_blocking_mode(stream)
    }

    /// Splits it into two halves that can go to different tasks. The connection is
    /// closed when both are gone; the write half alone shuts its side down.
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        halves::split(self.connection)
    }

    /// The address of the other end. That of a client has no name, as a rule.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<net::SocketAddr> {
        self.connection.socket().endpoint().peer_unix_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<net::SocketAddr> {
        self.connection.socket().endpoint().local_unix_addr()
    }

    /// The process that had the other end when the connection was made. Later changes of that process do not
    /// count, and its number may be that of another one by now.
    ///
    /// asyncio: `writer.get_extra_info("socket")` and `SO_PEERCRED`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    ///
    /// ```
    /// # ringloop::run(async {
    /// let (left, _right) = ringloop::net::UnixStream::pair().unwrap();
    /// assert_eq!(left.peer_cred().unwrap().pid(), Some(std::process::id() as i32));
    /// # });
    /// ```
    pub fn peer_cred(&self) -> io::Result<UCred> {
        // The kernel says 0 for a process that this one does not see, which no `Pid` can be.
        let cred = socket_peercred(self.connection.socket().endpoint())?;
        let pid = Some(cred.pid.as_raw_pid()).filter(|pid| *pid != 0);
        Ok(UCred { pid, uid: cred.uid.as_raw(), gid: cred.gid.as_raw() })
    }

    /// Sends bytes, and copies of descriptors with the first of them. The result is how many bytes were sent, at
    /// least one: the rest goes by [`write`](Self::write), without descriptors.
    ///
    /// asyncio: `socket.send_fds`, outside of the loop.
    ///
    /// # Cancel safety
    ///
    /// A send that is dropped before it returned has sent nothing.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2). No bytes, or more than 253 descriptors.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use ringloop::{io::{AsyncReadExt, AsyncWriteExt, Pipe, PipeReader}, net::UnixStream};
    ///
    /// ringloop::run(async {
    ///     let (mut left, mut right) = UnixStream::pair().unwrap();
    ///     let Pipe { reader, mut writer } = Pipe::new().unwrap();
    ///     left.send_fds(b"the reading end", &[reader.as_fd()]).await.unwrap();
    ///     drop(reader);
    ///     let mut received = right.recv_fds(&mut [0; 64]).await.unwrap();
    ///     let copy: std::io::PipeReader = received.fds.remove(0).into();
    ///     writer.write_all(b"through it").await.unwrap();
    ///     drop(writer);
    ///     let mut text = String::new();
    ///     PipeReader::from_std(copy).unwrap().read_to_string(&mut text).await.unwrap();
    ///     assert_eq!(text, "through it");
    /// });
    /// ```
    pub async fn send_fds(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        // What was left to be sent goes first.
        poll_fn(|cx| self.connection.poll_flush(cx)).await?;
        fds::send(self.connection.socket(), bytes, fds).await
    }

    /// Waits for bytes, and takes the descriptors that come with them. Bytes that were sent before those of the
    /// descriptors may come along, none that were sent after. A descriptor comes with the first byte of its
    /// message, or before.
    ///
    /// asyncio: `socket.recv_fds`, outside of the loop.
    ///
    /// # Cancel safety
    ///
    /// No byte and no descriptor is lost.
    ///
    /// # Errors
    ///
    /// Those of recvmsg(2).
    pub async fn recv_fds(&mut self, buf: &mut [u8]) -> io::Result<RecvFds> {
        fds::recv(self.connection.socket(), buf).await
    }

    /// The socket, for its options. It may have copies from then on: see
    /// [`TcpStream::socket`](super::TcpStream::socket).
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    /// Shuts one or both ways down, at once: shutdown(2). A way that is down already,
    /// or a connection that is gone, is no error. [`close`](crate::io::AsyncWriteExt::close) flushes first.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2).
    pub fn shutdown_now(&self, how: Shutdown) -> io::Result<()> {
        self.connection.shutdown(how)
    }
}

read_methods!(UnixStream);
write_methods!(UnixStream);
reads!(UnixStream);
writes!(UnixStream);

impl From<Connection> for UnixStream {
    fn from(connection: Connection) -> Self {
        static ENTERED: AtomicBool = AtomicBool::new(false);
        halves::enter::<Self>(&ENTERED);
        Self { connection }
    }
}

impl Plain for UnixStream {
    fn plain(&self) -> Option<&Connection> {
        Some(&self.connection)
    }
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket().show()
    }
}

impl AsRawFd for UnixStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}
