//! The mutants of child processes.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const CHILDREN: &[Mutant] = &[
    Mutant {
        name: "children: a handle that knows the status keeps the pidfd",
        file: "process/state.rs",
        text: "        self.status = Some(status);
        self.pidfd = None;",
        replacement: "        self.status = Some(status);",
        model: "child_exit::exit_against_kill_and_wait",
    },
    Mutant {
        name: "children: try_wait does not keep the status",
        file: "process/state.rs",
        text: "        Ok(status.map(|status| self.keep(status)))",
        replacement: "        Ok(status)",
        model: "child_exit::exit_against_kill_and_wait",
    },
    Mutant {
        name: "children: a wait does not keep the status",
        file: "process/state.rs",
        text: "        Poll::Ready(Ok(self.keep(status)))",
        replacement: "        Poll::Ready(Ok(status))",
        model: "child_exit::exit_against_a_wait_that_is_given_up",
    },
    Mutant {
        name: "children: a child that is killed by the drop is left to nobody",
        file: "process/state.rs",
        text: "        self.pidfd.take().filter(is_to_be_reaped)",
        replacement: "        self.pidfd.take().filter(|pidfd| is_to_be_reaped(pidfd) && !kill)",
        model: "child_exit::exit_against_kill_on_drop",
    },
    Mutant {
        name: "children: the drop kills after it has looked",
        file: "process/state.rs",
        text: "        if kill {
            // A child that cannot be killed is reaped at its own end.
            let _ = self.send(libc::SIGKILL);
        }
        self.pidfd.take().filter(is_to_be_reaped)",
        replacement: "        let orphan = self.pidfd.take().filter(is_to_be_reaped);
        if kill {
            let _ = self.send(libc::SIGKILL);
        }
        orphan",
        model: "child_exit::exit_by_kill_on_drop",
    },
    Mutant {
        name: "children: a dropped child that runs counts as reaped",
        file: "process/state.rs",
        text: "    matches!(pidfd.reap(), Ok(None))",
        replacement: "    matches!(pidfd.reap(), Ok(Some(_)))",
        model: "child_exit::exit_against_drop",
    },
    Mutant {
        name: "children: the thread ends and still has a bell",
        file: "process/state.rs",
        text: "            self.bell = None;",
        replacement: "",
        model: "child_exit::orphan_against_the_end_of_the_thread",
    },
    Mutant {
        name: "children: the thread is not rung for another orphan",
        file: "process/state.rs",
        text: "            Some(bell) => ring(bell),",
        replacement: "            Some(_) => {}",
        model: "child_exit::orphan_against_the_sleep_of_the_thread",
    },
    Mutant {
        name: "children: the thread takes one of the orphans that wait",
        file: "process/state.rs",
        text: "        waits.append(&mut self.new);",
        replacement: "        waits.extend(self.new.pop());",
        model: "child_exit::orphans_after_a_thread_that_is_refused",
    },
];
