//! The reactor on epoll(7): one instance per worker, edge-triggered.
//!
//! A descriptor is added once, for everything; the kernel then reports edges. The instance is
//! shared: other threads may take a descriptor out, and a patrol may collect the events of a worker
//! that is held.

use std::{
    collections::HashSet,
    io,
    mem::{self, MaybeUninit},
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
    Garbage, Gauge, Home, Lease, Pool,
    doorbell::Doorbell,
    slot::{self, Ready},
};
use crate::{
    loom::global::{AtomicBool, AtomicU64, Mutex, Ordering},
    util::fork,
};

/// Events fetched in one call; more wait for the next, behind the tasks that these wake.
const EVENTS: usize = 256;

/// Memory for leases: so many buffers of so many bytes.
const BUFFERS: usize = 16;
const BUFFER_SIZE: usize = 64 << 10;

/// A sleep longer than this is cut: the loop turns and sleeps again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The key of the doorbell's events: no slot has index `u32::MAX`.
const DOORBELL: u64 = u64::MAX;

pub(crate) struct Epoll {
    epoll: Arc<OwnedFd>,
    shared: Arc<Shared>,
    events: Vec<epoll::Event>,
    doorbell: Option<&'static Doorbell>,
    /// Memory for leases, once somebody has asked for one.
    pool: Option<Pool>,
    /// For the next turn to deal with.
    left: Garbage,
}

// SAFETY: what makes events `!Send` is that their data may be a pointer; here it is a
// number.
unsafe impl Send for Epoll {}

/// What descriptors and other workers know of a reactor, which ends with its worker.
pub(crate) struct Shared {
    epoll: Weak<OwnedFd>,
    /// The keys of what is registered: a task that waits there is woken at the end.
    keys: Mutex<HashSet<u64>>,
    /// Nothing is reported any more. A flag, since others may be using the instance for a moment.
    closed: AtomicBool,
    /// What counts the leases of its memory, once there is some.
    gauge: OnceLock<Gauge>,
    /// Events of descriptors, ever. Written by the worker alone.
    arrivals: AtomicU64,
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
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let shared = Arc::new(Shared {
            epoll: Arc::downgrade(&epoll),
            keys: Mutex::new(HashSet::new()),
            closed: AtomicBool::new(false),
            gauge: OnceLock::new(),
            arrivals: AtomicU64::new(0),
            process: fork::generation(),
        });
        let events = Vec::with_capacity(EVENTS);
        Ok(Self { epoll, shared, events, doorbell: None, pool: None, left: Garbage::default() })
    }

    /// Waits for events for `timeout` (`None`: for as long as it takes) and collects the wakers of
    /// the tasks that waited for them. Says whether there may be more.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakes: &mut Vec<Waker>,
    ) -> io::Result<bool> {
        fork::expect_parent(self.shared.process);
        self.events.clear();
        let timeout = if self.left.is_empty() { timeout } else { Some(Duration::ZERO) };
        wakes.append(self.left.wakes());
        wait(self.epoll.as_fd(), &mut self.events, timeout)?;
        let rung = deliver(&self.events, wakes);
        let arrivals = self.events.len() as u64 - u64::from(rung);
        // Relaxed: a figure for people, written by this thread alone.
        let before = self.shared.arrivals.load(Ordering::Relaxed);
        self.shared.arrivals.store(before + arrivals, Ordering::Relaxed);
        Ok(self.events.len() == self.events.capacity())
    }

    /// See [`Reactor::leave`](super::Reactor::leave).
    pub(crate) fn leave(&mut self, left: Garbage) {
        self.left.append(left);
    }

    pub(crate) fn take_garbage(&mut self) -> Garbage {
        mem::take(&mut self.left)
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
        Home::Epoll(self.shared())
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Starts to report on `fd` under `key`: first of all what it is ready for now.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<Home> {
        use epoll::EventFlags as E;
        if !self.shared.is_ours() {
            return Err(fork::error());
        }
        epoll::add(
            &self.epoll,
            fd,
            epoll::EventData::new_u64(key),
            E::IN | E::OUT | E::RDHUP | E::PRI | E::ET,
        )?;
        self.shared.keys.lock().insert(key);
        Ok(self.home())
    }

    /// Reports nothing from here on: a task that waits for it looks again, and finds another home.
    pub(crate) fn close(&self, wakes: &mut Vec<Waker>) {
        // Relaxed: a task that waits already is woken below; one that comes to wait sees the flag.
        self.shared.closed.store(true, Ordering::Relaxed);
        let keys = mem::take(&mut *self.shared.keys.lock());
        let ready = Ready::READABLE.and(Ready::WRITABLE);
        keys.into_iter().for_each(|key| slot::deliver(key, ready, wakes));
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // Of a worker that fails: a task that waited there gets no more events; one that comes
        // finds another home.
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Shared {
    /// Whether this is not a forked child.
    fn is_ours(&self) -> bool {
        fork::generation() == self.process
    }

    /// Whether it reports.
    pub(crate) fn is_alive(&self) -> bool {
        // Relaxed: a task that does not see the end is woken by an event.
        !self.closed.load(Ordering::Relaxed)
    }

    /// Stops to report on `fd`, from any thread.
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>, key: u64) {
        if !self.is_ours() {
            return;
        }
        if let Some(epoll) = self.epoll.upgrade() {
            let _ = epoll::delete(&*epoll, fd);
        }
        self.keys.lock().remove(&key);
    }

    /// Collects what a held worker does not. `true`: that took a ring of its doorbell away, which
    /// the caller has to repeat.
    #[must_use]
    pub(crate) fn rescue(&self, wakes: &mut Vec<Waker>) -> bool {
        let Some(epoll) = self.epoll.upgrade() else { return false };
        let mut events = Vec::with_capacity(EVENTS);
        let waited = wait(epoll.as_fd(), &mut events, Some(Duration::ZERO));
        waited.is_ok() && deliver(&events, wakes)
    }

    pub(crate) fn leased(&self) -> u64 {
        self.gauge.get().filter(|_| self.is_alive()).map_or(0, Gauge::leased)
    }

    /// Events of descriptors, ever.
    pub(crate) fn arrivals(&self) -> u64 {
        // Relaxed: a figure for people.
        self.arrivals.load(Ordering::Relaxed)
    }

    /// How many descriptors are registered.
    pub(crate) fn registered(&self) -> u64 {
        self.keys.lock().len() as u64
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
        // A signal: the loop turns again anyway.
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::reactor::Source;

    #[test]
    fn end_is_told_though_somebody_looks_at_it() {
        // Goal: no wait trusts a reactor that has ended; method: a descriptor is registered,
        // another is not any more, and another thread uses the instance while it ends.
        let pair = || UnixStream::pair().unwrap();
        let ((near, _far), (gone, _peer)) = (pair(), pair());
        let epoll = Epoll::bridge().unwrap();
        let [source, gone] = [near, gone].map(Source::new_unready);
        let register = |source: &Source<UnixStream>| {
            epoll.register(source.get().as_fd(), source.slot().key()).unwrap()
        };
        let homes = [register(&source), register(&gone)];
        epoll.shared.deregister(gone.get().as_fd(), gone.slot().key());
        assert_eq!(epoll.shared.registered(), 1);
        let looks = epoll.shared.epoll.upgrade();
        let mut wakes = Vec::new();
        epoll.close(&mut wakes);
        assert!(!homes.iter().any(Home::is_alive));
        drop(epoll);
        assert!(!homes.iter().any(Home::is_alive));
        let directions = [slot::Direction::Read, slot::Direction::Write];
        assert_eq!(directions.map(|way| source.look().is_ready(way)), [true, true]);
        assert_eq!(directions.map(|way| gone.look().is_ready(way)), [false, false]);
        drop(looks);
    }
}
