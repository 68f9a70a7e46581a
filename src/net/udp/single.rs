//! One datagram by each call.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    slice,
    task::{Context, Poll},
};

use rustix::net::RecvFlags;
use socket2::SockRef;

use super::{Flags, UdpSocket, batch::check_room, datagram::RecvMeta, explain, message};
use crate::{
    net::{addr::ToSocketAddrs, names::lookup_host},
    reactor::{Direction, Endpoint, not_of_the_internet},
    runtime::operation::{self, Operation},
};

/// # One datagram by each call
impl UdpSocket {
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
        let found = lookup_host(addrs).await?;
        let of_family = found.iter().find(|addr| addr.is_ipv4() == is_ipv4);
        // A socket of both families takes an IPv4 address as it is.
        let found =
            of_family.or_else(|| found.first().filter(|_| self.has_both_families())).copied();
        found.ok_or_else(|| {
            let family = if is_ipv4 { "IPv4" } else { "IPv6" };
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("none of the addresses is of {family}, as the socket is"),
            )
        })
    }

    fn has_both_families(&self) -> bool {
        // It is an option of IPv6 alone.
        SockRef::from(self.get().endpoint()).only_v6().is_ok_and(|only| !only)
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

    /// Sends a datagram, or has the task woken when there is room. See [`send_to`](Self::send_to).
    ///
    /// Of several tasks that wait by the poll functions for sending on one socket, the last is woken, as tokio has it.
    /// Any number may wait by the functions that are awaited, beside them.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        addr: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let sent = operation::poll(self.get(), cx, &mut SendTo { bytes, to: Some(addr) });
        sent.map_err(|error| explain(error, Some(addr), bytes.len()))
    }

    /// Sends a datagram to the connected address, or has the task woken when there is room. See [`send`](Self::send)
    /// and [`poll_send_to`](Self::poll_send_to).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = operation::poll(self.get(), cx, &mut SendTo { bytes, to: None });
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
        self.refuse_groups()?;
        let meta = operation::run(self.get(), RecvFrom::plain(buf)).await?;
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
        self.refuse_groups()?;
        operation::run(self.get(), Recv { buf, flags: RecvFlags::empty() }).await
    }

    /// Waits for a datagram, and says what there is to say of it: whether the buffer was too small, and what
    /// was asked for by [`set_recv_ecn`](Self::set_recv_ecn) and its like.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv). With [`enable_gro`](Self::enable_gro): the buffer has fewer than
    /// [`GRO_BUFFER`](Self::GRO_BUFFER) bytes.
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
        operation::run(self.get(), self.recv_with(buf, RecvFlags::empty())?).await
    }

    /// Waits for a datagram, and gives its length and the address of its sender. It stays to be received.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.refuse_groups()?;
        let meta = operation::run(self.get(), RecvFrom::peek(buf)).await?;
        Ok((meta.len, meta.peer))
    }

    /// Waits for a datagram, and gives the address of its sender. It stays to be received.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        // The datagrams of a group have one sender.
        Ok(operation::run(self.get(), RecvFrom::peek(&mut [])).await?.peer)
    }

    /// Waits for a datagram, and gives its length. It stays to be received.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.refuse_groups()?;
        operation::run(self.get(), Recv { buf, flags: RecvFlags::PEEK }).await
    }

    /// As [`recv_meta`](Self::recv_meta), but the datagram stays to be received.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv_meta`](Self::recv_meta).
    pub async fn peek_meta(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        operation::run(self.get(), self.recv_with(buf, RecvFlags::PEEK)?).await
    }

    /// Receives a datagram without waiting. See [`recv_from`](Self::recv_from).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none is there.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.refuse_groups()?;
        let meta = operation::attempt(self.get(), &mut RecvFrom::plain(buf))?;
        Ok((meta.len, meta.peer))
    }

    /// Receives a datagram without waiting. See [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none is there.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.refuse_groups()?;
        operation::attempt(self.get(), &mut Recv { buf, flags: RecvFlags::empty() })
    }

    /// Receives a datagram without waiting. See [`recv_meta`](Self::recv_meta).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none is there.
    pub fn try_recv_meta(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        operation::attempt(self.get(), &mut self.recv_with(buf, RecvFlags::empty())?)
    }

    /// Receives a datagram, or has the task woken when there is one. See [`recv_from`](Self::recv_from).
    ///
    /// Of several tasks that wait by the poll functions for receiving on one socket, the last is woken, as tokio has
    /// it. Any number may wait by the functions that are awaited, beside them.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.refuse_groups()?;
        let received = operation::poll(self.get(), cx, &mut RecvFrom::plain(buf));
        received.map_ok(|meta| (meta.len, meta.peer))
    }

    /// Receives a datagram, or has the task woken when there is one. See [`recv`](Self::recv) and
    /// [`poll_recv_from`](Self::poll_recv_from).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.refuse_groups()?;
        operation::poll(self.get(), cx, &mut Recv { buf, flags: RecvFlags::empty() })
    }

    /// Receives a datagram, or has the task woken when there is one. See [`recv_meta`](Self::recv_meta) and
    /// [`poll_recv_from`](Self::poll_recv_from).
    ///
    /// # Errors
    ///
    /// As [`recv_meta`](Self::recv_meta).
    pub fn poll_recv_meta(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<RecvMeta>> {
        operation::poll(self.get(), cx, &mut self.recv_with(buf, RecvFlags::empty())?)
    }

    fn recv_with<'b>(&self, buf: &'b mut [u8], flags: RecvFlags) -> io::Result<RecvFrom<'_, 'b>> {
        if self.flags.has(Flags::GRO) {
            check_room(buf)?;
        }
        Ok(RecvFrom { buf, flags, control: Some(&self.flags) })
    }

    /// For receives that could not say that they got several datagrams.
    #[inline]
    fn refuse_groups(&self) -> io::Result<()> {
        if !self.flags.has(Flags::GRO) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the socket receives groups of datagrams (enable_gro), and this receive could not tell them apart: \
             call recv_meta or recv_batch",
        ))
    }
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
        Ok(endpoint.send_to(self.bytes, self.to)?)
    }
}

/// recv(2): without the address, which costs something.
struct Recv<'a> {
    buf: &'a mut [u8],
    flags: RecvFlags,
}

impl Operation<Endpoint> for Recv<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        Ok(endpoint.recv_one(self.buf, self.flags)?)
    }
}

/// recvfrom(2), or recvmsg(2) where control data was asked for.
struct RecvFrom<'s, 'b> {
    buf: &'b mut [u8],
    flags: RecvFlags,
    /// What was asked for, if the meta is.
    control: Option<&'s Flags>,
}

impl<'b> RecvFrom<'_, 'b> {
    /// Only the length and the address.
    fn plain(buf: &'b mut [u8]) -> Self {
        Self { buf, flags: RecvFlags::empty(), control: None }
    }

    /// The same of a datagram that stays.
    fn peek(buf: &'b mut [u8]) -> Self {
        Self { flags: RecvFlags::PEEK, ..Self::plain(buf) }
    }
}

impl Operation<Endpoint> for RecvFrom<'_, '_> {
    type Output = RecvMeta;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<RecvMeta> {
        if self.control.is_some_and(|flags| flags.has(Flags::CONTROL)) {
            let mut meta = RecvMeta::default();
            let mut buf = IoSliceMut::new(self.buf);
            let (bufs, metas) = (slice::from_mut(&mut buf), slice::from_mut(&mut meta));
            message::recv(endpoint, bufs, metas, true, self.flags.bits().cast_signed())?;
            return Ok(meta);
        }
        let received = endpoint.recv_from(self.buf, self.flags)?;
        let peer = received.peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok(RecvMeta::plain(received.len, received.sent, peer.ok_or_else(not_of_the_internet)?))
    }
}
