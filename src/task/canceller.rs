//! A reference to a task that does not know the type of its result.

use std::{borrow::Cow, fmt, panic::Location};

use super::{Header, TaskRef, extra::Asked, polled};
use crate::error::TaskId;

/// Ends a task from elsewhere, on any thread: it can be cloned, and keeps no result alive.
///
/// Made by [`Task::canceller`](crate::Task::canceller), and by [`current_task`] for the task that asks.
/// Dropping it does nothing.
///
/// asyncio: `Task.cancel`, which any holder of the task may call.
#[derive(Clone)]
#[doc(alias = "AbortHandle")]
pub struct Canceller(TaskRef);

impl Canceller {
    pub(super) fn new(task: TaskRef) -> Self {
        Self(task)
    }

    /// Asks the task to end, as [`Task::cancel`](crate::Task::cancel). `true` if it was unfinished
    /// and nobody had asked yet.
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.0.ask(false, Asked::At(Location::caller()))
    }

    /// As [`cancel`](Self::cancel), with a reason, which the error tells.
    #[track_caller]
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        let asked = Asked::for_reason(self.0.extra(), reason.into(), Location::caller());
        self.0.ask(false, asked)
    }

    /// Ends the task without another poll, as [`Task::abort`](crate::Task::abort).
    #[track_caller]
    pub fn abort(&self) -> bool {
        self.0.ask(true, Asked::At(Location::caller()))
    }

    pub(super) fn task(&self) -> &TaskRef {
        &self.0
    }

    pub(super) fn header(&self) -> &Header {
        self.0.header()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.header().state.load().is_complete()
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.0.header().id()
    }

    /// The task's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// The place in the source that spawned the task.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.0.header().spawned_at()
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canceller").field(&self.0).finish()
    }
}

/// The task that runs this code; `None` outside of tasks.
///
/// A job of [`to_thread`](crate::to_thread) runs outside of the task that awaits it.
///
/// asyncio: `asyncio.current_task`.
///
/// ```
/// use ringloop::current_task;
///
/// assert!(current_task().is_none());
/// ringloop::run(async {
///     let task = ringloop::spawn(async { current_task().unwrap().id() });
///     let id = task.id();
///     assert_eq!(task.await.unwrap(), id);
/// });
/// ```
pub fn current_task() -> Option<Canceller> {
    polled().map(|task| Canceller(TaskRef::clone(&task)))
}
