//! The mutants of calls.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const CALLS: &[Mutant] = &[
    Mutant {
        name: "calls: a look and then a store",
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
        name: "calls: cancelled, whatever it was",
        file: "calls.rs",
        text: "        self.take(CANCELLED)",
        replacement: "        self.0.swap(CANCELLED, Ordering::Relaxed) != CANCELLED",
        model: "call_cancel::cancel_against_begin",
    },
    Mutant {
        name: "calls: begins, whatever it was",
        file: "calls.rs",
        text: "        self.take(BEGUN)",
        replacement: "        self.0.swap(BEGUN, Ordering::Relaxed) != BEGUN",
        model: "call_cancel::cancel_against_begin",
    },
    Mutant {
        name: "calls: all who cancel are told that they did",
        file: "calls.rs",
        text: "        self.take(CANCELLED)",
        replacement: "        self.take(CANCELLED) || self.is_cancelled()",
        model: "call_cancel::cancel_against_the_end",
    },
];
