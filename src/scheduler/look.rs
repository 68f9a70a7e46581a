//! What the workers of a runtime do, seen from any thread.
//!
//! A look takes no lock and waits for no worker. Each value is one that was true a moment ago; two
//! values of one worker need not be of the same moment.

use super::{Address, Hub};
use crate::{error::TaskId, loom::atomic::Ordering, task::Header, util::clock};

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It sleeps in its reactor.
    Parked,
    /// It polls a task.
    Polling(TaskId),
    /// It polls a task, and has not looked at the clock for long: its other tasks wait.
    Held(TaskId),
    /// It is between two polls: it looks at its reactor, timers and queues.
    Turning,
}

/// One worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerLook {
    /// The kernel's number of its thread; 0: it has not started.
    pub(crate) thread: u32,
    pub(crate) doing: Doing,
    /// How long ago it last looked at the clock, in ns, if it runs tasks: no poll that is under way
    /// has taken longer.
    pub(crate) busy_for: Option<u64>,
    /// Tasks in its queues by its last look at the clock.
    pub(crate) queued: usize,
    /// Whether a task is in its LIFO slot.
    pub(crate) has_next: bool,
    /// Whether other threads have left tasks for it.
    pub(crate) has_mail: bool,
    pub(crate) tick: u64,
    pub(crate) timers: u64,
    pub(crate) wakeups: u64,
    pub(crate) rescues: u64,
}

impl Hub {
    /// What that worker does.
    pub(crate) fn look_at(&self, worker: usize) -> WorkerLook {
        let block = self.block(worker);
        let now = clock::machine();
        let checked = Some(block.last_check()).filter(|&checked| checked != u64::MAX);
        let doing = match block.running() {
            _ if self.idle.is_parked(worker) => Doing::Parked,
            Some((task, _)) if block.is_held(|| now) => Doing::Held(task),
            Some((task, _)) => Doing::Polling(task),
            None => Doing::Turning,
        };
        WorkerLook {
            thread: block.thread(),
            doing,
            busy_for: checked.map(|checked| now.saturating_sub(checked)),
            // Relaxed: for reports.
            queued: block.queued.load(Ordering::Relaxed),
            has_next: block.has_lifo(),
            has_mail: block.has_mail(),
            tick: block.tick(),
            timers: block.armed_timers(),
            wakeups: block.counts.wakeups.get(),
            rescues: block.counts.rescues.get(),
        }
    }

    /// The worker that alone may run the task, if there is one.
    pub(crate) fn owner_of(task: &Header) -> Option<usize> {
        Address(task.place()).owner()
    }
}
