//! The mutants of the flight recorder.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const RECORDING: &[Mutant] = &[
    Mutant {
        name: "record: an event is counted before it is written",
        file: "record/ring.rs",
        text: "        for (place, word) in self.slot(number).iter().zip(words) {",
        replacement: "        self.written.store(number + 1, Ordering::Release);
        for (place, word) in self.slot(number).iter().zip(words) {",
        model: "record_ring::write_against_read",
    },
    Mutant {
        name: "record: the words may be seen before the count of the event before",
        file: "record/ring.rs",
        text: "        fence(Ordering::Release);",
        replacement: "",
        model: "record_ring::write_against_read",
    },
    Mutant {
        name: "record: the reader looks at the count in any order",
        file: "record/ring.rs",
        text: "        fence(Ordering::Acquire);",
        replacement: "",
        model: "record_ring::write_against_read",
    },
    Mutant {
        name: "record: the event that may be under way is taken for whole",
        file: "record/ring.rs",
        text: "        let whole = (now + 1).saturating_sub(len).clamp(first, next);",
        replacement: "        let whole = now.saturating_sub(len).clamp(first, next);",
        model: "record_ring::write_against_read",
    },
    Mutant {
        name: "record: an event is counted without its words",
        file: "record/ring.rs",
        text: "        self.written.store(number + 1, Ordering::Release);",
        replacement: "        self.written.store(number + 1, Ordering::Relaxed);",
        model: "record_ring::write_against_read",
    },
    Mutant {
        name: "record: the reader sees a count without its events",
        file: "record/ring.rs",
        text: "        let next = self.written.load(Ordering::Acquire);",
        replacement: "        let next = self.written.load(Ordering::Relaxed);",
        model: "record_ring::write_against_read",
    },
];
