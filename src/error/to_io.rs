//! Conversions into `io::Error`, for `?` in a function that returns `io::Result`.

use std::io;

use super::{BuildError, NoRuntime, RunError, RunErrorKind, TaskError};

/// Writes the conversion of errors whose kind is [`Other`](io::ErrorKind::Other).
macro_rules! into_io_error {
    ($($error:ty),+) => {$(
        /// For `?` in a function that returns `io::Result`. The kind is [`Other`](std::io::ErrorKind::Other), and the
        /// error stays within.
        impl From<$error> for std::io::Error {
            fn from(error: $error) -> Self {
                Self::other(error)
            }
        }
    )+};
    (items $($error:ident),+) => {$(
        /// For `?` in a function that returns `io::Result`. The kind is [`Other`](std::io::ErrorKind::Other), and the
        /// error stays within, with its item.
        impl<T: Send + Sync + 'static> From<$error<T>> for std::io::Error {
            fn from(error: $error<T>) -> Self {
                Self::other(error)
            }
        }
    )+};
}
pub(crate) use into_io_error;

into_io_error!(NoRuntime);

/// For `task.await??` in a function that returns `io::Result`. The kind is
/// [`Other`](io::ErrorKind::Other), and the error stays within.
///
/// ```
/// use std::io;
///
/// ringloop::run(async {
///     let read = async || -> io::Result<u64> {
///         let task = ringloop::spawn(async { Ok::<_, io::Error>(7) });
///         Ok(task.await??)
///     };
///     assert_eq!(read().await.unwrap(), 7);
///     let task = ringloop::spawn(std::future::pending::<()>());
///     task.cancel();
///     let error = io::Error::from(task.await.unwrap_err());
///     assert!(error.to_string().starts_with("the task was cancelled"));
///     assert!(error.get_ref().unwrap().is::<ringloop::TaskError>());
/// });
/// ```
impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> Self {
        Self::other(error)
    }
}

/// The kind is that of the system's error, where the runtime could not be built, and else
/// [`Other`](io::ErrorKind::Other). The error stays within.
///
/// ```
/// fn main() -> std::io::Result<()> {
///     let answer = ringloop::Builder::new().workers(1).run(async { 42 })?;
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
impl From<RunError> for io::Error {
    fn from(error: RunError) -> Self {
        match &error.0 {
            RunErrorKind::Build(build) => Self::new(kind(build), error),
            _ => Self::other(error),
        }
    }
}

/// The kind is that of the system's error behind it, or [`Other`](io::ErrorKind::Other). The error stays within.
///
/// ```
/// let error = ringloop::Runtime::new().map(|_| ()).map_err(std::io::Error::from);
/// assert!(error.is_ok());
/// ```
impl From<BuildError> for io::Error {
    fn from(error: BuildError) -> Self {
        Self::new(kind(&error), error)
    }
}

fn kind(error: &BuildError) -> io::ErrorKind {
    error.io_error().map_or(io::ErrorKind::Other, io::Error::kind)
}
