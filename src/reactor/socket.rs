//! A socket of our own: what its handles share with the operations under way on it.
//!
//! The descriptor closes with the last reference. An operation in a ring holds one until
//! its terminal completion, so that no operation outlives the descriptor, and no
//! descriptor is closed while one uses it (S4). Whoever drops the handle
//! [retires](Socket::retire) the socket: what is in flight is cancelled, and then lets go.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    task::Waker,
};

use super::{
    Garbage, Home, Reactor,
    slot::Ready,
    source::{Pollable, Source},
    uring::{self, FlightId, Link, Node},
};
use crate::loom::global::{AtomicU64, Ordering};

pub(crate) struct Socket {
    source: Source<OwnedFd>,
    /// Its poll in the home's ring, plus 1; 0 if there is none. Written by the home's worker
    /// alone.
    poll: AtomicU64,
    /// 1 once its owner has dropped it.
    retired: AtomicU64,
    link: Link<Self>,
}

// SAFETY: always the same field.
unsafe impl Node for Socket {
    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

impl Socket {
    /// A non-blocking socket, thought ready until it says otherwise.
    pub(crate) fn new(fd: OwnedFd) -> Arc<Self> {
        Self::with(Source::new(fd))
    }

    /// One that is known to be ready for nothing yet: it connects.
    pub(crate) fn new_unready(fd: OwnedFd) -> Arc<Self> {
        Self::with(Source::new_unready(fd))
    }

    fn with(source: Source<OwnedFd>) -> Arc<Self> {
        Arc::new(Self {
            source,
            poll: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            link: Link::new(),
        })
    }

    pub(super) fn key(&self) -> u64 {
        self.source.slot().key()
    }

    pub(super) fn generation(&self) -> u32 {
        self.source.slot().generation()
    }

    pub(super) fn event(&self, generation: u32, ready: Ready, wakes: &mut Vec<Waker>) {
        self.source.slot().event(generation, ready, wakes);
    }

    pub(super) fn poll(&self) -> Option<FlightId> {
        // Relaxed: asked by the worker that writes it, or by who only wants to know
        // whether there is one.
        FlightId::from_cell(self.poll.load(Ordering::Relaxed))
    }

    pub(super) fn set_poll(&self, poll: Option<FlightId>) {
        // Release: pairs with `is_idle`.
        self.poll.store(FlightId::to_cell(poll), Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        // Relaxed: a poll that is armed once too often is cancelled by the request that
        // the owner sends after it has set this.
        self.retired.load(Ordering::Relaxed) != 0
    }

    /// Its owner is done with it: what is in flight is cancelled. `at_hand` is this
    /// thread's reactor, if it has one. What comes back is to be dropped.
    #[must_use]
    pub(crate) fn retire(self: &Arc<Self>, at_hand: Option<&mut Reactor>) -> Garbage {
        self.retired.store(1, Ordering::Relaxed);
        let Some(Home::Uring(home)) = self.source.home() else { return Garbage::default() };
        match at_hand {
            Some(Reactor::Uring(uring)) if uring.is_home(&home) => {
                uring.retire(self);
                return uring.take_garbage();
            }
            _ => home.upgrade().into_iter().for_each(|home| home.send(self, uring::CANCEL_ALL)),
        }
        Garbage::default()
    }

    /// The descriptor, if nothing else refers to it.
    pub(crate) fn try_into_fd(self: Arc<Self>) -> Result<OwnedFd, Arc<Self>> {
        Arc::try_unwrap(self).map(|socket| socket.source.into_inner())
    }
}

impl Pollable for Arc<Socket> {
    type Io = OwnedFd;

    fn source(&self) -> &Source<OwnedFd> {
        &self.source
    }

    fn register(&self, reactor: &mut Reactor) -> io::Result<Home> {
        reactor.register_socket(self)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.get().as_fd()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}
