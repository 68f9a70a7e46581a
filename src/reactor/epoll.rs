//! The reactor on epoll(7): one instance per worker, edge-triggered.
//!
//! A descriptor is added once, for everything; the kernel then reports edges. The instance is
//! shared: other threads may add a descriptor or take one out, and a patrol may collect the events
//! of a worker that is held.
//!
//! # Giving sockets away
//!
//! 1. The scheduler names another worker, and says how many sockets go there. The next sockets for
//!    which tasks have to wait leave: those are the busy ones.
//! 2. The thread of such a task has the lock of the socket's home. It adds the socket to the other
//!    instance, takes it out of this one, and notes the new home ([`Shared::give`]).
//! 3. The task leaves its waker in the slot, and looks once more, as before each sleep.
//!
//! No readiness is lost: what a descriptor is ready for when it is added is reported as an event.
//! An event that the former instance has reported as well changes nothing: it names the slot, which
//! stays. If the other instance has closed, the socket stays where it is. If it closes later, it has
//! the socket's key by then, and has the task look again.

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
    Garbage, Gauge, Gift, Home, Lease, Pool,
    doorbell::Doorbell,
    slot::{self, Ready},
};
use crate::{
    loom::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        global::AtomicU64,
    },
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
    /// The home to which the next sockets go, how many, and for how long.
    gift: Mutex<Option<(Weak<Shared>, u32, Gift)>>,
    /// Whether there is a gift.
    has_gift: AtomicBool,
    /// Sockets that it gave to other homes, ever.
    given: AtomicU64,
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
            gift: Mutex::new(None),
            has_gift: AtomicBool::new(false),
            given: AtomicU64::new(0),
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
        if timeout != Some(Duration::ZERO) && self.shared.has_gift() {
            self.shared.keep_the_rest();
        }
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
        self.shared.register(fd, key)?;
        Ok(self.home())
    }

    /// Has the next sockets for which tasks wait go to another home.
    pub(crate) fn give_homes(&mut self, to: &Home, count: u32, gift: Gift) {
        if let Home::Epoll(to) = to {
            self.shared.set_gift(Some((Arc::downgrade(to), count, gift)));
        }
    }

    /// Reports nothing from here on: a task that waits for it looks again, and finds another home.
    pub(crate) fn close(&self, wakes: &mut Vec<Waker>) {
        self.shared.set_gift(None);
        let keys = {
            let mut keys = self.shared.keys.lock();
            // Relaxed: a task that waits already is woken below; one that comes to wait sees the
            // flag. Under the lock: pairs with `Shared::register`.
            self.shared.closed.store(true, Ordering::Relaxed);
            mem::take(&mut *keys)
        };
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

    /// Starts to report on `fd`, from any thread.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        use epoll::EventFlags as E;
        if !self.is_ours() {
            return Err(fork::error());
        }
        let ended = || io::Error::other("the worker has just ended: wait again");
        let epoll = self.epoll.upgrade().ok_or_else(ended)?;
        let events = E::IN | E::OUT | E::RDHUP | E::PRI | E::ET;
        epoll::add(&*epoll, fd, epoll::EventData::new_u64(key), events)?;
        let mut keys = self.keys.lock();
        // Relaxed: written under the lock. What is among the keys by then is woken.
        if self.closed.load(Ordering::Relaxed) {
            drop(keys);
            let _ = epoll::delete(&*epoll, fd);
            return Err(ended());
        }
        keys.insert(key);
        Ok(())
    }

    /// Whether there is a gift to be made of what waits.
    #[inline]
    pub(crate) fn has_gift(&self) -> bool {
        // Relaxed: a hint; the gift has a lock.
        self.has_gift.load(Ordering::Relaxed)
    }

    fn set_gift(&self, gift: Option<(Weak<Self>, u32, Gift)>) {
        let mut place = self.gift.lock();
        // Relaxed: see `has_gift`.
        self.has_gift.store(gift.is_some(), Ordering::Relaxed);
        *place = gift;
    }

    /// The worker is about to sleep: it keeps up, so that only a lasting gift goes on.
    #[cold]
    fn keep_the_rest(&self) {
        let mut gift = self.gift.lock();
        if gift.take_if(|(_, _, gift)| *gift == Gift::WhileBusy).is_some() {
            self.has_gift.store(false, Ordering::Relaxed);
        }
    }

    /// Takes one from the gift: the home for it.
    fn take_of_gift(&self) -> Option<Arc<Self>> {
        let mut gift = self.gift.lock();
        let (to, count, _) = gift.as_mut()?;
        let to = to.upgrade().filter(|to| to.is_alive());
        *count -= 1;
        if *count == 0 || to.is_none() {
            *gift = None;
            self.has_gift.store(false, Ordering::Relaxed);
        }
        to
    }

    /// Hands `fd`, which is registered here, over to the home that the gift names. `None`: it stays.
    /// The caller has the lock of the descriptor's home.
    pub(crate) fn give(&self, fd: BorrowedFd<'_>, key: u64) -> Option<Arc<Self>> {
        let to = self.take_of_gift()?;
        // First: from here on one of the two reports at any time.
        to.register(fd, key).ok()?;
        self.deregister(fd, key);
        // Relaxed: a figure for people.
        self.given.fetch_add(1, Ordering::Relaxed);
        Some(to)
    }

    /// Sockets that it gave to other homes, ever.
    pub(crate) fn given(&self) -> u64 {
        // Relaxed: a figure for people.
        self.given.load(Ordering::Relaxed)
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

    #[test]
    fn socket_that_is_given_away_is_reported_by_its_new_home_alone() {
        // Goal: what arrives before a move and after it is reported. Method: a socket at one instance,
        // which gives two away to another; the second has closed by then.
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let [mut from, mut to] = [(); 2].map(|()| Epoll::bridge().unwrap());
        let source = Source::new_unready(near);
        let (fd, key) = (source.get().as_fd(), source.slot().key());
        from.register(fd, key).unwrap();
        let turn = |epoll: &mut Epoll| {
            let before = epoll.shared.arrivals();
            epoll.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
            epoll.shared.arrivals() - before
        };
        assert_eq!(turn(&mut from), 1, "there is room");
        let write = |far: &UnixStream| rustix::io::write(far, b"x").unwrap();
        write(&far);
        assert!(from.shared.give(fd, key).is_none(), "there is no gift");
        from.give_homes(&to.home(), 2, Gift::WhileBusy);
        assert!(Arc::ptr_eq(&from.shared.give(fd, key).unwrap(), &to.shared));
        assert_eq!([&from, &to].map(|epoll| epoll.shared.registered()), [0, 1]);
        assert_eq!([turn(&mut from), turn(&mut to)], [0, 1], "a byte before the move");
        assert!(source.look().is_ready(slot::Direction::Read));
        write(&far);
        assert_eq!([turn(&mut from), turn(&mut to)], [0, 1], "a byte after the move");
        // The rest is given to nobody: to one that has closed, or when the worker keeps up.
        to.give_homes(&from.home(), 1, Gift::Lasting);
        from.close(&mut Vec::new());
        assert!(to.shared.has_gift() && to.shared.give(fd, key).is_none() && !to.shared.has_gift());
        assert_eq!(to.shared.registered(), 1);
    }

    #[test]
    fn gift_ends_when_the_worker_sleeps() {
        // Goal: a worker that keeps up gives nothing more away, unless it was held.
        for (gift, is_left) in [(Gift::WhileBusy, false), (Gift::Lasting, true)] {
            let [mut from, to] = [(); 2].map(|()| Epoll::bridge().unwrap());
            from.give_homes(&to.home(), 1, gift);
            from.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
            assert!(from.shared.has_gift(), "it is busy");
            from.turn(Some(Duration::from_nanos(1)), &mut Vec::new()).unwrap();
            assert_eq!(from.shared.has_gift(), is_left, "{gift:?}");
        }
    }
}
