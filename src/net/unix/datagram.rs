//! Unix datagram sockets.

use std::{
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net,
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::net::{RecvFlags, SocketAddrAny};
use socket2::{SockAddr, SockRef};

use super::{
    fds::{self, RecvFds},
    path::{BoundPath, by_addr, by_path, explain, std_addr},
};
use crate::{
    io::SocketHandle,
    net::faces::in_blocking_mode,
    reactor::{Direction, Endpoint, Socket},
    runtime::operation::{self, Operation},
    task,
    time::sleep,
};

/// Between two tries to send to a socket whose queue is full; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// A Unix socket for datagrams: each send is one datagram, and each receive takes one. None is lost, and they
/// keep their order: a send waits while the receiver's queue is full.
///
/// Its methods take `&self`, so that several tasks may send and receive on one socket (in an `Arc`).
/// Descriptors that come with a datagram are for [`recv_fds`](Self::recv_fds), and closed by other receives. A socket that was bound to a path removes it when it is
/// dropped, under the conditions of [`UnixListener`](super::UnixListener).
///
/// asyncio: `loop.create_datagram_endpoint(family=AF_UNIX)`.
///
/// # Cancel safety
///
/// A receive that is dropped has taken no datagram. A send that is dropped before it returned has sent none.
///
/// ```
/// use ringloop::net::UnixDatagram;
///
/// ringloop::run(async {
///     let (left, right) = UnixDatagram::pair().unwrap();
///     left.send(b"one").await.unwrap();
///     left.send(b"two").await.unwrap();
///     let mut buf = [0; 16];
///     assert_eq!(right.recv(&mut buf).await.unwrap(), 3);
///     assert_eq!(&buf[..3], b"one");
/// });
/// ```
pub struct UnixDatagram {
    path: BoundPath,
    socket: SocketHandle,
}

impl UnixDatagram {
    /// A socket at a path, which must not exist.
    ///
    /// # Errors
    ///
    /// The path exists, is too long, or its directory does not exist or may not be written to; the text says
    /// which, and what to do.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let (path, socket) = BoundPath::bind(path.as_ref(), bind, SocketHandle::get)?;
        Ok(Self { path, socket })
    }

    /// A socket at an address, which may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind). An address without a name is an error, too.
    pub fn bind_addr(addr: &net::SocketAddr) -> io::Result<Self> {
        let (path, socket) = BoundPath::bind_addr(addr, bind, SocketHandle::get)?;
        Ok(Self { path, socket })
    }

    /// A socket without an address: it can send, and receive once it is [connected](Self::connect). Nobody can
    /// answer it.
    ///
    /// # Errors
    ///
    /// Those of socket(2): no descriptors are left.
    pub fn unbound() -> io::Result<Self> {
        Ok(Self { path: BoundPath::NONE, socket: handle(operation::bind_unix_datagrams(None)?) })
    }

    /// Two sockets that are connected to each other.
    ///
    /// asyncio: `socket.socketpair(type=SOCK_DGRAM)`.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2): no descriptors are left.
    #[doc(alias = "socketpair")]
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = operation::pair_of_datagrams()?;
        Ok((Self::of(left), Self::of(right)))
    }

    fn of(socket: Endpoint) -> Self {
        Self { path: BoundPath::NONE, socket: handle(socket) }
    }

    /// Takes a socket over, and makes it non-blocking, for every user of its open file.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(socket: net::UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = Self::of(Endpoint::Polled(socket.into()));
        // There may be copies of it.
        socket.get().show();
        Ok(socket)
    }

    /// Hands the socket over, in blocking mode, and leaves its path. It works on any executor.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be blocking.
    pub async fn into_std(mut self) -> io::Result<net::UnixDatagram> {
        self.keep_path();
        let (endpoint, _) = self.socket.into_parts().await?;
        in_blocking_mode(endpoint.into_fd())
    }

    /// Leaves the path when the socket is dropped.
    pub fn keep_path(&mut self) {
        self.path.keep();
    }

    fn get(&self) -> &Arc<Socket> {
        self.socket.get()
    }

    /// Has the socket send to the socket at a path, and take datagrams from there alone.
    ///
    /// # Errors
    ///
    /// Nothing is at the path, nobody receives there, or it is not permitted; the text says which.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_to(&by_path(path.as_ref())?)
    }

    /// The same for an address, which may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_addr(&self, addr: &net::SocketAddr) -> io::Result<()> {
        self.connect_to(&by_addr(addr)?)
    }

    fn connect_to(&self, addr: &SockAddr) -> io::Result<()> {
        let connected = self.get().endpoint().connect_unix_datagrams(addr);
        connected.map_err(|error| explain("connect to", addr, error))
    }

    /// Sends a datagram to the socket that this one is connected to. It waits while that one's queue is full.
    ///
    /// # Cancel safety
    ///
    /// A datagram whose send was dropped before it returned was not sent.
    ///
    /// # Errors
    ///
    /// Those of send(2): the socket is not connected, the other one is gone, the datagram is too large.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        operation::run(self.get(), Send { bytes }).await
    }

    /// Sends a datagram to the socket at a path. It waits while that one's queue is full.
    ///
    /// # Cancel safety
    ///
    /// A datagram whose send was dropped before it returned was not sent.
    ///
    /// # Errors
    ///
    /// Those of sendto(2): nothing is at the path, nobody receives there, the datagram is too large.
    ///
    /// ```
    /// use ringloop::net::UnixDatagram;
    ///
    /// ringloop::run(async {
    ///     let path = std::env::temp_dir().join(format!("ringloop-doc-datagram-{}", std::process::id()));
    ///     let log = UnixDatagram::bind(&path).unwrap();
    ///     UnixDatagram::unbound().unwrap().send_to(b"a line", &path).await.unwrap();
    ///     let (len, sender) = log.recv_from(&mut [0; 100]).await.unwrap();
    ///     assert_eq!(len, 6);
    ///     assert!(sender.is_unnamed());
    /// });
    /// ```
    pub async fn send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let addr = by_path(path.as_ref())?;
        self.send_until_taken(bytes, &addr).await
    }

    /// The same to an address, which may be an abstract name, or that of a received datagram.
    ///
    /// # Cancel safety
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub async fn send_to_addr(&self, bytes: &[u8], addr: &net::SocketAddr) -> io::Result<usize> {
        let addr = by_addr(addr)?;
        self.send_until_taken(bytes, &addr).await
    }

    async fn send_until_taken(&self, bytes: &[u8], addr: &SockAddr) -> io::Result<usize> {
        task::consume_budget().await;
        let mut pause = FIRST_PAUSE;
        loop {
            // Not as an operation, which would wait for an event: the queue that is full is another socket's, and
            // this one is writable all the time (unix_dgram_poll).
            match self.get().endpoint().send_to_unix(bytes, addr) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(pause).await;
                    pause = LAST_PAUSE.min(pause * 2);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map_err(|error| explain("send to", addr, error)),
            }
        }
    }

    /// Waits for a datagram, and gives its length. What does not fit into the buffer is lost.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Those of recvfrom(2).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(operation::run(self.get(), RecvFrom { buf }).await?.0)
    }

    /// Waits for a datagram, and gives its length and the address of its sender. What does not fit into the buffer
    /// is lost.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Those of recvfrom(2).
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, net::SocketAddr)> {
        let (len, peer) = operation::run(self.get(), RecvFrom { buf }).await?;
        Ok((len, std_addr(peer)?))
    }

    /// Sends a datagram with copies of descriptors to the socket that this one is connected to. It waits while that
    /// one's queue is full.
    ///
    /// asyncio: `socket.send_fds`, outside of the loop.
    ///
    /// # Cancel safety
    ///
    /// A datagram whose send was dropped before it returned was not sent.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2). No bytes, or more than 253 descriptors.
    pub async fn send_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        fds::send(self.get(), bytes, fds).await
    }

    /// Waits for a datagram, and takes the descriptors that come with it. Bytes that do not fit into the buffer are
    /// lost.
    ///
    /// asyncio: `socket.recv_fds`, outside of the loop.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Those of recvmsg(2).
    pub async fn recv_fds(&self, buf: &mut [u8]) -> io::Result<RecvFds> {
        fds::recv(self.get(), buf).await
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<net::SocketAddr> {
        self.get().endpoint().local_unix_addr()
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2): it is not connected.
    pub fn peer_addr(&self) -> io::Result<net::SocketAddr> {
        self.get().endpoint().peer_unix_addr()
    }

    /// The socket, for its options.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

/// The endpoint must be non-blocking.
fn handle(socket: Endpoint) -> SocketHandle {
    SocketHandle::new(Socket::new(socket))
}

fn bind(addr: &SockAddr) -> io::Result<SocketHandle> {
    let bound = operation::bind_unix_datagrams(Some(addr));
    bound.map(handle).map_err(|error| explain("bind", addr, error))
}

/// send(2).
struct Send<'a> {
    bytes: &'a [u8],
}

impl Operation<Endpoint> for Send<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        Ok(endpoint.send_to(self.bytes, None)?)
    }
}

/// recvfrom(2).
struct RecvFrom<'a> {
    buf: &'a mut [u8],
}

impl Operation<Endpoint> for RecvFrom<'_> {
    type Output = (usize, Option<SocketAddrAny>);

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<Self::Output> {
        let received = endpoint.recv_from(self.buf, RecvFlags::empty())?;
        Ok((received.len, received.peer))
    }
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().show()
    }
}

impl AsRawFd for UnixDatagram {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}
