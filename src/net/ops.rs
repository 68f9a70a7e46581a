//! The operations on TCP sockets, each with what it waits for and the call it makes.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use parking_lot::RwLock;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl},
    io::{Errno, ioctl_fionbio},
    net::{
        RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketFlags, acceptfrom_with,
        recv, send, sendmsg,
    },
};
use smallvec::SmallVec;
use socket2::{SockAddr, SockRef};

use super::exhaustion::Cause;
use crate::{
    loom::global::{AtomicU64, Ordering},
    reactor::{
        Direction,
        socket::{Direct, Socket},
    },
    runtime::operation::Operation,
};

/// Never a signal, and never a wait, even where somebody made the socket blocking.
const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// recv(2) into the front of a buffer.
pub(super) struct Recv<'a> {
    pub(super) buf: &'a mut [MaybeUninit<u8>],
    pub(super) flags: RecvFlags,
}

impl<'a> Recv<'a> {
    pub(super) fn new(buf: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { buf, flags: RecvFlags::DONTWAIT }
    }

    /// Leaves the bytes in the socket.
    pub(super) fn peek(buf: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { buf, flags: RecvFlags::DONTWAIT | RecvFlags::PEEK }
    }
}

impl Operation<OwnedFd> for Recv<'_> {
    /// How many bytes at the buffer's front were written.
    type Output = usize;

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, io: &OwnedFd) -> io::Result<usize> {
        let ((read, _), _) = recv(io, &mut *self.buf, self.flags)?;
        Ok(read.len())
    }

    fn drained(&self, read: &usize) -> bool {
        // 0 is the end, which stays.
        (1..self.buf.len()).contains(read) && !self.flags.contains(RecvFlags::PEEK)
    }
}

/// send(2), by who has the write side to itself.
pub(super) struct Send<'a> {
    socket: &'a Socket,
    buf: &'a [u8],
    shared: bool,
}

impl<'a> Send<'a> {
    pub(super) fn new(socket: &'a Socket, buf: &'a [u8]) -> Self {
        Self { socket, buf, shared: false }
    }

    /// Others may be sending, too.
    pub(super) fn shared(socket: &'a Socket, buf: &'a [u8]) -> Self {
        Self { socket, buf, shared: true }
    }
}

impl Operation<OwnedFd> for Send<'_> {
    /// How many bytes the kernel took.
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    #[inline]
    fn attempt(&mut self, io: &OwnedFd) -> io::Result<usize> {
        let send = || Ok(send(io, self.buf, SEND)?);
        let outbound = &self.socket.outbound;
        sent(if self.shared { outbound.send_directly(send) } else { outbound.send_as_owner(send) })
    }

    fn drained(&self, sent: &usize) -> bool {
        *sent < self.buf.len()
    }
}

/// Several slices up to so many bytes are copied together and sent by send(2), which costs less
/// than to have the kernel gather them.
const GATHER: usize = 1024;

/// sendmsg(2) of several slices, or send(2) of few bytes, by who has the write side to itself.
pub(super) struct SendSlices<'a, 'b> {
    socket: &'a Socket,
    bufs: &'a [IoSlice<'b>],
    /// All together.
    len: usize,
}

impl<'a, 'b> SendSlices<'a, 'b> {
    pub(super) fn new(socket: &'a Socket, bufs: &'a [IoSlice<'b>]) -> Self {
        // IOV_MAX; more are for the next call.
        let bufs = &bufs[..bufs.len().min(1024)];
        Self { socket, bufs, len: bufs.iter().map(|slice| slice.len()).sum() }
    }
}

impl Operation<OwnedFd> for SendSlices<'_, '_> {
    /// How many bytes the kernel took.
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, io: &OwnedFd) -> io::Result<usize> {
        let send = || match self.bufs {
            [one] => Ok(send(io, one, SEND)?),
            bufs if self.len <= GATHER => {
                let mut gathered = SmallVec::<[u8; GATHER]>::new();
                bufs.iter().for_each(|slice| gathered.extend_from_slice(slice));
                Ok(send(io, &gathered, SEND)?)
            }
            bufs => Ok(sendmsg(io, bufs, &mut SendAncillaryBuffer::default(), SEND)?),
        };
        sent(self.socket.outbound.send_as_owner(send))
    }

    fn drained(&self, sent: &usize) -> bool {
        *sent < self.len
    }
}

/// What became of a send. If another is under way (S14), it is to be tried again, as after a
/// signal. That happens only to tasks that write to one socket at once.
fn sent(sent: Direct<io::Result<usize>>) -> io::Result<usize> {
    match sent {
        Direct::Done(sent) => sent,
        Direct::Busy => Err(io::ErrorKind::Interrupted.into()),
        Direct::Failed(error) => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Nothing but the wait for it to be worth a read.
pub(super) struct Readable;

impl Operation<OwnedFd> for Readable {
    type Output = ();

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, io: &OwnedFd) -> io::Result<()> {
        match is_readable(io)? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Whether a read, or an accept, would not have to wait. The end of the stream and an error
/// are worth one too: poll(2) reports them, and, unlike a peek, leaves an error for the read
/// to find.
fn is_readable(socket: &impl AsFd) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
}

/// The end of a connect(2) under way.
pub(super) struct Connected;

impl Operation<OwnedFd> for Connected {
    type Output = ();

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, io: &OwnedFd) -> io::Result<()> {
        let socket = SockRef::from(io);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(()),
            // An event that was not the one: connect(2) is still under way.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }
}

/// accept4(2).
pub(super) struct Accept<'a> {
    pub(super) socket: &'a Socket,
    pub(super) backlog: &'a Backlog,
}

/// What those who accept on one listener share.
pub(super) struct Backlog {
    /// 1 from the first want of descriptors until there is nothing to accept: the hook hears
    /// once.
    paused: AtomicU64,
    /// Held by each accept; alone by one that changes the listener's mode for a moment.
    mode: RwLock<()>,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self { paused: AtomicU64::new(0), mode: RwLock::new(()) }
    }

    /// Descriptors have run out. `true`: the hook is to hear of it.
    pub(super) fn pause(&self) -> bool {
        // Relaxed: told twice or not at all by tasks that race, at worst.
        self.paused.swap(1, Ordering::Relaxed) == 0
    }

    fn is_empty_now(&self) {
        // Relaxed: as above.
        self.paused.store(0, Ordering::Relaxed);
    }

    /// accept4(2), which does not wait, even where others that have the listener's open file
    /// have made it blocking: unlike recv(2), it has no flag for that.
    fn accept(&self, listener: &OwnedFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        let mode = self.mode.read();
        if fcntl_getfl(listener)?.contains(OFlags::NONBLOCK) {
            return accept(listener);
        }
        drop(mode);
        self.accept_in_blocking_mode(listener)
    }

    /// The others find the mode as they left it.
    #[cold]
    fn accept_in_blocking_mode(
        &self,
        listener: &OwnedFd,
    ) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        // Alone: an accept that finds the mode of this moment would wait if that were over.
        let _mode = self.mode.write();
        if fcntl_getfl(listener)?.contains(OFlags::NONBLOCK) {
            return accept(listener);
        }
        if !is_readable(listener)? {
            return Err(rustix::io::Errno::WOULDBLOCK);
        }
        // Somebody else may take the connection first.
        ioctl_fionbio(listener, true)?;
        let accepted = accept(listener);
        let _ = ioctl_fionbio(listener, false);
        accepted
    }
}

fn accept(listener: &OwnedFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

impl Operation<OwnedFd> for Accept<'_> {
    type Output = (OwnedFd, SocketAddr);

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, io: &OwnedFd) -> io::Result<Self::Output> {
        self.socket.check_process()?;
        match accept_next(io, || self.backlog.accept(io)) {
            Ok((socket, peer)) => {
                // getpeername(2) would have none of a peer that has reset by now.
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                Ok((socket, peer.ok_or_else(not_of_the_internet)?))
            }
            Err(error) => {
                if error == Errno::WOULDBLOCK {
                    self.backlog.is_empty_now();
                }
                Err(error.into())
            }
        }
    }

    fn drained(&self, _: &Self::Output) -> bool {
        // accept4(2) makes a socket before it looks: to find nothing costs it nine times what this
        // look costs.
        let drained = is_readable(self.socket) == Ok(false);
        if drained {
            self.backlog.is_empty_now();
        }
        drained
    }
}

/// So many connections in a row may be forbidden before accepting pauses.
const FORBIDDEN: usize = 16;

/// The first connection that is neither gone nor forbidden.
fn accept_next<T>(
    listener: &impl AsFd,
    mut accept: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut forbidden = 0;
    loop {
        let error = match accept() {
            Err(error) => error,
            accepted => return accepted,
        };
        match Cause::of(error, listener) {
            Cause::Gone => {}
            Cause::Forbidden if forbidden < FORBIDDEN => forbidden += 1,
            _ => return Err(error),
        }
    }
}

/// getpeername(2) of an IP socket.
pub(super) fn peer_addr(socket: &impl AsFd) -> io::Result<SocketAddr> {
    ip_addr(SockRef::from(socket).peer_addr()?)
}

/// getsockname(2) of an IP socket.
pub(super) fn local_addr(socket: &impl AsFd) -> io::Result<SocketAddr> {
    ip_addr(SockRef::from(socket).local_addr()?)
}

fn ip_addr(addr: SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(not_of_the_internet)
}

fn not_of_the_internet() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the socket is not one of the internet")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn connections_that_are_forbidden_are_skipped_and_then_pause() {
        // Goal: a firewall's refusal of some connections costs no other; one of all neither spins
        // nor ends the listener; method: accept(2) is played.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let play = |script: &mut dyn Iterator<Item = Result<u32, Errno>>| {
            accept_next(&listener, || script.next().unwrap())
        };
        let gone = [Err(Errno::PERM), Err(Errno::CONNABORTED), Err(Errno::ACCESS), Ok(7)];
        assert_eq!(play(&mut gone.into_iter()), Ok(7));

        let mut all = std::iter::repeat_n(Err(Errno::PERM), FORBIDDEN + 1);
        assert_eq!(play(&mut all), Err(Errno::PERM));
        assert!(all.next().is_none());

        let mut closed = [Err(Errno::PERM), Err(Errno::WOULDBLOCK), Ok(1)].into_iter();
        assert_eq!(play(&mut closed), Err(Errno::WOULDBLOCK));
        assert_eq!(play(&mut [Err(Errno::INVAL)].into_iter()), Err(Errno::INVAL));
    }
}
