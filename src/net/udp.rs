//! UDP sockets.

use std::{
    fmt, io,
    net::{self, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, SocketAddrAny, recvfrom, send, sendto},
};
use socket2::{Domain, Protocol, SockRef, Type};

use super::{addr::ToSocketAddrs, names::lookup_host};
use crate::{
    io::{Readable, SocketHandle, Writable},
    reactor::{Direction, Endpoint, Socket, not_of_the_internet},
    runtime::operation::{self, Operation},
};

/// The most that fits into a datagram of IPv4, in bytes.
const LARGEST: usize = 65_507;

/// A UDP socket: each send is one datagram, and each receive takes one.
///
/// Its methods take `&self`, so that several tasks may send and receive on one socket (in an `Arc`). Each
/// datagram goes to one of those that receive. A datagram that finds the kernel's receive buffer full is
/// lost, as on the way; `socket().set_recv_buffer_size` makes room for more.
///
/// A socket that is not [connected](Self::connect) does not hear of a port that nobody listens on. One that is
/// connected does, by an error of the next send or receive
/// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)). That error is given once, and the socket can be
/// used on.
///
/// asyncio: `loop.create_datagram_endpoint`, without its protocol; `loop.sock_recvfrom`, `loop.sock_sendto`.
///
/// # Cancel safety
///
/// A receive that is dropped has taken no datagram. A send that is dropped before it returned has sent none.
///
/// ```
/// use ringloop::net::UdpSocket;
///
/// ringloop::run(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     client.send_to(b"ping", server.local_addr().unwrap()).await.unwrap();
///     let mut buf = [0; 1500];
///     let (len, peer) = server.recv_from(&mut buf).await.unwrap();
///     server.send_to(&buf[..len], peer).await.unwrap();
///     assert_eq!(client.recv(&mut buf).await.unwrap(), 4);
/// });
/// ```
#[doc(alias = "create_datagram_endpoint")]
pub struct UdpSocket {
    socket: SocketHandle,
}

/// What [`recv_meta`](UdpSocket::recv_meta) says of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// The bytes in the buffer.
    pub len: usize,
    /// The bytes that the datagram had.
    pub sent: usize,
    /// The address of its sender.
    pub peer: SocketAddr,
}

impl RecvMeta {
    /// Whether the datagram had more bytes than the buffer: the rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.sent > self.len
    }
}

impl UdpSocket {
    /// A socket at the first of the addresses that can be bound. Port 0 takes any free one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// The address is in use, not of this machine, or not permitted; the text says which.
    pub async fn bind(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(addrs, false).await
    }

    /// A socket at a port that several sockets share (`SO_REUSEPORT`), each of them bound so, by the same user: the
    /// kernel spreads senders over them.
    ///
    /// asyncio: `reuse_port=True`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub async fn bind_reuse_port(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(addrs, true).await
    }

    async fn bind_with(addrs: impl ToSocketAddrs, share: bool) -> io::Result<Self> {
        let mut last = None;
        for addr in lookup_host(addrs).await? {
            match bind_one(addr, share) {
                Ok(socket) => return Ok(Self::of(socket)),
                Err(error) => {
                    let text = format!("cannot bind {addr}: {error}");
                    last = Some(io::Error::new(error.kind(), text));
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no address to bind to")
        }))
    }

    /// The descriptor must be non-blocking.
    fn of(socket: impl Into<std::os::fd::OwnedFd>) -> Self {
        // A ring only polls it: its receives are for streams.
        Self { socket: SocketHandle::new(Socket::new(Endpoint::Polled(socket.into()))) }
    }

    /// Takes a socket over, and makes it non-blocking, for every user of its open file.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(socket: net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = Self::of(socket);
        // There may be copies of it.
        socket.get().show();
        Ok(socket)
    }

    /// Hands the socket over, in blocking mode. It works on any executor.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be blocking.
    pub async fn into_std(self) -> io::Result<net::UdpSocket> {
        let (endpoint, _) = self.socket.into_parts().await?;
        let socket = net::UdpSocket::from(endpoint.into_fd());
        socket.set_nonblocking(false)?;
        Ok(socket)
    }

    fn get(&self) -> &Arc<Socket> {
        self.socket.get()
    }

    /// Has the socket send to one address, and take datagrams from there alone: to the first of the addresses that
    /// it can be connected to. It may be connected again, to another one.
    ///
    /// asyncio: `remote_addr` of `create_datagram_endpoint`.
    ///
    /// # Cancel safety
    ///
    /// The socket stays as it was.
    ///
    /// # Errors
    ///
    /// Those of connect(2): no address is of the socket's family, or no way leads there.
    ///
    /// ```
    /// use ringloop::net::UdpSocket;
    ///
    /// ringloop::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     client.connect(server.local_addr().unwrap()).await.unwrap();
    ///     client.send(b"to whom it was connected").await.unwrap();
    ///     assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    /// });
    /// ```
    pub async fn connect(&self, addrs: impl ToSocketAddrs) -> io::Result<()> {
        let mut last = None;
        for addr in lookup_host(addrs).await? {
            match rustix::net::connect(self.get().endpoint(), &addr) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(explain(error.into(), Some(addr), 0)),
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to")
        }))
    }

    /// Sends a datagram to an address; of a name, to its first address of the socket's family. Gives the number
    /// of bytes, which is all of them. It waits while the send buffer is full. An empty datagram is one, too.
    ///
    /// asyncio: `loop.sock_sendto`, `DatagramTransport.sendto`.
    ///
    /// # Cancel safety
    ///
    /// A datagram whose send was dropped before it returned was not sent.
    ///
    /// # Errors
    ///
    /// Those of sendto(2): the datagram is too large, the address is of another family, no way leads there; the
    /// text says which.
    pub async fn send_to(&self, bytes: &[u8], addrs: impl ToSocketAddrs) -> io::Result<usize> {
        let addr = match addrs.single() {
            Some(addr) => addr,
            None => self.first_of_family(addrs).await?,
        };
        let sent = operation::run(self.get(), SendTo { bytes, to: Some(addr) }).await;
        sent.map_err(|error| explain(error, Some(addr), bytes.len()))
    }

    async fn first_of_family(&self, addrs: impl ToSocketAddrs) -> io::Result<SocketAddr> {
        let is_ipv4 = self.local_addr()?.is_ipv4();
        let found = lookup_host(addrs).await?.into_iter().find(|addr| addr.is_ipv4() == is_ipv4);
        found.ok_or_else(|| {
            let family = if is_ipv4 { "IPv4" } else { "IPv6" };
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("none of the addresses is of {family}, as the socket is"),
            )
        })
    }

    /// Sends a datagram to the address that the socket is [connected](Self::connect) to. See
    /// [`send_to`](Self::send_to).
    ///
    /// # Cancel safety
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). The socket is not connected. Or nobody received an earlier datagram:
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), once.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = operation::run(self.get(), SendTo { bytes, to: None }).await;
        sent.map_err(|error| explain(error, None, bytes.len()))
    }

    /// Waits for a datagram, and gives its length and the address of its sender. What does not fit into the
    /// buffer is lost; [`recv_meta`](Self::recv_meta) tells of that.
    ///
    /// asyncio: `loop.sock_recvfrom`.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Those of recvfrom(2). The socket can be used on.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let meta = self.recv_meta(buf).await?;
        Ok((meta.len, meta.peer))
    }

    /// Waits for a datagram, and gives its length. On a [connected](Self::connect) socket it is from that address.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from). On a connected socket also: nobody received an earlier datagram,
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), once.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_meta(buf).await?.len)
    }

    /// Waits for a datagram, and says what there is to say of it: also whether the buffer was too small.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// use ringloop::net::UdpSocket;
    ///
    /// ringloop::run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     socket.send_to(b"too long", socket.local_addr().unwrap()).await.unwrap();
    ///     let meta = socket.recv_meta(&mut [0; 3]).await.unwrap();
    ///     assert!(meta.is_truncated());
    ///     assert_eq!((meta.len, meta.sent), (3, 8));
    /// });
    /// ```
    pub async fn recv_meta(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        operation::run(self.get(), RecvFrom { buf, flags: RecvFlags::empty() }).await
    }

    /// As [`recv_meta`](Self::recv_meta), but the datagram stays to be received.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn peek_meta(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        operation::run(self.get(), RecvFrom { buf, flags: RecvFlags::PEEK }).await
    }

    /// Sends a datagram without waiting. See [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room for it.
    pub fn try_send_to(&self, bytes: &[u8], addr: SocketAddr) -> io::Result<usize> {
        operation::attempt(self.get(), &mut SendTo { bytes, to: Some(addr) })
            .map_err(|error| explain(error, Some(addr), bytes.len()))
    }

    /// Sends a datagram to the connected address without waiting. See [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room for it.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        operation::attempt(self.get(), &mut SendTo { bytes, to: None })
            .map_err(|error| explain(error, None, bytes.len()))
    }

    /// Receives a datagram without waiting. See [`recv_meta`](Self::recv_meta).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none is there.
    pub fn try_recv_meta(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        operation::attempt(self.get(), &mut RecvFrom { buf, flags: RecvFlags::empty() })
    }

    /// Waits until a receive would not have to wait: there is a datagram or an error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn readable(&self) -> io::Result<()> {
        operation::run(self.get(), Readable).await
    }

    /// Waits until a send would not have to wait: there is room or an error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn writable(&self) -> io::Result<()> {
        operation::run(self.get(), Writable).await
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.get().endpoint().local_addr()
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2): it is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.get().endpoint().peer_addr()
    }

    /// The socket, for its options: broadcast, multicast groups, buffer sizes, the time to live.
    ///
    /// ```
    /// # ringloop::run(async {
    /// let socket = ringloop::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
    /// socket.socket().set_broadcast(true).unwrap();
    /// socket.socket().set_recv_buffer_size(1 << 20).unwrap();
    /// # });
    /// ```
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

/// CLOEXEC comes with it (S9).
fn bind_one(addr: SocketAddr, share: bool) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// What went wrong, and what to do about it. The kind stays; an error that says enough stays as it is.
fn explain(error: io::Error, addr: Option<SocketAddr>, len: usize) -> io::Error {
    let text = match Errno::from_io_error(&error) {
        Some(Errno::MSGSIZE) => format!(
            "a datagram of {len} bytes is too large: over IPv4 it may have {LARGEST}, and no more than the send \
             buffer has room for"
        ),
        Some(Errno::DESTADDRREQ) => {
            "the socket is not connected: call connect first, or send_to".to_owned()
        }
        Some(Errno::AFNOSUPPORT) => format!(
            "{} is of another family than the socket: bind a socket of that family",
            addr.map_or_else(String::new, |addr| addr.to_string())
        ),
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{text} ({error})"))
}

/// sendto(2), or send(2) on a connected socket.
struct SendTo<'a> {
    bytes: &'a [u8],
    to: Option<SocketAddr>,
}

impl Operation<Endpoint> for SendTo<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(match &self.to {
            Some(addr) => sendto(endpoint, self.bytes, flags, addr)?,
            None => send(endpoint, self.bytes, flags)?,
        })
    }
}

/// recvfrom(2).
struct RecvFrom<'a> {
    buf: &'a mut [u8],
    flags: RecvFlags,
}

impl Operation<Endpoint> for RecvFrom<'_> {
    type Output = RecvMeta;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<RecvMeta> {
        // The kernel says the length of the whole datagram.
        let flags = self.flags | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (len, sent, peer): (_, _, Option<SocketAddrAny>) =
            recvfrom(endpoint, &mut *self.buf, flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok(RecvMeta { len, sent, peer: peer.ok_or_else(not_of_the_internet)? })
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().show()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}
