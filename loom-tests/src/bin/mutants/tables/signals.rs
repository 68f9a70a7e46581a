//! The mutants of signals.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const SIGNALS: &[Mutant] = &[
    Mutant {
        name: "signals: the listeners are read after the count",
        file: "util/signal_count.rs",
        text: "        let is_heard = listeners(was) > 0;",
        replacement: "        let _ = was;
        let is_heard = listeners(self.0.load(Ordering::Acquire)) > 0;",
        model: "signal_count::come_against_listen",
    },
    Mutant {
        name: "signals: rung before it is counted",
        file: "util/signal_count.rs",
        text: "        let was = self.0.fetch_add(SIGNAL, Ordering::AcqRel);
        let is_heard = listeners(was) > 0;
        if is_heard {
            ring();
        }",
        replacement: "        if listeners(self.0.load(Ordering::Relaxed)) > 0 {
            ring();
        }
        let was = self.0.fetch_add(SIGNAL, Ordering::AcqRel);
        let is_heard = listeners(was) > 0;",
        model: "signal_count::one_comes_and_wakes_a_sleeper",
    },
    Mutant {
        name: "signals: not rung",
        file: "util/signal_count.rs",
        text: "        if is_heard {",
        replacement: "        if is_heard && was >= SIGNAL + 1 {",
        model: "signal_count::come_against_leave",
    },
    Mutant {
        name: "signals: counted by a load and a store",
        file: "util/signal_count.rs",
        text: "        let was = self.0.fetch_add(SIGNAL, Ordering::AcqRel);",
        replacement: "        let was = self.0.load(Ordering::Acquire);
        self.0.store(was + SIGNAL, Ordering::Release);",
        model: "signal_count::come_while_one_of_two_leaves",
    },
    Mutant {
        name: "signals: rung without a listener",
        file: "util/signal_count.rs",
        text: "        if is_heard {",
        replacement: "        if is_heard || was >= SIGNAL {",
        model: "signal_count::come_against_leave",
    },
    Mutant {
        name: "signals: a new listener gets earlier signals",
        file: "util/signal_count.rs",
        text: "        Seen::of(self.0.fetch_add(1, Ordering::Relaxed))",
        replacement: "        self.0.fetch_add(1, Ordering::Relaxed);
        Seen(0)",
        model: "signal_count::come_against_listen",
    },
    Mutant {
        name: "signals: counted as a listener after a read of the count",
        file: "util/signal_count.rs",
        text: "        Seen::of(self.0.fetch_add(1, Ordering::Relaxed))",
        replacement: "        let seen = Seen::of(self.0.load(Ordering::Relaxed));
        self.0.fetch_add(1, Ordering::Relaxed);
        seen",
        model: "signal_count::come_against_listen",
    },
    Mutant {
        name: "signals: received, and not noted",
        file: "util/signal_count.rs",
        text: "        *seen = now;",
        replacement: "        let _ = now;",
        model: "signal_count::come_against_listen",
    },
    Mutant {
        name: "signals: a signal publishes nothing",
        file: "util/signal_count.rs",
        text: "self.0.fetch_add(SIGNAL, Ordering::AcqRel)",
        replacement: "self.0.fetch_add(SIGNAL, Ordering::Relaxed)",
        model: "signal_count::what_came_before_is_seen",
    },
    Mutant {
        name: "signals: a listener sees nothing of what came before",
        file: "util/signal_count.rs",
        text: "Seen::of(self.0.load(Ordering::Acquire))",
        replacement: "Seen::of(self.0.load(Ordering::Relaxed))",
        model: "signal_count::what_came_before_is_seen",
    },
];
