//! Errors of calls on names: they say which call, and on which path.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::lane::on_lane;

/// The error of a call on a path, inside of the [`io::Error`] that the functions of
/// [`fs`](crate::fs) return.
///
/// The outer error has the [kind](io::Error::kind) of the system's. It has no
/// [raw OS number](io::Error::raw_os_error), since an error that holds more cannot have one: take
/// that of [`PathError::of`].
///
/// asyncio: an `OSError` has `filename` and `filename2`. tokio: no path.
///
/// ```
/// use ringloop::fs::{self, PathError};
///
/// ringloop::run(async {
///     let error = fs::read("/no such file").await.unwrap_err();
///     assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
///     let error = PathError::of(&error).unwrap();
///     assert_eq!(error.path().to_str(), Some("/no such file"));
///     assert_eq!(error.raw_os_error(), Some(2));
/// });
/// ```
#[derive(Debug)]
pub struct PathError {
    call: &'static str,
    path: PathBuf,
    second: Option<PathBuf>,
    error: io::Error,
}

impl PathError {
    /// The path and the call of an error, if it has them.
    pub fn of(error: &io::Error) -> Option<&PathError> {
        error.get_ref()?.downcast_ref()
    }

    /// The path that the call was made on; the first one where there were two.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The second path of a call on two, such as a rename.
    pub fn second_path(&self) -> Option<&Path> {
        self.second.as_deref()
    }

    /// What was called: the name of the function.
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// The system's number of the error (`errno`), if it has one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.error.raw_os_error()
    }

    /// Adds the call and the path to an error.
    #[cold]
    pub(super) fn wrap(call: &'static str, path: &Path, error: io::Error) -> io::Error {
        Self::wrap_all(call, path, None, error)
    }

    /// The same with two paths.
    #[cold]
    pub(super) fn wrap_two(
        call: &'static str,
        paths: (&Path, &Path),
        error: io::Error,
    ) -> io::Error {
        Self::wrap_all(call, paths.0, Some(paths.1), error)
    }

    fn wrap_all(
        call: &'static str,
        path: &Path,
        second: Option<&Path>,
        error: io::Error,
    ) -> io::Error {
        if Self::of(&error).is_some() {
            // It names the path already, and that more exactly.
            return error;
        }
        let (path, second) = (path.to_owned(), second.map(Path::to_owned));
        io::Error::new(error.kind(), Self { call, path, second, error })
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`", self.call, self.path.display())?;
        if let Some(second) = &self.second {
            write!(f, " and `{}`", second.display())?;
        }
        let hint = match Errno::from_io_error(&self.error) {
            Some(Errno::MFILE) => "; raise the limit of descriptors (ulimit -n), or close some",
            _ => "",
        };
        write!(f, ": {}{hint}", self.error)
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Makes a call on a path on a thread for files. Its error names both.
///
/// # Cancel safety
///
/// That of [`on_lane`].
pub(super) async fn on_path<T, F>(call: &'static str, path: &Path, f: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce(&Path) -> io::Result<T> + Send + 'static,
{
    let path = path.to_owned();
    on_lane(move || f(&path).map_err(|error| PathError::wrap(call, &path, error))).await
}

/// The same for a call on two paths.
pub(super) async fn on_paths<T, F>(call: &'static str, paths: (&Path, &Path), f: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
{
    let (one, two) = (paths.0.to_owned(), paths.1.to_owned());
    let call =
        move || f(&one, &two).map_err(|error| PathError::wrap_two(call, (&one, &two), error));
    on_lane(call).await
}
