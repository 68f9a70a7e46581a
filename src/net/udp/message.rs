//! The system calls for datagrams with more than bytes and an address, several in one call: sendmsg(2),
//! sendmmsg(2), recvmsg(2), recvmmsg(2), and the options that no library has a function for.
//!
//! Invariant (M1): an array of which the kernel gets a pointer outlives the call, and what a header points to is not
//! moved between the header's making and the call. Only the entries that the call is given are initialised.

use std::{
    io::{self, IoSliceMut},
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use libc::c_int;

use super::{
    control::{self, RecvControl, SendControl},
    datagram::{RecvMeta, Transmit},
};
use crate::reactor::not_of_the_internet;

/// So many messages go or come by one call.
pub(super) const BATCH: usize = 32;

/// The address of a sender or a receiver.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// A message to be sent.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// Where it goes, and its options.
    pub(super) transmit: &'a Transmit<'a>,
    /// Its part of the contents.
    pub(super) bytes: &'a [u8],
    /// The size by which the kernel cuts it.
    pub(super) segment: Option<u16>,
}

/// Sends messages, and says how many of them, from the front, were sent. No more than [`BATCH`] are.
pub(super) fn send<'a>(
    socket: impl AsFd,
    messages: impl Iterator<Item = Message<'a>>,
) -> io::Result<usize> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::<SendControl>::uninit() }; BATCH];
    let mut count = 0;
    for (at, message) in messages.take(BATCH).enumerate() {
        // SAFETY: all zeroes are a valid header: null pointers, and lengths of zero.
        let header = headers[at].write(unsafe { mem::zeroed() });
        let bytes = message.bytes.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iov =
            slices[at].write(libc::iovec { iov_base: bytes, iov_len: message.bytes.len() });
        header.msg_hdr.msg_iovlen = 1;
        if let Some(destination) = message.transmit.destination {
            let (name, len) = name_of(destination);
            header.msg_hdr.msg_name = ptr::from_mut(names[at].write(name)).cast();
            header.msg_hdr.msg_namelen = len;
        }
        if let Some(control) = SendControl::of(message.transmit, message.segment) {
            let control = controls[at].write(control).bytes();
            header.msg_hdr.msg_controllen = control.len() as _;
            header.msg_hdr.msg_control = control.as_ptr().cast_mut().cast();
        }
        count = at + 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let first = headers.as_mut_ptr().cast::<libc::mmsghdr>();
    // SAFETY: by M1; the kernel only reads what the headers point to, for their lengths, and sendmmsg writes lengths
    // that were sent into the headers, which are ours.
    unsafe {
        match count {
            // It gives the number of bytes.
            1 => checked(libc::sendmsg(fd, &raw const (*first).msg_hdr, flags)).map(|_| 1),
            _ => checked(libc::sendmmsg(fd, first, count as u32, flags as _) as isize),
        }
    }
}

/// Receives into the buffers what is there, one message into each, and says how many came. `wants_control`: with the
/// control data that was asked for by options of the socket.
pub(super) fn recv(
    socket: impl AsFd,
    bufs: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
    wants_control: bool,
    flags: c_int,
) -> io::Result<usize> {
    let count = bufs.len().min(metas.len()).min(BATCH);
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::<RecvControl>::uninit() }; BATCH];
    for at in 0..count {
        // SAFETY: all zeroes are a valid header, as in `send`, and a valid name.
        let (header, name) = unsafe { (headers[at].write(mem::zeroed()), mem::zeroed()) };
        header.msg_hdr.msg_name = ptr::from_mut(names[at].write(name)).cast();
        header.msg_hdr.msg_namelen = mem::size_of::<Name>() as _;
        // An `IoSliceMut` is an `iovec`, by its documentation.
        header.msg_hdr.msg_iov = ptr::from_mut(&mut bufs[at]).cast();
        header.msg_hdr.msg_iovlen = 1;
        if wants_control {
            let control = controls[at].write(RecvControl::new());
            header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.bytes.len() as _;
        }
    }
    let fd = socket.as_fd().as_raw_fd();
    // The kernel says the length of the whole datagram.
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    let first = headers.as_mut_ptr().cast::<libc::mmsghdr>();
    // SAFETY: by M1; the kernel writes to the buffers, names and control data within the lengths in the headers, and
    // to the headers, which are all ours or borrowed for this call.
    let came = unsafe {
        if count == 1 {
            let len = checked(libc::recvmsg(fd, &raw mut (*first).msg_hdr, flags))?;
            (*first).msg_len = len as u32;
            1
        } else {
            let none = ptr::null_mut();
            checked(libc::recvmmsg(fd, first, count as u32, flags as _, none) as isize)?
        }
    };
    for at in 0..came {
        // SAFETY: `came` is at most `count`, and these were written above; the kernel has changed them.
        let (header, name) =
            unsafe { (headers[at].assume_init_ref(), names[at].assume_init_ref()) };
        let sent = header.msg_len as usize;
        let peer = addr_of(name).ok_or_else(not_of_the_internet)?;
        let meta = &mut metas[at];
        *meta = RecvMeta::plain(sent.min(bufs[at].len()), sent, peer);
        if wants_control {
            // SAFETY: written above, and changed by the kernel.
            let control = unsafe { controls[at].assume_init_ref() };
            let len = header.msg_hdr.msg_controllen as _;
            control::read(&control.bytes[..control.bytes.len().min(len)], meta);
        }
    }
    Ok(came)
}

/// The result of a call that gives a number, or -1.
fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn name_of(addr: SocketAddr) -> (Name, libc::socklen_t) {
    match addr {
        SocketAddr::V4(addr) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(addr.ip().octets()) },
                sin_zero: [0; 8],
            };
            (Name { v4 }, mem::size_of_val(&v4) as _)
        }
        SocketAddr::V6(addr) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: addr.port().to_be(),
                sin6_flowinfo: addr.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                sin6_scope_id: addr.scope_id(),
            };
            (Name { v6 }, mem::size_of_val(&v6) as _)
        }
    }
}

fn addr_of(name: &Name) -> Option<SocketAddr> {
    // SAFETY: every byte of it was initialised, with zeroes, and any bytes make valid fields. Both kinds begin with
    // the family.
    let (v4, v6) = unsafe { (&name.v4, &name.v6) };
    match c_int::from(v4.sin_family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// setsockopt(2) of a number.
pub(super) fn set_option(
    socket: impl AsFd,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = mem::size_of_val(&value) as _;
    // SAFETY: the kernel reads a number of that length.
    match unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// getsockopt(2) of a number.
pub(super) fn option(socket: impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value = [0];
    read_option(socket, level, name, &mut value)?;
    Ok(value[0])
}

/// getsockopt(2) of numbers. Those that the kernel does not have stay as they are.
fn read_option(
    socket: impl AsFd,
    level: c_int,
    name: c_int,
    numbers: &mut [c_int],
) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let mut len = mem::size_of_val(numbers) as libc::socklen_t;
    // SAFETY: the kernel writes no more than `len` bytes to memory that is borrowed for the call, and any bytes are
    // numbers.
    let got =
        unsafe { libc::getsockopt(fd, level, name, numbers.as_mut_ptr().cast(), &raw mut len) };
    if got == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many datagrams the socket has dropped (sock_diag(7), `SO_MEMINFO`).
pub(super) fn dropped(socket: impl AsFd) -> io::Result<u32> {
    let mut info = [0; libc::SK_MEMINFO_DROPS as usize + 1];
    read_option(socket, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info)?;
    Ok(info[libc::SK_MEMINFO_DROPS as usize].cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_control_data_are_those_of_the_c_library() {
        for len in [1, 2, 4, 8, 12, 20] {
            // SAFETY: arithmetic.
            let known = unsafe { libc::CMSG_SPACE(len) };
            assert_eq!(control::space(len as usize), known as usize);
        }
        assert_eq!(control::HEADER, mem::size_of::<libc::cmsghdr>());
    }

    #[test]
    fn addresses_stay_as_they_are() {
        for addr in ["192.0.2.7:80", "[2001:db8::1]:443", "[fe80::1%3]:9"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(addr_of(&name_of(addr).0), Some(addr));
        }
    }
}
