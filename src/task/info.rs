//! What a list of tasks tells of each.

use std::{fmt, panic::Location, time::Duration};

use super::{Canceller, TaskRef};
use crate::{
    error::TaskId,
    util::{
        clock,
        wait::{Wait, WaitKind},
    },
};

/// A task as it was when the tasks of a runtime were listed: see [`all_tasks`](crate::all_tasks).
#[derive(Debug, Clone)]
pub struct TaskInfo {
    task: Canceller,
    state: TaskState,
    waits_for: Option<WaitsFor>,
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// It is being polled, or waits for its turn.
    Active,
    /// It waits for something that wakes it.
    Suspended,
    /// It has ended since it was listed.
    Finished,
}

impl TaskInfo {
    pub(crate) fn of(task: TaskRef) -> Self {
        let now = task.header().state.load();
        let state = match () {
            () if now.is_complete() => TaskState::Finished,
            () if now.is_active() => TaskState::Active,
            () => TaskState::Suspended,
        };
        let waits_for = task.header().waits_for();
        Self { task: Canceller::new(task), state, waits_for }
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// The task's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.task.name()
    }

    /// The place in the source that spawned the task.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.task.spawned_at()
    }

    /// How far the task had come.
    pub fn state(&self) -> TaskState {
        self.state
    }

    /// What the task waits for, in words, if it is suspended in a future of this crate.
    ///
    /// `"task 17"`, `"descriptor 9"`, `"a timer in 3ms"`, or the primitive of [`sync`](crate::sync) by
    /// its address, which is the same for all that wait for the same one.
    pub fn waits_for(&self) -> Option<impl fmt::Display + fmt::Debug + use<>> {
        self.waits_for
    }

    /// What ends the task.
    pub fn canceller(&self) -> &Canceller {
        &self.task
    }
}

/// A note of what a task waits for, in words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct WaitsFor(pub(super) Wait);

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.key;
        match self.0.kind {
            WaitKind::Primitive => write!(f, "a lock or another primitive at {key:#x}"),
            WaitKind::Descriptor => write!(f, "descriptor {key}"),
            WaitKind::Timer => {
                let left = Duration::from_nanos(key.saturating_sub(clock::now()));
                write!(f, "a timer in {}ms", left.as_millis())
            }
            WaitKind::Task => write!(f, "task {key}"),
        }
    }
}

impl fmt::Debug for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
