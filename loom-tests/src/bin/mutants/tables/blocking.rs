//! The mutants of the queue of blocking jobs, and of their cancel.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const BLOCKING: &[Mutant] = &[
    Mutant {
        name: "blocking: no thread is woken for a job",
        file: "blocking/queue/mod.rs",
        text: "        *self.called.lock() = true;
        self.bell.notify_one();",
        replacement: "        *self.called.lock() = true;",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: a thread that is woken stays on the list",
        file: "blocking/queue/mod.rs",
        text: "if let Some(sleeper) = self.idle.pop() {",
        replacement: "if let Some(sleeper) = self.idle.last().cloned() {",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: a thread that has timed out stays on the list",
        file: "blocking/queue/mod.rs",
        text: "                    state.idle.remove(listed);
",
        replacement: "                    let _ = listed;
",
        model: "blocking_queue::push_against_the_end_of_an_idle_thread",
    },
    Mutant {
        name: "blocking: a thread ends when its time is over, also if it was woken",
        file: "blocking/queue/mod.rs",
        text: "                    return (state, true);",
        replacement: "                    return (state, called);",
        model: "blocking_queue::push_against_the_end_of_an_idle_thread",
    },
    Mutant {
        name: "blocking: a job is queued after the search for a thread",
        file: "blocking/queue/mod.rs",
        text: "        state.jobs.push_back(waiting);
        let help = state.summon(&self.limits);",
        replacement: "        let help = state.summon(&self.limits);
        state.jobs.push_back(waiting);",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: the end wakes no thread",
        file: "blocking/queue/mod.rs",
        text: "        sleepers.iter().for_each(|sleeper| sleeper.call());",
        replacement: "        drop(sleepers);",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: a job is taken after the end",
        file: "blocking/queue/mod.rs",
        text: "        if state.closed {
            return Pushed::Closed(waiting.job);
        }
",
        replacement: "",
        model: "blocking_queue::close_against_push",
    },
    Mutant {
        name: "blocking: a thread ends without a notification",
        file: "blocking/queue/mod.rs",
        text: "        state.seats.retain(|other| !Arc::ptr_eq(other, seat));
        drop(state);
        self.one_less.notify_all();",
        replacement: "        state.seats.retain(|other| !Arc::ptr_eq(other, seat));
        drop(state);",
        model: "blocking_queue::close_against_push",
    },
    Mutant {
        name: "blocking: a thread counts as ended before its last job has ended",
        file: "blocking/queue/mod.rs",
        text: "                job.run();
                *seat.job.lock() = None;",
        replacement: "                *seat.job.lock() = None;
                self.state.lock().threads -= 1;
                self.one_less.notify_all();
                job.run();
                self.state.lock().threads += 1;",
        model: "blocking_queue::close_against_push",
    },
    Mutant {
        name: "blocking: threads end before the queue is empty",
        file: "blocking/queue/mod.rs",
        text: "            if let Some((waiting, number)) = state.take_job(seat) {",
        replacement: "            let next = if state.closed { None } else { state.take_job(seat) };
            if let Some((waiting, number)) = next {",
        model: "blocking_queue::finish_against_push",
    },
    Mutant {
        name: "blocking: a refused thread strands nothing",
        file: "blocking/queue/mod.rs",
        text: "                    (0, _) => stranded",
        replacement: "                    (usize::MAX, _) => stranded",
        model: "blocking_queue::refused_thread_strands_what_is_queued",
    },
    Mutant {
        name: "blocking: a refused thread still counts",
        file: "blocking/queue/mod.rs",
        text: "                state.threads -= 1;
                state.coming = false;",
        replacement: "                state.coming = false;",
        model: "blocking_queue::refused_thread_strands_what_is_queued",
    },
    Mutant {
        name: "blocking: a refused thread is still expected",
        file: "blocking/queue/mod.rs",
        text: "                state.threads -= 1;
                state.coming = false;",
        replacement: "                state.threads -= 1;",
        model: "blocking_queue::refused_thread_is_not_expected",
    },
    Mutant {
        name: "blocking: a thread that became idle while another was refused is not woken",
        file: "blocking/queue/mod.rs",
        text: "                    (_, false) => help = state.summon(&self.limits),",
        replacement: "                    (_, false) => {}",
        model: "blocking_queue::thread_that_became_idle_before_a_refusal_is_called",
    },
    Mutant {
        name: "blocking: a thread that starts wakes no other for the rest",
        file: "blocking/queue/mod.rs",
        text: "                let help = state.summon(&self.limits);
                drop(state);",
        replacement: "                let help = Help::None;
                drop(state);",
        model: "blocking_queue::watch_gets_a_thread_for_a_job_that_waits",
    },
    Mutant {
        name: "blocking: a thread that has started is still expected",
        file: "blocking/queue/mod.rs",
        text: "        state.refused = false;
        state.coming = false;",
        replacement: "        state.refused = false;",
        model: "blocking_queue::watch_gets_a_thread_for_a_job_that_waits",
    },
    Mutant {
        name: "blocking: the watch starts no thread",
        file: "blocking/queue/watch.rs",
        text: "Step::Grow(self.summon(limits))",
        replacement: "Step::Pause",
        model: "blocking_queue::watch_gets_a_thread_for_a_job_that_waits",
    },
    Mutant {
        name: "blocking: the watch ends and still counts",
        file: "blocking/queue/watch.rs",
        text: "        state.watch = Watch::Absent;
",
        replacement: "",
        model: "blocking_queue::watch_gets_a_thread_for_a_job_that_waits",
    },
    Mutant {
        name: "blocking: the watch ends although it was woken",
        file: "blocking/queue/watch.rs",
        text: "                (Watch::Awake, _) => return (state, true),",
        replacement: "                (Watch::Awake, called) => return (state, called),",
        model: "blocking_queue::watch_that_ends_is_called",
    },
    Mutant {
        name: "blocking: the end does not wake the watch",
        file: "blocking/queue/mod.rs",
        text: "        sleepers.extend(state.watch.wake());
",
        replacement: "",
        model: "blocking_queue::watch_that_rests_is_called_for_the_end",
    },
    Mutant {
        name: "blocking: a new job cannot be claimed",
        file: "task/state.rs",
        text: "        self.0.fetch_sub(ACTIVE, Ordering::Relaxed);",
        replacement: "        self.0.fetch_sub(0, Ordering::Relaxed);",
        model: "job_cancel::claim_against_cancel",
    },
    Mutant {
        name: "blocking: a job is claimed twice",
        file: "task/mod.rs",
        text: "        let wakes = self.header().state.wake_by_val();",
        replacement: "        let wakes = self.header().state.wake_by_val() | true;",
        model: "job_cancel::claim_against_cancel",
    },
];
