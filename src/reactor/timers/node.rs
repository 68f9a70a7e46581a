//! A timer's node: what the wheel, the waiting future and the mailbox share.
//!
//! # Invariants
//!
//! N1. A node is freed with its whole block, and only by a thread that has taken all nodes of the
//!     block, FREE, out of the pool (`shelf.rs`). So a `&'static Node` is valid for the owner of
//!     its [`TimerRef`], for its holder, for the holder of the waker's lock (until the unlock),
//!     and for a thread that pushes it into a mailbox (until the push). Nobody else follows one; a
//!     stale address may be compared, or prefetched.
//! N2. A node's `home` has one holder at a time, as `state` says:
//!     * FREE: the free list it lies in (a [`Timers`]' own, or
//!       the pool's, under the pool's lock);
//!     * ARMED: the `Timers` that armed it, on whatever thread has that;
//!     * CANCELLED: the same `Timers`, and once that is closed, the one that
//!       drains the node out of the mailbox, if it is or will be there;
//!     * FIRED, ORPHANED: the one [`TimerRef`], which may make it FREE.
//! N3. Each hand-over of N2 is a release and an acquire. From wheel to reference it is the waker's
//!     lock (both take it around or after the change of state). From reference to wheel it is the
//!     mailbox's head, from one `Timers` to the next the mailbox's claim, and with the pool the
//!     pool's lock. For a `Timers` itself it is whatever brings it from one thread to another.
//! N4. ARMED is left once: by the wheel's compare-exchange to FIRED or ORPHANED
//!     while it holds the waker's lock, by the reference's to CANCELLED, or by
//!     the reference's release by the holder of the `Timers`. After that exchange and
//!     that unlock the wheel does not touch a FIRED or ORPHANED node again.
//! N5. There is one `TimerRef` to a node that is not FREE, and none to one that
//!     is. (CANCELLED: it is just going.)
//! N6. A node enters a mailbox only as CANCELLED, once, pushed by the reference
//!     that cancelled it, into the mailbox of the `Timers` that armed it. A node that the
//!     holder of that `Timers` lets go of, while it is due, enters none: its [`Place`] says
//!     so, and it is freed when its turn comes.
//! N7. A mailbox has at most one open `Timers` (`Mailbox::claim`).
//! N8. The waker is None while the node is FREE or in a mailbox.
//! N9. A thread that has both the `TimerRef` and the `Timers` that armed it, or is about to make
//!     the one from the other, needs no lock for the waker: the reference is the only other
//!     way to it.

use std::{
    mem, ptr,
    task::{Context, Poll, Waker},
};

use super::{Timers, pool::Mailbox, shelf::BlockRef};
use crate::{
    loom::{
        BriefLock, MODELLED, UnsafeCell,
        atomic::{AtomicPtr, AtomicU64, Ordering},
    },
    util::panic,
};

/// It has a cache line to itself: where there are many nodes, each access is a cache miss.
#[repr(align(64))]
pub(super) struct Node {
    /// The holder's part (N2).
    home: UnsafeCell<Home>,
    /// Generation above [`TAG_BITS`], tag below: see N4 for its edges. The
    /// generation counts uses, so that a word kept from one use (in `TimerRef`)
    /// matches no other.
    state: AtomicU64,
    /// The task to wake. Only moves happen under the lock: clones, drops and wakes are foreign code
    /// and happen outside.
    waker: BriefLock<Option<Waker>>,
    /// The node below in the mailbox's stack; or, for the first node of a free batch, that of
    /// the batch below it in the pool.
    pub(super) next_message: AtomicPtr<Node>,
}

const _: () = assert!(MODELLED || size_of::<Node>() == 64);

// SAFETY: all fields but `home` are Sync; `home` is reached only through the
// unsafe `Node::home`, whose callers are its one holder (N2), and holders change
// by release and acquire (N3). What it holds (numbers, `&'static Node`) is Send.
unsafe impl Sync for Node {}

/// The part of a node that only its holder touches.
pub(super) struct Home {
    /// Where in the wheel; [`Place::NONE`] when in no wheel.
    pub(super) place: Place,
    /// Its number in the slot.
    pub(super) at: u32,
    /// The next in the free list.
    pub(super) next: Option<&'static Node>,
    /// Where it is allocated. Never changes; here, so that all of a node is in cells: memory that is
    /// freed while a reference to it goes out of scope must be.
    pub(super) block: BlockRef,
}

/// A slot of the wheel, counted through all levels, or what is in its stead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u16);

impl Place {
    pub(super) const NONE: Self = Self(u16::MAX);
    /// Among what has come due, to be fired.
    pub(super) const DUE: Self = Self(u16::MAX - 1);
    /// The same, to be freed instead: nobody waits any more.
    pub(super) const LET_GO: Self = Self(u16::MAX - 2);
}

/// How a timer ended without being cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its time has come.
    Fired,
    /// Its wheel closed before that: a task that still waits arms another timer.
    Orphaned,
}

const TAG_BITS: u32 = 3;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const FREE: u64 = 0;
const ARMED: u64 = 1;
const FIRED: u64 = 2;
const CANCELLED: u64 = 3;
const ORPHANED: u64 = 4;

impl Node {
    pub(super) fn new(block: BlockRef) -> Self {
        Self {
            home: UnsafeCell::new(Home { place: Place::NONE, at: 0, next: None, block }),
            state: AtomicU64::new(FREE),
            waker: BriefLock::new(None),
            next_message: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Gives the holder its part of the node.
    ///
    /// # Safety
    ///
    /// The caller is the holder (N2), and `f` does not come back to this node.
    #[inline]
    pub(super) unsafe fn home<R>(&self, f: impl FnOnce(&mut Home) -> R) -> R {
        // SAFETY: the caller is the one holder, and there is no second borrow
        // inside `f`, both by this function's contract.
        self.home.with_mut(|home| f(unsafe { &mut *home }))
    }

    /// FREE to ARMED, by the wheel that took it from its free list. Returns the
    /// new state word.
    ///
    /// # Safety
    ///
    /// The caller is the holder (N2).
    pub(super) unsafe fn arm(&self, waker: Waker) -> u64 {
        // SAFETY: N9: there is no `TimerRef` yet, and the last one's accesses came before the
        // hand-over (N3).
        let old = unsafe { self.waker.with_exclusive(|kept| kept.replace(waker)) };
        debug_assert!(old.is_none(), "N8");
        // Relaxed: the thread that gets the `TimerRef` gets these writes along with it.
        let free = self.state.load(Ordering::Relaxed);
        debug_assert_eq!(free & TAG_MASK, FREE);
        self.state.store(free | ARMED, Ordering::Relaxed);
        free | ARMED
    }

    /// ARMED to ORPHANED without a wake, by the wheel that has just armed it and keeps nothing of
    /// it.
    pub(super) fn disown(&self) {
        // Relaxed: as in `arm`.
        let armed = self.state.load(Ordering::Relaxed);
        self.state.store(armed & !TAG_MASK | ORPHANED, Ordering::Relaxed);
    }

    /// ARMED to CANCELLED, by the thread that has both the reference, which goes, and the `Timers`.
    pub(super) fn cancel(&self) {
        // Relaxed: the way into its next use orders it, as in `free`.
        let armed = self.state.load(Ordering::Relaxed);
        self.state.store(armed & !TAG_MASK | CANCELLED, Ordering::Relaxed);
    }

    /// Marks a node that is due, and CANCELLED, for the wheel to free in its stead.
    ///
    /// # Safety
    ///
    /// The caller is the holder (N2), and nobody else knows of it.
    pub(super) unsafe fn let_go(&self) {
        // SAFETY: by contract.
        unsafe { self.home(|home| home.place = Place::LET_GO) };
    }

    /// ARMED to FIRED or ORPHANED, by the wheel, which has taken the node out of
    /// its slots. Puts the waker, if there is one, into `wakes`. False: it had
    /// been cancelled elsewhere, so it comes by mailbox.
    pub(super) fn end(&self, end: End, wakes: &mut Vec<Waker>) -> bool {
        let tag = match end {
            End::Fired => FIRED,
            End::Orphaned => ORPHANED,
        };
        // State and waker change under one lock. Otherwise a reference that sees
        // FIRED could recycle the node, and we would take its next user's waker;
        // or a poll could leave its waker between our two steps and sleep on.
        let mut kept = self.waker.lock();
        let armed = self.state.load(Ordering::Relaxed);
        if armed & TAG_MASK != ARMED {
            debug_assert_eq!(armed & TAG_MASK, CANCELLED);
            return false;
        }
        // Relaxed: the word only decides. `home` goes over to the reference with
        // the lock, which `TimerRef::give_up` takes before it touches that (N3).
        let ended = armed & !TAG_MASK | tag;
        let won =
            self.state.compare_exchange(armed, ended, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let waker = if won { kept.take() } else { None };
        drop(kept);
        wakes.extend(waker);
        won
    }

    /// How it has ended, for its reference.
    fn ended(&self) -> Option<End> {
        // Relaxed: it tells that the timer has ended; what goes along with that is
        // taken under the lock.
        match self.state.load(Ordering::Relaxed) & TAG_MASK {
            FIRED => Some(End::Fired),
            ORPHANED => Some(End::Orphaned),
            _ => None,
        }
    }

    /// To FREE, by the holder, which also puts it into a free list. The waker has been taken.
    pub(super) fn free(&self) {
        // Relaxed: the node is ours alone, and the way into its next use (same
        // thread, or the pool's lock) orders this store.
        let old = self.state.load(Ordering::Relaxed);
        let next = (old & !TAG_MASK).wrapping_add(1 << TAG_BITS);
        self.state.store(next | FREE, Ordering::Relaxed);
    }

    /// Sees that nobody has anything to do with a node whose memory goes.
    ///
    /// # Safety
    ///
    /// It is FREE, and the caller has it.
    pub(super) unsafe fn expect_free(&self) {
        // SAFETY: no `TimerRef` and no wheel knows of it (N1).
        let has_waker = unsafe { self.waker.with_exclusive(|kept| kept.is_some()) };
        // SAFETY: by contract.
        let place = unsafe { self.home(|home| home.place) };
        assert!(!has_waker && place == Place::NONE, "a timer is freed in use");
        // Relaxed: as in `free`.
        assert_eq!(self.state.load(Ordering::Relaxed) & TAG_MASK, FREE);
    }

    /// The batch below that of which this is the first node.
    pub(super) fn batch_below(&self) -> Option<&'static Self> {
        // Relaxed, as is the store: under the pool's lock.
        let below = self.next_message.load(Ordering::Relaxed);
        // SAFETY: null, or put there by `set_batch_below` as a node that lies in the pool (N1).
        unsafe { below.cast_const().as_ref::<'static>() }
    }

    pub(super) fn set_batch_below(&self, below: Option<&'static Self>) {
        let below = below.map_or(ptr::null(), ptr::from_ref).cast_mut();
        self.next_message.store(below, Ordering::Relaxed);
    }
}

/// A timer that somebody waits for. Dropping it cancels the timer, from any
/// thread; [`release`](Self::release) is the cheaper way on a worker.
pub(crate) struct TimerRef {
    node: &'static Node,
    owner: &'static Mailbox,
    /// The state word this timer was armed with.
    armed: u64,
}

impl TimerRef {
    pub(super) fn new(node: &'static Node, owner: &'static Mailbox, armed: u64) -> Self {
        Self { node, owner, armed }
    }

    /// The node, if `mailbox` is its owner's and it is armed still.
    pub(super) fn armed_in(&self, mailbox: &'static Mailbox) -> Option<&'static Node> {
        is_armed_in(self.node, self.owner, self.armed, mailbox).then_some(self.node)
    }

    /// Whether the time has come.
    #[cfg(test)]
    pub(crate) fn is_fired(&self) -> bool {
        self.node.ended() == Some(End::Fired)
    }

    /// Ready once the timer has ended; until then the task of `cx` is the one
    /// that will be woken. Any thread may poll.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(end) = self.node.ended() {
            return Poll::Ready(end);
        }
        // A waker that is still there has not been woken, and will be.
        let same = |kept: &Waker| kept.will_wake(cx.waker());
        if self.node.waker.lock().as_ref().is_some_and(same) {
            return Poll::Pending;
        }
        let mut waker = Some(cx.waker().clone());
        let mut kept = self.node.waker.lock();
        // Asked under the lock: see `Node::end`.
        let end = self.node.ended();
        if end.is_none() {
            mem::swap(&mut *kept, &mut waker);
        }
        drop(kept);
        panic::discard_foreign(waker);
        end.map_or(Poll::Pending, Poll::Ready)
    }

    /// Gives the timer up, if there is one; `here` are the timers of the calling thread, if it
    /// is a worker. Returns a waker nobody will wake: to be dropped when `here` is no longer
    /// borrowed, since that may run anything.
    #[must_use = "dropping the waker is foreign code: do it outside the borrow of the timers"]
    #[inline]
    pub(crate) fn release(timer: &mut Option<Self>, here: Option<&mut Timers>) -> Option<Waker> {
        // Its parts, and in place: it was written by parts, mostly just now, and a copy of the
        // whole would wait for that.
        let &Self { node, owner, armed } = timer.as_ref()?;
        mem::forget(timer.take());
        Self::give_up(node, owner, armed, here)
    }

    /// The common part of release and drop, which call it once and never use the reference again.
    #[inline]
    fn give_up(
        node: &'static Node,
        owner: &'static Mailbox,
        armed: u64,
        here: Option<&mut Timers>,
    ) -> Option<Waker> {
        if let Some(timers) = &here
            && is_armed_in(node, owner, armed, timers.mailbox())
        {
            // SAFETY: N9: this was the one reference, and `timers` is the `Timers` that armed
            // it: of all that ever had this mailbox it is the open one (N7), and the others
            // left nothing armed when they closed.
            unsafe {
                let waker = node.waker.with_exclusive(Option::take);
                here.expect("just seen").cancel(node);
                return waker;
            }
        }
        // Relaxed: if we win, this tells the wheel only to keep its hands off the
        // waker; if not, the node has ended, and the lock below hands it to us.
        let cancelled = armed & !TAG_MASK | CANCELLED;
        let won = node.ended().is_none()
            && node
                .state
                .compare_exchange(armed, cancelled, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        // The lock also waits for a `Node::end` that is about to let go (N3, N4).
        let waker = node.waker.lock().take();
        if won {
            owner.push_cancelled(node);
            return waker;
        }
        node.free();
        // SAFETY: FIRED or ORPHANED until a moment ago, so this reference, which
        // goes away, was the holder; now it is free and in no list.
        unsafe {
            match here {
                Some(timers) => timers.recycle(node),
                None => owner.pool().put(node),
            }
        }
        waker
    }
}

/// Whether `owner`, which armed `node` with that word, is `mailbox`, and it is armed still.
#[inline]
fn is_armed_in(node: &Node, owner: &Mailbox, armed: u64, mailbox: &Mailbox) -> bool {
    // Relaxed: only the owner and the reference move an armed node on, and here both are the
    // caller.
    ptr::eq(owner, mailbox) && node.state.load(Ordering::Relaxed) == armed
}

impl Drop for TimerRef {
    fn drop(&mut self) {
        drop(Self::give_up(self.node, self.owner, self.armed, None));
    }
}
