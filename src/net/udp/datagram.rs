//! What is sent by [`send_batch`](super::UdpSocket::send_batch), and what is known of what was received.

use std::{
    mem,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// The mark of a datagram by which routers report congestion (ECN, RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EcnCodepoint {
    /// ECT(0): both ends understand the mark.
    Ect0 = 0b10,
    /// ECT(1): the same.
    Ect1 = 0b01,
    /// CE: a router on the way was congested.
    Ce = 0b11,
}

impl EcnCodepoint {
    /// The mark in the two lowest bits of a TOS or traffic class byte; `None` where there is none.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0b10 => Some(Self::Ect0),
            0b01 => Some(Self::Ect1),
            0b11 => Some(Self::Ce),
            _ => None,
        }
    }
}

/// What [`send_batch`](super::UdpSocket::send_batch) sends to one address: a datagram, or several of one size,
/// which lie behind each other.
///
/// ```
/// use ringloop::net::{Transmit, UdpSocket};
///
/// ringloop::run(async {
///     let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     let there = far.local_addr().unwrap();
///     let transmit = Transmit::new(there, b"one two 3").with_segment_size(4);
///     assert_eq!(transmit.datagrams(), 3);
///     near.send_transmit(&transmit).await.unwrap();
///     let mut buf = [0; 16];
///     for expected in ["one ", "two ", "3"] {
///         let len = far.recv(&mut buf).await.unwrap();
///         assert_eq!(&buf[..len], expected.as_bytes());
///     }
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmit<'a> {
    /// The address to send to; `None` is the one that the socket is connected to.
    pub destination: Option<SocketAddr>,
    /// The bytes of all its datagrams.
    pub contents: &'a [u8],
    /// The bytes of each datagram, of which the last may have fewer. `None`: the contents are one datagram.
    pub segment_size: Option<usize>,
    /// The mark that the datagrams carry; `None` leaves the one of the socket's options, which is none by default.
    pub ecn: Option<EcnCodepoint>,
    /// The address to send from, one of this machine's; `None` leaves the choice to the kernel.
    pub src_ip: Option<IpAddr>,
}

impl<'a> Transmit<'a> {
    /// One datagram to an address.
    pub fn new(destination: SocketAddr, contents: &'a [u8]) -> Self {
        Self { destination: Some(destination), ..Self::connected(contents) }
    }

    /// One datagram to the address that the socket is connected to.
    pub fn connected(contents: &'a [u8]) -> Self {
        Self { destination: None, contents, segment_size: None, ecn: None, src_ip: None }
    }

    /// Makes the contents several datagrams of `size` bytes, of which the last may have fewer.
    pub fn with_segment_size(self, size: usize) -> Self {
        Self { segment_size: Some(size), ..self }
    }

    /// Has the datagrams carry a mark.
    pub fn with_ecn(self, ecn: EcnCodepoint) -> Self {
        Self { ecn: Some(ecn), ..self }
    }

    /// Sends from an address of this machine's.
    pub fn with_src_ip(self, ip: IpAddr) -> Self {
        Self { src_ip: Some(ip), ..self }
    }

    /// The number of datagrams. Empty contents are one.
    pub fn datagrams(&self) -> usize {
        self.contents.len().div_ceil(self.size()).max(1)
    }

    /// The bytes of each datagram but the last.
    pub(super) fn size(&self) -> usize {
        self.segment_size.unwrap_or(self.contents.len()).max(1)
    }

    /// Removes `datagrams` from the front of several, as [`send_batch`](super::UdpSocket::send_batch) has sent
    /// them.
    ///
    /// # Panics
    ///
    /// There are not so many.
    ///
    /// ```
    /// use ringloop::net::Transmit;
    ///
    /// let there = "192.0.2.1:9".parse().unwrap();
    /// let mut all =
    ///     [Transmit::new(there, b"first"), Transmit::new(there, b"aabbc").with_segment_size(2)];
    /// let mut left = &mut all[..];
    /// Transmit::advance(&mut left, 2);
    /// assert_eq!((left.len(), left[0].contents), (1, &b"bbc"[..]));
    /// ```
    pub fn advance(transmits: &mut &mut [Self], datagrams: usize) {
        let mut left = datagrams;
        let mut whole = 0;
        for transmit in transmits.iter() {
            let here = transmit.datagrams();
            if here > left {
                break;
            }
            left -= here;
            whole += 1;
        }
        *transmits = &mut mem::take(transmits)[whole..];
        if left > 0 {
            let first = transmits.first_mut().expect("no more datagrams than there are");
            first.contents = &first.contents[left * first.size()..];
        }
    }
}

/// What is known of a datagram that was received, or of a group of them.
///
/// A group comes only from a socket with [`enable_gro`](super::UdpSocket::enable_gro): datagrams of one sender
/// and one size, which lie behind each other in the buffer. [`datagrams`](Self::datagrams) takes it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// The bytes in the buffer.
    pub len: usize,
    /// The bytes that the datagram, or all of the group, had.
    pub sent: usize,
    /// The address of its sender.
    pub peer: SocketAddr,
    /// The bytes of each datagram of a group, of which the last may have fewer; `None` if it is a single one.
    pub segment_size: Option<usize>,
    /// The mark that it carries, if [`set_recv_ecn`](super::UdpSocket::set_recv_ecn) asked for it; `None` also
    /// if it carries none.
    pub ecn: Option<EcnCodepoint>,
    /// The address that it was sent to, if
    /// [`set_recv_packet_info`](super::UdpSocket::set_recv_packet_info) asked for it. It may be that of a
    /// multicast group, or a broadcast address.
    pub dst_ip: Option<IpAddr>,
    /// The number of the interface that it came by, if
    /// [`set_recv_packet_info`](super::UdpSocket::set_recv_packet_info) asked for it.
    pub interface: Option<u32>,
}

/// No datagram, to be overwritten.
impl Default for RecvMeta {
    fn default() -> Self {
        Self::plain(0, 0, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0))
    }
}

impl RecvMeta {
    pub(super) fn plain(len: usize, sent: usize, peer: SocketAddr) -> Self {
        Self { len, sent, peer, segment_size: None, ecn: None, dst_ip: None, interface: None }
    }

    /// Whether the datagram, or the group, had more bytes than the buffer: the rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.sent > self.len
    }

    /// The datagrams in the buffer that this describes: one, or all of a group.
    ///
    /// # Panics
    ///
    /// The buffer has fewer than [`len`](Self::len) bytes: it is another one.
    pub fn datagrams<'a>(&self, buf: &'a [u8]) -> Datagrams<'a> {
        let size = self.segment_size.unwrap_or(self.len).max(1);
        Datagrams { left: Some(&buf[..self.len]), size }
    }
}

/// The datagrams in a buffer, by [`RecvMeta::datagrams`].
#[derive(Debug, Clone)]
pub struct Datagrams<'a> {
    /// `None` behind the last one: an empty datagram is one, too.
    left: Option<&'a [u8]>,
    size: usize,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let left = self.left?;
        let (first, rest) = left.split_at(self.size.min(left.len()));
        self.left = (!rest.is_empty()).then_some(rest);
        Some(first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.map_or(0, |left| left.len().div_ceil(self.size).max(1));
        (left, Some(left))
    }
}

impl ExactSizeIterator for Datagrams<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        "192.0.2.1:9".parse().unwrap()
    }

    fn taken(len: usize, segment_size: Option<usize>) -> Vec<usize> {
        let meta = RecvMeta { len, segment_size, ..RecvMeta::default() };
        let datagrams = meta.datagrams(&[7; 64]);
        assert_eq!(datagrams.len(), datagrams.clone().count());
        datagrams.map(<[u8]>::len).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        assert_eq!(taken(5, None), [5]);
        assert_eq!(taken(0, None), [0], "an empty datagram is one");
        assert_eq!(taken(53, Some(10)), [10, 10, 10, 10, 10, 3]);
        assert_eq!(taken(20, Some(10)), [10, 10]);
        assert_eq!(taken(4, Some(10)), [4], "cut within the first");
    }

    #[test]
    fn transmits_count_and_lose_datagrams_from_the_front() {
        assert_eq!(Transmit::new(addr(), b"").datagrams(), 1);
        assert_eq!(Transmit::new(addr(), b"").with_segment_size(3).datagrams(), 1);
        assert_eq!(Transmit::new(addr(), b"abcd").with_segment_size(9).datagrams(), 1);
        let all = [
            Transmit::new(addr(), b""),
            Transmit::new(addr(), b"aabbc").with_segment_size(2),
            Transmit::new(addr(), b"whole"),
        ];
        let rest = |count| {
            let mut all = all;
            let mut left = &mut all[..];
            Transmit::advance(&mut left, count);
            left.iter().map(|left| left.contents.len()).collect::<Vec<_>>()
        };
        assert_eq!(rest(0), [0, 5, 5]);
        assert_eq!(rest(1), [5, 5]);
        assert_eq!(rest(2), [3, 5]);
        assert_eq!(rest(3), [1, 5]);
        assert_eq!(rest(4), [5]);
        assert_eq!(rest(5), [0; 0]);
    }

    #[test]
    fn marks_are_the_lowest_bits() {
        for ecn in [EcnCodepoint::Ect0, EcnCodepoint::Ect1, EcnCodepoint::Ce] {
            assert_eq!(EcnCodepoint::from_bits(0xb8 | ecn as u8), Some(ecn));
        }
        assert_eq!(EcnCodepoint::from_bits(0xb8), None);
    }
}
