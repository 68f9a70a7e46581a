//! What others do for a worker that is held by one long poll.
//!
//! Its bridge is looked at. Of the sockets that tasks wait for, each that is ready gets the event.
//! A task that waits for a connection then accepts it by itself. Where a receive is armed, what has
//! arrived is received in its place ([`Claim`](super::claim)). All of it is done by plain calls on
//! the sockets, from any thread. What is in the ring stays there: the owner finds it when it goes
//! on, and takes it for events that mean nothing.
//!
//! What waits for the owner all the same: bytes that did not fit into a socket, and, with
//! `COOP_TASKRUN`, what a receive is armed for.

use std::{
    mem,
    os::fd::AsFd as _,
    sync::{Arc, Weak},
    task::Waker,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Garbage, STALE_RECV, Shared};
use crate::{
    loom::{
        Mutex,
        global::{AtomicU32, Ordering},
    },
    reactor::{
        Gauge, Pool, Socket,
        slot::{Direction, Ready},
    },
    util::panic,
};

/// Sockets looked at in one go; the next has its turn with the next. A look costs 100 to
/// 200 ns each.
const LOOK: usize = 128;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The sockets of a home.
pub(super) struct Sockets {
    /// Tells the lists of the process apart.
    number: u32,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    places: Vec<Option<Weak<Socket>>>,
    free: Vec<u32>,
    next: usize,
    /// The home has ended.
    is_closed: bool,
}

/// Where a socket is listed: the list's number, and its place there, counted from one. 0: in none.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new(list: u32, place: u32) -> Self {
        Self(u64::from(list) << 32 | u64::from(place + 1))
    }

    fn of(socket: &Socket) -> Self {
        // Relaxed: written under the lock of a list, and only by the thread that has the socket's home:
        // the home's own, or the one that makes it the home.
        Self(socket.flights.listed.load(Ordering::Relaxed))
    }

    /// The place in that list.
    fn place(self, list: u32) -> Option<u32> {
        (self.0 >> 32 == u64::from(list)).then(|| self.0 as u32 - 1)
    }
}

impl Sockets {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // Relaxed: only that they differ matters. 0 is that of no list.
        let number = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
        Self { number, places: Mutex::default() }
    }

    /// A socket of this home may be waited for. For the home's own thread, and before that for the one
    /// that makes this the home: a home that is held answers no request, and the socket must be found here
    /// all the same.
    #[inline]
    pub(super) fn add(&self, socket: &Arc<Socket>) {
        if Entry::of(socket).place(self.number).is_none() {
            self.list(socket);
        }
    }

    fn list(&self, socket: &Arc<Socket>) {
        let mut sockets = self.places.lock();
        if sockets.is_closed {
            return;
        }
        let place = sockets.free.pop().unwrap_or_else(|| {
            sockets.places.push(None);
            sockets.places.len() as u32 - 1
        });
        sockets.places[place as usize] = Some(Arc::downgrade(socket));
        socket.flights.listed.store(Entry::new(self.number, place).0, Ordering::Relaxed);
    }

    /// The socket's owner is gone, or it leaves. For the home's own thread.
    pub(super) fn remove(&self, socket: &Socket) {
        let Some(place) = Entry::of(socket).place(self.number) else { return };
        let mut sockets = self.places.lock();
        socket.flights.listed.store(0, Ordering::Relaxed);
        sockets.places[place as usize] = None;
        sockets.free.push(place);
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        let sockets = self.places.lock();
        (sockets.places.len() - sockets.free.len()) as u64
    }

    /// The home ends: its sockets may find another. For the home's own thread.
    pub(super) fn clear(&self) -> Vec<Arc<Socket>> {
        let closed = Places { is_closed: true, ..Places::default() };
        let Places { places, .. } = mem::replace(&mut *self.places.lock(), closed);
        let sockets: Vec<_> = places.iter().flatten().filter_map(Weak::upgrade).collect();
        for socket in &sockets {
            let entry = Entry::of(socket);
            if entry.place(self.number).is_some() {
                // It may have got another home meanwhile.
                let listed = &socket.flights.listed;
                let _ = listed.compare_exchange(entry.0, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        sockets
    }

    /// Some that are waited for, and what for. The next call goes on behind them.
    fn waited_for(&self) -> Vec<(Arc<Socket>, PollFlags)> {
        let mut sockets = self.places.lock();
        let count = sockets.places.len();
        let start = sockets.next.checked_rem(count).unwrap_or(0);
        sockets.next = start + count.min(LOOK);
        let (behind, first) = sockets.places.split_at(start);
        first
            .iter()
            .chain(behind)
            .take(LOOK)
            .filter_map(|place| {
                let socket = place.as_ref()?.upgrade()?;
                let wanted = wanted(&socket);
                // Dropped under the lock, the last reference might run foreign code.
                Some((socket, wanted))
            })
            .collect()
    }
}

fn wanted(socket: &Socket) -> PollFlags {
    let reads = socket.is_waited_for(Direction::Read) || socket.inbound.is_waited_for();
    let writes = socket.is_waited_for(Direction::Write);
    let mut wanted = PollFlags::empty();
    wanted.set(PollFlags::IN | PollFlags::RDHUP | PollFlags::PRI, reads);
    wanted.set(PollFlags::OUT, writes);
    wanted
}

impl Shared {
    /// Does for a held worker what can be done from elsewhere.
    pub(crate) fn rescue(&self, wakes: &mut Vec<Waker>) {
        // A bridge has no doorbell whose ring could get lost.
        let _ = self.bridge.rescue(wakes);
        self.rescue_sockets(wakes);
    }

    fn rescue_sockets(&self, wakes: &mut Vec<Waker>) {
        let sockets = self.sockets.waited_for();
        let waiting = || sockets.iter().filter(|(_, wanted)| !wanted.is_empty());
        let mut polled: Vec<_> = waiting()
            .map(|(socket, wanted)| PollFd::from_borrowed_fd(socket.as_fd(), *wanted))
            .collect();
        if !polled.is_empty() && poll(&mut polled, Some(&NOW)).is_ok() {
            for ((socket, _), polled) in waiting().zip(&polled) {
                let events = polled.revents();
                if !events.is_empty() {
                    self.rescue_socket(socket, events, wakes);
                }
            }
        }
        drop(polled);
        // The last references, perhaps.
        panic::discard_foreign(sockets);
    }

    /// What counts the leases that are received for this home. A home that is held since it was first
    /// asked for a receive has no pool yet. `None`: there is no memory, and the next look tries again.
    fn gauge_of_rescues(&self) -> Option<&Gauge> {
        if let Some(gauge) = self.gauge.get().or_else(|| self.rescue_gauge.get()) {
            return Some(gauge);
        }
        let _ = self.rescue_gauge.set(Pool::gauge_without_memory(self.doorbell).ok()?);
        self.rescue_gauge.get()
    }

    pub(super) fn rescue_socket(
        &self,
        socket: &Arc<Socket>,
        events: PollFlags,
        wakes: &mut Vec<Waker>,
    ) {
        if socket.inbound.is_waited_for()
            && let Some(gauge) = self.gauge_of_rescues()
        {
            let mut received = false;
            // Not now: with the next look.
            let _ = self.claim.try_borrow(|| {
                let read = || Pool::read_apart(gauge, |room| Ok(socket.recv(room)?.len));
                // It may have left meanwhile: not while the claim is held here.
                if !socket.has_left(self) {
                    received = socket.inbound.receive_instead(read, wakes);
                }
            });
            if received {
                let mut left = Garbage::default();
                self.send(socket, STALE_RECV, &mut left);
                panic::discard_foreign(left);
            }
        }
        socket.event(socket.generation(), Ready::from_poll(events.bits().into()), wakes);
    }
}
