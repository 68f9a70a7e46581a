//! Descriptors that go from process to process: `SCM_RIGHTS` of unix(7).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use smallvec::SmallVec;

use crate::{
    reactor::{Direction, Endpoint, Socket},
    runtime::operation::{self, Operation},
};

/// So many descriptors may go with one message.
const MOST: usize = 253;

/// What `recv_fds` has received.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecvFds {
    /// The bytes in the buffer; 0 is the end of a stream.
    pub len: usize,
    /// The descriptors that came with them. They close when they are dropped, and are not inherited by programs
    /// that this process starts.
    pub fds: Vec<OwnedFd>,
    /// Whether there were more descriptors, for which this process has no room (`RLIMIT_NOFILE`). They are
    /// closed.
    pub lost: bool,
}

/// Sends bytes and descriptors together.
pub(super) async fn send(
    socket: &Arc<Socket>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if bytes.is_empty() {
        return refuse("descriptors go with bytes: send at least one byte".to_owned());
    }
    if fds.len() > MOST {
        return refuse(format!(
            "{} descriptors are too many for one message: {MOST} may go",
            fds.len()
        ));
    }
    operation::run(socket, Send { bytes, fds }).await
}

/// Receives bytes, and the descriptors that come with them.
pub(super) async fn recv(socket: &Arc<Socket>, buf: &mut [u8]) -> io::Result<RecvFds> {
    operation::run(socket, Recv { buf }).await
}

/// sendmsg(2).
struct Send<'a> {
    bytes: &'a [u8],
    fds: &'a [BorrowedFd<'a>],
}

impl Operation<Endpoint> for Send<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        let mut space: SmallVec<[MaybeUninit<u8>; 64]> = SmallVec::new();
        space.resize(cmsg_space!(ScmRights(self.fds.len())), MaybeUninit::uninit());
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !self.fds.is_empty() {
            let pushed = control.push(SendAncillaryMessage::ScmRights(self.fds));
            debug_assert!(pushed, "there is room for them");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(sendmsg(endpoint, &[IoSlice::new(self.bytes)], &mut control, flags)?)
    }
}

/// recvmsg(2).
struct Recv<'a> {
    buf: &'a mut [u8],
}

impl Operation<Endpoint> for Recv<'_> {
    type Output = RecvFds;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<RecvFds> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(endpoint, &mut [IoSliceMut::new(self.buf)], &mut control, flags)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let lost = received.flags.contains(ReturnFlags::CTRUNC);
        Ok(RecvFds { len: received.bytes, fds, lost })
    }
}
