//! The io_uring of the client: sends, receives, connections and turns of the ring.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::{Buffers, GROUP};

/// How long a turn waits.
pub enum Wait {
    No,
    /// For the first completion.
    AtMost(Duration),
    /// For so many completions: fewer do not wake the client, if there is the time.
    For(usize, Duration),
    /// For the whole time, whatever completes: no completion has to wake the client.
    Whole(Duration),
}

/// More completions than there is room for, so that only the time ends the wait. (Not the greatest
/// number: the kernel takes it for a negative one and does not wait.)
const NEVER: usize = 1 << 20;

/// What a receive does with the bytes.
#[derive(Clone, Copy)]
pub enum Receive {
    /// Completes with the bytes that are there.
    Part,
    /// Completes when all requested bytes have come.
    All,
    /// Completes with the bytes that are there; the kernel counts them and copies none.
    Discard,
}

/// The kind of a completed operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Receive = 0,
    /// Only if it failed.
    Send = 1,
    /// Only if it failed.
    Connect = 2,
}

pub struct Done {
    pub connection: usize,
    pub kind: Kind,
    pub result: i32,
    /// The provided buffer that a multishot receive filled.
    pub buffer: Option<u16>,
    /// More completions will follow of the same operation.
    pub more: bool,
}

/// `IORING_RECVSEND_POLL_FIRST`: do not try before the socket is readable.
const POLL_FIRST: u16 = 1;
/// `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 2;

/// An address family of zero disconnects a socket.
static NOWHERE: Address = Address(libc::sockaddr_in {
    sin_family: libc::AF_UNSPEC as libc::sa_family_t,
    sin_port: 0,
    sin_addr: libc::in_addr { s_addr: 0 },
    sin_zero: [0; 8],
});

/// An IPv4 address as the kernel reads it.
pub struct Address(pub libc::sockaddr_in);

pub struct Ring {
    ring: IoUring,
    buffers: Option<Buffers>,
}

impl Ring {
    /// A ring for `operations` operations in flight at once.
    pub fn new(operations: usize) -> Result<Ring, String> {
        let entries = operations.next_power_of_two().clamp(64, 4096) as u32;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries);
        ring.map(|ring| Ring { ring, buffers: None }).map_err(|error| {
            format!("the load generator needs io_uring (Linux 6.1 or later): {error}")
        })
    }

    /// Provides memory to multishot receives: at least `count` buffers of `len` bytes.
    pub fn provide(&mut self, count: usize, len: usize) -> Result<(), String> {
        let buffers = Buffers::new(&self.ring.submitter(), count, len);
        self.buffers = Some(buffers.map_err(|error| format!("no buffers of a ring: {error}"))?);
        Ok(())
    }

    /// The bytes of a multishot receive.
    pub fn received(&self, done: &Done) -> &[u8] {
        match (&self.buffers, done.buffer) {
            (Some(buffers), Some(id)) => buffers.filled(id, done.result.max(0) as usize),
            _ => &[],
        }
    }

    /// Gives the memory of a multishot receive back.
    pub fn recycle(&mut self, done: &Done) {
        if let (Some(buffers), Some(id)) = (&mut self.buffers, done.buffer) {
            buffers.provide(id);
        }
    }

    /// Queues a receive that completes again and again, as long as there is memory for it.
    pub fn receive_on(&mut self, connection: usize, fd: RawFd) -> io::Result<()> {
        let receive = opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0)
            .ioprio(POLL_FIRST | MULTISHOT)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the kernel writes to provided memory only.
        unsafe { self.push(&receive, connection, Kind::Receive) }
    }

    /// Queues a send of all of `bytes`. Only a failure completes.
    pub fn send(&mut self, connection: usize, fd: RawFd, bytes: &'static [u8]) -> io::Result<()> {
        // SAFETY: the bytes live for ever and are never written to.
        unsafe { self.push(&send(fd, bytes), connection, Kind::Send) }
    }

    /// Queues a receive of up to `len` bytes into `buffer`.
    ///
    /// # Safety
    /// `buffer` must be `len` bytes that stay valid and untouched until the receive completes.
    pub unsafe fn receive(
        &mut self,
        connection: usize,
        fd: RawFd,
        buffer: NonNull<u8>,
        len: usize,
        how: Receive,
    ) -> io::Result<()> {
        // SAFETY: the caller keeps the buffer.
        unsafe { self.push(&receive(fd, buffer, len, how), connection, Kind::Receive) }
    }

    /// Queues the whole life of a connection: resets the one that the socket may have, connects to
    /// `server`, sends `request`, receives exactly `len` bytes into `buffer`. Only the end or a
    /// failure completes.
    ///
    /// # Safety
    /// As for [`receive`](Ring::receive).
    pub unsafe fn exchange_anew(
        &mut self,
        connection: usize,
        fd: RawFd,
        server: &'static Address,
        request: &'static [u8],
        buffer: NonNull<u8>,
        len: usize,
    ) -> io::Result<()> {
        // Links must be in the queue together.
        let queue = self.ring.submission();
        let free = queue.capacity() - queue.len();
        drop(queue);
        if free < 4 {
            self.ring.submit()?;
        }
        let then = squeue::Flags::IO_LINK;
        // SAFETY: the addresses and the request live for ever; the caller keeps the buffer.
        unsafe {
            self.push(&connect(fd, &NOWHERE).flags(then), connection, Kind::Connect)?;
            self.push(&connect(fd, server).flags(then), connection, Kind::Connect)?;
            self.push(&send(fd, request).flags(then), connection, Kind::Send)?;
            self.push(&receive(fd, buffer, len, Receive::All), connection, Kind::Receive)
        }
    }

    /// # Safety
    /// The memory that `entry` names must stay valid until it completes.
    unsafe fn push(
        &mut self,
        entry: &squeue::Entry,
        connection: usize,
        kind: Kind,
    ) -> io::Result<()> {
        let entry = entry.clone().user_data((connection as u64) << 2 | kind as u64);
        // SAFETY: promised by the caller.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Submits the queue, waits as `wait` says and appends the completions to `done`.
    pub fn turn(&mut self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        let (completions, limit) = match wait {
            Wait::No => (0, Duration::ZERO),
            Wait::AtMost(limit) => (1, limit),
            Wait::For(count, limit) => (count, limit),
            Wait::Whole(time) => (NEVER, time),
        };
        let submitted = if limit.is_zero() {
            let queue = self.ring.submission();
            let idle = queue.is_empty() && !queue.taskrun();
            drop(queue);
            if idle { Ok(0) } else { self.ring.submit() }
        } else {
            let limit = Timespec::from(limit);
            let arguments = SubmitArgs::new().timespec(&limit);
            self.ring.submitter().submit_with_args(completions, &arguments)
        };
        match submitted {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {
                return Err(error);
            }
            _ => {}
        }
        done.extend(self.ring.completion().map(|entry| Done {
            connection: (entry.user_data() >> 2) as usize,
            kind: match entry.user_data() & 3 {
                0 => Kind::Receive,
                1 => Kind::Send,
                _ => Kind::Connect,
            },
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        }));
        Ok(())
    }
}

fn send(fd: RawFd, bytes: &'static [u8]) -> squeue::Entry {
    opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32)
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
}

fn receive(fd: RawFd, buffer: NonNull<u8>, len: usize, how: Receive) -> squeue::Entry {
    let flags = match how {
        Receive::Part => 0,
        Receive::All => libc::MSG_WAITALL,
        // Not with MSG_WAITALL: after a part, io_uring would wait for the whole length again.
        Receive::Discard => libc::MSG_TRUNC,
    };
    opcode::Recv::new(Fd(fd), buffer.as_ptr(), len as u32).flags(flags).ioprio(POLL_FIRST).build()
}

fn connect(fd: RawFd, address: &'static Address) -> squeue::Entry {
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    opcode::Connect::new(Fd(fd), (&raw const address.0).cast(), len)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
}
