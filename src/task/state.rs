//! The state word of a task: its bits, and every edge between its values.
//!
//! | bit | set by | cleared by | means |
//! |---|---|---|---|
//! | `ACTIVE` | [`wake_by_ref`](State::wake_by_ref), [`request`](State::request), birth | [`suspend`](State::suspend), [`complete`](State::complete) | it is in a queue, or a worker polls it: there is one queue entry or one runner. A wake of a complete task sets it for good, and it means nothing |
//! | `NOTIFIED` | the same: a wake if it is active, a request always | [`start`](State::start) | it was woken since: its next poll is not the last |
//! | `COMPLETE` | [`complete`](State::complete) | never | the future is gone, the result is there (or has been taken) |
//! | `HANDLE` | birth | [`detach`](State::detach) | somebody may take the result |
//! | `WAITER` | [`offer_waiter`](State::offer_waiter) | [`reclaim_waiter`](State::reclaim_waiter), [`detach`](State::detach) | the waiter's waker is in its cell, and the completer's to take |
//! | `CANCEL` | [`request`](State::request) | [`consume_request`](State::consume_request) | cancellation was asked for |
//! | `ABORT` | [`request`](State::request) | never | ... without another poll |
//! | `POLLED` | [`suspend`](State::suspend), [`stay`](State::stay) | never | the future has been polled at least once |
//! | `LAST_TURN` | [`spend_last_turn`](State::spend_last_turn) | [`consume_request`](State::consume_request) | a cancelled task that kept itself awake has had its one further turn |
//! | `CALLBACKS` | [`note_callbacks`](State::note_callbacks) | never | somebody has registered a callback for the end: see `done.rs` |
//! | `END` (2 bits) | [`complete`](State::complete) | never | how the task ended |
//! | rest | | | the count of references |
//!
//! A queue entry is a reference, and so is every waker, the handle, and the
//! registry of live tasks until completion.
//!
//! # A wake and a poll
//!
//! 1. A wake sets `ACTIVE`. If it was not set, the waker queues the task: one RMW.
//! 2. If it was, and `NOTIFIED` as well, there is nothing to do. Else the waker sets `NOTIFIED`;
//!    and if `ACTIVE` was gone by then, begins again.
//! 3. The poll begins with a plain load: the task is active already, from its time in the
//!    queue. If it shows `NOTIFIED`, an RMW clears that. What is set later stays.
//! 4. A poll that is pending ends by a CAS that clears `ACTIVE`, unless `NOTIFIED` is set:
//!    then the task goes back to a queue as it is.
//!
//! So a task that is woken once and suspends costs two RMWs, and a wake in between is noticed by
//! step 3 or by step 4.
//!
//! The poll that follows sees what a waker wrote. If the waker queues the task, the queue gives the
//! order. Every other waker releases by the RMW of step 1, and the RMW of step 3 acquires. The word
//! is changed by RMWs only, so that a thread that acquires a value has seen what was released by
//! all RMWs before it. The last poll releases what it did, and the waker that queues the task
//! acquires it.
//!
//! The queue entry's reference becomes the runner's for the poll, and the runner *lends* it
//! to the first waker that the poll clones, since the registry's keeps the task alive until
//! the runner itself completes it. So a task that leaves one waker behind, as nearly every wait
//! does, counts nothing on its way: the reference goes from the queue entry to the runner, to
//! the waker, and with the wake to the next queue entry.

use super::done::End;
use crate::loom::atomic::{AtomicUsize, Ordering};

const ACTIVE: usize = 1;
const NOTIFIED: usize = 1 << 1;
const COMPLETE: usize = 1 << 2;
const HANDLE: usize = 1 << 3;
const WAITER: usize = 1 << 4;
const CANCEL: usize = 1 << 5;
const ABORT: usize = 1 << 6;
const POLLED: usize = 1 << 7;
const LAST_TURN: usize = 1 << 8;
const CALLBACKS: usize = 1 << 9;
const END: usize = 3 << 10;
const CANCELLED: usize = 1 << 10;
const PANICKED: usize = 2 << 10;
const REF: usize = 1 << 12;

impl End {
    const fn bits(self) -> usize {
        match self {
            Self::Value => 0,
            Self::Cancelled => CANCELLED,
            Self::Panicked => PANICKED,
            Self::Refused => END,
        }
    }
}

/// One value of the word.
#[derive(Clone, Copy)]
pub(super) struct Snapshot(usize);

impl Snapshot {
    pub(super) fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    pub(super) fn is_cancelled(self) -> bool {
        self.0 & CANCEL != 0
    }

    pub(super) fn is_aborted(self) -> bool {
        self.0 & ABORT != 0
    }

    pub(super) fn is_notified(self) -> bool {
        self.0 & NOTIFIED != 0
    }

    /// Whether it is in a queue, or polled.
    pub(super) fn is_active(self) -> bool {
        self.0 & ACTIVE != 0
    }

    /// How it ended, if it has.
    pub(super) fn end(self) -> Option<End> {
        self.is_complete().then_some(match self.0 & END {
            0 => End::Value,
            CANCELLED => End::Cancelled,
            PANICKED => End::Panicked,
            _ => End::Refused,
        })
    }

    /// Whether somebody has registered a callback for the end.
    #[inline]
    pub(super) fn has_callbacks(self) -> bool {
        self.0 & CALLBACKS != 0
    }

    /// What the completer, which has replaced this value, has to do with the result.
    #[inline]
    pub(super) fn completed(self) -> Complete {
        match (self.has_handle(), self.has_waiter()) {
            (false, _) => Complete::DropOutput,
            (true, false) => Complete::Keep,
            (true, true) => Complete::WakeWaiter,
        }
    }

    /// How many wakers and other references there are of a suspended task, as a reader sees it that
    /// has one reference itself: without the reader's, the registry's, and the handle's.
    pub(super) fn wakers(self) -> Option<usize> {
        if self.is_active() || self.is_complete() {
            return None;
        }
        (self.0 / REF).checked_sub(2 + usize::from(self.has_handle()))
    }

    pub(super) fn has_handle(self) -> bool {
        self.0 & HANDLE != 0
    }

    fn has_waiter(self) -> bool {
        self.0 & WAITER != 0
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = [
            (ACTIVE, "ACTIVE"),
            (NOTIFIED, "NOTIFIED"),
            (COMPLETE, "COMPLETE"),
            (HANDLE, "HANDLE"),
            (WAITER, "WAITER"),
            (CANCEL, "CANCEL"),
            (ABORT, "ABORT"),
            (POLLED, "POLLED"),
            (LAST_TURN, "LAST_TURN"),
            (CALLBACKS, "CALLBACKS"),
        ];
        let mut set = f.debug_set();
        for (bit, name) in names {
            if self.0 & bit != 0 {
                set.entry(&format_args!("{name}"));
            }
        }
        set.entry(&format_args!("refs={}", self.0 / REF)).finish()
    }
}

/// What the poll that begins has to do.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Poll the future.
    Poll,
    /// Poll it once more; unless that gives a value, it is cancelled.
    PollCancelled,
    /// Drop it unpolled.
    Drop,
}

/// What becomes of a task whose poll was pending.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspend {
    /// Somebody will wake it; the runner's reference is gone.
    Idle,
    /// It stays active; a reference of the runner's goes to a queue.
    Requeue,
}

/// What the completer has to do with the result.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complete {
    /// Nobody will take it: drop it.
    DropOutput,
    /// Leave it to the handle.
    Keep,
    /// Leave it to the handle, and take and wake the waiter's waker.
    WakeWaiter,
}

/// What dropping the handle has to do, before it gives up its reference.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detach {
    /// Nothing.
    Nothing,
    /// The waiter's waker is the handle's again: drop it.
    DropWaiter,
    /// The result is there: drop it.
    DropOutput,
}

/// The word.
pub(super) struct State(AtomicUsize);

impl State {
    /// A task that is about to be queued: referenced by that queue entry, by the
    /// registry and by its handle.
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(ACTIVE | HANDLE | (3 * REF)))
    }

    pub(super) fn load(&self) -> Snapshot {
        // Acquire: pairs with `complete`, so that a thread that sees COMPLETE sees the result.
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// A new task is in no queue: it waits for a wake, as if it had been polled. Its entry's reference
    /// stays.
    pub(super) fn rest(&self) {
        // Relaxed: nobody else has seen it.
        self.0.fetch_sub(ACTIVE, Ordering::Relaxed);
    }

    /// The holder of the queue entry begins a poll.
    #[inline]
    pub(super) fn start(&self) -> Start {
        // Relaxed: the queue entry brought what came before it.
        let mut old = self.0.load(Ordering::Relaxed);
        if old & NOTIFIED != 0 {
            // Acquire: sees what the wakers wrote whose `NOTIFIED` it clears.
            old = self.0.fetch_and(!NOTIFIED, Ordering::Acquire);
        }
        debug_assert_eq!(old & (ACTIVE | COMPLETE), ACTIVE, "queued, though not active");
        if old & ABORT != 0 || (old & CANCEL != 0 && old & POLLED == 0) {
            Start::Drop
        } else if old & CANCEL != 0 {
            Start::PollCancelled
        } else {
            Start::Poll
        }
    }

    /// The poll was pending: gives up the runner's reference, if it was not `lent`, unless
    /// the task was woken meanwhile.
    #[inline]
    pub(super) fn suspend(&self, lent: bool) -> Suspend {
        // The reference goes with the bit: the next waker may end it.
        let own = if lent { 0 } else { REF };
        // Relaxed: the CAS checks it; if it was woken, the next `start` acquires.
        let mut now = self.0.load(Ordering::Relaxed);
        while now & NOTIFIED == 0 {
            // Release: publishes this poll to the waker that queues the task next.
            match self.0.compare_exchange_weak(
                now,
                (now | POLLED) - ACTIVE - own,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Suspend::Idle,
                Err(changed) => now = changed,
            }
        }
        self.stay()
    }

    /// The poll was pending, and the task goes back to a queue.
    pub(super) fn stay(&self) -> Suspend {
        // Relaxed: for the next runner, which gets it by the queue.
        if self.0.load(Ordering::Relaxed) & POLLED == 0 {
            self.0.fetch_or(POLLED, Ordering::Relaxed);
        }
        Suspend::Requeue
    }

    /// A cancelled task was pending: may it have another turn? Yes, once, if it
    /// was woken (or `yielded`) during this very poll: it was just being reached.
    pub(super) fn spend_last_turn(&self, yielded: bool) -> bool {
        // Relaxed: a late wake is as good as none, and `LAST_TURN` is the runner's own.
        let now = self.0.load(Ordering::Relaxed);
        if now & LAST_TURN != 0 || now & ABORT != 0 || !(yielded || now & NOTIFIED != 0) {
            return false;
        }
        self.0.fetch_or(LAST_TURN, Ordering::Relaxed);
        true
    }

    /// The task's code has consumed the request, and goes on: the next request is a new one.
    pub(super) fn consume_request(&self) {
        // AcqRel: as a request.
        self.0.fetch_and(!(CANCEL | LAST_TURN), Ordering::AcqRel);
    }

    /// The result is in its cell, the future is gone. Returns the value before.
    #[inline]
    pub(super) fn complete(&self, end: End) -> Snapshot {
        // Release: publishes the result to the handle. Acquire: sees the waker of
        // the waiter (`offer_waiter`).
        let edge = ACTIVE | COMPLETE | end.bits();
        let old = Snapshot(self.0.fetch_xor(edge, Ordering::AcqRel));
        debug_assert!(!old.is_complete());
        old
    }

    /// A callback is in the list, whose lock the caller holds. `true`: the task is complete.
    pub(super) fn note_callbacks(&self) -> bool {
        // Acquire: a thread that sees COMPLETE sees how the task ended. What is in the list is
        // published by the list's lock.
        Snapshot(self.0.fetch_or(CALLBACKS, Ordering::Acquire)).is_complete()
    }

    /// Wakes without giving up a reference. `true`: the caller pushes a queue
    /// entry, for which a reference was taken.
    #[must_use]
    pub(super) fn wake_by_ref(&self) -> bool {
        let push = self.wake_by_val();
        if push {
            self.add_ref();
        }
        push
    }

    /// Wakes with the caller's reference. `true`: that reference is now the queue
    /// entry's, which the caller pushes; `false`: the caller still has it.
    #[inline]
    #[must_use]
    pub(super) fn wake_by_val(&self) -> bool {
        // Release: publishes what was written before to the next `start`. Acquire: sees the last
        // poll, and with it what became of the links in the header.
        let mut old = self.0.fetch_or(ACTIVE, Ordering::AcqRel);
        loop {
            if old & (ACTIVE | COMPLETE) == 0 {
                return true;
            }
            // Relaxed: the first RMW has published what there is.
            if old & (NOTIFIED | COMPLETE) != 0
                || self.0.fetch_or(NOTIFIED, Ordering::Relaxed) & (ACTIVE | COMPLETE) != 0
            {
                return false;
            }
            // Its poll ended in between. Acquire: as above.
            old = self.0.fetch_or(ACTIVE, Ordering::Acquire);
        }
    }

    /// Asks for cancellation. First: whether the task was still unfinished and had
    /// not been asked; second: the caller pushes a queue entry, as in `wake_by_ref`.
    #[must_use]
    pub(super) fn request(&self, abort: bool) -> (bool, bool) {
        let ask = if abort { CANCEL | ABORT } else { CANCEL };
        // AcqRel: as a wake. One RMW: a poll that sees the request does not take its `NOTIFIED` for
        // that of another waker.
        let old = self.0.fetch_or(ask | ACTIVE | NOTIFIED, Ordering::AcqRel);
        let push = old & (ACTIVE | COMPLETE) == 0;
        if push {
            self.add_ref();
        }
        (old & COMPLETE == 0 && old & ask != ask, push)
    }

    /// The handle has put a waker into the waiter's cell and gives it to the
    /// completer. `false`: too late, the task is complete, the cell is the handle's.
    #[must_use]
    pub(super) fn offer_waiter(&self) -> bool {
        self.update(|now| (now & COMPLETE == 0).then_some(now | WAITER)).is_ok()
    }

    /// The handle wants the waiter's cell back. `false`: too late, it is the completer's.
    #[must_use]
    pub(super) fn reclaim_waiter(&self) -> bool {
        self.update(|now| (now & COMPLETE == 0).then_some(now & !WAITER)).is_ok()
    }

    /// Whether the waiter's cell is with the completer.
    pub(super) fn waiter_offered(&self) -> bool {
        // Relaxed: only the handle, which asks, sets and clears the bit.
        self.0.load(Ordering::Relaxed) & WAITER != 0
    }

    /// The handle goes. Its reference stays, for the caller to give up last.
    pub(super) fn detach(&self) -> Detach {
        let old = self.update(|now| (now & COMPLETE == 0).then_some(now & !(HANDLE | WAITER)));
        match old {
            Err(_complete) => Detach::DropOutput,
            Ok(old) if old & WAITER != 0 => Detach::DropWaiter,
            Ok(_) => Detach::Nothing,
        }
    }

    /// Takes another reference, of which the caller holds one.
    pub(super) fn add_ref(&self) {
        // Relaxed: the reference that the caller holds keeps the task alive.
        let old = self.0.fetch_add(REF, Ordering::Relaxed);
        // 2^51 references cannot be held, only leaked; then memory would be freed in use.
        if old > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Gives up `count` references. `true`: they were the last, the caller frees.
    #[must_use]
    pub(super) fn drop_refs(&self, count: usize) -> bool {
        // AcqRel: every use by others happens before the last one frees.
        let old = self.0.fetch_sub(count * REF, Ordering::AcqRel);
        debug_assert!(old / REF >= count);
        old / REF == count
    }

    /// CAS loop. AcqRel: the edges hand the waiter's cell over, and see the result.
    fn update(&self, edge: impl FnMut(usize) -> Option<usize>) -> Result<usize, usize> {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, edge)
    }
}
