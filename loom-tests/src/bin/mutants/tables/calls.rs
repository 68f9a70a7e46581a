//! The mutants of calls.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const CALLS: &[Mutant] = &[
    Mutant {
        name: "calls: a load and then a store in place of a CAS",
        file: "calls.rs",
        text: "self.0.compare_exchange(PENDING, outcome, Ordering::Relaxed, Ordering::Relaxed).is_ok()",
        replacement: "let free = self.0.load(Ordering::Relaxed) == PENDING;
        if free {
            self.0.store(outcome, Ordering::Relaxed);
        }
        free",
        model: "call_cancel::cancel_against_begin",
    },
    Mutant {
        name: "calls: cancels in any state",
        file: "calls.rs",
        text: "        self.take(CANCELLED)",
        replacement: "        self.0.swap(CANCELLED, Ordering::Relaxed) != CANCELLED",
        model: "call_cancel::cancel_against_begin",
    },
    Mutant {
        name: "calls: begins in any state",
        file: "calls.rs",
        text: "        self.take(BEGUN)",
        replacement: "        self.0.swap(BEGUN, Ordering::Relaxed) != BEGUN",
        model: "call_cancel::cancel_against_begin",
    },
    Mutant {
        name: "calls: each cancel returns true",
        file: "calls.rs",
        text: "        self.take(CANCELLED)",
        replacement: "        self.take(CANCELLED) || self.is_cancelled()",
        model: "call_cancel::cancel_against_the_end",
    },
];
