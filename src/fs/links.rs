//! Names and links of files: what they lead to, and changes of them.

use std::{
    fs, io,
    os::unix,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, renameat_with},
    io::Errno,
};

use super::error::{on_path, on_paths};

/// The absolute path of a file or folder, without links, `.` and `..`.
///
/// asyncio: has none; `os.path.realpath(strict=True)`. tokio: the same.
///
/// # Cancel safety
///
/// Nothing is changed.
///
/// # Errors
///
/// There is nothing at that path.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let path = ringloop::fs::canonicalize("/proc/../.").await.unwrap();
///     assert_eq!(path.to_str(), Some("/"));
/// });
/// ```
#[doc(alias = "realpath")]
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    on_path("canonicalize", path.as_ref(), |path| fs::canonicalize(path)).await
}

/// The text of a symbolic link.
///
/// asyncio: has none; `os.readlink`. tokio: the same.
///
/// # Cancel safety
///
/// Nothing is changed.
///
/// # Errors
///
/// There is nothing at that path, or no link.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let path = ringloop::fs::read_link("/proc/self").await.unwrap();
///     assert_eq!(path.to_str(), Some(&*std::process::id().to_string()));
/// });
/// ```
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    on_path("read_link", path.as_ref(), |path| fs::read_link(path)).await
}

/// Gives the file `original` a second name, `link`. If `original` is a symbolic link, the second name is
/// one for that link.
///
/// asyncio: has none; `os.link`. tokio: the same.
///
/// # Cancel safety
///
/// The link is made or not.
///
/// # Errors
///
/// There is something at `link`, nothing at `original`, or both are not on one file system.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::hard_link("log", "log.1").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let paths = (original.as_ref(), link.as_ref());
    on_paths("hard_link", paths, |original, link| fs::hard_link(original, link)).await
}

/// Makes a symbolic link `link` with the text `original`, which need not lead anywhere. A relative one is
/// relative to the folder of the link.
///
/// asyncio: has none; `os.symlink`. tokio: the same.
///
/// # Cancel safety
///
/// The link is made or not.
///
/// # Errors
///
/// There is something at `link`, or its folder may not be changed.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::symlink("releases/7", "current").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let paths = (original.as_ref(), link.as_ref());
    on_paths("symlink", paths, |original, link| unix::fs::symlink(original, link)).await
}

/// Moves a file or folder to another name on the same file system. A file that has that name is replaced,
/// without a moment in which there is none.
///
/// After a crash of the machine the old or the new name may be there: [`write_durably`](super::write_durably)
/// is for content that must survive one.
///
/// asyncio: has none; `os.replace`. tokio: the same.
///
/// # Cancel safety
///
/// It is moved or not.
///
/// # Errors
///
/// There is nothing at `from`; or `to` is on another file system, a folder that is not empty, or a folder
/// where a file would come.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::rename("settings.new", "settings").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    on_paths("rename", (from.as_ref(), to.as_ref()), |from, to| fs::rename(from, to)).await
}

/// How [`rename_with`] goes about a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RenameFlags {
    /// The call fails if there is something at the new name (`RENAME_NOREPLACE`).
    NoReplace,
    /// The two names change places. There must be something at both (`RENAME_EXCHANGE`).
    Exchange,
}

/// [`rename`] with a rule for a name that is taken, which holds without a race.
///
/// asyncio, tokio: have none.
///
/// # Cancel safety
///
/// It is moved or not.
///
/// # Errors
///
/// Those of [`rename`]. With [`RenameFlags::NoReplace`] also: the new name is taken
/// ([`AlreadyExists`](io::ErrorKind::AlreadyExists)). If the file system has no such rename, the error has the
/// kind [`Unsupported`](io::ErrorKind::Unsupported), and nothing was moved.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// use ringloop::fs::{RenameFlags, rename_with};
///
/// # ringloop::run(async {
/// rename_with("upload.part", "upload", RenameFlags::NoReplace).await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
#[doc(alias = "renameat2")]
pub async fn rename_with(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    flags: RenameFlags,
) -> io::Result<()> {
    on_paths("rename_with", (from.as_ref(), to.as_ref()), move |from, to| {
        let raw = match flags {
            RenameFlags::NoReplace => rustix::fs::RenameFlags::NOREPLACE,
            RenameFlags::Exchange => rustix::fs::RenameFlags::EXCHANGE,
        };
        match renameat_with(CWD, from, CWD, to, raw) {
            Ok(()) => Ok(()),
            Err(error @ Errno::INVAL) if !is_into_itself(from, to) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the file system has no rename with {flags:?}: {error}"),
            )),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Whether a folder would be moved below itself, which has the same error number.
fn is_into_itself(from: &Path, to: &Path) -> bool {
    let below = |from: &Path, to: &Path| {
        let (from, to) = (fs::canonicalize(from).ok()?, fs::canonicalize(to.parent()?).ok()?);
        Some(to.starts_with(from))
    };
    below(from, to) == Some(true) || below(to, from) == Some(true)
}

/// Removes the name of a file, or a symbolic link. The file is gone when it has no other name and is open
/// nowhere.
///
/// asyncio: has none; `os.remove`. tokio: the same.
///
/// # Cancel safety
///
/// It is removed or not.
///
/// # Errors
///
/// There is nothing at that path, or a folder, or its folder may not be changed.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::remove_file("server.pid").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
#[doc(alias = "unlink")]
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    on_path("remove_file", path.as_ref(), |path| fs::remove_file(path)).await
}
