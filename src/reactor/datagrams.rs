//! The calls on a socket for datagrams, one by each. Several by one call are in `net`, which asks the kernel.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrAny, SocketFlags, SocketType, connect, recv, recvfrom,
    send, sendto, socket_with, socketpair,
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::endpoint::{Endpoint, SEND, by_kind};

/// A datagram that was received.
pub(crate) struct Received {
    /// The bytes in the buffer.
    pub(crate) len: usize,
    /// The bytes that it had.
    pub(crate) sent: usize,
    pub(crate) peer: Option<SocketAddrAny>,
}

/// # Sockets for datagrams
///
/// A ring only polls them: its receives are for streams.
impl Endpoint {
    /// A UDP socket at an address; `share`: at a port that others may have, too. CLOEXEC comes with it (S9).
    pub(crate) fn bind_udp(addr: SocketAddr, share: bool) -> io::Result<Self> {
        let domain = Domain::for_address(addr);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if share {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        Ok(Self::Polled(socket.into()))
    }

    /// A Unix socket for datagrams, at an address if there is one.
    pub(crate) fn bind_unix_datagrams(addr: Option<&SockAddr>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        if let Some(addr) = addr {
            SockRef::from(&socket).bind(addr)?;
        }
        Ok(Self::Polled(socket))
    }

    /// Two Unix sockets for datagrams that are connected to each other.
    pub(crate) fn pair_of_datagrams() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok((Self::Polled(near), Self::Polled(far)))
    }

    /// Has datagrams go to that address, and come from there alone.
    pub(crate) fn connect_udp(&self, addr: SocketAddr) -> io::Result<()> {
        by_kind!(self, fd => Ok(connect(fd, &addr)?), end => Ok(end.connect_to(&addr.into())?))
    }

    /// The same for a Unix socket.
    pub(crate) fn connect_unix_datagrams(&self, addr: &SockAddr) -> io::Result<()> {
        by_kind!(self, fd => SockRef::from(fd).connect(addr), end => Ok(end.connect_to(addr)?))
    }

    /// Sends a datagram to an address; without one, to that which the socket is connected to.
    #[inline]
    pub(crate) fn send_to(&self, bytes: &[u8], to: Option<SocketAddr>) -> Result<usize, Errno> {
        by_kind!(
            self,
            fd => match &to {
                Some(addr) => sendto(fd, bytes, SEND, addr),
                None => send(fd, bytes, SEND),
            },
            end => end.send_to(bytes, to.map(SockAddr::from).as_ref()),
        )
    }

    /// The same to the address of a Unix socket.
    pub(crate) fn send_to_unix(&self, bytes: &[u8], to: &SockAddr) -> io::Result<usize> {
        let flags = SEND.bits().cast_signed();
        by_kind!(
            self,
            fd => SockRef::from(fd).send_to_with_flags(bytes, to, flags),
            end => Ok(end.send_to(bytes, Some(to))?),
        )
    }

    /// Receives a datagram without its sender's address, which costs something.
    #[inline]
    pub(crate) fn recv_one(&self, buf: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        by_kind!(
            self,
            fd => recv(fd, buf, flags | RecvFlags::DONTWAIT).map(|(len, _)| len),
            end => end.recv_from(buf, flags).map(|received| received.len),
        )
    }

    /// Receives a datagram.
    #[inline]
    pub(crate) fn recv_from(&self, buf: &mut [u8], flags: RecvFlags) -> Result<Received, Errno> {
        // With TRUNC the kernel says the length of the whole datagram.
        let asked = flags | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        by_kind!(
            self,
            fd => recvfrom(fd, buf, asked).map(|(len, sent, peer)| Received { len, sent, peer }),
            end => end.recv_from(buf, flags),
        )
    }
}
