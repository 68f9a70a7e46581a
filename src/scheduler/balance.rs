//! When another worker is worth waking, and how many tasks it takes.
//!
//! Waking a sleeping core costs 10-20 us of CPU and delays the work by 16-35 us on a virtual
//! machine, so a short backlog is served sooner by the worker that has it. The *predicted wait* of
//! a backlog is its length times the moving average of a poll's time; when it passes [`WAIT_NS`]
//! with at least [`TASKS`] tasks, the backlog is announced to another worker. This is judged at
//! every push, while tasks run, and at the end of a tick. A thief applies the same measure before
//! it takes anything uninvited, and looks once: polling another's queue makes the owner's push ten
//! times as expensive.

use super::{hub::Flavor, worker::Worker};
use crate::{
    loom::{atomic::Ordering, deque::Steal},
    record::Kind,
    util::current,
};

/// A predicted wait worth a wake, in ns: a few times what the wake of a halted core costs
/// and delays. See docs/decisions.md.
pub(super) const WAIT_NS: u64 = 100_000;
/// Fewer tasks than this are never announced: one is next anyway.
pub(super) const TASKS: usize = 2;

/// Whether a backlog waits so long that another worker should take a part.
#[inline]
pub(super) fn worth_waking(tasks: usize, poll_time: u64) -> bool {
    tasks >= TASKS && tasks as u64 * poll_time >= WAIT_NS
}

impl Worker {
    /// At a push: announces the backlog if it is worth it and a worker sleeps, and names a
    /// patroller if work waits behind a task that runs. Its look may be stale:
    /// [`judge_backlog`](Self::judge_backlog) finds what it misses.
    #[inline]
    pub(super) fn judge_push(&self) {
        if let Some(monitor) = &self.monitor {
            if current::in_task() {
                monitor.arm(self.hub());
            }
        } else if let Some(sleepers) = self.hub().idle.sleepers() {
            if sleepers.could_search {
                self.judge_backlog();
            }
            if sleepers.could_patrol && (current::in_task() || self.backlog() >= TASKS) {
                self.hub().arm_patrol();
            }
        }
    }

    /// Now and then while tasks run, and at the end of a tick: steps A1 to A3.
    #[inline]
    pub(super) fn judge_backlog(&self) {
        if self.flavor() == Flavor::Multi && worth_waking(self.backlog(), self.poll_time()) {
            self.announce();
        }
    }

    #[cold]
    fn announce(&self) {
        if let Some(sleeper) = self.hub().idle.announce() {
            self.block().counts.announces.add(1);
            self.hub().block(sleeper).doorbell.ring();
        }
    }

    /// After a wake: if this worker was woken as the searcher, it takes what there is.
    pub(super) fn search_invited(&self) {
        let look = || self.steal(|tasks, _| tasks > 0);
        self.hub().idle.search(self.index(), look, || {
            self.search_uninvited();
        });
    }

    /// Before sleeping: takes half of a backlog that is worth it.
    pub(super) fn search_uninvited(&self) -> bool {
        self.steal(worth_waking)
    }

    /// Whether there is something to search for; part of the final look before sleep.
    pub(super) fn sees_backlog(&self) -> bool {
        self.others().any(|(block, peer)| {
            worth_waking(peer.backlog(), block.poll_time.load(Ordering::Relaxed))
        })
    }

    /// Takes half the queue of a worker that `wanted` approves, starting at a random worker.
    fn steal(&self, wanted: impl Fn(usize, u64) -> bool) -> bool {
        for (index, (block, peer)) in self.others_indexed() {
            // Relaxed: an estimate.
            if !wanted(peer.backlog(), block.poll_time.load(Ordering::Relaxed)) {
                continue;
            }
            let before = self.backlog();
            if self.take_from(peer) {
                self.note_taken(Kind::Steal, index, self.backlog().saturating_sub(before));
                self.block().counts.steals.add(1);
                return true;
            }
        }
        false
    }

    pub(super) fn take_from(&self, peer: &super::Peer) -> bool {
        let Some(stealer) = &peer.stealer else { return false };
        let before = self.backlog();
        loop {
            match self.queue().steal(stealer) {
                Steal::Success(()) => {
                    self.note_stolen(before);
                    return true;
                }
                Steal::Empty => return false,
                Steal::Retry => {}
            }
        }
    }
}
