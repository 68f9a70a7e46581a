//! The mutants of a task's budget: a task that has spent it is not woken.

use crate::run::Mutant;

/// By file.
#[rustfmt::skip]
pub const BUDGET: &[Mutant] = &[
    Mutant {
        name: "budget: a future without budget does not wake its task",
        file: "util/current.rs",
        text: "    cx.waker().wake_by_ref();
    Poll::Pending",
        replacement: "    Poll::Pending",
        model: "budget::event",
    },
    Mutant {
        name: "budget: a semaphore does not wake a task without budget",
        file: "sync/permits.rs",
        text: "            Ok(false) => {
                cx.waker().wake_by_ref();
                Poll::Pending",
        replacement: "            Ok(false) => {
                Poll::Pending",
        model: "budget::permits",
    },
    Mutant {
        name: "budget: a get without budget does not wake its task",
        file: "sync/queue/exchange.rs",
        text: "                Taken::NotAllowed => {
                    drop(state);
                    discard_unused(new);
                    cx.waker().wake_by_ref();",
        replacement: "                Taken::NotAllowed => {
                    drop(state);
                    discard_unused(new);",
        model: "budget::gets",
    },
    Mutant {
        name: "budget: a put without budget does not wake its task",
        file: "sync/queue/exchange.rs",
        text: "                if !current::budget_spend() {
                    drop(state);
                    discard_unused(new);
                    cx.waker().wake_by_ref();",
        replacement: "                if !current::budget_spend() {
                    drop(state);
                    discard_unused(new);",
        model: "budget::puts",
    },
    Mutant {
        name: "budget: a handle without budget does not wake its task",
        file: "task/handle.rs",
        text: "        if !current::budget_spend() {
            cx.waker().wake_by_ref();",
        replacement: "        if !current::budget_spend() {",
        model: "budget::join",
    },
];
