//! The seam to the kernel: waiting for descriptors and time, being woken.
//!
//! Each worker owns one [`Reactor`] and turns it from its loop; nobody else does. A
//! backend is a value, matched once per turn or registration, not per operation, so
//! that another one (io_uring; a simulation with a seeded schedule) is another arm
//! here, and no caller changes. The other outside effects have one door each as well:
//! [`clock`](crate::util::clock), [`threads`](crate::util::threads),
//! [`rand`](crate::util::rand), and the resolver in `blocking`.
//!
//! # The life of a wait
//!
//! 1. An operation tries its system call while the descriptor's [slot](slot) says
//!    *ready*, which a new one does.
//! 2. It would block: the bit is cleared. The first time, the worker at hand
//!    registers the descriptor with its reactor: that is its home from now on.
//! 3. The task leaves its waker in the slot, looks once more, and suspends.
//! 4. An event sets the bits and yields the waker; the turn collects all wakers first,
//!    and its worker then wakes them as a batch (S6). The home worker queues the task:
//!    tasks come back to their descriptors unless they are stolen again.
//! 5. Closing takes the descriptor out of its home first, from whatever thread; then
//!    the slot changes its generation, so that an event under way is ignored (S4).

mod doorbell;
mod epoll;
pub(crate) mod slot;
mod source;
pub(crate) mod timers;

use std::{io, os::fd::BorrowedFd, task::Waker, time::Duration};

pub(crate) use self::{
    doorbell::Doorbell,
    epoll::Home,
    slot::{Direction, Seen},
    source::Source,
};

/// A worker's connection to the kernel.
pub(crate) enum Reactor {
    Epoll(epoll::Epoll),
}

impl Reactor {
    /// On epoll, woken by `doorbell`.
    pub(crate) fn epoll(doorbell: &Doorbell) -> io::Result<Self> {
        epoll::Epoll::new(doorbell).map(Self::Epoll)
    }

    /// Collects what has happened, waiting up to `timeout` (`None`: without end) if
    /// nothing has. Wakes nobody: the wakers are the caller's to call.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakes: &mut Vec<Waker>,
    ) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.turn(timeout, wakes),
        }
    }

    /// Starts to report on a descriptor.
    fn register(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<Home> {
        match self {
            Self::Epoll(epoll) => epoll.register(fd, key),
        }
    }

    /// What others may know of it.
    pub(crate) fn home(&self) -> Home {
        match self {
            Self::Epoll(epoll) => epoll.home(),
        }
    }
}
