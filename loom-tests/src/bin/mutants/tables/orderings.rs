//! The mutants that weaken one ordering: then one thread does not see what another did before.

use crate::run::Mutant;

/// By file.
#[rustfmt::skip]
pub const ORDERINGS: &[Mutant] = &[
    Mutant {
        name: "wake: does not see the poll that has ended in between",
        file: "task/state.rs",
        text: "            old = self.0.fetch_or(ACTIVE, Ordering::Acquire);",
        replacement: "            old = self.0.fetch_or(ACTIVE, Ordering::Relaxed);",
        model: "task_state::wake_past_another_poll",
    },
    Mutant {
        name: "slot: a load sees nothing of what came before the event",
        file: "reactor/slot.rs",
        text: "        let word = self.word.load(Ordering::Acquire);",
        replacement: "        let word = self.word.load(Ordering::Relaxed);",
        model: "slot_event::two_events_against_clear",
    },
    Mutant {
        name: "slot: an event publishes nothing",
        file: "reactor/slot.rs",
        text: "self.word.store(known & !EVENT_MASK | events | ready.0 | again, Ordering::Release);",
        replacement: "self.word.store(known & !EVENT_MASK | events | ready.0 | again, Ordering::Relaxed);",
        model: "slot_event::two_events_against_clear",
    },
    Mutant {
        name: "slot: a clear hides what came before the event",
        file: "reactor/slot.rs",
        text: "            self.word.store(word & !bits, Ordering::Release);",
        replacement: "            self.word.store(word & !bits, Ordering::Relaxed);",
        model: "slot_event::event_against_clear_of_the_other_way",
    },
    Mutant {
        name: "take: sees nothing of a borrower that has given it back",
        file: "reactor/uring/claim.rs",
        text: "        if self.0.swap(TAKEN, Ordering::Acquire) == TAKEN {
            self.wait();",
        replacement: "        if self.0.swap(TAKEN, Ordering::Relaxed) == TAKEN {
            self.wait();",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "take: sees nothing of a borrower for which it waited",
        file: "reactor/uring/claim.rs",
        text: "        while self.0.swap(TAKEN, Ordering::Acquire) == TAKEN {",
        replacement: "        while self.0.swap(TAKEN, Ordering::Relaxed) == TAKEN {",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "give_back: publishes nothing",
        file: "reactor/uring/claim.rs",
        text: "if may_borrow { FREE } else { WITHHELD }, Ordering::Release)",
        replacement: "if may_borrow { FREE } else { WITHHELD }, Ordering::Relaxed)",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "try_borrow: sees nothing of the holder before",
        file: "reactor/uring/claim.rs",
        text: "compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed)",
        replacement: "compare_exchange(FREE, TAKEN, Ordering::Relaxed, Ordering::Relaxed)",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "try_borrow: publishes nothing",
        file: "reactor/uring/claim.rs",
        text: "self.0.swap(FREE, Ordering::Release)",
        replacement: "self.0.swap(FREE, Ordering::Relaxed)",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "claim: the next timers see nothing of the last",
        file: "reactor/timers/pool.rs",
        text: "self.claimed.swap(true, Ordering::Acquire)",
        replacement: "self.claimed.swap(true, Ordering::Relaxed)",
        model: "timer_ends::next_owner_elsewhere",
    },
    Mutant {
        name: "unclaim: publishes nothing",
        file: "reactor/timers/pool.rs",
        text: "self.claimed.store(false, Ordering::Release)",
        replacement: "self.claimed.store(false, Ordering::Relaxed)",
        model: "timer_ends::next_owner_elsewhere",
    },
    Mutant {
        name: "notify: sees nothing of the worker that it wakes",
        file: "scheduler/idle.rs",
        text: "self.word.fetch_and(!(1 << target), Ordering::AcqRel)",
        replacement: "self.word.fetch_and(!(1 << target), Ordering::Relaxed)",
        model: "idle_word::sleeper_is_claimed",
    },
    Mutant {
        name: "idle: no edge orders anything",
        file: "scheduler/idle.rs",
        text: ".fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {",
        replacement: ".fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {",
        model: "idle_word::patrol_is_handed_on",
    },
    Mutant {
        name: "idle: the edges publish nothing",
        file: "scheduler/idle.rs",
        text: ".fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {",
        replacement: ".fetch_update(Ordering::Acquire, Ordering::Acquire, |word| {",
        model: "idle_word::search_is_handed_on",
    },
    Mutant {
        name: "permits: a CAS that finds it closed sees nothing of what came before the close",
        file: "sync/permits.rs",
        text: "                word - (needed << SHIFT),
                Ordering::Acquire,
                Ordering::Acquire,",
        replacement: "                word - (needed << SHIFT),
                Ordering::Acquire,
                Ordering::Relaxed,",
        model: "permits_close::take_against_close",
    },
];
