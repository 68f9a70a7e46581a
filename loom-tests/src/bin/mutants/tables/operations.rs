//! The mutants of operations that own what they work on.

use crate::run::Mutant;

/// By step.
#[rustfmt::skip]
pub const OPERATIONS: &[Mutant] = &[
    Mutant {
        name: "operations: the waker of a wait is not kept",
        file: "reactor/uring/owned.rs",
        text: "let old = state.waiter.replace(waker);",
        replacement: "let old = Some(waker);",
        model: "owned_operation::end_against_wait",
    },
    Mutant {
        name: "operations: the end wakes nobody",
        file: "reactor/uring/owned.rs",
        text: "            wakes.extend(state.waiter.take());",
        replacement: "",
        model: "owned_operation::end_of_the_ring_against_wait",
    },
    Mutant {
        name: "operations: the output that nobody takes is not made",
        file: "reactor/uring/owned.rs",
        text: "            drop(operation.finish(result));",
        replacement: "            drop((operation, result));",
        model: "owned_operation::end_against_drop",
    },
    Mutant {
        name: "operations: a cancel does not ring the doorbell",
        file: "reactor/uring/owned.rs",
        text: "        any.store(1, Ordering::Release);
        self.doorbell.ring();",
        replacement: "        any.store(1, Ordering::Release);",
        model: "owned_operation::cancel_against_sleep",
    },
    Mutant {
        name: "operations: a future that is dropped does not cancel",
        file: "reactor/uring/owned.rs",
        text: "if in_flight && let Some(home) = self.0.home.upgrade() {",
        replacement: "if false && let Some(home) = self.0.home.upgrade() {",
        model: "owned_operation::cancel_against_sleep",
    },
    Mutant {
        name: "operations: the future's share keeps what was given up",
        file: "reactor/uring/owned.rs",
        text: "        let mut state = self.0.state.lock();
        let waiter = state.waiter.take();",
        replacement: "        std::mem::forget(self.0.clone());
        let mut state = self.0.state.lock();
        let waiter = state.waiter.take();",
        model: "owned_operation::end_of_the_ring_against_drop",
    },
];
