//! A standard stream that can be waited for, on a descriptor of our own.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags},
    io::fcntl_dupfd_cloexec,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::super::private::reopen;
use crate::{reactor::Direction, runtime::operation::Operation};

/// To a pipe that is ready, so many bytes can be written without blocking (`PIPE_BUF`).
const AT_ONCE: usize = 4096;
/// The number of the first descriptor that is not of a standard stream.
const FIRST_OTHER: i32 = 3;

pub(super) struct Console {
    fd: OwnedFd,
    way: Way,
}

/// How it is kept from blocking.
enum Way {
    /// By an open file of our own, which does not block.
    Own,
    /// By a flag of each call: a socket cannot be opened again.
    Flag,
    /// By a look before each call: it could not be opened again, since there is no procfs, or the
    /// terminal is another user's. If another process takes the bytes just then, the call blocks.
    Look,
}

impl Console {
    pub(super) fn open(fd: BorrowedFd<'_>, kind: FileType, access: OFlags) -> io::Result<Self> {
        let copy = || fcntl_dupfd_cloexec(fd, FIRST_OTHER);
        if kind == FileType::Socket {
            return Ok(Self { fd: copy()?, way: Way::Flag });
        }
        match reopen(fd, access) {
            Ok(fd) => Ok(Self { fd, way: Way::Own }),
            Err(_) => Ok(Self { fd: copy()?, way: Way::Look }),
        }
    }

    /// Whether a call would not block; where that is not known otherwise.
    fn check(&self, wanted: PollFlags) -> io::Result<()> {
        if let Way::Look = self.way
            && poll(&mut [PollFd::new(&self.fd, wanted)], Some(&Timespec::default()))? == 0
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

impl AsFd for Console {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) struct Read<'a>(pub(super) &'a mut [u8]);

impl Operation<Console> for Read<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, console: &Console) -> io::Result<usize> {
        console.check(PollFlags::IN)?;
        Ok(match console.way {
            Way::Flag => recv(console, &mut *self.0, RecvFlags::DONTWAIT)?.0,
            _ => rustix::io::read(console, &mut *self.0)?,
        })
    }
}

pub(super) struct Write<'a>(pub(super) &'a [u8]);

impl Operation<Console> for Write<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, console: &Console) -> io::Result<usize> {
        console.check(PollFlags::OUT)?;
        Ok(match console.way {
            Way::Own => rustix::io::write(console, self.0)?,
            Way::Flag => send(console, self.0, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?,
            Way::Look => rustix::io::write(console, &self.0[..self.0.len().min(AT_ONCE)])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        time::Duration,
    };

    use super::*;
    use crate::{reactor::Source, runtime::operation::run, time::timeout};

    /// Goal: also where it cannot be opened again, a stream is waited for and does not block; method: a
    /// pipe, with a look before each call.
    #[test]
    fn streams_that_cannot_be_opened_again_are_looked_at_first() {
        crate::run(async {
            let (mut reader, mut writer) = io::pipe().unwrap();
            let look = |fd: BorrowedFd<'_>| {
                let fd = fd.try_clone_to_owned().unwrap();
                Source::new(Console { fd, way: Way::Look })
            };
            let (input, output) = (look(reader.as_fd()), look(writer.as_fd()));
            let mut buf = [0; 8];
            let limit = Duration::from_millis(5);
            assert!(timeout(limit, run(&input, Read(&mut buf))).await.is_err());
            writer.write_all(b"abc").unwrap();
            assert_eq!(run(&input, Read(&mut buf)).await.unwrap(), 3);

            let mut wrote = 0;
            while let Ok(more) = timeout(limit, run(&output, Write(&[1; 10_000]))).await {
                wrote += more.unwrap();
            }
            assert_eq!(wrote, 64 << 10);
            reader.read_exact(&mut vec![0; wrote]).unwrap();
            run(&output, Write(b"x")).await.unwrap();
        });
    }
}
