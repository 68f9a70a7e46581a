//! UDP sockets.
//!
//! * [`single`]: one datagram by each call;
//! * [`batch`]: many by one call;
//! * [`options`]: options, multicast groups, and what comes beside datagrams;
//! * [`datagram`]: what is sent, and what is known of what was received;
//! * [`message`] and [`control`]: the system calls for messages, and the control data of these.

mod batch;
mod control;
mod datagram;
mod message;
mod options;
mod single;

use std::{
    fmt, io,
    net::{self, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::Arc,
    task::{Context, Poll},
};

use rustix::io::Errno;
use socket2::SockRef;

pub use self::datagram::{Datagrams, EcnCodepoint, RecvMeta, Transmit};
use self::options::Flags;
use super::{
    addr::{ToSocketAddrs, bind_hint},
    names::lookup_host,
};
use crate::{
    io::{Readable, SocketHandle, Writable},
    reactor::{Endpoint, Socket},
    runtime::operation,
};

/// The most that fits into a datagram of IPv4, in bytes.
const LARGEST: usize = 65_507;

/// A UDP socket: each send is one datagram, and each receive takes one.
///
/// Its methods take `&self`, so that several tasks may send and receive on one socket (in an `Arc`). Each
/// datagram goes to one of those that receive. A datagram that finds the kernel's receive buffer full is
/// lost, as on the way: [`dropped`](Self::dropped) counts those, and says how much there is room for.
///
/// Bulk goes by [`send_batch`](Self::send_batch) and [`recv_batch`](Self::recv_batch), with segments and groups. The
/// `poll_` functions are for protocols that are state machines, such as QUIC.
///
/// A socket that is not [connected](Self::connect) does not hear of a port that nobody listens on. One that is
/// connected does, by an error of the next send or receive
/// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)). That error is given once, and the socket can be
/// used on. It is the error of an earlier datagram; but a send that gives it has not sent its own, which may be sent
/// again.
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
    flags: Flags,
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
            match operation::bind_udp(addr, share) {
                Ok(socket) => return Ok(Self::of(socket)),
                Err(error) => {
                    let text = format!("cannot bind {addr}: {error}{}", bind_hint(&error));
                    last = Some(io::Error::new(error.kind(), text));
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no address to bind to")
        }))
    }

    /// The endpoint must be non-blocking.
    fn of(socket: Endpoint) -> Self {
        let socket = SocketHandle::new(Socket::new(socket));
        Self { socket, flags: Flags::new() }
    }

    /// Takes a socket over, and makes it non-blocking, for every user of its open file.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(socket: net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = Self::of(Endpoint::Polled(socket.into()));
        // There may be copies of it.
        socket.get().show();
        socket.look_for_gro();
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
            match self.get().endpoint().connect_udp(addr) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(explain(error, Some(addr), 0)),
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to")
        }))
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

    /// Whether a receive would not have to wait; else the task is woken when that may have changed. See
    /// [`readable`](Self::readable) and [`poll_recv_from`](Self::poll_recv_from).
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    #[doc(alias = "poll_readable")]
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        operation::poll(self.get(), cx, &mut Readable)
    }

    /// Whether a send would not have to wait; else the task is woken when that may have changed. See
    /// [`writable`](Self::writable) and [`poll_send_to`](Self::poll_send_to).
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    #[doc(alias = "poll_writable")]
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        operation::poll(self.get(), cx, &mut Writable)
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

    /// The socket, for further options, such as the sizes of its buffers.
    ///
    /// ```
    /// # ringloop::run(async {
    /// let socket = ringloop::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
    /// socket.socket().set_multicast_ttl_v4(4).unwrap();
    /// socket.socket().set_recv_buffer_size(1 << 20).unwrap();
    /// # });
    /// ```
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
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
        Some(Errno::ACCESS) => format!(
            "not permitted: a broadcast address needs set_broadcast(true), and a firewall may forbid {}",
            addr.map_or_else(|| "to send".to_owned(), |addr| format!("to send to {addr}"))
        ),
        Some(Errno::AFNOSUPPORT) => format!(
            "{} is of another family than the socket: bind a socket of that family",
            addr.map_or_else(String::new, |addr| addr.to_string())
        ),
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{text} ({error})"))
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
