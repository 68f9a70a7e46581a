//! Moving bytes between a connection and a pipe, without a copy: splice(2), once the connection is ready.

use std::{
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::io::Errno;

use super::{Connection, write::sent};
use crate::{
    reactor::{Direction, Endpoint, socket::Socket},
    runtime::operation::{self, Operation},
};

/// What became of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spliced {
    /// So many bytes were moved; 0 is the end.
    Moved(usize),
    /// The bytes that come next are to be read or written.
    NotNow,
    /// The descriptor does not know it.
    Never,
}

impl Connection {
    /// Moves what has arrived into a pipe that is empty, at most `len` bytes.
    ///
    /// # Cancel safety
    ///
    /// What was not returned has not been moved.
    pub(crate) fn poll_splice_to(
        &self,
        cx: &mut Context<'_>,
        pipe: &OwnedFd,
        len: usize,
    ) -> Poll<io::Result<Spliced>> {
        let socket = self.socket();
        if socket.inbound.was_used() && self.has_received()? {
            // It goes first. Then the bytes are to stay in the kernel.
            operation::with_any_reactor(|reactor| socket.end_recv(reactor));
            return Poll::Ready(Ok(Spliced::NotNow));
        }
        let mut splice = SpliceTo { socket, pipe, len, found_nothing: false };
        operation::poll(socket, cx, &mut splice)
    }

    /// Moves `len` bytes out of a pipe that has them, or as many as there is room for. For the owner of the write side.
    ///
    /// # Cancel safety
    ///
    /// As [`poll_splice_to`](Self::poll_splice_to).
    pub(crate) fn poll_splice_from(
        &self,
        cx: &mut Context<'_>,
        pipe: &OwnedFd,
        len: usize,
    ) -> Poll<io::Result<Spliced>> {
        // What was left to be sent goes first.
        ready!(self.poll_flush(cx))?;
        let socket = self.socket();
        operation::poll(socket, cx, &mut SpliceFrom { socket, pipe, len })
    }
}

/// What an error says of moves in general, if that is what it says.
fn refused(error: Errno) -> io::Result<Spliced> {
    match error {
        Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => Ok(Spliced::Never),
        error => Err(error.into()),
    }
}

struct SpliceTo<'a> {
    socket: &'a Socket,
    pipe: &'a OwnedFd,
    len: usize,
    found_nothing: bool,
}

impl Operation<Endpoint> for SpliceTo<'_> {
    type Output = Spliced;

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, _: &Endpoint) -> io::Result<Spliced> {
        match self.socket.splice_to(self.pipe, self.len) {
            Ok(moved) => Ok(Spliced::Moved(moved)),
            // It is ready, and yet there is nothing to move, as at the mark of urgent data: a read goes past that.
            Err(Errno::WOULDBLOCK) if self.found_nothing => Ok(Spliced::NotNow),
            Err(Errno::WOULDBLOCK) => {
                self.found_nothing = true;
                Err(Errno::WOULDBLOCK.into())
            }
            Err(error) => refused(error),
        }
    }
}

struct SpliceFrom<'a> {
    socket: &'a Socket,
    pipe: &'a OwnedFd,
    len: usize,
}

impl Operation<Endpoint> for SpliceFrom<'_> {
    type Output = Spliced;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, _: &Endpoint) -> io::Result<Spliced> {
        let splice = || match self.socket.splice_from(self.pipe, self.len) {
            Ok(moved) => Ok(Spliced::Moved(moved)),
            Err(error) => refused(error),
        };
        sent(self.socket.outbound.send_as_owner(splice))
    }
}
