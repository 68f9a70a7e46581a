//! What the rest of the scheduler sees of a worker.

use std::sync::Arc;

use super::{Peer, Worker};
use crate::{
    reactor::{Home, Reactor},
    scheduler::{block::Block, hub::Hub, queue::RunQueue, standstill::Standstill},
};

impl Worker {
    #[inline]
    pub(crate) fn hub(&self) -> &'static Hub {
        self.hub
    }

    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Runs `f` with the reactor, which is not being turned: a task is.
    pub(crate) fn with_reactor<R>(&self, f: impl FnOnce(&mut Reactor) -> R) -> R {
        f(&mut self.reactor.borrow_mut())
    }

    /// The same where a destructor may be running anywhere.
    pub(crate) fn try_with_reactor<R>(&self, f: impl FnOnce(&mut Reactor) -> R) -> Option<R> {
        self.reactor.try_borrow_mut().ok().map(|mut reactor| f(&mut reactor))
    }

    #[inline]
    pub(crate) fn block(&self) -> &'static Block {
        self.block
    }

    #[inline]
    pub(in crate::scheduler) fn backlog(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub(in crate::scheduler) fn poll_time(&self) -> u64 {
        self.poll_time.get()
    }

    pub(in crate::scheduler) fn standstill(&self) -> &Arc<Standstill> {
        &self.standstill
    }

    pub(in crate::scheduler) fn homes(&self) -> impl Iterator<Item = &Home> {
        self.peers.iter().map(|peer| &peer.home)
    }

    #[inline]
    pub(in crate::scheduler) fn queue(&self) -> &RunQueue {
        &self.queue
    }

    pub(in crate::scheduler) fn home_of(&self, worker: usize) -> &Home {
        &self.peers[worker].home
    }

    pub(in crate::scheduler) fn other(&self, index: usize) -> (&'static Block, &Peer) {
        (self.hub.block(index), &self.peers[index])
    }

    pub(in crate::scheduler) fn others_indexed(
        &self,
    ) -> impl Iterator<Item = (usize, (&'static Block, &Peer))> {
        let workers = self.peers.len();
        let start = self.rng.below(workers);
        (0..workers)
            .map(move |step| (start + step) % workers)
            .filter(|&index| index != self.index)
            .map(|index| (index, self.other(index)))
    }

    /// All others, from a random one on.
    pub(in crate::scheduler) fn others(&self) -> impl Iterator<Item = (&'static Block, &Peer)> {
        self.others_indexed().map(|(_, other)| other)
    }
}
