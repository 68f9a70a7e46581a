//! Addresses of Unix sockets, and the paths that sockets make.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, fs::MetadataExt, net},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::net::{SocketAddrAny, SocketAddrUnix};
use socket2::SockAddr;

use crate::reactor::Socket;

/// The longest path of a socket, in bytes: `sun_path` has a zero at its end.
const LONGEST_PATH: usize = 107;

/// The path that a socket was bound to, if it was: removed with this, if it is still the socket's own. It stands above the
/// socket in each type: nobody finds a path where nobody listens.
pub(super) struct BoundPath(Option<OwnPath>);

impl BoundPath {
    /// Of a socket that was bound elsewhere, or not at all.
    pub(super) const NONE: Self = Self(None);

    /// Binds a socket to a path, by `bind`. `socket` gives the socket of its result.
    pub(super) fn bind<S>(
        path: &Path,
        bind: impl FnOnce(&SockAddr) -> io::Result<S>,
        socket: impl FnOnce(&S) -> &Arc<Socket>,
    ) -> io::Result<(Self, S)> {
        let bound = bind(&by_path(path)?)?;
        let path = OwnPath::new(path, socket(&bound));
        Ok((Self(path), bound))
    }

    /// The same for an address, which may be an abstract name.
    pub(super) fn bind_addr<S>(
        addr: &net::SocketAddr,
        bind: impl FnOnce(&SockAddr) -> io::Result<S>,
        socket: impl FnOnce(&S) -> &Arc<Socket>,
    ) -> io::Result<(Self, S)> {
        match addr.as_pathname() {
            Some(path) => Self::bind(path, bind, socket),
            None => Ok((Self::NONE, bind(&by_addr(addr)?)?)),
        }
    }

    /// Leaves the file there.
    pub(super) fn keep(&mut self) {
        // Taken: a socket that is handed over must not be held from here.
        if let Some(mut path) = self.0.take() {
            path.stays = true;
        }
    }
}

/// The path that a socket has made, which it removes at its end.
struct OwnPath {
    path: PathBuf,
    // The socket itself has other numbers: these are the file's.
    device: u64,
    inode: u64,
    socket: Arc<Socket>,
    stays: bool,
}

impl OwnPath {
    /// The file that `socket` has just made at `path`, if it is one of the kernel's.
    fn new(path: &Path, socket: &Arc<Socket>) -> Option<Self> {
        if !socket.endpoint().has_descriptor() {
            return None;
        }
        // The working directory may be another one at the end.
        let path = std::path::absolute(path).ok()?;
        let metadata = fs::symlink_metadata(&path).ok()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        Some(Self { path, device, inode, socket: socket.clone(), stays: false })
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if self.stays || !self.socket.is_ours_alone() {
            return;
        }
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode));
        if is_own {
            // Somebody else may have been faster.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What the kernel says of the other end.
pub(super) fn std_addr(peer: Option<SocketAddrAny>) -> io::Result<net::SocketAddr> {
    let peer = peer.and_then(|peer| SocketAddrUnix::try_from(peer).ok());
    // rustix has an empty abstract name for an address without a name.
    let name = peer.as_ref().and_then(|peer| peer.abstract_name());
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        return net::SocketAddr::from_abstract_name(name);
    }
    let path = peer.as_ref().and_then(|peer| peer.path());
    // The empty path makes an address without a name.
    let bytes = path.as_ref().map_or(&[][..], |path| path.to_bytes());
    net::SocketAddr::from_pathname(OsStr::from_bytes(bytes))
}

/// The address of a path.
pub(super) fn by_path(path: &Path) -> io::Result<SockAddr> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return refuse(format!(
            "{path:?} is no path of a socket: an abstract name is for SocketAddr::from_abstract_name"
        ));
    }
    if bytes.len() > LONGEST_PATH {
        return refuse(format!(
            "{path:?} is too long for a socket, {} bytes of {LONGEST_PATH}: choose a shorter path, or one \
             relative to the working directory",
            bytes.len()
        ));
    }
    SockAddr::unix(path)
}

/// What socket2 makes of an address of the standard library.
pub(super) fn by_addr(addr: &net::SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = addr.as_pathname() {
        return by_path(path);
    }
    let Some(name) = addr.as_abstract_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the address has no name"));
    };
    // An abstract name begins with a zero.
    let mut bytes = vec![0];
    bytes.extend_from_slice(name);
    SockAddr::unix(OsStr::from_bytes(&bytes))
}

/// What went wrong with an address, and what to do about it. The kind stays.
pub(super) fn explain(what: &str, addr: &SockAddr, error: io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if matches!(what, "bind" | "listen on") => {
            "; its directory does not exist: create that first"
        }
        io::ErrorKind::NotFound => {
            "; nothing is there: is the service running, and the path right?"
        }
        io::ErrorKind::ConnectionRefused => {
            "; nobody listens there: the service has ended, or does not listen yet"
        }
        io::ErrorKind::AddrInUse => {
            "; another process listens there, or has left its file behind: remove that if nobody listens"
        }
        io::ErrorKind::PermissionDenied => {
            "; to connect takes leave to write to the socket, and to listen takes leave to write to its \
             directory"
        }
        _ => "",
    };
    let addr = match (addr.as_pathname(), addr.as_abstract_namespace()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(name)) => format!("the abstract name {}", name.escape_ascii()),
        (None, None) => format!("{addr:?}"),
    };
    io::Error::new(error.kind(), format!("cannot {what} {addr}: {error}{hint}"))
}
