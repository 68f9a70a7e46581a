//! All that is in a tree.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, FileType, Metadata},
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use futures_core::Stream;

use super::{
    batches::{BATCH, Batches, Source},
    error::PathError,
};
use crate::blocking;

/// How many folders are open at most.
const OPEN: usize = 16;

/// All that is below a folder, as a [`Stream`]: depth first, a folder before its content, the names of a
/// folder in no order. The folder itself is not an entry. Symbolic links below it are entries, and not followed.
///
/// A thread reads about 1000 names at a time, from as many folders as it takes. At most 16 folders are
/// open; of those above them the remaining names are in memory.
///
/// asyncio: has none; `os.walk` in `to_thread`. tokio: has none.
///
/// ```
/// # let root = std::env::temp_dir().join(format!("ringloop-walk-{}", std::process::id()));
/// # std::fs::create_dir_all(root.join("a/b")).unwrap();
/// # std::fs::write(root.join("a/b/c"), "12345").unwrap();
/// use ringloop::fs;
///
/// ringloop::run(async {
///     let mut tree = fs::walk(&root).metadata(true);
///     let mut bytes = 0;
///     while let Some(entry) = tree.next_entry().await.unwrap() {
///         if entry.file_type().is_file() {
///             bytes += entry.metadata().map_or(0, |metadata| metadata.len());
///         }
///     }
///     assert_eq!(bytes, 5);
/// });
/// # std::fs::remove_dir_all(&root).unwrap();
/// ```
pub fn walk(root: impl AsRef<Path>) -> Walk {
    let root = root.as_ref().into();
    Walk(Batches::new(Tree {
        root: Some(root),
        levels: Vec::new(),
        metadata: false,
        max_depth: usize::MAX,
        enter: None,
    }))
}

/// A walk through a tree: see [`walk`].
///
/// An error is an entry: the walk goes on with what can be read.
pub struct Walk(Batches<Tree>);

impl Walk {
    /// Whether entries come with their [metadata](WalkEntry::metadata). Default: no. It has no effect once
    /// the walk has begun.
    pub fn metadata(mut self, metadata: bool) -> Self {
        self.set(|tree| tree.metadata = metadata);
        self
    }

    /// How deep it goes, at most. Names in the root have the depth 1. It has no effect once the walk has
    /// begun.
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.set(|tree| tree.max_depth = depth);
        self
    }

    /// Has `f` say of each folder whether the walk goes into it. The folder is an entry in any case. `f`
    /// runs on a thread for files. It has no effect once the walk has begun.
    pub fn enter_if(mut self, f: impl FnMut(&WalkEntry) -> bool + Send + 'static) -> Self {
        self.set(|tree| tree.enter = Some(Box::new(f)));
        self
    }

    fn set(&mut self, set: impl FnOnce(&mut Tree)) {
        if let Some(tree) = self.0.source().filter(|tree| tree.root.is_some()) {
            set(tree);
        }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// No entry is lost. When the walk is dropped, its thread stops before the next name.
    ///
    /// # Errors
    ///
    /// A folder cannot be read, or an entry not be asked. The walk goes on with the next call.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn next_entry(&mut self) -> io::Result<Option<WalkEntry>> {
        poll_fn(|cx| self.0.poll_next(cx)).await.transpose()
    }
}

impl Stream for Walk {
    type Item = io::Result<WalkEntry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").finish_non_exhaustive()
    }
}

/// A name that [`walk`] has come to.
#[derive(Debug, Clone)]
pub struct WalkEntry {
    path: PathBuf,
    depth: usize,
    kind: FileType,
    metadata: Option<Metadata>,
}

impl WalkEntry {
    /// Its path: that of the root, as it was given, and what is below.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path itself.
    pub fn into_path(self) -> PathBuf {
        self.path
    }

    /// How deep it is: 1 for a name in the root.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The kind of the file. A symbolic link is one.
    pub fn file_type(&self) -> FileType {
        self.kind
    }

    /// The metadata, if they were [asked for](Walk::metadata). Those of a symbolic link are its own.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }
}

type Enter = Box<dyn FnMut(&WalkEntry) -> bool + Send>;

struct Tree {
    /// Until the walk begins.
    root: Option<PathBuf>,
    levels: Vec<Level>,
    metadata: bool,
    max_depth: usize,
    enter: Option<Enter>,
}

struct Level {
    folder: Arc<Path>,
    names: Names,
}

enum Names {
    /// In the open folder.
    Open(fs::ReadDir),
    Read(vec::IntoIter<io::Result<(OsString, FileType)>>),
}

impl Source for Tree {
    type Entry = WalkEntry;

    fn read(&mut self, into: &mut Vec<io::Result<WalkEntry>>) -> io::Result<bool> {
        if let Some(root) = self.root.take() {
            self.go_into(&root).unwrap_or_else(|error| into.push(Err(error)));
        }
        while into.len() < BATCH {
            blocking::check()?;
            let Some(level) = self.levels.last_mut() else {
                return Ok(false);
            };
            let entry = level.names.next(&level.folder, self.metadata);
            let (name, kind, metadata) = match entry {
                Some(Ok(found)) => found,
                Some(Err(error)) => {
                    into.push(Err(PathError::wrap("walk", &level.folder, error)));
                    continue;
                }
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            let path = level.folder.join(name);
            let entry = WalkEntry { path, depth: self.levels.len(), kind, metadata };
            let enter = kind.is_dir() && entry.depth < self.max_depth;
            if enter && self.enter.as_mut().is_none_or(|enter| enter(&entry)) {
                let entered = self.go_into(&entry.path);
                into.push(Ok(entry));
                entered.unwrap_or_else(|error| into.push(Err(error)));
            } else {
                into.push(Ok(entry));
            }
        }
        Ok(true)
    }
}

impl Tree {
    fn go_into(&mut self, path: &Path) -> io::Result<()> {
        if self.max_depth == 0 {
            return Ok(());
        }
        let names = fs::read_dir(path).map_err(|error| PathError::wrap("walk", path, error))?;
        if let Some(above) = self.levels.len().checked_sub(OPEN) {
            self.levels[above].names.close();
        }
        self.levels.push(Level { folder: path.into(), names: Names::Open(names) });
        Ok(())
    }
}

impl Names {
    /// Reads the remaining names, and closes the folder.
    fn close(&mut self) {
        if let Names::Open(names) = self {
            let kind = |entry: fs::DirEntry| Ok((entry.file_name(), entry.file_type()?));
            let rest: Vec<_> = names.map(|entry| entry.and_then(kind)).collect();
            *self = Names::Read(rest.into_iter());
        }
    }

    fn next(
        &mut self,
        folder: &Path,
        metadata: bool,
    ) -> Option<io::Result<(OsString, FileType, Option<Metadata>)>> {
        Some(match self {
            Names::Open(names) => names.next()?.and_then(|entry| {
                let kind = entry.file_type()?;
                let metadata = metadata.then(|| entry.metadata()).transpose();
                let named = |error| PathError::wrap("walk", &entry.path(), error);
                Ok((entry.file_name(), kind, metadata.map_err(named)?))
            }),
            Names::Read(names) => names.next()?.and_then(|(name, kind)| {
                let path = || folder.join(&name);
                let metadata = metadata.then(|| fs::symlink_metadata(path())).transpose();
                let metadata = metadata.map_err(|error| PathError::wrap("walk", &path(), error))?;
                Ok((name, kind, metadata))
            }),
        })
    }
}
