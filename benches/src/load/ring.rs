//! The io_uring of the client: sends, receives, and turns of the ring.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

/// How long a turn may wait for the first completion.
pub enum Wait {
    No,
    AtMost(Duration),
}

/// A completed receive, or a send that failed.
pub struct Done {
    pub connection: usize,
    pub is_send: bool,
    pub result: i32,
}

/// `IORING_RECVSEND_POLL_FIRST`: do not try before the socket is readable.
const POLL_FIRST: u16 = 1;

pub struct Ring {
    ring: IoUring,
}

impl Ring {
    /// A ring for `operations` under way at once.
    pub fn new(operations: usize) -> io::Result<Ring> {
        let entries = operations.next_power_of_two().clamp(64, 4096) as u32;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries)?;
        Ok(Ring { ring })
    }

    /// Queues a send of all of `bytes`. Only a failure completes.
    pub fn send(&mut self, connection: usize, fd: RawFd, bytes: &'static [u8]) -> io::Result<()> {
        let send = opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data((connection as u64) << 1 | 1);
        // SAFETY: the bytes live for ever and nobody writes to them.
        unsafe { self.push(&send) }
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
    ) -> io::Result<()> {
        let receive = opcode::Recv::new(Fd(fd), buffer.as_ptr(), len as u32)
            .ioprio(POLL_FIRST)
            .build()
            .user_data((connection as u64) << 1);
        // SAFETY: the caller keeps the buffer.
        unsafe { self.push(&receive) }
    }

    /// # Safety
    /// The memory that `entry` names must stay valid until it completes.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: promised by the caller.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Submits what is queued, waits as told and appends what completed to `done`.
    pub fn turn(&mut self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        let submitted = match wait {
            Wait::AtMost(limit) if !limit.is_zero() => {
                let limit = Timespec::from(limit);
                let arguments = SubmitArgs::new().timespec(&limit);
                self.ring.submitter().submit_with_args(1, &arguments)
            }
            _ => {
                let queue = self.ring.submission();
                let idle = queue.is_empty() && !queue.taskrun();
                drop(queue);
                if idle { Ok(0) } else { self.ring.submit() }
            }
        };
        match submitted {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {
                return Err(error);
            }
            _ => {}
        }
        done.extend(self.ring.completion().map(|entry| Done {
            connection: (entry.user_data() >> 1) as usize,
            is_send: entry.user_data() & 1 == 1,
            result: entry.result(),
        }));
        Ok(())
    }
}
