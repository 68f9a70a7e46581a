//! The state word of a task: its bits, and every edge between its values.
//!
//! | bit | set by | cleared by | means |
//! |---|---|---|---|
//! | `RUNNING` | [`start`](State::start) | [`suspend`](State::suspend), [`complete`](State::complete) | a worker polls it, or it yielded and waits in a queue for its next turn |
//! | `NOTIFIED` | [`wake_by_ref`](State::wake_by_ref), [`request`](State::request), birth | [`start`](State::start) | it is in a queue, or goes back to one when its poll ends |
//! | `COMPLETE` | [`complete`](State::complete) | never | the future is gone, the result is there (or has been taken) |
//! | `HANDLE` | birth | [`detach`](State::detach) | somebody may take the result |
//! | `WAITER` | [`offer_waiter`](State::offer_waiter) | [`reclaim_waiter`](State::reclaim_waiter), [`detach`](State::detach) | the waiter's waker is in its cell, and the completer's to take |
//! | `CANCEL` | [`request`](State::request) | never | cancellation was asked for |
//! | `ABORT` | [`request`](State::request) | never | ... without another poll |
//! | `POLLED` | [`start`](State::start) | never | the future has been polled at least once |
//! | `TOLD` | [`spend_last_turn`](State::spend_last_turn) | never | a cancelled task that kept itself awake has had its one further turn |
//! | rest | | | the count of references |
//!
//! A queue entry is a reference, and so is every waker, the handle, and the
//! registry of live tasks until completion. `NOTIFIED` without `RUNNING` means
//! that exactly one queue entry exists, or is about to: whoever set the bit, or
//! ended the poll that found it set, pushes it.
//!
//! The queue entry's reference becomes the runner's for the poll, and the runner *lends* it
//! to the first waker that the poll clones, since the registry's keeps the task alive until
//! the runner itself completes it. So a task that leaves one waker behind, as nearly every wait
//! does, counts nothing on its way: the reference goes from the queue entry to the runner, to
//! the waker, and with the wake to the next queue entry.
//!
//! Every wake is an RMW with release order, also when the bit is set already:
//! what the waker wrote before must be seen by the poll that the bit stands for,
//! and that poll begins with an acquiring RMW of the same word.

use crate::loom::atomic::{AtomicUsize, Ordering};

const RUNNING: usize = 1;
const NOTIFIED: usize = 1 << 1;
const COMPLETE: usize = 1 << 2;
const HANDLE: usize = 1 << 3;
const WAITER: usize = 1 << 4;
const CANCEL: usize = 1 << 5;
const ABORT: usize = 1 << 6;
const POLLED: usize = 1 << 7;
const TOLD: usize = 1 << 8;
const REF: usize = 1 << 12;

/// One value of the word.
#[derive(Clone, Copy)]
pub(super) struct Snapshot(usize);

impl Snapshot {
    pub(super) fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    fn has_handle(self) -> bool {
        self.0 & HANDLE != 0
    }

    fn has_waiter(self) -> bool {
        self.0 & WAITER != 0
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = [
            (RUNNING, "RUNNING"),
            (NOTIFIED, "NOTIFIED"),
            (COMPLETE, "COMPLETE"),
            (HANDLE, "HANDLE"),
            (WAITER, "WAITER"),
            (CANCEL, "CANCEL"),
            (ABORT, "ABORT"),
            (POLLED, "POLLED"),
            (TOLD, "TOLD"),
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
    /// It was woken during the poll; a reference of the runner's goes to a queue.
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
        Self(AtomicUsize::new(NOTIFIED | HANDLE | (3 * REF)))
    }

    pub(super) fn load(&self) -> Snapshot {
        // Acquire: pairs with `complete`, so that who sees COMPLETE sees the result.
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// The holder of the queue entry begins a poll.
    pub(super) fn start(&self) -> Start {
        // Relaxed: RUNNING and POLLED are written by runners only, and the queue
        // orders one runner after another.
        let seen = self.0.load(Ordering::Relaxed);
        let old = if seen & RUNNING == 0 {
            // Nobody else changes RUNNING or a set NOTIFIED, so that xor flips
            // just these. AcqRel: sees what every waker wrote; see the head.
            let first = if seen & POLLED == 0 { POLLED } else { 0 };
            self.0.fetch_xor(NOTIFIED | RUNNING | first, Ordering::AcqRel)
        } else if seen & NOTIFIED != 0 {
            // It yielded, and was woken besides. AcqRel as above.
            self.0.fetch_and(!NOTIFIED, Ordering::AcqRel)
        } else {
            // It yielded. A wake or a request that comes now sets NOTIFIED, which
            // is looked at when this poll ends.
            seen
        };
        debug_assert_eq!(old & COMPLETE, 0, "a finished task was queued");
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
    pub(super) fn suspend(&self, lent: bool) -> Suspend {
        // The reference goes with the bit in one RMW: the registry's keeps the
        // task alive until completion, so that taking it back below is in time.
        // AcqRel: publishes this poll to the next; sees what wakers wrote.
        let own = if lent { 0 } else { REF };
        let old = self.0.fetch_sub(RUNNING + own, Ordering::AcqRel);
        if old & NOTIFIED == 0 {
            return Suspend::Idle;
        }
        // Relaxed: NOTIFIED without RUNNING keeps all others from queueing it.
        self.0.fetch_add(REF, Ordering::Relaxed);
        Suspend::Requeue
    }

    /// A cancelled task was pending: may it have another turn? Yes, once, if it
    /// was woken (or `yielded`) during this very poll: it was just being reached.
    pub(super) fn spend_last_turn(&self, yielded: bool) -> bool {
        // Relaxed: a late wake is as good as none, and TOLD is the runner's own.
        let now = self.0.load(Ordering::Relaxed);
        if now & TOLD != 0 || now & ABORT != 0 || !(yielded || now & NOTIFIED != 0) {
            return false;
        }
        self.0.fetch_or(TOLD, Ordering::Relaxed);
        true
    }

    /// The result is in its cell, the future is gone.
    pub(super) fn complete(&self) -> Complete {
        // Release: publishes the result to the handle. Acquire: sees the waker of
        // the waiter (`offer_waiter`).
        let old = Snapshot(self.0.fetch_xor(RUNNING | COMPLETE, Ordering::AcqRel));
        debug_assert!(!old.is_complete());
        match (old.has_handle(), old.has_waiter()) {
            (false, _) => Complete::DropOutput,
            (true, false) => Complete::Keep,
            (true, true) => Complete::WakeWaiter,
        }
    }

    /// Wakes without giving up a reference. `true`: the caller pushes a queue
    /// entry, for which a reference was taken.
    #[must_use]
    pub(super) fn wake_by_ref(&self) -> bool {
        // AcqRel: see the head.
        let old = self.0.fetch_or(NOTIFIED, Ordering::AcqRel);
        if old & (NOTIFIED | RUNNING | COMPLETE) != 0 {
            return false;
        }
        self.add_ref();
        true
    }

    /// Wakes with the caller's reference. `true`: that reference is now the queue
    /// entry's, which the caller pushes; `false`: the caller still has it.
    #[must_use]
    pub(super) fn wake_by_val(&self) -> bool {
        // AcqRel: see the head.
        let old = self.0.fetch_or(NOTIFIED, Ordering::AcqRel);
        old & (NOTIFIED | RUNNING | COMPLETE) == 0
    }

    /// Asks for cancellation. First: whether the task was still unfinished and had
    /// not been asked; second: the caller pushes a queue entry, as in `wake_by_ref`.
    #[must_use]
    pub(super) fn request(&self, abort: bool) -> (bool, bool) {
        let ask = if abort { CANCEL | ABORT } else { CANCEL };
        // AcqRel: as a wake.
        let old = self.0.fetch_or(ask | NOTIFIED, Ordering::AcqRel);
        let push = old & (NOTIFIED | RUNNING | COMPLETE) == 0;
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
