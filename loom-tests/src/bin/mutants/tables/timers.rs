//! The mutants of timers.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const TIMERS: &[Mutant] = &[
    // Timers.
    Mutant {
        name: "timer: its end is read without the lock",
        file: "reactor/timers/node.rs",
        text: "        let mut kept = self.node.waker.lock();
        // Asked under the lock: see `Node::end`.
        let end = self.node.ended();",
        replacement: "        let end = self.node.ended();
        let mut kept = self.node.waker.lock();",
        model: "timer_ends::poll_against_fire",
    },
    Mutant {
        name: "give_up: takes the waker while the wheel uses it",
        file: "reactor/timers/node.rs",
        text: "        let waker = node.waker.lock().take();",
        replacement: "        let waker = unsafe { node.waker.with_exclusive(Option::take) };",
        model: "timer_ends::drop_against_fire",
    },
    Mutant {
        name: "give_up: takes a timer that has ended for an armed one",
        file: "reactor/timers/node.rs",
        text: "            && is_armed_in(node, owner, armed, timers.mailbox())",
        replacement: "            && ptr::eq(owner, timers.mailbox())",
        model: "timer_ends::release_against_rescue",
    },
    Mutant {
        name: "timer: fires after it has released the lock",
        file: "reactor/timers/node.rs",
        text: "        let mut kept = self.waker.lock();
        let armed",
        replacement: "        let mut kept = self.waker.lock().take();
        let armed",
        model: "timer_ends::poll_against_fire",
    },
    Mutant {
        name: "timer: a due timer is freed before its turn",
        file: "reactor/timers/mod.rs",
        text: "                node.cancel();
                node.let_go();",
        replacement: "                self.free(node);",
        model: "timer_ends::drop_of_what_is_due",
    },
    Mutant {
        name: "timer: a timer that was given up is fired",
        file: "reactor/timers/mod.rs",
        text: "        if place == Place::LET_GO {",
        replacement: "        if place == Place::LET_GO && false {",
        model: "timer_ends::drop_of_what_is_due",
    },
    Mutant {
        name: "timer: the mailbox publishes nothing",
        file: "reactor/timers/pool.rs",
        text: "                Ordering::Release,
                Ordering::Relaxed,",
        replacement: "                Ordering::Relaxed,
                Ordering::Relaxed,",
        model: "timer_ends::drop_against_fire",
    },
    Mutant {
        name: "drain: a due timer that was cancelled elsewhere is counted off twice",
        file: "reactor/timers/mod.rs",
        text: "                        self.mailbox.count_armed(1);
",
        replacement: "",
        model: "timer_ends::drop_of_what_is_due_counts",
    },
    Mutant {
        name: "give_up: takes the waker while the wheel uses it, and the node is freed",
        file: "reactor/timers/node.rs",
        text: "        let waker = node.waker.lock().take();",
        replacement: "        let waker = unsafe { node.waker.with_exclusive(Option::take) };",
        model: "timer_ends::free_against_fire",
    },
    Mutant {
        name: "shelf: a block is freed with a node in use",
        file: "reactor/timers/shelf.rs",
        text: "        if filed == BATCH {",
        replacement: "        if filed == BATCH - 1 {",
        model: "timer_ends::free_against_fire",
    },
    Mutant {
        name: "shelf: a block in the list has another's place",
        file: "reactor/timers/shelf.rs",
        text: "            unsafe { moved.sorted(|sorted| sorted.at = at) };",
        replacement: "",
        model: "unit test reactor::timers::tests::memory::memory_of_a_crowd_goes_back_when_nobody_has_wanted_it_for_a_period",
    },
    Mutant {
        name: "pool: sorts without the lock",
        file: "reactor/timers/pool.rs",
        text: "            let did = self.edit(|shelf| shelf.sort(self, &mut whole));",
        replacement: "            let shelf = self.edit(ptr::from_mut);
            let did = unsafe { (*shelf).sort(self, &mut whole) };",
        model: "timer_ends::free_against_free",
    },
];
