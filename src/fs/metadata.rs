//! What is known of a file or folder, and changes of it.

use std::{
    fs::{self, FileTimes, Metadata, Permissions},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};

use super::{
    cached,
    error::{PathError, on_path},
    lane::on_lane,
};

/// The metadata of the file or folder at `path`. A symbolic link is followed.
///
/// They are std's, so that they go wherever those go: [`MetadataExt`](std::os::unix::fs::MetadataExt)
/// has owner, mode and numbers; [`created`](Metadata::created) is the birth of the file.
///
/// If the path is in the kernel's cache, and on a file system of this machine, the call is made at once,
/// without a thread. For many paths take [`stat_many`] or [`walk`](super::walk).
///
/// asyncio: has none; `os.stat` in `to_thread`. tokio: the same, always by a thread.
///
/// # Cancel safety
///
/// Nothing is changed.
///
/// # Errors
///
/// There is nothing at that path, or a folder on the way may not be searched.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let folder = ringloop::fs::metadata("/").await.unwrap();
///     assert!(folder.is_dir());
/// });
/// ```
#[doc(alias = "stat")]
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    cached::metadata("metadata", path.as_ref(), true).await
}

/// The metadata of what is at `path`. A symbolic link is not followed.
///
/// asyncio: has none; `os.lstat` in `to_thread`. tokio: the same.
///
/// # Cancel safety
///
/// Nothing is changed.
///
/// # Errors
///
/// There is nothing at that path, or a folder on the way may not be searched.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let link = ringloop::fs::symlink_metadata("/proc/self").await.unwrap();
///     assert!(link.is_symlink());
/// });
/// ```
#[doc(alias = "lstat")]
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    cached::metadata("symlink_metadata", path.as_ref(), false).await
}

/// Whether there is something at `path`. Links are followed: one that leads nowhere is nothing.
///
/// It may be another thing a moment later: to make a file that must not exist, open it with
/// `create_new`.
///
/// asyncio: has none; `os.path.exists`, which takes each error for a no. tokio: the same.
///
/// # Cancel safety
///
/// Nothing is changed.
///
/// # Errors
///
/// It cannot be known, for example because a folder on the way may not be searched.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     assert!(ringloop::fs::try_exists("/").await.unwrap());
///     assert!(!ringloop::fs::try_exists("/no such file").await.unwrap());
/// });
/// ```
#[doc(alias = "exists")]
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match cached::metadata("try_exists", path.as_ref(), true).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The metadata of many paths, in their order, by one call to a thread. Symbolic links are followed.
///
/// It costs a fifth of as many calls of [`metadata`] that find nothing in the kernel's cache. For all
/// that is in a folder take [`read_dir`](super::read_dir) or [`walk`](super::walk).
///
/// asyncio, tokio: have none.
///
/// # Cancel safety
///
/// Nothing is changed. The thread stops before the next path.
///
/// # Errors
///
/// Each path has a result of its own. The outer error: the runtime ends, or no thread can be had.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let found = ringloop::fs::stat_many(["/", "/no such file"]).await.unwrap();
///     assert!(found[0].as_ref().unwrap().is_dir());
///     assert!(found[1].is_err());
/// });
/// ```
pub async fn stat_many<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> io::Result<Vec<io::Result<Metadata>>> {
    let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    on_lane(move || {
        let mut found = Vec::with_capacity(paths.len());
        for path in &paths {
            crate::blocking::check()?;
            let metadata = fs::metadata(path);
            found.push(metadata.map_err(|error| PathError::wrap("stat_many", path, error)));
        }
        Ok(found)
    })
    .await
}

/// Changes the permissions of the file or folder at `path`. A symbolic link is followed.
///
/// asyncio: has none; `os.chmod`. tokio: the same.
///
/// # Cancel safety
///
/// They are changed or not.
///
/// # Errors
///
/// There is nothing at that path, or it belongs to another user.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-chmod-{}", std::process::id()));
/// # std::fs::write(&path, "").unwrap();
/// ringloop::run(async {
///     let mut permissions = ringloop::fs::metadata(&path).await.unwrap().permissions();
///     permissions.set_readonly(true);
///     ringloop::fs::set_permissions(&path, permissions).await.unwrap();
/// });
/// # assert!(std::fs::metadata(&path).unwrap().permissions().readonly());
/// # std::fs::remove_file(&path).unwrap();
/// ```
#[doc(alias = "chmod")]
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    on_path("set_permissions", path.as_ref(), move |path| fs::set_permissions(path, permissions))
        .await
}

/// Changes the times of the file or folder at `path`. A symbolic link is followed.
///
/// The file is opened for that, so it must be readable or writable for this process.
///
/// asyncio: has none; `os.utime`. tokio: has none by path.
///
/// # Cancel safety
///
/// They are changed or not.
///
/// # Errors
///
/// There is nothing at that path, or it belongs to another user.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-utime-{}", std::process::id()));
/// # std::fs::write(&path, "").unwrap();
/// use std::fs::FileTimes;
///
/// ringloop::run(async {
///     let shell = ringloop::fs::metadata("/bin/sh").await.unwrap();
///     let times = FileTimes::new().set_modified(shell.modified().unwrap());
///     ringloop::fs::set_times(&path, times).await.unwrap();
///     let changed = ringloop::fs::metadata(&path).await.unwrap();
///     assert_eq!(changed.modified().unwrap(), shell.modified().unwrap());
/// });
/// # std::fs::remove_file(&path).unwrap();
/// ```
#[doc(alias = "utime")]
pub async fn set_times(path: impl AsRef<Path>, times: FileTimes) -> io::Result<()> {
    on_path("set_times", path.as_ref(), move |path| {
        // A named pipe without a writer must not be waited for, nor a terminal become ours.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match open(path, OFlags::RDONLY | flags, Mode::empty()) {
            Err(Errno::ACCESS) => open(path, OFlags::WRONLY | flags, Mode::empty())?,
            file => file?,
        };
        fs::File::from(file).set_times(times)
    })
    .await
}
