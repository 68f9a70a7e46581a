//! What a socket is to its backend, and every call that is made on it.
//!
//! All bytes pass here: the reader's and the writer's own calls, a rescue's, and those that end a
//! connection. What a ring does with a descriptor by itself is in [`uring`](super::uring). So another
//! kind of endpoint is another arm here, and no caller changes.
//!
//! No call waits, even where somebody has made the descriptor blocking.

use std::{
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    net::{Shutdown, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::net as unix,
    },
    ptr,
    time::Duration,
};

use parking_lot::RwLock;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, sendfile},
    io::{Errno, ioctl_fionbio, read, write, writev},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketFlags,
        SocketType, acceptfrom_with, connect_unspec, recv, send, sendmsg, socketpair,
        sockopt::socket_acceptconn,
    },
    pipe::{SpliceFlags, splice},
};
use smallvec::SmallVec;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// Never a signal, and never a wait.
pub(super) const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Several slices up to so many bytes are copied together and sent by send(2), which costs less
/// than to have the kernel gather them.
const GATHER: usize = 1024;

/// Connections that the kernel completes before they are accepted, unless the program says otherwise; it caps it by
/// `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// Sets the options of a socket that is not connected yet.
pub(crate) type Prepare<'a> = &'a dyn Fn(&Socket) -> io::Result<()>;

/// So many unread bytes are thrown away: more than a receive buffer mostly holds.
const UNREAD: usize = 1 << 20;
/// So many at a time, where they have to be read.
const SCRATCH: usize = 8 << 10;

/// One end of a connection or of a pipe, what accepts connections, or a process.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// A non-blocking socket of the kernel's.
    Kernel(OwnedFd),
    /// A non-blocking Unix socket. Descriptors that come with its bytes stop a read.
    Unix(OwnedFd),
    /// One end of a pipe, non-blocking, or a process. A ring only polls it: its receives and sends are for
    /// sockets.
    Polled(OwnedFd),
    /// One of the reactor in memory.
    #[cfg(test)]
    Memory(super::memory::End),
}

/// What is done with a socket of the kernel's, with a pipe where that is something else, and with an end
/// in memory.
macro_rules! by_kind {
    ($endpoint:expr, $fd:ident => $kernel:expr, $end:ident => $memory:expr $(,)?) => {
        match $endpoint {
            Endpoint::Kernel($fd) | Endpoint::Unix($fd) | Endpoint::Polled($fd) => $kernel,
            #[cfg(test)]
            Endpoint::Memory($end) => $memory,
        }
    };
    (
        $endpoint:expr,
        $fd:ident => $kernel:expr,
        $pipe:ident => $piped:expr,
        $end:ident => $memory:expr $(,)?
    ) => {
        match $endpoint {
            Endpoint::Kernel($fd) | Endpoint::Unix($fd) => $kernel,
            Endpoint::Polled($pipe) => $piped,
            #[cfg(test)]
            Endpoint::Memory($end) => $memory,
        }
    };
}

pub(super) use by_kind;

#[cfg(test)]
const NO_DESCRIPTOR: &str = "a socket in memory has no descriptor";

/// Held by each accept on one listener; alone by one that changes the listener's mode for a moment.
pub(crate) type Mode = RwLock<()>;

/// A connection that was accepted, and the address of its other end.
pub(crate) type Accepted = (Endpoint, Option<SocketAddrAny>);

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadLen {
    /// So many bytes; 0 is the end.
    pub(crate) len: usize,
    /// The kernel stopped at a boundary: more may be behind it, though the read was short.
    pub(crate) stopped: bool,
}

impl Endpoint {
    /// Starts to connect, by a socket that `prepare` has had before. `false`: it is still under way, and
    /// [`connected`](Self::connected) gives the result once the endpoint is writable.
    pub(crate) fn connect(addr: SocketAddr, prepare: Prepare<'_>) -> io::Result<(Self, bool)> {
        let socket = new_socket(addr)?;
        prepare(&socket)?;
        let connected = is_through(socket.connect(&addr.into()))?;
        Ok((Self::Kernel(socket.into()), connected))
    }

    /// Starts to connect, with `data` along (TCP Fast Open), if the system allows it. The number says how much of
    /// the data the kernel has taken.
    pub(crate) fn connect_with(
        addr: SocketAddr,
        data: &[u8],
        prepare: Prepare<'_>,
    ) -> io::Result<(Self, bool, usize)> {
        let socket = new_socket(addr)?;
        prepare(&socket)?;
        let flags = SEND.bits().cast_signed() | libc::MSG_FASTOPEN;
        let (connected, sent) = match socket.send_to_with_flags(data, &addr.into(), flags) {
            // Whether the other side is there is not known yet.
            Ok(sent) => (false, sent),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
                (is_through(socket.connect(&addr.into()))?, 0)
            }
            Err(error) => (is_through(Err(error))?, 0),
        };
        Ok((Self::Kernel(socket.into()), connected, sent))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the backlog of the other side is full. No event tells of
    /// room in it.
    pub(crate) fn connect_unix(addr: &SockAddr) -> io::Result<Self> {
        let socket = new_unix_socket()?;
        socket.connect(addr)?;
        Ok(Self::Unix(socket.into()))
    }

    /// Both ends of a connection without a name, of this process's own.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((Self::Unix(near), Self::Unix(far)))
    }

    /// Listens on a Unix socket.
    pub(crate) fn listen_unix(addr: &SockAddr) -> io::Result<Self> {
        let socket = new_unix_socket()?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)?;
        Ok(Self::Unix(socket.into()))
    }

    /// Listens, by a socket that `prepare` has had before. At most `backlog` connections wait to be accepted.
    pub(crate) fn listen(addr: SocketAddr, backlog: i32, prepare: Prepare<'_>) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        prepare(&socket)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog)?;
        Ok(Self::Kernel(socket.into()))
    }

    /// The descriptor.
    pub(crate) fn into_fd(self) -> OwnedFd {
        by_kind!(self, fd => fd, _end => panic!("{NO_DESCRIPTOR}"))
    }

    /// Reads into the front of `buf`.
    #[inline]
    pub(crate) fn recv(&self, buf: &mut [MaybeUninit<u8>]) -> Result<ReadLen, Errno> {
        let len = match self {
            Self::Kernel(fd) => recv_with(fd, buf, RecvFlags::DONTWAIT),
            Self::Unix(fd) => return recv_unix(fd, buf),
            Self::Polled(pipe) => read(pipe, buf).map(|(read, _)| read.len()),
            #[cfg(test)]
            Self::Memory(end) => end.recv(buf, false),
        };
        Ok(ReadLen { len: len?, stopped: false })
    }

    /// The same, but what is read stays to be read.
    pub(crate) fn peek(&self, buf: &mut [MaybeUninit<u8>]) -> Result<usize, Errno> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        by_kind!(self, fd => recv_with(fd, buf, flags), end => end.recv(buf, true))
    }

    /// Writes as much as there is room for, and says how much.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        by_kind!(
            self,
            fd => send(fd, bytes, SEND),
            pipe => write(pipe, bytes),
            end => end.send(bytes),
        )
    }

    /// The same from several slices, which have `len` bytes together.
    pub(crate) fn send_slices(&self, slices: &[IoSlice<'_>], len: usize) -> Result<usize, Errno> {
        match (self, slices) {
            (_, [one]) => self.send(one),
            (Self::Kernel(fd) | Self::Unix(fd), slices) if len > GATHER => {
                sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), SEND)
            }
            (Self::Polled(pipe), slices) if len > GATHER => writev(pipe, slices),
            (_, slices) => {
                let mut gathered = SmallVec::<[u8; GATHER]>::new();
                slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
                self.send(&gathered)
            }
        }
    }

    /// Moves what has arrived into a pipe that is empty; 0 is the end. It waits if the descriptor is blocking.
    pub(crate) fn splice_to(&self, pipe: &OwnedFd, len: usize) -> Result<usize, Errno> {
        by_kind!(
            self,
            fd => splice(fd, None, pipe, None, len, SpliceFlags::NONBLOCK),
            _end => Err(Errno::INVAL),
        )
    }

    /// Moves bytes out of a pipe that has them, as many as there is room for. It waits if the descriptor is blocking.
    pub(crate) fn splice_from(&self, pipe: &OwnedFd, len: usize) -> Result<usize, Errno> {
        by_kind!(
            self,
            fd => splice(pipe, None, fd, None, len, SpliceFlags::NONBLOCK),
            _end => Err(Errno::INVAL),
        )
    }

    /// Sends a part of a regular file, as much as there is room for. It waits if the descriptor is blocking.
    pub(crate) fn send_file(
        &self,
        file: impl AsFd,
        mut offset: u64,
        len: usize,
    ) -> Result<usize, Errno> {
        by_kind!(
            self,
            fd => sendfile(fd, file, Some(&mut offset), len),
            _end => Err(Errno::INVAL),
        )
    }

    /// Whether it is non-blocking, as it was made.
    pub(crate) fn is_non_blocking(&self) -> Result<bool, Errno> {
        by_kind!(self, fd => is_non_blocking(fd), _end => Ok(true))
    }

    /// Takes the next connection. `mode` is for a listener that others may have made blocking.
    pub(crate) fn accept(&self, mode: Option<&Mode>) -> Result<Accepted, Errno> {
        let (fd, peer) = by_kind!(
            self,
            fd => match mode {
                None => accept_now(fd)?,
                Some(mode) => accept(fd, mode)?,
            },
            end => {
                let (end, peer) = end.accept()?;
                return Ok((Self::Memory(end), peer));
            },
        );
        let endpoint = match self {
            Self::Unix(_) => Self::Unix(fd),
            _ => Self::Kernel(fd),
        };
        Ok((endpoint, peer))
    }

    /// Whether it is the kernel's, so that binding it to a path has made a file.
    pub(crate) fn has_descriptor(&self) -> bool {
        by_kind!(self, _fd => true, _end => false)
    }

    /// Whether it listens.
    pub(crate) fn is_listening(&self) -> bool {
        by_kind!(self, fd => socket_acceptconn(fd).unwrap_or(false), end => end.is_listening())
    }

    /// Whether a read or an accept would not have to wait. The end of the stream and an error are
    /// worth one too: poll(2) reports them, and, unlike a peek, leaves an error for the read to find.
    pub(crate) fn is_readable(&self) -> Result<bool, Errno> {
        by_kind!(self, fd => is_ready(fd, PollFlags::IN), end => Ok(end.is_readable()))
    }

    /// Whether a write would not have to wait. An error is worth one too.
    pub(crate) fn is_writable(&self) -> Result<bool, Errno> {
        by_kind!(self, fd => is_ready(fd, PollFlags::OUT), end => Ok(end.is_writable()))
    }

    /// Whether a connect that was under way has succeeded.
    ///
    /// # Errors
    ///
    /// Why it failed; [`WouldBlock`](io::ErrorKind::WouldBlock) if it is still under way.
    pub(crate) fn connected(&self) -> io::Result<()> {
        by_kind!(self, fd => connected(fd), _end => Ok(()))
    }

    /// Whether it is no socket, so that a ring only polls it.
    #[inline]
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self, Self::Polled(_))
    }

    /// Whether a ring may receive before a reader asks.
    ///
    /// Not from a Unix socket. With its last bytes the kernel tells the ring that nothing is left, also if the
    /// end is behind them (`unix_stream_read_generic` of Linux 6.18). A receive that goes on then waits for
    /// an event which may have come before it was armed: it never gives the end.
    #[inline]
    pub(crate) fn is_received_ahead(&self) -> bool {
        !matches!(self, Self::Polled(_) | Self::Unix(_))
    }

    /// Shuts one or both ways down, at once. A way that is down already, or a connection that is
    /// gone, is no error. An end of a pipe has one way, and only its close shuts that.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        by_kind!(self, fd => shutdown(fd, how), _pipe => Ok(()), end => {
            end.shutdown(how);
            Ok(())
        })
    }

    /// Ends the connection at once, also for other holders of it: what was not sent or read is dropped. The peer of a TCP
    /// connection sees a reset. Other kinds know none, and there it sees the end.
    pub(crate) fn reset(&self) {
        // connect(2) to no address: "terminate the association", which TCP does by a reset.
        let is_reset = match self {
            Self::Kernel(fd) => connect_unspec(fd).is_ok(),
            _ => false,
        };
        if !is_reset {
            // It is gone already, or knows no other end.
            let _ = self.shutdown(Shutdown::Both);
        }
    }

    /// Throws away what has arrived and was not read.
    pub(crate) fn discard_unread(&self) {
        match self {
            Self::Kernel(fd) => discard_unread(fd),
            Self::Unix(_) => self.discard_by_reads(),
            Self::Polled(_) => {}
            #[cfg(test)]
            Self::Memory(end) => end.discard_unread(),
        }
    }

    /// A Unix socket knows no `MSG_TRUNC`.
    fn discard_by_reads(&self) {
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        for _ in 0..UNREAD / SCRATCH {
            match self.recv(&mut scratch) {
                Ok(ReadLen { len: 1.., .. }) => {}
                _ => return,
            }
        }
    }

    /// `SO_LINGER`.
    pub(crate) fn linger(&self) -> io::Result<Option<Duration>> {
        by_kind!(self, fd => SockRef::from(fd).linger(), _end => Ok(None))
    }

    /// Sets `SO_LINGER`, in whole seconds.
    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        by_kind!(self, fd => SockRef::from(fd).set_linger(linger), _end => Ok(()))
    }

    /// The descriptor's number, for reports.
    pub(crate) fn number(&self) -> u64 {
        by_kind!(self, fd => fd.as_raw_fd() as u64, _end => 0)
    }

    /// getsockname(2) of an IP socket.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        by_kind!(self, fd => ip_addr(SockRef::from(fd).local_addr()?), end => ip_addr(end.local_addr()))
    }

    /// getpeername(2) of an IP socket.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        by_kind!(self, fd => ip_addr(SockRef::from(fd).peer_addr()?), end => ip_addr(end.peer_addr()?))
    }

    /// getsockname(2) of a Unix socket.
    pub(crate) fn local_unix_addr(&self) -> io::Result<unix::SocketAddr> {
        by_kind!(
            self,
            fd => unix_addr(&SockRef::from(fd).local_addr()?),
            end => unix_addr(&end.local_addr()),
        )
    }

    /// getpeername(2) of a Unix socket.
    pub(crate) fn peer_unix_addr(&self) -> io::Result<unix::SocketAddr> {
        by_kind!(
            self,
            fd => unix_addr(&SockRef::from(fd).peer_addr()?),
            end => unix_addr(&end.peer_addr()?),
        )
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        by_kind!(self, fd => fd.as_fd(), _end => panic!("{NO_DESCRIPTOR}"))
    }
}

impl AsRawFd for Endpoint {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// CLOEXEC comes with it (S9).
fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// Binds to an address whose port the kernel chooses only when the socket connects: it may be one that
/// connections to other addresses have.
pub(crate) fn bind_without_port(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the value is one number, as the option takes it (ip(7)), and lives until the call returns.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    // Where that was refused, the port is chosen now.
    socket.bind(&addr.into())
}

/// Whether connect(2) is through; `false`: it is still under way.
fn is_through(connect: io::Result<()>) -> io::Result<bool> {
    match connect {
        Ok(()) => Ok(true),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => Ok(false),
        Err(error) => Err(error),
    }
}

fn new_unix_socket() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
}

/// Descriptors that come with the bytes are closed: there is no room for them. The kernel says so, and that is
/// how the read is known to have stopped behind them (unix(7)).
#[inline]
fn recv_unix(fd: &OwnedFd, buf: &mut [MaybeUninit<u8>]) -> Result<ReadLen, Errno> {
    let mut slice = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: all zeros are a message header without a name, slices and room for descriptors.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    // SAFETY: the header and what it refers to live until the call returns, and the kernel writes no more
    // than the slice has room for.
    let read = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    match usize::try_from(read) {
        Ok(len) => Ok(ReadLen { len, stopped: message.msg_flags & libc::MSG_CTRUNC != 0 }),
        Err(_) => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[inline]
fn recv_with(fd: &OwnedFd, buf: &mut [MaybeUninit<u8>], flags: RecvFlags) -> Result<usize, Errno> {
    let ((read, _), _) = recv(fd, buf, flags)?;
    Ok(read.len())
}

fn connected(fd: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(fd);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(()),
        // Another event came: connect(2) is still under way.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}

fn shutdown(fd: &OwnedFd, how: Shutdown) -> io::Result<()> {
    match SockRef::from(fd).shutdown(how) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

fn discard_unread(fd: &OwnedFd) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: with `MSG_TRUNC` the kernel writes to no memory (tcp(7)), and the descriptor is open.
    unsafe { libc::recv(fd.as_raw_fd(), ptr::null_mut(), UNREAD, flags) };
}

fn is_ready(fd: &OwnedFd, events: PollFlags) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, events)];
    Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
}

type AcceptedFd = (OwnedFd, Option<SocketAddrAny>);

/// accept4(2) that does not wait, even where others that have the listener's open file have made
/// it blocking: unlike recv(2), it has no flag for that.
fn accept(listener: &OwnedFd, mode: &Mode) -> Result<AcceptedFd, Errno> {
    let held = mode.read();
    if is_non_blocking(listener)? {
        return accept_now(listener);
    }
    drop(held);
    accept_in_blocking_mode(listener, mode)
}

/// The others find the mode as they left it.
#[cold]
fn accept_in_blocking_mode(listener: &OwnedFd, mode: &Mode) -> Result<AcceptedFd, Errno> {
    // Alone: an accept that finds the mode of this moment would wait if that were over.
    let _mode = mode.write();
    if is_non_blocking(listener)? {
        return accept_now(listener);
    }
    if !is_ready(listener, PollFlags::IN)? {
        return Err(Errno::WOULDBLOCK);
    }
    // Another process may take the connection first.
    ioctl_fionbio(listener, true)?;
    let accepted = accept_now(listener);
    let _ = ioctl_fionbio(listener, false);
    accepted
}

fn is_non_blocking(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(fcntl_getfl(fd)?.contains(OFlags::NONBLOCK))
}

/// accept4(2), which gives the peer's address along: getpeername(2) would have none of a peer that
/// has reset by then.
fn accept_now(listener: &OwnedFd) -> Result<AcceptedFd, Errno> {
    acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

fn ip_addr(addr: SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(not_of_the_internet)
}

fn unix_addr(addr: &SockAddr) -> io::Result<unix::SocketAddr> {
    if let Some(name) = addr.as_abstract_namespace() {
        return unix::SocketAddr::from_abstract_name(name);
    }
    match addr.as_pathname() {
        Some(path) => unix::SocketAddr::from_pathname(path),
        // The empty path makes an address without a name.
        None if addr.is_unnamed() => unix::SocketAddr::from_pathname(""),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket is not a Unix socket")),
    }
}

/// The error of a socket that has no IP address.
pub(crate) fn not_of_the_internet() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the socket is not one of the internet")
}
