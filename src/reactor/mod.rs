//! The seam to the kernel: waiting for descriptors and time, being woken.
//!
//! Each worker owns one [`Reactor`] and turns it from its loop; nobody else does. A
//! backend is a value, matched once per turn or registration, not per operation, so
//! that another one (a simulation with a seeded schedule) is another arm here, and no
//! caller changes. The other outside effects have one door each as well:
//! [`clock`](crate::util::clock), [`threads`](crate::util::threads),
//! [`rand`](crate::util::rand), and the resolver in `blocking`.
//!
//! # The life of a wait
//!
//! 1. An operation tries its system call while the descriptor's [slot](slot) says
//!    *ready*, which a new one does.
//! 2. It would block: the bit is cleared. The first time, the worker that polls the task registers
//!    the descriptor with its reactor: that is its home from now on. If that worker cannot keep up,
//!    a socket gets its home at another worker.
//! 3. The task leaves its waker in the slot, looks once more, and suspends.
//! 4. An event sets the bits and yields the waker; the turn collects all wakers first,
//!    and its worker then wakes them as a batch (S6). The home worker queues the task:
//!    tasks come back to their descriptors unless they are stolen again.
//! 5. Closing takes the descriptor out of its home first, from whatever thread; then
//!    the slot changes its generation, so that an event under way is ignored (S4).
//! 6. When a home ends every task that waits there looks again, and the first to wait finds another
//!    home.
//!
//! Steps 2 and 5 differ by backend. epoll keeps a list that any thread may change. In a ring,
//! waiting is an operation of the home's own: other threads ask the home to begin it or to cancel it
//! ([`uring`]), and it keeps the descriptor open until it has ended.

mod datagrams;
mod doorbell;
mod endpoint;
mod epoll;
pub(crate) mod files;
#[cfg(test)]
mod memory;
mod pool;
pub(crate) mod slot;
pub(crate) mod socket;
mod source;
pub(crate) mod timers;
pub(crate) mod uring;

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use socket2::SockAddr;

pub use self::pool::Lease;
pub(crate) use self::{
    doorbell::Doorbell,
    endpoint::{
        Accepted, BACKLOG, Endpoint, Mode, Prepare, ReadLen, bind_without_port, not_of_the_internet,
    },
    pool::{Gauge, MAX_BUFFERS, Pool},
    slot::Direction,
    socket::Socket,
    source::{Door, Pollable, Source, poll_ready, poll_ready_shared},
    uring::{Allowed, Features, Garbage, Gift, Owned, Refusal, TriedRing, plan},
};
use crate::loom::eventfd::Sleeper;

#[cfg(test)]
pub(crate) use self::uring::force;

/// How long the end of a reactor may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// When to stop sending what is to be sent.
    pub(crate) sent: u64,
    /// When to stop waiting for what is cancelled.
    pub(crate) ended: u64,
}

/// A worker's connection to the kernel.
pub(crate) enum Reactor {
    Epoll(epoll::Epoll),
    Uring(Box<uring::Uring>),
    #[cfg(test)]
    Memory(memory::Memory),
    /// Of a model: it sleeps until its doorbell rings, and reports on nothing.
    #[allow(dead_code, reason = "models make it, and nobody else can")]
    Modelled(Sleeper),
}

impl Reactor {
    /// On epoll, woken by `doorbell`.
    pub(crate) fn epoll(doorbell: &'static Doorbell) -> io::Result<Self> {
        epoll::Epoll::new(doorbell).map(Self::Epoll)
    }

    /// On epoll, of a model: nothing wakes it.
    #[allow(dead_code, reason = "models make it, and nobody else can")]
    pub(crate) fn epoll_of_model() -> io::Result<Self> {
        epoll::Epoll::bridge().map(Self::Epoll)
    }

    /// On io_uring, woken by `doorbell`.
    pub(crate) fn uring(ring: TriedRing, doorbell: &'static Doorbell) -> io::Result<Self> {
        Ok(Self::Uring(Box::new(uring::Uring::new(ring, doorbell)?)))
    }

    /// In memory.
    #[cfg(test)]
    pub(crate) fn memory(doorbell: &'static Doorbell) -> io::Result<Self> {
        memory::Memory::new(doorbell).map(Self::Memory)
    }

    /// Makes the calling thread the one that turns it, for good.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        match self {
            Self::Epoll(_) | Self::Modelled(_) => Ok(()),
            Self::Uring(uring) => uring.start(),
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
        }
    }

    /// Collects what has happened, waiting up to `timeout` (`None`: without end) if
    /// nothing has. Wakes nobody: the wakers are the caller's to call.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakes: &mut Vec<Waker>,
    ) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.turn(timeout, wakes).map(drop),
            Self::Uring(uring) => uring.turn(timeout, wakes),
            #[cfg(test)]
            Self::Memory(memory) => {
                memory.turn(timeout, wakes);
                Ok(())
            }
            Self::Modelled(sleeper) => {
                sleeper.sleep(timeout);
                Ok(())
            }
        }
    }

    /// The system call that it waits by.
    pub(crate) fn waits_by(&self) -> &'static str {
        match self {
            Self::Epoll(_) => "epoll_wait",
            Self::Uring(_) => "io_uring_enter",
            #[cfg(test)]
            Self::Memory(_) => "no call",
            Self::Modelled(_) => "a model's sleep",
        }
    }

    /// Whether it is this process's, and not that of a parent that forked.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Epoll(_) | Self::Modelled(_) => true,
            Self::Uring(uring) => uring.is_ours(),
            #[cfg(test)]
            Self::Memory(_) => true,
        }
    }

    /// What was over in the last turns, for the caller to drop (S6).
    pub(crate) fn take_garbage(&mut self) -> Garbage {
        match self {
            Self::Epoll(epoll) => epoll.take_garbage(),
            Self::Uring(uring) => uring.take_garbage(),
            #[cfg(test)]
            Self::Memory(memory) => memory.take_garbage(),
            Self::Modelled(_) => Garbage::default(),
        }
    }

    /// Has its next turn deal with what the present user of the reactor leaves (S6).
    fn leave(&mut self, left: Garbage) {
        match self {
            Self::Epoll(epoll) => epoll.leave(left),
            Self::Uring(uring) => uring.leave(left),
            #[cfg(test)]
            Self::Memory(memory) => memory.leave(left),
            Self::Modelled(_) => {}
        }
    }

    /// Starts to report on a descriptor.
    fn register(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<Home> {
        match self {
            Self::Epoll(epoll) => epoll.register(fd, key),
            Self::Uring(uring) => uring.register(fd, key),
            #[cfg(test)]
            Self::Memory(_) => {
                let text = "a descriptor cannot be waited for in memory";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
            Self::Modelled(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts to report on a socket, for which somebody waits in that direction.
    fn register_socket(&mut self, socket: &Arc<Socket>, direction: Direction) -> io::Result<Home> {
        match self {
            Self::Epoll(epoll) => epoll.register(socket.as_fd(), socket.key()),
            Self::Uring(uring) => Ok(uring.register_socket(socket, direction)),
            #[cfg(test)]
            Self::Memory(memory) => Ok(memory.register(socket.endpoint(), socket.key())),
            Self::Modelled(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts to connect, by this thread's backend if there is one. `false`: it is still under way.
    pub(crate) fn connect(
        at_hand: Option<&mut Self>,
        addr: SocketAddr,
        prepare: Prepare<'_>,
    ) -> io::Result<(Endpoint, bool)> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => Ok((memory.connect(addr.into())?, true)),
            _ => Endpoint::connect(addr, prepare),
        }
    }

    /// Starts to connect, with `data` along if the backend can do that. The number says how much of it was taken.
    pub(crate) fn connect_with(
        at_hand: Option<&mut Self>,
        addr: SocketAddr,
        data: &[u8],
        prepare: Prepare<'_>,
    ) -> io::Result<(Endpoint, bool, usize)> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => Ok((memory.connect(addr.into())?, true, 0)),
            _ => Endpoint::connect_with(addr, data, prepare),
        }
    }

    /// Listens.
    pub(crate) fn listen(
        at_hand: Option<&mut Self>,
        addr: SocketAddr,
        backlog: i32,
        prepare: Prepare<'_>,
    ) -> io::Result<Endpoint> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => memory.listen(addr.into()),
            _ => Endpoint::listen(addr, backlog, prepare),
        }
    }

    /// Connects to a Unix socket. See [`Endpoint::connect_unix`].
    pub(crate) fn connect_unix(
        at_hand: Option<&mut Self>,
        addr: &SockAddr,
    ) -> io::Result<Endpoint> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => memory.connect(addr.clone()),
            _ => Endpoint::connect_unix(addr),
        }
    }

    /// Listens on a Unix socket.
    pub(crate) fn listen_unix(at_hand: Option<&mut Self>, addr: &SockAddr) -> io::Result<Endpoint> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => memory.listen(addr.clone()),
            _ => Endpoint::listen_unix(addr),
        }
    }

    /// Both ends of a connection without a name.
    pub(crate) fn pair(at_hand: Option<&mut Self>) -> io::Result<(Endpoint, Endpoint)> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => Ok(memory.pair(false)),
            _ => Endpoint::pair(),
        }
    }

    /// A UDP socket.
    pub(crate) fn bind_udp(
        at_hand: Option<&mut Self>,
        addr: SocketAddr,
        share: bool,
    ) -> io::Result<Endpoint> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => memory.bind(Some(addr.into())),
            _ => Endpoint::bind_udp(addr, share),
        }
    }

    /// A Unix socket for datagrams.
    pub(crate) fn bind_unix_datagrams(
        at_hand: Option<&mut Self>,
        addr: Option<&SockAddr>,
    ) -> io::Result<Endpoint> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => memory.bind(addr.cloned()),
            _ => Endpoint::bind_unix_datagrams(addr),
        }
    }

    /// Two Unix sockets for datagrams that are connected to each other.
    pub(crate) fn pair_of_datagrams(
        at_hand: Option<&mut Self>,
    ) -> io::Result<(Endpoint, Endpoint)> {
        match at_hand {
            #[cfg(test)]
            Some(Self::Memory(memory)) => Ok(memory.pair(true)),
            _ => Endpoint::pair_of_datagrams(),
        }
    }

    /// Has `read` write into memory that is then lent. `read` returns how much it wrote, at
    /// the front.
    pub(crate) fn lend(
        &mut self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> io::Result<Lease> {
        match self {
            Self::Epoll(epoll) => epoll.lend(read),
            Self::Uring(uring) => uring.lend(read),
            #[cfg(test)]
            Self::Memory(memory) => memory.lend(read),
            Self::Modelled(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has the next busy sockets move to another reactor.
    pub(crate) fn give_homes(&mut self, to: &Home, count: u32, gift: Gift) {
        match self {
            Self::Epoll(epoll) => epoll.give_homes(to, count, gift),
            Self::Uring(uring) => uring.give_homes(to, count, gift),
            #[cfg(test)]
            Self::Memory(_) => {}
            Self::Modelled(_) => {}
        }
    }

    /// How many operations it has submitted to the kernel, ever. 0 on epoll.
    pub(crate) fn submitted(&self) -> u64 {
        match self {
            Self::Uring(uring) => uring.submitted(),
            _ => 0,
        }
    }

    /// What others may know of it.
    pub(crate) fn home(&self) -> Home {
        match self {
            Self::Epoll(epoll) => epoll.home(),
            Self::Uring(uring) => uring.home(),
            #[cfg(test)]
            Self::Memory(memory) => memory.home(),
            // One that has ended.
            Self::Modelled(_) => Home::Uring(Weak::new()),
        }
    }

    /// Ends what is in flight, waiting for the kernel to let go of it. Returns how many
    /// operations it did not let go of, which are leaked (S1), and what is to be dropped.
    pub(crate) fn close(self, until: Until, wakes: &mut Vec<Waker>) -> (u64, Garbage) {
        match self {
            Self::Epoll(mut epoll) => {
                epoll.close(wakes);
                (0, epoll.take_garbage())
            }
            Self::Uring(uring) => uring.close(until, wakes),
            #[cfg(test)]
            Self::Memory(mut memory) => {
                memory.close(wakes);
                (0, memory.take_garbage())
            }
            Self::Modelled(_) => (0, Garbage::default()),
        }
    }
}

/// Where a descriptor is registered, and what workers know of each other's reactors. It
/// does not keep the reactor.
#[derive(Clone)]
pub(crate) enum Home {
    Epoll(Arc<epoll::Shared>),
    Uring(Weak<uring::Shared>),
    #[cfg(test)]
    Memory(Arc<memory::Shared>),
}

impl Home {
    /// Whether the reactor is still at work.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Epoll(home) => home.is_alive(),
            Self::Uring(home) => home.upgrade().is_some_and(|home| home.is_alive()),
            #[cfg(test)]
            Self::Memory(home) => home.is_alive(),
        }
    }

    /// Has it forget a descriptor that is about to close.
    fn deregister(self, io: &impl AsFd, key: u64) {
        match self {
            Self::Epoll(home) => home.deregister(io.as_fd(), key),
            // A socket that closes has nothing in flight any more.
            Self::Uring(_) => {}
            // An end goes with its slot.
            #[cfg(test)]
            Self::Memory(_) => {}
        }
    }

    /// Collects what a held worker does not, as far as that can be done from here. `true`: that
    /// took a ring of its doorbell away, which the caller has to repeat.
    #[must_use]
    pub(crate) fn rescue(&self, wakes: &mut Vec<Waker>) -> bool {
        match self {
            Self::Epoll(home) => home.rescue(wakes),
            Self::Uring(home) => {
                home.upgrade().into_iter().for_each(|home| home.rescue(wakes));
                false
            }
            // There is no other worker.
            #[cfg(test)]
            Self::Memory(_) => false,
        }
    }

    /// How many descriptors it reports on.
    pub(crate) fn registered(&self) -> u64 {
        self.epoll().map_or(0, |epoll| epoll.registered())
    }

    /// For how many sockets and other descriptors it is the home.
    pub(crate) fn homes(&self) -> u64 {
        match self {
            Self::Epoll(home) => home.registered(),
            Self::Uring(home) => home.upgrade().map_or(0, |home| home.homes()),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// How many sockets it has given to other homes.
    pub(crate) fn given(&self) -> u64 {
        match self {
            Self::Epoll(home) => home.given(),
            Self::Uring(home) => home.upgrade().map_or(0, |home| home.given()),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// How many events and completions it has delivered.
    pub(crate) fn arrivals(&self) -> u64 {
        match self {
            Self::Epoll(home) => home.arrivals(),
            Self::Uring(home) => home.upgrade().map_or(0, |home| home.arrivals()),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// How many leases of its memory there are.
    pub(crate) fn leased(&self) -> u64 {
        match self {
            Self::Epoll(home) => home.leased(),
            Self::Uring(home) => home.upgrade().map_or(0, |home| home.leased()),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// How many operations in the kernel are calls on files, which end by themselves.
    pub(crate) fn owned(&self) -> u64 {
        match self {
            Self::Epoll(_) => 0,
            Self::Uring(home) => home.upgrade().map_or(0, |home| home.owned()),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// How many operations are in the kernel.
    pub(crate) fn in_flight(&self) -> u64 {
        match self {
            Self::Epoll(_) => 0,
            Self::Uring(home) => home.upgrade().map_or(0, |home| home.in_flight()),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// Whether sockets have asked it for something that it has not begun.
    pub(crate) fn has_requests(&self) -> bool {
        match self {
            Self::Uring(home) => home.upgrade().is_some_and(|home| home.has_requests()),
            _ => false,
        }
    }

    fn epoll(&self) -> Option<Arc<epoll::Shared>> {
        match self {
            Self::Epoll(home) => Some(home.clone()),
            Self::Uring(home) => Some(home.upgrade()?.bridge.clone()),
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }
}
