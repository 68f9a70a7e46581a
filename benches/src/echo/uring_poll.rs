//! The limit of poll functions on a ring: one loop to which a ring reports readable connections,
//! and which reads and writes by plain calls, without a runtime or a task.
//!
//! Every connection has a multishot poll armed, which reports each arrival once. All share one
//! buffer. This is for messages that fit into it, and for clients that read their replies: a
//! connection whose socket does not take a reply at once is closed. One thread only.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::Setup;
use crate::harness::child::announce;

/// The user data of new connections and of operations whose completion is ignored; the others' are
/// descriptors.
const ACCEPTED: u64 = u64::MAX;
const FORGOTTEN: u64 = u64::MAX - 1;

const EVENTS: PollFlags = PollFlags::IN.union(PollFlags::RDHUP);

pub fn serve(setup: Setup) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_clamp();
    let ring = builder.setup_cqsize(4096).build(256)?;
    let mut all = Loop { ring, listener, buffer: vec![0; setup.buffer], over: HashSet::new() };
    announce(all.listener.local_addr()?);
    all.accept()?;
    let mut completions = Vec::new();
    loop {
        match all.ring.submit_and_wait(1) {
            // Busy: there are more completions than fit, so take them.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {
                return Err(error);
            }
            _ => {}
        }
        completions.extend(all.ring.completion());
        for completion in completions.drain(..) {
            match completion.user_data() {
                ACCEPTED => all.accepted(&completion)?,
                FORGOTTEN => {}
                fd => all.polled(fd as RawFd, &completion)?,
            }
        }
    }
}

struct Loop {
    ring: IoUring,
    listener: TcpListener,
    buffer: Vec<u8>,
    /// Connections that are over, until their polls have ended.
    over: HashSet<RawFd>,
}

impl Loop {
    /// Accepts until the kernel ends the accept.
    fn accept(&mut self) -> io::Result<()> {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let accept = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).flags(flags);
        self.push(&accept.build().user_data(ACCEPTED))
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        if completion.result() < 0 {
            return Err(io::Error::from_raw_os_error(-completion.result()));
        }
        // SAFETY: the kernel has just made this descriptor.
        let stream = unsafe { TcpStream::from_raw_fd(completion.result()) };
        stream.set_nodelay(true)?;
        self.poll(stream.into_raw_fd())?;
        if cqueue::more(completion.flags()) { Ok(()) } else { self.accept() }
    }

    fn poll(&mut self, fd: RawFd) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(fd), EVENTS.bits().into()).multi(true);
        self.push(&poll.build().user_data(fd as u64))
    }

    fn polled(&mut self, fd: RawFd, completion: &cqueue::Entry) -> io::Result<()> {
        let is_over = self.over.contains(&fd) || self.echo(fd).is_err();
        match (is_over, cqueue::more(completion.flags())) {
            (false, true) => Ok(()),
            (false, false) => self.poll(fd),
            (true, true) => {
                self.over.insert(fd);
                let poll = CancelBuilder::user_data(fd as u64);
                let cancel = opcode::AsyncCancel2::new(poll).build();
                self.push(&cancel.flags(squeue::Flags::SKIP_SUCCESS).user_data(FORGOTTEN))
            }
            (true, false) => {
                self.over.remove(&fd);
                // SAFETY: owned since it was accepted, and used nowhere else.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
                Ok(())
            }
        }
    }

    /// Answers the arrived bytes; an error means that the connection is over.
    fn echo(&mut self, fd: RawFd) -> Result<(), Errno> {
        // SAFETY: owned, and closed only in `polled`.
        let stream = unsafe { BorrowedFd::borrow_raw(fd) };
        loop {
            let len = match recv(stream, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return Ok(()),
                Ok((0, _)) => return Err(Errno::CONNRESET),
                received => received?.0,
            };
            let sent = send(stream, &self.buffer[..len], SendFlags::NOSIGNAL)?;
            if sent < len {
                return Err(Errno::NOBUFS);
            }
            // The read filled the buffer: there may be more bytes, for which no event comes.
            if len < self.buffer.len() {
                return Ok(());
            }
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: none of these operations uses memory.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }
}
