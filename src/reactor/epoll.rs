//! The reactor on epoll(7): one instance per worker, edge-triggered.
//!
//! A descriptor is added once, for everything; the kernel then reports edges. The
//! instance is shared: other threads may take a descriptor out, and a patrol may
//! collect the events of a worker that is stuck.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, OnceLock, Weak},
    task::Waker,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
};

use super::{
    Gauge, Home, Lease, Pool,
    doorbell::Doorbell,
    slot::{self, Ready},
};
use crate::{
    loom::global::{AtomicU64, Ordering},
    util::fork,
};

/// Events fetched in one call; more wait for the next, behind the tasks that these wake.
const EVENTS: usize = 256;

/// Memory for leases: so many buffers of so many bytes.
const BUFFERS: usize = 16;
const BUFFER_SIZE: usize = 64 << 10;

/// A sleep longer than this is cut: the loop comes round and sleeps on.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The key of the doorbell's events: no slot has index `u32::MAX`.
const DOORBELL: u64 = u64::MAX;

pub(crate) struct Epoll {
    shared: Arc<Shared>,
    events: Vec<epoll::Event>,
    doorbell: Option<&'static Doorbell>,
    /// Memory for leases, once somebody has asked for one.
    pool: Option<Pool>,
}

// SAFETY: what makes events `!Send` is that their data may be a pointer; here it is a
// number.
unsafe impl Send for Epoll {}

/// What descriptors and other workers know of a reactor. It ends with its worker.
pub(crate) struct Shared {
    epoll: OwnedFd,
    registered: AtomicU64,
    /// What counts the leases of its memory, once there is some.
    gauge: OnceLock<Gauge>,
    /// The process that made it: a forked child shares the epoll instance, and must not
    /// touch what its parent registered there (S9).
    process: fork::Generation,
}

impl Epoll {
    /// An instance that `doorbell` wakes.
    pub(crate) fn new(doorbell: &'static Doorbell) -> io::Result<Self> {
        let mut this = Self::bridge()?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered and never read: each ring is an edge.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&this, &bell, epoll::EventData::new_u64(DOORBELL), flags)?;
        doorbell.open(bell);
        this.doorbell = Some(doorbell);
        Ok(this)
    }

    /// An instance without a doorbell, that another reactor polls.
    pub(crate) fn bridge() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let process = fork::generation();
        let gauge = OnceLock::new();
        let shared = Arc::new(Shared { epoll, registered: AtomicU64::new(0), gauge, process });
        Ok(Self { shared, events: Vec::with_capacity(EVENTS), doorbell: None, pool: None })
    }

    /// Waits for events for `timeout` (`None`: for as long as it takes) and collects
    /// the wakers of those who waited for them. Says whether there may be more.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakes: &mut Vec<Waker>,
    ) -> io::Result<bool> {
        fork::expect_parent(self.shared.process);
        self.events.clear();
        wait(self.shared.epoll.as_fd(), &mut self.events, timeout)?;
        deliver(&self.events, wakes);
        Ok(self.events.len() == self.events.capacity())
    }

    /// See [`Reactor::lend`](super::Reactor::lend).
    pub(crate) fn lend(
        &mut self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> io::Result<Lease> {
        if self.pool.is_none() {
            let doorbell = self.doorbell.expect("a bridge lends nothing");
            let pool = Pool::new(BUFFERS, BUFFER_SIZE, doorbell)?;
            let _ = self.shared.gauge.set(pool.gauge());
            self.pool = Some(pool);
        }
        self.pool.as_mut().expect("it was made").read_or_apart(read)
    }

    pub(crate) fn home(&self) -> Home {
        Home::Epoll(self.downgrade())
    }

    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// Starts to report on `fd` under `key`: first of all what it is ready for now.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<Home> {
        use epoll::EventFlags as E;
        if !self.shared.is_ours() {
            return Err(fork::error());
        }
        epoll::add(
            &self.shared.epoll,
            fd,
            epoll::EventData::new_u64(key),
            E::IN | E::OUT | E::RDHUP | E::PRI | E::ET,
        )?;
        // Relaxed: a figure for people.
        self.shared.registered.fetch_add(1, Ordering::Relaxed);
        Ok(self.home())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.epoll.as_fd()
    }
}

impl Shared {
    /// Whether this is not a forked child.
    fn is_ours(&self) -> bool {
        fork::generation() == self.process
    }

    /// Stops to report on `fd`, from any thread.
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>) {
        if self.is_ours() && epoll::delete(&self.epoll, fd).is_ok() {
            self.registered.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Collects what a stuck worker does not. `true`: that took a ring of its doorbell
    /// away, which the caller has to repeat.
    #[must_use]
    pub(crate) fn rescue(&self, wakes: &mut Vec<Waker>) -> bool {
        let mut events = Vec::with_capacity(EVENTS);
        let waited = wait(self.epoll.as_fd(), &mut events, Some(Duration::ZERO));
        waited.is_ok() && deliver(&events, wakes)
    }

    pub(crate) fn leased(&self) -> u64 {
        self.gauge.get().map_or(0, Gauge::leased)
    }

    /// How many descriptors are registered.
    pub(crate) fn registered(&self) -> u64 {
        self.registered.load(Ordering::Relaxed)
    }
}

fn wait(
    epoll: BorrowedFd<'_>,
    events: &mut Vec<epoll::Event>,
    timeout: Option<Duration>,
) -> io::Result<()> {
    // In whole milliseconds, rounded up: epoll_wait(2) works everywhere, which can not be
    // said of epoll_pwait2(2) and its nanoseconds (older kernels, sandboxes, valgrind).
    let timeout = timeout.map(|timeout| timeout.min(LONGEST));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match epoll::wait(epoll, spare_capacity(events), timeout.as_ref()) {
        // A signal: the loop comes round again anyway.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the doorbell was among the events.
fn deliver(events: &[epoll::Event], wakes: &mut Vec<Waker>) -> bool {
    let mut rung = false;
    for event in events {
        match event.data.u64() {
            DOORBELL => rung = true,
            key => {
                let flags = event.flags;
                slot::deliver(key, Ready::from_poll(flags.bits()), wakes);
            }
        }
    }
    rung
}
