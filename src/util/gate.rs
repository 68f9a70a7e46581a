//! A gate that many threads pass for an instant, until it is closed.
//!
//! What lies behind it (a descriptor that others write to, a scheduler that others spawn into) may
//! go once the gate is closed *and* empty. Nobody waits for that: the last thread, the closer or
//! one that leaves late, cleans up.
//!
//! 1. [`enter`](Gate::enter) counts the passer in, then looks whether the gate is open.
//! 2. [`close`](Gate::close) turns `OPEN` into `CLOSING`; a thread that comes now may not enter.
//! 3. A thread that finds `CLOSING` and a count of zero tries to turn it into `CLEANING` by a CAS.
//!    One succeeds, cleans up, and clears the bit.
//! 4. [`open`](Gate::open) makes it usable again (the memory of a gate may be
//!    recycled), once nothing of an earlier closing is left.

use crate::loom::atomic::{AtomicUsize, Ordering};

const OPEN: usize = 1;
const CLOSING: usize = 2;
const CLEANING: usize = 4;
const PASSER: usize = 8;

pub(crate) struct Gate(AtomicUsize);

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Opens it. `false`: a passer of its earlier life has not finished closing it.
    #[must_use]
    pub(crate) fn open(&self) -> bool {
        // Release: publishes what lies behind. Acquire: sees the clean-up before.
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                (word & (OPEN | CLOSING | CLEANING) == 0).then_some(word | OPEN)
            })
            .is_ok()
    }

    /// Runs `pass` if the gate is open. If this was the last passer of a closed
    /// gate, runs `clean` after it.
    pub(crate) fn pass<R>(&self, pass: impl FnOnce() -> R, clean: impl FnOnce()) -> Option<R> {
        let passed = self.enter().then(pass);
        if self.leave() {
            self.clean(clean);
        }
        passed
    }

    /// Counts in. `false`: closed; `leave` is due all the same.
    #[must_use]
    fn enter(&self) -> bool {
        // Acquire: pairs with `open`.
        self.0.fetch_add(PASSER, Ordering::Acquire) & OPEN != 0
    }

    /// Counts out. `true`: the caller cleans up.
    #[must_use]
    fn leave(&self) -> bool {
        // Release: what the passer did comes before the clean-up.
        let old = self.0.fetch_sub(PASSER, Ordering::Release);
        old == CLOSING | PASSER && self.take_closing()
    }

    /// Closes it. If nobody is inside, runs `clean`; else the last thread that leaves does.
    pub(crate) fn close(&self, clean: impl FnOnce()) {
        let old = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            (word & OPEN != 0).then_some(word ^ (OPEN | CLOSING))
        });
        if matches!(old, Ok(word) if word / PASSER == 0) && self.take_closing() {
            self.clean(clean);
        }
    }

    /// Whether the gate is shut and what was to be cleaned up has been.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: sees the clean-up, and what all passers did.
        self.0.load(Ordering::Acquire) & (OPEN | CLOSING | CLEANING) == 0
    }

    /// Whether passers are let in now; it may have changed by the time you know.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OPEN != 0
    }

    fn take_closing(&self) -> bool {
        // Acquire: sees what all passers did (their Release in `leave`).
        let taken =
            self.0.compare_exchange(CLOSING, CLEANING, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    fn clean(&self, clean: impl FnOnce()) {
        clean();
        // Release: the next life begins after it (`open`, `is_closed`).
        self.0.fetch_and(!CLEANING, Ordering::Release);
    }
}
