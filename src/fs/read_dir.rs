//! The names in a folder.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, FileType, Metadata},
    future::poll_fn,
    io,
    os::unix::fs::DirEntryExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{
    batches::{BATCH, Batches, Source},
    cached,
    error::{PathError, on_path},
};
use crate::blocking;

/// The names in a folder, in no order, without `.` and `..`.
///
/// A thread reads about 1000 names at a time, so that a small folder takes one call to it. What is added or
/// removed meanwhile may be seen or not.
///
/// asyncio: has none; `os.scandir` in `to_thread`. tokio: the same, 32 names at a time.
///
/// # Cancel safety
///
/// Nothing is changed.
///
/// # Errors
///
/// There is nothing at that path, or no folder, or it may not be read.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let mut entries = ringloop::fs::read_dir("/proc/self").await.unwrap();
///     let mut names = Vec::new();
///     while let Some(entry) = entries.next_entry().await.unwrap() {
///         names.push(entry.file_name().to_owned());
///     }
///     assert!(names.iter().any(|name| name == "status"));
/// });
/// ```
#[doc(alias = "scandir")]
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let batches = on_path("read_dir", path.as_ref(), |path| {
        let entries = fs::read_dir(path)?;
        Batches::begin(Names { folder: path.into(), entries })
    });
    Ok(ReadDir(batches.await?))
}

/// The entries of a folder: see [`read_dir`]. It is a [`Stream`] too.
///
/// After an error there are no more entries.
///
/// The folder stays open until all names are read, or this is dropped.
pub struct ReadDir(Batches<Names>);

impl ReadDir {
    /// The next entry; `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// No entry is lost.
    ///
    /// # Errors
    ///
    /// The folder cannot be read any further.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        poll_fn(|cx| self.poll_next_entry(cx)).await
    }

    /// [`next_entry`](Self::next_entry) as a poll function.
    pub fn poll_next_entry(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<DirEntry>>> {
        self.0.poll_next(cx).map(Option::transpose)
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").finish_non_exhaustive()
    }
}

/// A name in a folder.
#[derive(Clone)]
pub struct DirEntry {
    folder: Arc<Path>,
    name: OsString,
    inode: u64,
    kind: Result<FileType, (io::ErrorKind, Option<i32>)>,
}

impl DirEntry {
    /// Of std's, on a thread that may block.
    fn new(folder: &Arc<Path>, entry: &fs::DirEntry) -> Self {
        // The folder says it, on all usual file systems.
        let kind = entry.file_type().map_err(|error| (error.kind(), error.raw_os_error()));
        Self { folder: folder.clone(), name: entry.file_name(), inode: entry.ino(), kind }
    }

    /// The path of the folder, as it was given to [`read_dir`], with the name.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The name without the folder.
    pub fn file_name(&self) -> &OsStr {
        &self.name
    }

    /// The number of the file on its file system.
    pub fn ino(&self) -> u64 {
        self.inode
    }

    /// The kind of the file. A symbolic link is one.
    ///
    /// This is no call, unlike tokio's: it was read with the name.
    ///
    /// # Errors
    ///
    /// The folder did not say it, and the file could not be asked.
    pub fn file_type(&self) -> io::Result<FileType> {
        self.kind.map_err(|(kind, number)| {
            let error = number.map_or_else(|| kind.into(), io::Error::from_raw_os_error);
            PathError::wrap("file_type", &self.path(), error)
        })
    }

    /// The metadata of the file. A symbolic link is not followed.
    ///
    /// For those of all names in a folder take [`walk`](super::walk) with
    /// [`metadata`](super::Walk::metadata).
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    ///
    /// # Errors
    ///
    /// The file is gone, or its folder may not be searched.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        cached::metadata("metadata", &self.path(), false).await
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}

struct Names {
    folder: Arc<Path>,
    entries: fs::ReadDir,
}

impl Source for Names {
    type Entry = DirEntry;

    fn read(&mut self, into: &mut Vec<io::Result<DirEntry>>) -> io::Result<bool> {
        for entry in self.entries.by_ref().take(BATCH) {
            blocking::check()?;
            match entry {
                Ok(entry) => into.push(Ok(DirEntry::new(&self.folder, &entry))),
                Err(error) => {
                    into.push(Err(PathError::wrap("read_dir", &self.folder, error)));
                    return Ok(false);
                }
            }
        }
        Ok(into.len() == BATCH)
    }
}
