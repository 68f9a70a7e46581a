//! What the hooks of a runtime get of a task.

use std::{panic::Location, time::Duration};

use super::TaskRef;
use crate::error::TaskId;

/// A task, for a hook that a [`Builder`](crate::Builder) was given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskEvent {
    /// Its number.
    pub id: TaskId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The place in the source that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// The task that spawned it.
    pub parent: Option<TaskId>,
    /// Its polls so far.
    pub polls: u64,
    /// The time of its polls so far. A sample: see [`TaskDump::busy`](crate::introspect::TaskDump::busy).
    pub busy: Duration,
}

impl TaskEvent {
    #[cold]
    pub(super) fn of(task: &TaskRef) -> Self {
        let (header, recorded) = (task.header(), task.record().read());
        Self {
            id: header.id(),
            name: task.name().map(str::to_owned),
            spawned_at: header.spawned_at(),
            parent: (recorded.parent != 0).then_some(TaskId(recorded.parent)),
            polls: recorded.polls,
            busy: Duration::from_nanos(recorded.busy),
        }
    }
}

/// What happened to it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    Spawned,
    Ended,
    /// A poll took so long.
    SlowPoll(Duration),
}
