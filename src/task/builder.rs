//! What a task can be given at birth.

use std::{borrow::Cow, panic::Location};

use super::{extra::Extension, header::Origin};

/// Starts tasks with a name, or with their first turn at once.
///
/// asyncio: `create_task(coro, name=..)`; eager start is a property of the loop's task factory
/// there, here of a single spawn.
///
/// ```
/// use ringloop::task::Builder;
///
/// ringloop::run(async {
///     let task = Builder::new().name("greeter").spawn(async { "hello" });
///     assert_eq!(task.name(), Some("greeter"));
///     assert_eq!(task.await.unwrap(), "hello");
/// });
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is spawned before `spawn` or `spawn_local`"]
pub struct Builder {
    name: Option<Cow<'static, str>>,
    eager: bool,
}

impl Builder {
    /// A builder of tasks without a name, which start as all others.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the task: in [`Task::name`](crate::Task::name), in `Debug`, in reports of errors and in
    /// the cause of its cancellation. A name costs one allocation, and two if it is not `'static`.
    ///
    /// asyncio: `create_task(coro, name=..)`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Gives the task its first turn at once: within the call that spawns it, on the same thread, up
    /// to its first suspension. A task that does not suspend has ended when the call returns.
    ///
    /// The turn is part of the spawner's: the spawner's time runs meanwhile. On a thread that is no
    /// worker of the runtime the task starts as all others do.
    ///
    /// asyncio: `asyncio.eager_task_factory`, `create_task(coro, eager_start=True)`.
    ///
    /// ```
    /// use ringloop::task::Builder;
    ///
    /// ringloop::run(async {
    ///     let task = Builder::new().eager().spawn(async { 7 });
    ///     assert!(task.is_finished());
    ///     assert_eq!(task.await.unwrap(), 7);
    /// });
    /// ```
    #[doc(alias = "eager_start")]
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }

    /// What the task is born with, and whether it starts at once.
    pub(crate) fn into_origin(self, spawned_at: &'static Location<'static>) -> (Origin, bool) {
        let mut origin = Origin::from(spawned_at);
        if self.name.is_some() {
            let extension = origin.extension.get_or_insert_with(|| Box::new(Extension::default()));
            extension.name = self.name;
        }
        (origin, self.eager)
    }
}
