//! A reactor without a kernel: connections and datagrams in memory.
//!
//! It is compiled for tests only. It shows that all bytes pass the seam ([`Endpoint`] and
//! [`Reactor`](super::Reactor)): the same streams and listeners by TCP and of Unix sockets, datagrams of both kinds,
//! and timers run on it, without a descriptor and without a system call. What only a descriptor has is not there:
//! options, descriptors that are sent along, and several datagrams by one call. One worker has it, with all ends of all connections, so that a run is the
//! same each time.
//!
//! * An [`End`] is one end of a connection, a listener, or a socket for datagrams. It reports edges, as epoll does.
//! * Its runtime plays the program's clock, which jumps when everything waits: a turn does not sleep for
//!   a timer.
//! * A turn that waits looks every millisecond at what other threads have left: their wake-ups are not
//!   simulated.

mod datagrams;
mod net;

use std::{
    io,
    mem::{self, MaybeUninit},
    sync::Arc,
    task::Waker,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use socket2::SockAddr;

pub(crate) use self::net::End;
use self::net::Net;
use super::{
    Doorbell, Garbage, Gauge, Home, Lease, Pool,
    endpoint::Endpoint,
    slot::{self, Ready},
};
use crate::loom::global::{AtomicBool, Ordering};

/// Between two looks at what other threads have left.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) struct Memory {
    shared: Arc<Shared>,
    gauge: Gauge,
    /// For the next turn to deal with.
    left: Garbage,
}

/// What its ends and its home know of it.
pub(crate) struct Shared {
    net: Arc<Mutex<Net>>,
    /// Nothing is reported any more.
    closed: AtomicBool,
}

impl Memory {
    pub(crate) fn new(doorbell: &'static Doorbell) -> io::Result<Self> {
        let gauge = Pool::gauge_without_memory(doorbell)?;
        doorbell.open_without_descriptor();
        let shared = Shared { net: Arc::default(), closed: AtomicBool::new(false) };
        Ok(Self { shared: Arc::new(shared), gauge, left: Garbage::default() })
    }

    /// See [`Reactor::turn`](super::Reactor::turn).
    pub(crate) fn turn(&mut self, timeout: Option<Duration>, wakes: &mut Vec<Waker>) {
        let has_left = !self.left.is_empty();
        wakes.append(self.left.wakes());
        if !has_left && self.shared.net.lock().events.is_empty() {
            match timeout {
                Some(Duration::ZERO) => {}
                rest => thread::park_timeout(rest.unwrap_or(LOOK).min(LOOK)),
            }
        }
        let events = mem::take(&mut self.shared.net.lock().events);
        events.into_iter().for_each(|(key, ready)| slot::deliver(key, ready, wakes));
    }

    pub(crate) fn leave(&mut self, left: Garbage) {
        self.left.append(left);
    }

    pub(crate) fn take_garbage(&mut self) -> Garbage {
        mem::take(&mut self.left)
    }

    /// Starts to report on an end.
    pub(crate) fn register(&self, endpoint: &Endpoint, key: u64) -> Home {
        let Endpoint::Memory(end) = endpoint else {
            panic!("a socket of the kernel's has no place in memory")
        };
        end.watch(key);
        self.home()
    }

    /// See [`Reactor::lend`](super::Reactor::lend): each lease has memory of its own.
    pub(crate) fn lend(
        &self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> io::Result<Lease> {
        Pool::read_apart(&self.gauge, read)
    }

    pub(crate) fn connect(&self, addr: SockAddr) -> io::Result<Endpoint> {
        Ok(Endpoint::Memory(End::connect(&self.shared.net, addr)?))
    }

    pub(crate) fn listen(&self, addr: SockAddr) -> io::Result<Endpoint> {
        Ok(Endpoint::Memory(End::listen(&self.shared.net, addr)?))
    }

    /// A socket for datagrams.
    pub(crate) fn bind(&self, addr: Option<SockAddr>) -> io::Result<Endpoint> {
        Ok(Endpoint::Memory(End::bind(&self.shared.net, addr)?))
    }

    /// Both ends of a connection, or two sockets for datagrams, without a name.
    pub(crate) fn pair(&self, of_datagrams: bool) -> (Endpoint, Endpoint) {
        let pair = if of_datagrams { End::pair_of_datagrams } else { End::pair };
        let (near, far) = pair(&self.shared.net);
        (Endpoint::Memory(near), Endpoint::Memory(far))
    }

    pub(crate) fn home(&self) -> Home {
        Home::Memory(self.shared.clone())
    }

    /// Reports nothing from here on: a task that waits for it looks again.
    pub(crate) fn close(&mut self, wakes: &mut Vec<Waker>) {
        // Relaxed: its ends are used by this thread.
        self.shared.closed.store(true, Ordering::Relaxed);
        let ready = Ready::READABLE.and(Ready::WRITABLE);
        self.shared.net.lock().watched().for_each(|key| slot::deliver(key, ready, wakes));
    }
}

impl Shared {
    /// Whether it reports.
    pub(crate) fn is_alive(&self) -> bool {
        // Relaxed: as in `close`.
        !self.closed.load(Ordering::Relaxed)
    }
}
