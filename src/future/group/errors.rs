//! What goes wrong in groups, and how a task says that it is ready.

use std::{convert::Infallible, error::Error, fmt};

use crate::{
    error::{CancelCause, TaskError},
    sync::Promise,
};

/// What a task that [`Group::start`](crate::Group::start) runs has to tell it.
#[derive(Debug)]
pub struct Started<T>(pub(super) Promise<T>);

impl<T> Started<T> {
    /// Says that the task is ready, and what for: the port that it listens on, say.
    pub fn ready(self, value: T) {
        // Nobody may be waiting any more.
        _ = self.0.set(value);
    }
}

/// A task has ended without having said that it is ready.
///
/// trio: the `RuntimeError` of `nursery.start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotStarted(pub(super) ());

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task ended without having called Started::ready")
    }
}

impl Error for NotStarted {}

crate::error::into_io_error!(NotStarted);

/// A group that is over, or is being cancelled, takes no tasks: the future, which was not polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GroupClosed<F>(pub F);

impl<F> fmt::Debug for GroupClosed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupClosed(..)")
    }
}

impl<F> fmt::Display for GroupClosed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the group has finished or is being cancelled: it takes no more tasks")
    }
}

impl<F> Error for GroupClosed<F> {}

/// What went wrong in a group: errors and panics of its tasks, in the order of their ends.
///
/// asyncio: `ExceptionGroup`.
pub struct GroupError<E = Infallible> {
    pub(super) errors: Vec<E>,
    pub(super) panics: Vec<TaskError>,
    pub(super) cause: Option<CancelCause>,
}

impl<E> GroupError<E> {
    /// The errors that tasks returned, and the body.
    pub fn errors(&self) -> &[E] {
        &self.errors
    }

    /// The errors, and the panics, to go on with.
    pub fn into_parts(self) -> (Vec<E>, Vec<TaskError>) {
        (self.errors, self.panics)
    }

    /// The panics of tasks.
    pub fn panics(&self) -> &[TaskError] {
        &self.panics
    }

    /// Whether it was only cancelled: no task failed, and the body had no value.
    pub fn is_cancelled(&self) -> bool {
        self.errors.is_empty() && self.panics.is_empty()
    }

    /// The cause of the group's cancellation, if it was cancelled: by its own failure as well.
    pub fn cancel_cause(&self) -> Option<&CancelCause> {
        self.cause.as_ref()
    }
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.errors.len() + self.panics.len();
        if all == 0 {
            return match &self.cause {
                Some(cause) => write!(f, "the group was {cause}"),
                None => f.write_str("the group was cancelled"),
            };
        }
        write!(f, "{all} of the group's tasks failed: ")?;
        let errors = self.errors.iter().map(|error| error as &dyn fmt::Display);
        let panics = self.panics.iter().map(|panic| panic as &dyn fmt::Display);
        for (index, failure) in errors.chain(panics).enumerate() {
            write!(f, "{}{failure}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl<E: fmt::Debug> fmt::Debug for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupError")
            .field("errors", &self.errors)
            .field("panics", &self.panics)
            .field("cause", &self.cause)
            .finish()
    }
}

/// For `?` in a function that returns `io::Result`. The kind is [`Other`](std::io::ErrorKind::Other), and the
/// error stays within.
///
/// ```
/// use std::io;
/// use ringloop::try_task_group;
///
/// ringloop::run(async {
///     let both = async || -> io::Result<()> {
///         try_task_group(async |group| {
///             group.spawn(async { Err::<(), _>(io::Error::other("no paper")) }).detach();
///             Ok(())
///         })
///         .await?;
///         Ok(())
///     };
///     assert_eq!(both().await.unwrap_err().to_string(), "1 of the group's tasks failed: no paper");
/// });
/// ```
impl<E: Error + Send + Sync + 'static> From<GroupError<E>> for std::io::Error {
    fn from(error: GroupError<E>) -> Self {
        Self::other(error)
    }
}

impl<E: Error + 'static> Error for GroupError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let first = self.errors.first().map(|error| error as _);
        first.or_else(|| self.panics.first().map(|panic| panic as _))
    }
}
