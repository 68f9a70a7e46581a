//! The mutants of a task's budget: who spends it all is forgotten.

use crate::run::Mutant;

/// By file.
#[rustfmt::skip]
pub const BUDGET: &[Mutant] = &[
    Mutant {
        name: "budget: a leaf that may not go on does not wake its task",
        file: "util/current.rs",
        text: "    cx.waker().wake_by_ref();
    Poll::Pending",
        replacement: "    Poll::Pending",
        model: "budget::event",
    },
    Mutant {
        name: "budget: a semaphore does not wake who may not go on",
        file: "sync/permits.rs",
        text: "            Ok(false) => {
                cx.waker().wake_by_ref();
                Poll::Pending",
        replacement: "            Ok(false) => {
                Poll::Pending",
        model: "budget::permits",
    },
    Mutant {
        name: "budget: a queue does not wake who may not get",
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
        name: "budget: a queue does not wake who may not put",
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
        name: "budget: a handle does not wake who may not take its result",
        file: "task/handle.rs",
        text: "        if !current::budget_spend() {
            cx.waker().wake_by_ref();",
        replacement: "        if !current::budget_spend() {",
        model: "budget::join",
    },
];
