//! Options of the socket, and what it counts.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use libc::c_int;

use super::{UdpSocket, control::UDP_GRO, message};
use crate::loom::global::{AtomicU8, Ordering};

/// What the socket was asked for beside datagrams. In a forked child they hold as well: they are options of the
/// socket.
pub(super) struct Flags(AtomicU8);

impl Flags {
    /// Datagrams may come in groups. Set while nobody else has the socket, and never cleared.
    pub(super) const GRO: u8 = 1;
    const ECN: u8 = 1 << 1;
    const PACKET_INFO: u8 = 1 << 2;
    /// Any of those that come as control data.
    pub(super) const CONTROL: u8 = Self::GRO | Self::ECN | Self::PACKET_INFO;
    /// An interface has refused to send segments.
    pub(super) const NO_GSO: u8 = 1 << 3;

    pub(super) fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Whether one of them is set.
    #[inline]
    pub(super) fn has(&self, flags: u8) -> bool {
        // Relaxed: a receive that does not see them yet gets no control data, which it could also have missed.
        self.0.load(Ordering::Relaxed) & flags != 0
    }

    pub(super) fn set(&self, flags: u8) {
        // Relaxed: as above.
        self.0.fetch_or(flags, Ordering::Relaxed);
    }

    fn set_to(&self, flags: u8, on: bool) {
        match on {
            true => self.set(flags),
            // Relaxed: as above.
            false => drop(self.0.fetch_and(!flags, Ordering::Relaxed)),
        }
    }
}

/// # What comes beside datagrams
impl UdpSocket {
    /// Has the kernel give datagrams of one sender and one size as a group, where they arrive so (`UDP_GRO`): the
    /// reading side of bulk. It cannot be turned off again, since a group that waits would become one long datagram,
    /// without a mark.
    ///
    /// From then on datagrams are received by [`recv_batch`](Self::recv_batch) and
    /// [`recv_meta`](Self::recv_meta), and the variants of these without waiting, with buffers of
    /// [`GRO_BUFFER`](Self::GRO_BUFFER) bytes. Every other receive fails and says so: it could not say that it got
    /// several.
    ///
    /// # Errors
    ///
    /// The kernel has no groups (before Linux 5.0).
    pub fn enable_gro(&mut self) -> io::Result<()> {
        let set = message::set_option(self.get().endpoint(), libc::SOL_UDP, UDP_GRO, 1);
        set.map_err(|error| {
            let text = format!("this kernel cannot receive groups of datagrams ({error})");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        self.flags.set(Flags::GRO);
        Ok(())
    }

    /// Notes that a socket of somebody else's making receives groups.
    pub(super) fn look_for_gro(&self) {
        if message::option(self.get().endpoint(), libc::SOL_UDP, UDP_GRO).is_ok_and(|on| on != 0) {
            self.flags.set(Flags::GRO);
        }
    }

    /// Whether received datagrams come with the mark that they carry, as [`ecn`](super::RecvMeta::ecn) of
    /// [`recv_meta`](Self::recv_meta) and [`recv_batch`](Self::recv_batch). It costs some time for each datagram.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_recv_ecn(&self, on: bool) -> io::Result<()> {
        let socket = self.get().endpoint();
        let value = c_int::from(on);
        if self.local_addr()?.is_ipv4() {
            message::set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, value)?;
        } else {
            message::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, value)?;
            // For the datagrams of IPv4 that a socket of both families gets.
            let _ = message::set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, value);
        }
        self.flags.set_to(Flags::ECN, on);
        Ok(())
    }

    /// Whether received datagrams come with the address that they were sent to and the number of the interface that
    /// they came by, as [`dst_ip`](super::RecvMeta::dst_ip) and [`interface`](super::RecvMeta::interface) of
    /// [`recv_meta`](Self::recv_meta) and [`recv_batch`](Self::recv_batch). It costs some time for each datagram.
    ///
    /// A server that is bound to all addresses answers from the one that its client knows, by
    /// [`Transmit::with_src_ip`](super::Transmit::with_src_ip).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    ///
    /// ```
    /// use ringloop::net::{Transmit, UdpSocket};
    ///
    /// ringloop::run(async {
    ///     let server = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    ///     server.set_recv_packet_info(true).unwrap();
    ///     let port = server.local_addr().unwrap().port();
    ///     let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     client.send_to(b"ping", ("127.0.0.2", port)).await.unwrap();
    ///
    ///     let mut buf = [0; 1500];
    ///     let meta = server.recv_meta(&mut buf).await.unwrap();
    ///     let answer = Transmit::new(meta.peer, b"pong").with_src_ip(meta.dst_ip.unwrap());
    ///     server.send_transmit(&answer).await.unwrap();
    ///     let (_, from) = client.recv_from(&mut buf).await.unwrap();
    ///     assert_eq!(from.to_string(), format!("127.0.0.2:{port}"));
    /// });
    /// ```
    #[doc(alias = "IP_PKTINFO")]
    pub fn set_recv_packet_info(&self, on: bool) -> io::Result<()> {
        let socket = self.get().endpoint();
        let (level, name) = match self.local_addr()?.is_ipv4() {
            true => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            // It tells of datagrams of IPv4 as well.
            false => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        message::set_option(socket, level, name, on.into())?;
        self.flags.set_to(Flags::PACKET_INFO, on);
        Ok(())
    }

    /// How many datagrams were lost because nobody received them in time: they found the receive buffer full. The count is
    /// exact at once, goes on from the socket's beginning, and begins again at 0 after 2^32. It counts a group that was sent as
    /// one as one, and also datagrams that were damaged.
    ///
    /// A reader that falls behind holds a bounded amount of memory: the receive buffer, which the kernel's own data for each
    /// datagram counts against. At its default size, 212 992 bytes, it holds up to 256 datagrams of 64 bytes, or 92
    /// of 1200 bytes. Right after a receive it may be a quarter less, since the kernel counts room as free in portions.
    /// `socket().set_recv_buffer_size` changes the size, up to `net.core.rmem_max`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    ///
    /// ```
    /// use ringloop::net::UdpSocket;
    ///
    /// ringloop::run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     let here = socket.local_addr().unwrap();
    ///     for _ in 0..1000 {
    ///         socket.send_to(b"too many", here).await.unwrap();
    ///     }
    ///     let mut received = 0;
    ///     while socket.try_recv(&mut [0; 8]).is_ok() {
    ///         received += 1;
    ///     }
    ///     assert_eq!(received + socket.dropped().unwrap(), 1000);
    /// });
    /// ```
    #[doc(alias = "SO_RXQ_OVFL")]
    pub fn dropped(&self) -> io::Result<u32> {
        message::dropped(self.get().endpoint())
    }

    /// Takes the socket's error, if it has one: that of an earlier datagram which a connected socket has sent.
    /// See [`UdpSocket`].
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.options().take_error()
    }
}

/// # Options
impl UdpSocket {
    /// Whether datagrams may be sent to broadcast addresses.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn broadcast(&self) -> io::Result<bool> {
        self.options().broadcast()
    }

    /// Allows to send datagrams to broadcast addresses.
    ///
    /// asyncio: `allow_broadcast=True`.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.options().set_broadcast(on)
    }

    /// How many routers a datagram may pass.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        self.options().ttl_v4()
    }

    /// Sets how many routers a datagram may pass: 1 to 255.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.options().set_ttl_v4(ttl)
    }

    /// The type-of-service byte of datagrams over IPv4.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.options().tos_v4()
    }

    /// Sets the type-of-service byte of datagrams over IPv4. [`Transmit::ecn`](super::Transmit::ecn) replaces the whole
    /// byte.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.options().set_tos_v4(tos)
    }

    /// The traffic class of datagrams over IPv6.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.options().tclass_v6()
    }

    /// Sets the traffic class of datagrams over IPv6. [`Transmit::ecn`](super::Transmit::ecn) replaces the whole byte.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_tclass_v6(&self, tclass: u32) -> io::Result<()> {
        self.options().set_tclass_v6(tclass)
    }

    /// Whether the network refuses datagrams that are too large for the way, instead of splitting them: a send of
    /// one that the interface cannot take fails. Protocols that look for the largest size need it, as QUIC does.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    #[doc(alias = "IP_MTU_DISCOVER")]
    pub fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        let socket = self.get().endpoint();
        let v4 = if on { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_WANT };
        if self.local_addr()?.is_ipv6() {
            let v6 = if on { libc::IPV6_PMTUDISC_PROBE } else { libc::IPV6_PMTUDISC_WANT };
            message::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, v6)?;
            message::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, on.into())?;
        }
        message::set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, v4)
    }

    /// Binds the socket to an interface by its name, for what it sends and receives; `None` lifts that.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): there is no such interface, or it is not permitted.
    pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
        self.options().bind_device(interface)
    }

    /// The name of the interface that the socket is [bound](Self::bind_device) to.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn device(&self) -> io::Result<Option<Vec<u8>>> {
        self.options().device()
    }
}

/// # Multicast
impl UdpSocket {
    /// Receives what is sent to a group, on the interface with an address of this machine;
    /// [`UNSPECIFIED`](Ipv4Addr::UNSPECIFIED) leaves the choice to the kernel.
    ///
    /// The socket has to be bound to the group's port, at the group's address or at all addresses.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): the address is none of a group, or no interface has that address.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    ///
    /// use ringloop::net::UdpSocket;
    ///
    /// ringloop::run(async {
    ///     let group = Ipv4Addr::new(239, 255, 77, 1);
    ///     let member = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    ///     member.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
    ///     let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     sender.socket().set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    ///     let port = member.local_addr().unwrap().port();
    ///     sender.send_to(b"to all", (group, port)).await.unwrap();
    ///     assert_eq!(member.recv(&mut [0; 16]).await.unwrap(), 6);
    /// });
    /// ```
    pub fn join_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.options().join_multicast_v4(&multiaddr, &interface)
    }

    /// Leaves a group that was joined on that interface.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): it was not joined.
    pub fn leave_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.options().leave_multicast_v4(&multiaddr, &interface)
    }

    /// Receives what is sent to a group, on the interface with that number; 0 leaves the choice to the kernel.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): the address is none of a group, or there is no such interface.
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.options().join_multicast_v6(multiaddr, interface)
    }

    /// Leaves a group that was joined on that interface.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): it was not joined.
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.options().leave_multicast_v6(multiaddr, interface)
    }

    /// Whether members on this machine receive what the socket sends to groups of IPv4.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.options().multicast_loop_v4()
    }

    /// Sets whether members on this machine receive what the socket sends to groups of IPv4. It is on by default.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.options().set_multicast_loop_v4(on)
    }

    /// Whether members on this machine receive what the socket sends to groups of IPv6.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.options().multicast_loop_v6()
    }

    /// Sets whether members on this machine receive what the socket sends to groups of IPv6. It is on by default.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.options().set_multicast_loop_v6(on)
    }

    /// How many routers a datagram to a group of IPv4 may pass.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.options().multicast_ttl_v4()
    }

    /// Sets how many routers a datagram to a group of IPv4 may pass. It is 1 by default: the network of this machine.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.options().set_multicast_ttl_v4(ttl)
    }

    /// The socket's options, which need no descriptor that others could copy.
    fn options(&self) -> socket2::SockRef<'_> {
        socket2::SockRef::from(self.get().endpoint())
    }
}
