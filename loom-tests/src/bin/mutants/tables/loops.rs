//! The mutants of a worker's loop, and of the lives of a hub.

use crate::run::Mutant;

/// By file.
#[rustfmt::skip]
pub const LOOPS: &[Mutant] = &[
    Mutant {
        name: "loop: sleeps without a check of its mail",
        file: "scheduler/worker.rs",
        text: "        self.block().has_mail() || self.has_tasks() || done() || self.sees_backlog()",
        replacement: "        self.has_tasks() || done() || self.sees_backlog()",
        model: "worker_loop::foreign_task_against_park",
    },
    Mutant {
        name: "loop: takes no mail",
        file: "scheduler/worker.rs",
        text: "        let stealable = block.inbox.take(TAKE, |task| self.push_quietly(task));",
        replacement: "        let stealable = 0;",
        model: "worker_loop::foreign_wake_against_park",
    },
    Mutant {
        name: "push_foreign: rings no worker",
        file: "scheduler/hub.rs",
        text: "        if self.ring_if_parked(worker) {
            return;
        }",
        replacement: "",
        model: "worker_loop::foreign_wake_against_park",
    },
    Mutant {
        name: "push_foreign: wakes no worker to patrol",
        file: "scheduler/hub.rs",
        text: "        if self.idle.sleepers().is_some_and(|sleepers| sleepers.could_patrol) {
            self.arm_patrol();
        }",
        replacement: "",
        model: "worker_loop::push_behind_a_task_that_holds",
    },
    Mutant {
        name: "closing: a task that was missed is not cancelled later",
        file: "scheduler/worker.rs",
        text: "            self.hub.cancel_all();",
        replacement: "",
        model: "worker_loop::close_against_spawn",
    },
    Mutant {
        name: "closing: the last end stops no worker",
        file: "scheduler/worker.rs",
        text: "            self.hub.advance(Phase::Stopped);",
        replacement: "",
        model: "worker_loop::close_against_spawn",
    },
    Mutant {
        name: "close: cancels no task",
        file: "scheduler/hub.rs",
        text: "        self.advance(Phase::Closing);
        self.cancel_all();",
        replacement: "        self.advance(Phase::Closing);",
        model: "worker_loop::close_before_the_first_poll",
    },
    Mutant {
        name: "close: a task that waits is cancelled, and not queued for it",
        file: "task/state.rs",
        text: "        (old & COMPLETE == 0 && old & ask != ask, push)",
        replacement: "        (old & COMPLETE == 0 && old & ask != ask, false)",
        model: "worker_loop::close_against_sleeper",
    },
    Mutant {
        name: "announce: the searcher is not rung",
        file: "scheduler/balance.rs",
        text: "            self.hub().block(sleeper).doorbell.ring();",
        replacement: "",
        model: "worker_loop::backlog_is_announced",
    },
    Mutant {
        name: "search: a searcher takes nothing",
        file: "scheduler/balance.rs",
        text: "            if self.take_from(peer) {",
        replacement: "            if false && self.take_from(peer) {",
        model: "worker_loop::backlog_is_announced",
    },
    Mutant {
        name: "rescue: leaves the task in the LIFO slot",
        file: "scheduler/patrol.rs",
        text: "        if let Some(task) = block.take_lifo() {",
        replacement: "        if let Some(task) = None::<crate::task::Runnable> {",
        model: "worker_loop::patrol_comes_for_what_waits",
    },
    Mutant {
        name: "loop: wakes on patrol, and does not check the others",
        file: "scheduler/worker.rs",
        text: "            if !self.has_tasks() && !self.block().has_mail() {
                self.look_around(now);
            }",
        replacement: "",
        model: "worker_loop::patrol_comes_for_what_waits",
    },
    Mutant {
        name: "patrol: a worker that has ticked is taken for stuck, and one that has not is not",
        file: "scheduler/patrol.rs",
        text: "            if !ticked && is_awake {",
        replacement: "            if ticked && is_awake {",
        model: "worker_loop::patrol_comes_for_what_waits",
    },
    Mutant {
        name: "acquire: a hub can be acquired twice",
        file: "scheduler/hub.rs",
        text: "        let hub = match free.pop() {",
        replacement: "        let hub = match free.last().copied() {",
        model: "hub_lives::acquire_against_recycle",
    },
    Mutant {
        name: "acquire: two hubs have one key",
        file: "scheduler/hub.rs",
        text: "                MADE.store(key + 1, Ordering::Relaxed);",
        replacement: "                MADE.store(key, Ordering::Relaxed);",
        model: "hub_lives::acquire_against_recycle",
    },
    Mutant {
        name: "acquire: a new life goes on with the end of the last",
        file: "scheduler/hub.rs",
        text: "        self.phase.store(Phase::Open as u8, Ordering::Relaxed);
    }",
        replacement: "    }",
        model: "hub_lives::late_ring_against_next_life",
    },
    Mutant {
        name: "notify: a worker that was asleep is claimed, and not rung",
        file: "scheduler/hub.rs",
        text: "        if parked {
            self.block(worker).doorbell.ring();
        }",
        replacement: "        let _ = parked;",
        model: "hub_lives::late_ring_against_next_life",
    },
    Mutant {
        name: "standstill: is found while a neighbour runs",
        file: "scheduler/standstill.rs",
        text: "        self.idle.are_all_parked(self.workers()) && !self.blocks().any(|block| block.has_mail())",
        replacement: "        !self.blocks().any(|block| block.has_mail())",
        model: "worker_loop::standstill_of_two",
    },
    Mutant {
        name: "standstill: is found, and no task is woken",
        file: "scheduler/standstill.rs",
        text: "            wakes.extend(watchers.iter().filter_map(|ticket| ticket.finish(String::new())));",
        replacement: "            drop(watchers);",
        model: "worker_loop::standstill_against_foreign_wake",
    },
];
