//! What a descriptor is, by its number, for reports.

use std::{fmt, io};

use socket2::SockAddr;

/// What a descriptor is, as far as it can be said.
pub(crate) enum Face {
    /// A socket that listens, with its own address.
    Listener(Address),
    /// A socket with a peer, with the peer's address.
    Connected(Address),
    /// Another socket, with its own address.
    Socket(Address),
    /// Something else, or nothing.
    Other,
}

/// The address of a socket, which prints as people write it.
pub(crate) struct Address(SockAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.0.as_socket() {
            return address.fmt(f);
        }
        match (self.0.as_pathname(), self.0.as_abstract_namespace()) {
            (Some(path), _) => write!(f, "unix:{}", path.display()),
            (None, Some(name)) => write!(f, "unix:@{}", name.escape_ascii()),
            (None, None) => f.write_str("an unnamed socket"),
        }
    }
}

/// What the descriptor of that number is. It may be closed, or another one by now.
pub(crate) fn face(fd: u32) -> Face {
    let fd = fd as libc::c_int;
    let Ok(own) = address(fd, libc::getsockname) else { return Face::Other };
    if is_listening(fd) {
        return Face::Listener(own);
    }
    match address(fd, libc::getpeername) {
        Ok(peer) => Face::Connected(peer),
        Err(_) => Face::Socket(own),
    }
}

type Get =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

/// getsockname(2) or getpeername(2). By the number, since nobody lends the descriptor.
fn address(fd: libc::c_int, get: Get) -> io::Result<Address> {
    // SAFETY: the closure hands on room of that length, and the length that the kernel has set. A number that
    // is no descriptor is an error, and one that is another socket's by now is only looked at.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| match get(fd, storage.cast(), len) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    }?;
    Ok(Address(address))
}

fn is_listening(fd: libc::c_int) -> bool {
    let mut listens: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `listens`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &raw mut len,
        )
    };
    result == 0 && listens != 0
}
