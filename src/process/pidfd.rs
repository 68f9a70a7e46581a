//! A child process by its pidfd: waiting for it, reaping it, sending it signals.
//!
//! A pidfd refers to one process for good: a signal by it cannot reach another process that has got the
//! same number since. It is opened right after the child was started, when nobody can have reaped the
//! child, and it is closed when the status is known.
//!
//! The child stays a zombie until its status was asked for, or the handle is dropped: its number means
//! the child for as long.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
    task::{Context, Poll},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid},
};

use super::{
    orphans,
    state::{Pidfd, State},
};
use crate::{
    io::SocketHandle,
    reactor::{Direction, Endpoint, Socket},
    runtime::operation::{self, Operation},
    util::{current, fork, signals, wait::WaitKind},
};

/// A child of this process. Dropped before its status is known, it is left to [`orphans`].
#[derive(Debug)]
pub(super) struct Process {
    id: u32,
    state: State<SocketHandle>,
    pub(super) kill_on_drop: bool,
    /// The process whose child it is: in a forked child it is a sibling.
    parent: fork::Generation,
}

impl Process {
    /// The child with that number, which has just been started, and which nobody has waited for.
    pub(super) fn new(id: u32, kill_on_drop: bool) -> io::Result<Self> {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // It blocks nobody: it is only asked with `NOHANG`. (Its own flag for that is younger.)
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // It has hardly ended yet: the first event tells, without a call in vain.
        let pidfd = SocketHandle::new(Socket::new_unready(Endpoint::Polled(pidfd)));
        Ok(Self { id, state: State::new(pidfd), kill_on_drop, parent: fork::generation() })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    fn check_parent(&self) -> io::Result<()> {
        match self.parent == fork::generation() {
            true => Ok(()),
            false => Err(fork::error()),
        }
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    ///
    /// The status is not lost: it is asked for and kept in one poll.
    pub(super) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        self.check_parent()?;
        let polled = self.state.poll_wait(|pidfd| operation::poll(pidfd.get(), cx, &mut Reap));
        if polled.is_pending() {
            current::waits_for(WaitKind::Process, self.id.into());
        }
        polled
    }

    /// Its status, if it has ended.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.check_parent()?;
        self.state.try_wait()
    }

    /// Sends it a signal, unless it is known to have ended.
    pub(super) fn send(&self, signal: i32) -> io::Result<()> {
        self.check_parent()?;
        self.state.send(signal)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.state.is_open() || self.check_parent().is_err() {
            return;
        }
        if let Some(pidfd) = self.state.leave(self.kill_on_drop) {
            orphans::adopt(pidfd);
        }
    }
}

impl Pidfd for SocketHandle {
    fn reap(&self) -> io::Result<Option<ExitStatus>> {
        reap(self.get().as_fd())
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        match signals::send_by_pidfd(self.get().as_fd(), signal) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Ok(()),
            result => result,
        }
    }
}

/// The end of a process.
pub(super) struct Reap;

impl Operation<Endpoint> for Reap {
    type Output = ExitStatus;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, pidfd: &Endpoint) -> io::Result<ExitStatus> {
        reap(pidfd.as_fd())?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

/// Takes the status of a child that has ended, which is gone then.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(status) => Ok(status.map(|status| exit_status(&status))),
        Err(Errno::CHILD) => Err(lost()),
        Err(error) => Err(error.into()),
    }
}

/// As wait(2) has it.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    const DUMPED: i32 = 0x80;
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) if status.dumped() => signal | DUMPED,
        (None, signal) => signal.unwrap_or_default(),
    };
    ExitStatus::from_raw(raw)
}

#[cold]
fn lost() -> io::Error {
    io::Error::other(
        "the status of the child is lost: other code has waited for it (waitpid of any child), or \
         SIGCHLD is ignored; wait by this handle only, and give SIGCHLD its default or a handler",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_wait() {
        // Goal: what waitid(2) says becomes what wait(2) would have said; method: real children, beside
        // std's own.
        let ends = ["exit 0", "exit 7", "exit 255", "kill -TERM $$", "kill -KILL $$"];
        for end in ends {
            let command = || {
                let mut command = std::process::Command::new("/bin/sh");
                command.args(["-c", end]);
                command
            };
            let expected = command().status().unwrap();
            let mut process = Process::new(command().spawn().unwrap().id(), false).unwrap();
            let status = loop {
                if let Some(status) = process.try_wait().unwrap() {
                    break status;
                }
                crate::loom::yield_now();
            };
            assert_eq!(status, expected, "{end}");
            assert_eq!(process.try_wait().unwrap(), Some(expected));
            process.send(libc::SIGKILL).expect("nobody is hit");
        }
    }
}
