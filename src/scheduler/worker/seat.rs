//! What a worker is made of before it has a thread, and what the others know of it.

use std::sync::Arc;

use crate::{
    loom::deque::Stealer,
    reactor::{Home, Reactor},
    scheduler::{hub::Flavor, queue::RunQueue, standstill::Standstill},
    task::Runnable,
};

/// What other workers know of one.
pub(crate) struct Peer {
    /// If there is anybody to steal from it.
    pub(in crate::scheduler) stealer: Option<Stealer<Runnable>>,
    pub(crate) home: Home,
}

impl Peer {
    /// The length of its queue.
    #[inline]
    pub(in crate::scheduler) fn backlog(&self) -> usize {
        self.stealer.as_ref().map_or(0, Stealer::len)
    }
}

/// What the program wants to have called on a thread.
pub(crate) type Call = Arc<dyn Fn() + Send + Sync>;

/// A worker before it has a thread: what can fail has been done.
pub(crate) struct Seat {
    pub(super) queue: RunQueue,
    pub(super) reactor: Reactor,
    pub(super) standstill: Arc<Standstill>,
    /// Called before it sleeps.
    pub(super) on_park: Option<Call>,
}

impl Seat {
    /// For one of so many workers, which have the `standstill` in common.
    pub(crate) fn new(
        reactor: Reactor,
        workers: usize,
        standstill: &Arc<Standstill>,
        on_park: Option<Call>,
    ) -> Self {
        let (queue, standstill) = (RunQueue::new(Flavor::of(workers)), standstill.clone());
        Self { queue, reactor, standstill, on_park }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer { stealer: self.queue.stealer(), home: self.reactor.home() }
    }
}
