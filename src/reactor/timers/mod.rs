//! Timers: one wheel per worker.
//!
//! Every worker owns a [`Timers`], and only its present holder touches the wheel inside: the owner,
//! or, while a task holds the owner, the worker that rescues it. The scheduler has them take turns;
//! "the owner" below is the present holder.
//!
//! A timer is a node, which lives as long as anything waits for it: the future may be polled and
//! dropped on any thread and may outlive the runtime. The node's state word decides which side has
//! it; its invariants, N1 to N10, stand at the head of `node.rs`.
//!
//! 1. **Arm** ([`Timers::arm`], on a worker). A node comes from the worker's free
//!    list (a batch from the pool if that is empty), gets deadline, number and
//!    waker, becomes ARMED and is filed in the wheel. The future keeps the
//!    [`TimerRef`]. If its task moves to another worker the node stays: a poll
//!    there ([`TimerRef::poll`]) changes the waker, under the node's own lock.
//! 2. **Arm anew** ([`Timers::rearm`], on the owner). To later is a store of the
//!    deadline, and the node is filed anew when its old slot comes up: an idle
//!    timeout that every message pushes back never moves. To earlier is
//!    a removal and an insertion. From another thread: 4, then 1.
//! 3. **Fire** ([`Timers::expire`], once a tick). The wheel gives out what is due *exactly* by now,
//!    sorted by deadline and then by arming order. Each node goes from ARMED to FIRED, and its
//!    waker into the caller's list, both under the node's lock. From then on it belongs to its
//!    `TimerRef`. The caller wakes when the timers are no longer borrowed. Of many timers only so
//!    many are fired at a time that their nodes and tasks are still in the caches when they run.
//!    The others stay due, and fire before anything else.
//! 4. **Cancel** ([`TimerRef::release`], or just drop). *On the owner's thread*: the node is taken
//!    out of its slot and is free at once; if it is due, it is CANCELLED, and free when its turn
//!    comes. *Elsewhere*: ARMED to CANCELLED by compare-exchange, and the node itself is the
//!    message to the owner, which frees it at its next tick ([`Timers::drain_mailbox`]). It is
//!    never urgent, so there is no doorbell: at worst a sleeping owner wakes for a timer that no
//!    longer counts. *A timer that has ended* belongs to the reference and goes to the nearest free
//!    list, or to the pool.
//! 5. **Fire against cancel.** Both leave ARMED by one compare-exchange on one
//!    word. If FIRED wins, the canceller has the node for itself. If CANCELLED
//!    wins, the wheel only lets the node go, and frees it when the mailbox brings
//!    it.
//! 6. **End of the runtime** ([`Timers::close`]). All that is ARMED becomes ORPHANED, which hands
//!    the node to its reference as FIRED would, and is woken: a future that went on to live in
//!    another runtime arms another timer there. A CANCELLED node is in the mailbox, or about to be:
//!    it is taken out of the wheel. The next drain of the mailbox, perhaps by the next runtime's
//!    `Timers` on it, finds a node that is in no wheel, and frees it.
//!
//! 7. **Memory**. Free nodes of all workers lie in one pool of the process. Nodes beyond 4096 that
//!    were not needed for a second go back to the allocator, in blocks of 64. A worker that has
//!    nothing to do gives them back ([`Mailbox::trim_pool`]), by steps, and looks for work between
//!    them. A worker that ends does not wait for that second. `shelf.rs` says how.
//!
//! Dropping a timer never allocates, and blocks on nothing but the node's lock, which is held for a
//! few moves of a pointer, and the pool's, which is held for a batch of nodes at most. No foreign code runs in here: wakers come
//! in by value and go out to the caller.

mod node;
mod pool;
mod shelf;
mod wheel;

#[cfg(test)]
mod tests;

use std::{mem, task::Waker};

#[cfg(test)]
pub(crate) use self::pool::process_nodes;
pub(crate) use self::{
    node::{End, TimerRef},
    pool::Mailbox,
    shelf::Trim,
};

use self::{
    node::{Node, Place},
    pool::Stock,
    wheel::Wheel,
};
use crate::util::panic;

/// The timers of one worker.
///
/// Times are nanoseconds of `util::clock`; `u64::MAX` is never.
pub(crate) struct Timers {
    mailbox: &'static Mailbox,
    wheel: Wheel,
    free: Stock,
    /// The number of the next arming.
    seq: u64,
    closed: bool,
}

impl Timers {
    /// New timers with nothing armed.
    ///
    /// # Panics
    ///
    /// If the mailbox has timers that are not closed.
    pub(crate) fn new(mailbox: &'static Mailbox, now: u64) -> Self {
        mailbox.claim();
        Self { mailbox, wheel: Wheel::new(now), free: Stock::default(), seq: 0, closed: false }
    }

    /// Arms a timer. A deadline in the past fires at the next [`expire`](Self::expire).
    #[inline]
    pub(crate) fn arm(&mut self, deadline: u64, waker: Waker) -> TimerRef {
        let node = self.free.take(self.mailbox.pool());
        let seq = self.next_seq();
        // SAFETY: it was in our free list, so we hold it (N2).
        let armed = unsafe { node.arm(waker) };
        if self.closed {
            // Nothing would ever fire it, and the mailbox may have another owner.
            node.disown();
        } else {
            // SAFETY: held since above, and just taken out of the free list.
            unsafe { self.wheel.insert(deadline, seq, node) };
            self.mailbox.count_armed(1);
        }
        TimerRef::new(node, self.mailbox, armed)
    }

    /// Moves an armed timer to another deadline; among equals it is the latest
    /// then. False if it is not armed, due, or not one of these timers: the caller
    /// releases it and arms another.
    pub(crate) fn rearm(&mut self, timer: &TimerRef, deadline: u64) -> bool {
        let Some(node) = timer.armed_in(self.mailbox) else {
            return false;
        };
        let seq = self.next_seq();
        // SAFETY: armed, with our mailbox, so it is in our wheel (N7).
        unsafe { self.wheel.set_deadline(node, deadline, seq) }
    }

    /// Fires what is due by `now`, and adds the wakers to `wakes`, by deadline and, among equals,
    /// in the order of arming. `limit`: no more are dealt with now; the others come next.
    pub(crate) fn expire(&mut self, now: u64, limit: usize, wakes: &mut Vec<Waker>) {
        let mut taken = 0;
        while taken < limit {
            match self.wheel.pop_due() {
                Some(node) => {
                    taken += 1;
                    self.end(node, End::Fired, wakes);
                }
                None if self.wheel.advance(now) => {}
                None => break,
            }
        }
    }

    /// Ends a timer that has just left the wheel.
    fn end(&mut self, node: &'static Node, end: End, wakes: &mut Vec<Waker>) {
        // SAFETY: it was in our wheel, so we hold it (N2).
        let place = unsafe { node.home(|home| mem::replace(&mut home.place, Place::NONE)) };
        if place == Place::LET_GO {
            self.mailbox.count_armed(-1);
            // SAFETY: as above; nobody else knows of it (N6).
            unsafe { self.free(node) };
        } else if node.end(end, wakes) {
            self.mailbox.count_armed(-1);
        }
        // Else it was cancelled elsewhere: it is in no wheel from here on, and lies in the mailbox
        // until that is drained, or will lie there.
    }

    /// A time before which nothing is due, and not far before the first that is:
    /// how long the worker may sleep. None if nothing is armed.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// The earliest deadline: a look at all timers.
    pub(crate) fn first(&self) -> Option<u64> {
        self.wheel.first()
    }

    /// How many timers are armed: [`Mailbox::armed`], which any thread may ask.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.mailbox.armed() as usize
    }

    /// Lets go of what other threads have cancelled; a load if there is nothing.
    pub(crate) fn drain_mailbox(&mut self) {
        for node in self.mailbox.take_cancelled() {
            // SAFETY: cancelled and out of the mailbox: it is ours if it is in our
            // wheel or was in it, and else of an earlier `Timers`, which is closed
            // and left it to us, in no wheel (N2, N6, N7).
            unsafe {
                match node.home(|home| home.place) {
                    Place::NONE => self.free(node),
                    _ if self.wheel.remove(node) => self.free(node),
                    _ => {
                        // The thread that cancelled it has counted it off.
                        self.mailbox.count_armed(1);
                        node.let_go();
                    }
                }
            }
        }
    }

    /// Ends these timers, and returns the wakers of those still waiting, to be
    /// woken or dropped outside the borrow. References may stay: they let go of
    /// their nodes without this wheel or the mailbox's next owner.
    #[must_use = "somebody may wait, in another runtime even: wake them outside the borrow"]
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        let mut wakes = Vec::new();
        if self.closed {
            return wakes;
        }
        self.drain_mailbox();
        while let Some(node) = self.wheel.pop() {
            self.end(node, End::Orphaned, &mut wakes);
        }
        self.drain_mailbox();
        self.closed = true;
        self.mailbox.unclaim();
        wakes
    }

    pub(super) fn mailbox(&self) -> &'static Mailbox {
        self.mailbox
    }

    /// Cancels an armed timer whose waker has been taken.
    ///
    /// # Safety
    ///
    /// The node is in this wheel, and the caller gives up the reference to it.
    #[inline]
    unsafe fn cancel(&mut self, node: &'static Node) {
        // SAFETY: by contract, and so we hold it; removed, it is in no list (N2).
        unsafe {
            if self.wheel.remove(node) {
                self.mailbox.count_armed(-1);
                self.free(node);
            } else {
                // It is counted until its turn comes, which frees it.
                node.cancel();
                node.let_go();
            }
        }
    }

    /// # Safety
    ///
    /// We hold the node, it is in no list, and nobody else knows of it.
    #[inline]
    unsafe fn free(&mut self, node: &'static Node) {
        node.free();
        // SAFETY: by contract; now it is FREE.
        unsafe { self.recycle(node) };
    }

    /// # Safety
    ///
    /// The node is FREE, in no list, and the caller hands it over.
    #[inline]
    unsafe fn recycle(&mut self, node: &'static Node) {
        // SAFETY: by contract.
        unsafe { self.free.put(node, self.mailbox.pool()) };
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        for waker in self.close() {
            panic::contain(|| waker.wake());
        }
        self.free.close(self.mailbox.pool());
        self.mailbox.pool().trim_all();
    }
}
