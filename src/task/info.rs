//! What a list of tasks tells of each.

use std::{fmt, panic::Location, time::Duration};

use super::{Canceller, Header, TaskRef};
use crate::{
    error::TaskId,
    util::{
        clock, names,
        record::Recorded,
        wait::{NAMED, Wait, WaitKind},
    },
};

/// A task as it was when the tasks of a runtime were listed: see [`all_tasks`](crate::all_tasks).
#[derive(Debug, Clone)]
pub struct TaskInfo {
    task: Canceller,
    state: TaskState,
    waits_for: Option<WaitsFor>,
    awaited_by: Option<TaskId>,
    is_cancelling: bool,
    recorded: Recorded,
    has_handle: bool,
    wakers: Option<usize>,
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
        let awaited_by = task.extra().awaiter();
        let is_cancelling = now.is_cancelled() && !now.is_complete();
        let (has_handle, wakers) = (now.has_handle(), now.wakers());
        let recorded = task.record().read();
        let task = Canceller::new(task);
        Self { task, state, waits_for, awaited_by, is_cancelling, has_handle, wakers, recorded }
    }

    pub(crate) fn of_canceller(task: &Canceller) -> Self {
        Self::of(task.task().clone())
    }

    /// What it waits for, as it was noted.
    pub(crate) fn wait(&self) -> Option<Wait> {
        self.waits_for.map(|waits_for| waits_for.0)
    }

    /// What is recorded of it.
    pub(crate) fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Whether its handle was there.
    pub(crate) fn has_handle(&self) -> bool {
        self.has_handle
    }

    /// How many wakers and cancellers of it there were, beside this value, if it was suspended.
    pub(crate) fn wakers(&self) -> Option<usize> {
        self.wakers
    }

    /// Whether it was asked to end.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.is_cancelling
    }

    pub(crate) fn header(&self) -> &Header {
        self.task.header()
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
    /// `"task 17"`, `"descriptor 9"`, `"a timer in 3ms"`, or a primitive of [`sync`](crate::sync):
    /// `"Lock \"accounts\""` if it has a [name](crate::sync::Lock::named), else by its address, which is the
    /// same for all that wait for the same one.
    pub fn waits_for(&self) -> Option<impl fmt::Display + fmt::Debug + use<>> {
        self.waits_for
    }

    /// The task whose end it waits for, if it waits for one directly.
    pub fn awaits(&self) -> Option<TaskId> {
        let wait = self.waits_for?.0;
        matches!(wait.kind, WaitKind::Task | WaitKind::Job).then_some(TaskId(wait.key))
    }

    /// The task that waits for this one in a combinator: the one that was last to begin with that. A
    /// combinator waits for several tasks, so that [`awaits`](Self::awaits) of its own task tells only one
    /// of them.
    ///
    /// Both together give a graph of the tasks that wait; tasks that wait for each other are a
    /// cycle in it.
    ///
    /// asyncio: `Task._asyncio_awaited_by`, and `asyncio.print_call_graph`.
    ///
    /// ```
    /// use ringloop::{all_tasks, current_task, gather, spawn, yield_now};
    ///
    /// ringloop::run(async {
    ///     let (first, second) = (spawn(yield_now()), spawn(yield_now()));
    ///     let (id, own) = (first.id(), current_task().unwrap().id());
    ///     let look = async {
    ///         let listed = all_tasks();
    ///         let info = listed.iter().find(|info| info.id() == id).unwrap();
    ///         assert_eq!(info.awaited_by(), Some(own));
    ///     };
    ///     let (ended, also, ()) = gather!(first, second, look).await;
    ///     ended.and(also).unwrap();
    /// });
    /// ```
    pub fn awaited_by(&self) -> Option<TaskId> {
        self.awaited_by
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
            WaitKind::Timer => {
                let left = Duration::from_nanos(key.saturating_sub(clock::now()));
                write!(f, "a timer in {}ms", left.as_millis())
            }
            kind if kind.is_numbered() => write!(f, "{} {key}", kind.name()),
            kind if key & NAMED == 0 => write!(f, "{} at {key:#x}", kind.name()),
            kind => match names::get(key as u32) {
                Some(name) => write!(f, "{} {name:?}", kind.name()),
                None => write!(f, "{} that is gone", kind.name()),
            },
        }
    }
}

impl fmt::Debug for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
