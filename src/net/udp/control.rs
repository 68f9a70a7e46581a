//! The control data beside a datagram: what cmsg(3) describes, as bytes.

use std::{
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use libc::c_int;

use super::datagram::{EcnCodepoint, RecvMeta, Transmit};

/// The options of udp(7) for segments, which are control messages as well.
pub(super) const UDP_SEGMENT: c_int = 103;
pub(super) const UDP_GRO: c_int = 104;

/// A control message begins at a multiple of this.
const ALIGN: usize = mem::size_of::<usize>();
/// Its length (a word), its level and its kind.
pub(super) const HEADER: usize = ALIGN + 2 * mem::size_of::<c_int>();

/// The room that a message of `len` bytes takes.
pub(super) const fn space(len: usize) -> usize {
    HEADER + len.next_multiple_of(ALIGN)
}

/// Room for a size, two marks and an address: all that a [`Transmit`] can ask for.
const SEND_ROOM: usize = space(2) + 2 * space(4) + space(20);

/// Room for a size, the marks and addresses of both families, and some more, which users may have asked for.
const RECV_ROOM: usize = 160;

const _: () = assert!(space(4) * 3 + space(12) + space(20) <= RECV_ROOM);

/// What is sent beside a datagram.
#[repr(C, align(8))]
pub(super) struct SendControl {
    bytes: [u8; SEND_ROOM],
    len: usize,
}

/// What comes beside a datagram.
#[repr(C, align(8))]
pub(super) struct RecvControl {
    pub(super) bytes: [u8; RECV_ROOM],
}

impl RecvControl {
    pub(super) fn new() -> Self {
        Self { bytes: [0; RECV_ROOM] }
    }
}

impl SendControl {
    /// What a transmit asks for; `segment` is the size that the kernel is to cut it by. `None`: nothing.
    pub(super) fn of(transmit: &Transmit<'_>, segment: Option<u16>) -> Option<Self> {
        if segment.is_none() && transmit.ecn.is_none() && transmit.src_ip.is_none() {
            return None;
        }
        let mut this = Self { bytes: [0; SEND_ROOM], len: 0 };
        if let Some(size) = segment {
            this.push(libc::SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
        }
        if let Some(ecn) = transmit.ecn {
            let tos = c_int::from(ecn as u8).to_ne_bytes();
            // The address decides, also on a socket of both families: one that holds an IPv4 address takes the
            // way of IPv4, which ignores what is meant for IPv6, and the other way round. What a socket is
            // connected to may be either.
            let is_ipv4 = transmit.destination.map(|addr| addr.ip().to_canonical().is_ipv4());
            if is_ipv4 != Some(false) {
                this.push(libc::IPPROTO_IP, libc::IP_TOS, &tos);
            }
            if is_ipv4 != Some(true) {
                this.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &tos);
            }
        }
        match transmit.src_ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => {
                // An `in_pktinfo`: no interface, the address, and one that only receivers get.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                this.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(ip)) => {
                // An `in6_pktinfo`: the address, and no interface.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                this.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        Some(this)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let message = &mut self.bytes[self.len..][..space(data.len())];
        let len = HEADER + data.len();
        message[..ALIGN].copy_from_slice(&len.to_ne_bytes());
        message[ALIGN..ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        message[ALIGN + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..len].copy_from_slice(data);
        self.len += space(data.len());
    }
}

/// Notes what came beside a datagram.
pub(super) fn read(mut control: &[u8], meta: &mut RecvMeta) {
    while let Some((level, kind, data, rest)) = split_first(control) {
        control = rest;
        match (level, kind) {
            (libc::SOL_UDP, UDP_GRO) => {
                let size = number(data).and_then(|size| usize::try_from(size).ok());
                // The kernel may say it of a single datagram as well.
                meta.segment_size = size.filter(|&size| (1..meta.sent).contains(&size));
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                meta.ecn = data.first().and_then(|&tos| EcnCodepoint::from_bits(tos));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                meta.ecn = number(data).and_then(|class| EcnCodepoint::from_bits(class as u8));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // The interface, the address of this end, and the address in the datagram.
                if let (Some(interface), Some(ip)) = (number(data), array::<4>(data, 8)) {
                    meta.interface = Some(interface.cast_unsigned());
                    meta.dst_ip = Some(Ipv4Addr::from(ip).into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let (Some(ip), Some(interface)) = (array::<16>(data, 0), array::<4>(data, 16)) {
                    meta.interface = Some(u32::from_ne_bytes(interface));
                    meta.dst_ip = Some(Ipv6Addr::from(ip).into());
                }
            }
            _ => {}
        }
    }
}

/// The first message: its level, its kind, its data, and what is behind it.
fn split_first(control: &[u8]) -> Option<(c_int, c_int, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(array(control, 0)?);
    let message = control.get(..len).filter(|_| len >= HEADER)?;
    let level = number(&message[ALIGN..])?;
    let kind = number(&message[ALIGN + 4..])?;
    let rest = control.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
    Some((level, kind, &message[HEADER..], rest))
}

fn number(data: &[u8]) -> Option<c_int> {
    array(data, 0).map(c_int::from_ne_bytes)
}

fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta_of(control: &[u8]) -> RecvMeta {
        let mut meta = RecvMeta { len: 100, sent: 100, ..RecvMeta::default() };
        read(control, &mut meta);
        meta
    }

    #[test]
    fn what_is_written_can_be_read() {
        let there = "[2001:db8::1]:9".parse().unwrap();
        let from = "2001:db8::2".parse().unwrap();
        let transmit = Transmit::new(there, b"x").with_ecn(EcnCodepoint::Ce).with_src_ip(from);
        let meta = meta_of(SendControl::of(&transmit, None).unwrap().bytes());
        assert_eq!((meta.ecn, meta.dst_ip), (Some(EcnCodepoint::Ce), Some(from)));
        // All that may come together has room.
        let transmit = Transmit::connected(b"x").with_ecn(EcnCodepoint::Ect0).with_src_ip(from);
        let all = SendControl::of(&transmit, Some(1)).unwrap();
        assert_eq!(all.bytes().len(), SEND_ROOM);
        assert!(SendControl::of(&Transmit::connected(b"x"), None).is_none());
    }

    #[test]
    fn marks_go_the_way_of_the_address() {
        let levels = |to: Option<&str>| {
            let mut transmit = Transmit::connected(b"x").with_ecn(EcnCodepoint::Ect0);
            transmit.destination = to.map(|to| to.parse().unwrap());
            let control = SendControl::of(&transmit, None).unwrap();
            let (mut left, mut levels) = (control.bytes(), Vec::new());
            while let Some((level, .., rest)) = split_first(left) {
                levels.push(level);
                left = rest;
            }
            levels
        };
        assert_eq!(levels(Some("127.0.0.1:9")), [libc::IPPROTO_IP]);
        assert_eq!(levels(Some("[::ffff:127.0.0.1]:9")), [libc::IPPROTO_IP]);
        assert_eq!(levels(Some("[::1]:9")), [libc::IPPROTO_IPV6]);
        assert_eq!(levels(None), [libc::IPPROTO_IP, libc::IPPROTO_IPV6]);
    }

    #[test]
    fn cut_and_foreign_messages_are_passed_over() {
        let mut control = SendControl { bytes: [0; SEND_ROOM], len: 0 };
        control.push(libc::SOL_SOCKET, 1, &[1, 2, 3]);
        control.push(libc::SOL_UDP, UDP_GRO, &30_i32.to_ne_bytes());
        let bytes = control.bytes();
        assert_eq!(meta_of(bytes).segment_size, Some(30));
        for len in 0..bytes.len() - 4 {
            assert_eq!(meta_of(&bytes[..len]).segment_size, None, "{len}");
        }
        let mut endless = [0; HEADER];
        assert_eq!(meta_of(&endless), meta_of(&[]));
        endless[..ALIGN].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(meta_of(&endless), meta_of(&[]));
    }

    #[test]
    fn size_of_a_single_datagram_makes_no_group() {
        let group = |size: i32| {
            let mut control = SendControl { bytes: [0; SEND_ROOM], len: 0 };
            control.push(libc::SOL_UDP, UDP_GRO, &size.to_ne_bytes());
            meta_of(control.bytes()).segment_size
        };
        assert_eq!([group(99), group(100), group(0), group(-1)], [Some(99), None, None, None]);
    }
}
