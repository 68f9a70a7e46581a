//! What a list of tasks tells of each.

use std::panic::Location;

use super::{Canceller, TaskRef};
use crate::error::TaskId;

/// A task as it was when the tasks of a runtime were listed: see [`all_tasks`](crate::all_tasks).
#[derive(Debug, Clone)]
pub struct TaskInfo {
    task: Canceller,
    state: TaskState,
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
        Self { task: Canceller::new(task), state }
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

    /// What ends the task.
    pub fn canceller(&self) -> &Canceller {
        &self.task
    }
}
