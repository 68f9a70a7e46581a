//! What sockets and other workers know of a reactor.

use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::{ALL, ARM_RECV, Claim, FLUSH, Garbage, Mailbox, Sent, flights::Spent, owned, rescue};
use crate::{
    loom::global::{AtomicU64, Ordering},
    reactor::{Doorbell, Gauge, Socket, epoll, slot::Ready},
    util::fork,
};

/// What sockets and other workers know of a reactor. It ends with its worker.
pub(crate) struct Shared {
    pub(super) mailbox: Mailbox<Socket>,
    pub(super) doorbell: &'static Doorbell,
    pub(in crate::reactor) bridge: Arc<epoll::Shared>,
    /// Operations in flight. Written by the worker alone.
    pub(super) in_flight: AtomicU64,
    /// Of these, operations that own what they work on: each ends by itself. Written by the worker alone.
    pub(super) owned: AtomicU64,
    /// Completions of operations on sockets and files, ever. Written by the worker alone.
    pub(super) arrivals: AtomicU64,
    /// Sockets that it gave to other homes, ever. Written by the worker alone.
    pub(super) given: AtomicU64,
    /// What counts the leases of its memory, once there is some.
    pub(super) gauge: OnceLock<Gauge>,
    pub(super) plain_gauge: OnceLock<Gauge>,
    /// ... and of what was received in its place before there was such memory.
    pub(super) rescue_gauge: OnceLock<Gauge>,
    pub(super) sockets: rescue::Sockets,
    pub(super) abandoned: owned::Abandoned,
    pub(super) claim: Claim,
    /// The process that made it: a child can not use it.
    pub(super) process: fork::Generation,
}

/// The home does not answer what a socket asked it for: a task that waits looks again, and asks
/// another home, where the socket may even have operations by now.
pub(super) fn orphan(socket: &Socket, requests: u32, wakes: &mut Vec<Waker>) {
    // No other receive may be asked for until this one is off, so that none is armed meanwhile.
    let receives = match requests {
        ALL => socket.flights.recv.get().is_some(),
        _ => requests & ARM_RECV != 0,
    };
    if requests == ALL {
        socket.flights.clear();
    }
    socket.event(socket.generation(), Ready::READABLE.and(Ready::WRITABLE), wakes);
    if receives {
        socket.inbound.disarmed(false, wakes);
    }
    if requests & FLUSH != 0 && socket.outbound.orphaned(requests == ALL, wakes) {
        socket.reset_on_close();
    }
}

impl Shared {
    /// Of a reactor that begins.
    pub(super) fn new(doorbell: &'static Doorbell, bridge: Arc<epoll::Shared>) -> Self {
        Self {
            mailbox: Mailbox::new(),
            doorbell,
            bridge,
            in_flight: AtomicU64::new(0),
            owned: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
            given: AtomicU64::new(0),
            gauge: OnceLock::new(),
            plain_gauge: OnceLock::new(),
            rescue_gauge: OnceLock::new(),
            sockets: rescue::Sockets::new(),
            abandoned: owned::Abandoned::default(),
            claim: Claim::new(),
            process: fork::generation(),
        }
    }

    /// The socket's home is going to be this one: others find it here even if the home is held before it has read
    /// a request. For the thread that makes it the home.
    pub(crate) fn list(&self, socket: &Arc<Socket>) {
        self.sockets.add(socket);
    }

    /// Sends a request to the socket's home, from any thread. `false`: the home does not answer.
    /// Then `left` may have something for the caller.
    pub(crate) fn send(&self, socket: &Arc<Socket>, request: u32, left: &mut Garbage) -> bool {
        if !self.is_ours() {
            return false;
        }
        match self.mailbox.send(socket, request) {
            Sent::Awake => {}
            Sent::Asleep => self.doorbell.ring(),
            Sent::Closed => {
                self.take_orphans(left);
                return false;
            }
        }
        true
    }

    /// Whether requests wait for the worker.
    pub(crate) fn has_requests(&self) -> bool {
        !self.mailbox.is_empty()
    }

    /// Requests that were sent and will not be answered here. A node is in one mailbox at a time: a
    /// request to another home since then was added to the node here.
    pub(super) fn take_orphans(&self, left: &mut Garbage) {
        self.mailbox.drain_with(|socket, requests| {
            match socket.home_other_than(self) {
                // Closed by now, it has passed that on in its turn.
                Some(home) => _ = home.send(&socket, requests, left),
                None => orphan(&socket, requests, &mut left.wakes),
            }
            left.spent.push(Spent::Socket(socket, None));
        });
    }

    /// Whether it is at work, for this process.
    pub(crate) fn is_alive(&self) -> bool {
        self.is_ours() && !self.mailbox.is_closed()
    }

    /// Whether this is not a forked child.
    pub(super) fn is_ours(&self) -> bool {
        fork::generation() == self.process
    }

    pub(crate) fn leased(&self) -> u64 {
        let gauges = [&self.gauge, &self.plain_gauge, &self.rescue_gauge];
        gauges.into_iter().filter_map(OnceLock::get).map(Gauge::leased).sum()
    }

    /// Sockets that have it for their home, and descriptors that its bridge reports on.
    pub(crate) fn homes(&self) -> u64 {
        self.sockets.len() + self.bridge.registered()
    }

    /// Sockets that it gave to other homes, ever.
    pub(crate) fn given(&self) -> u64 {
        // Relaxed: a figure for people.
        self.given.load(Ordering::Relaxed)
    }

    /// Completions of operations, and events of the bridge, ever.
    pub(crate) fn arrivals(&self) -> u64 {
        // Relaxed: a figure for people.
        self.arrivals.load(Ordering::Relaxed) + self.bridge.arrivals()
    }

    /// Operations that end by themselves, soon or not.
    pub(crate) fn owned(&self) -> u64 {
        // Acquire: pairs with `add_owned`. What the end of an operation has woken is seen.
        self.owned.load(Ordering::Acquire)
    }

    /// One more, or one less.
    pub(super) fn add_owned(&self, more: bool) {
        // Relaxed load: our own. Release store: pairs with `owned`.
        let count = self.owned.load(Ordering::Relaxed);
        let count = if more { count + 1 } else { count - 1 };
        self.owned.store(count, Ordering::Release);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        // Relaxed: a figure for people.
        self.in_flight.load(Ordering::Relaxed)
    }
}
