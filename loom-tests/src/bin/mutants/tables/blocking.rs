//! The mutants of the queue of blocking jobs.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const BLOCKING: &[Mutant] = &[
    Mutant {
        name: "blocking: nobody is woken for a job",
        file: "blocking/queue.rs",
        text: "        if let Some(sleeper) = state.idle.pop() {
            sleeper.notify_one();",
        replacement: "        if let Some(_sleeper) = state.idle.pop() {",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: who is called stays on the list",
        file: "blocking/queue.rs",
        text: "if let Some(sleeper) = state.idle.pop() {",
        replacement: "if let Some(sleeper) = state.idle.last().cloned() {",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: who has timed out stays on the list",
        file: "blocking/queue.rs",
        text: "                    state.idle.remove(listed);
",
        replacement: "                    let _ = listed;
",
        model: "blocking_queue::push_against_the_end_of_an_idle_thread",
    },
    Mutant {
        name: "blocking: ends when the time is over, called or not",
        file: "blocking/queue.rs",
        text: "                None => return (state, true),",
        replacement: "                None => return (state, !timed_out),",
        model: "blocking_queue::push_against_the_end_of_an_idle_thread",
    },
    Mutant {
        name: "blocking: a job is queued behind the look for a sleeper",
        file: "blocking/queue.rs",
        text: "        state.jobs.push_back(job);
        if let Some(sleeper) = state.idle.pop() {
            sleeper.notify_one();",
        replacement: "        let sleeper = state.idle.pop();
        drop(state);
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        if let Some(sleeper) = sleeper {
            sleeper.notify_one();",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: the end wakes nobody",
        file: "blocking/queue.rs",
        text: "        idle.iter().for_each(|sleeper| sleeper.notify_one());",
        replacement: "        drop(idle);",
        model: "blocking_queue::idle_thread_is_called",
    },
    Mutant {
        name: "blocking: a job is taken after the end",
        file: "blocking/queue.rs",
        text: "        if state.closed {
            return Pushed::Closed(job);
        }
",
        replacement: "",
        model: "blocking_queue::close_against_push",
    },
    Mutant {
        name: "blocking: a thread ends without a word",
        file: "blocking/queue.rs",
        text: "        state.threads -= 1;
        self.one_less.notify_all();
    }

    /// Has this thread be idle.",
        replacement: "        state.threads -= 1;
    }

    /// Has this thread be idle.",
        model: "blocking_queue::close_against_push",
    },
    Mutant {
        name: "blocking: a thread has ended before its last job has",
        file: "blocking/queue.rs",
        text: "                drop(state);
                job.run();
                state = self.state.lock();",
        replacement: "                state.threads -= 1;
                self.one_less.notify_all();
                state.busy.clear();
                drop(state);
                job.run();
                state = self.state.lock();
                state.threads += 1;",
        model: "blocking_queue::close_against_push",
    },
    Mutant {
        name: "blocking: a refused thread strands nothing",
        file: "blocking/queue.rs",
        text: "            1 => mem::take(&mut state.jobs),",
        replacement: "            0 => mem::take(&mut state.jobs),",
        model: "blocking_queue::refused_thread_beside_another",
    },
    Mutant {
        name: "blocking: a refused thread still counts",
        file: "blocking/queue.rs",
        text: "        state.threads -= 1;
        self.one_less.notify_all();
        Refused",
        replacement: "        Refused",
        model: "blocking_queue::refused_thread_beside_another",
    },
];
