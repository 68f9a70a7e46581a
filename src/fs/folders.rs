//! Folders: made, removed.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use super::{error::on_path, remove::remove_tree};

/// Makes a folder. Its parent must be there.
///
/// asyncio: has none; `os.mkdir`. tokio: the same.
///
/// # Cancel safety
///
/// It is made or not.
///
/// # Errors
///
/// There is something at that path, or nothing at its parent's, or the parent may not be changed.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::create_dir("uploads").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
#[doc(alias = "mkdir")]
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    on_path("create_dir", path.as_ref(), |path| fs::create_dir(path)).await
}

/// Makes a folder and all that are missing on the way to it. A folder that is there already is no error,
/// also if somebody else makes it at the same time.
///
/// asyncio: has none; `os.makedirs(exist_ok=True)`. tokio: the same.
///
/// # Cancel safety
///
/// None of them is made, or all: a call that has begun goes on to its end.
///
/// # Errors
///
/// Something on the way is no folder, or may not be changed. Folders that were made stay.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::create_dir_all("cache/images/small").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
#[doc(alias = "makedirs")]
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    on_path("create_dir_all", path.as_ref(), |path| fs::create_dir_all(path)).await
}

/// Makes folders with options.
///
/// asyncio: has none; `os.makedirs(mode=..)`. tokio: the same.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-builder-{}", std::process::id()));
/// use ringloop::fs::DirBuilder;
///
/// ringloop::run(async {
///     DirBuilder::new().recursive(true).mode(0o700).create(path.join("keys")).await.unwrap();
/// });
/// # std::fs::remove_dir_all(&path).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct DirBuilder {
    recursive: bool,
    mode: u32,
}

impl Default for DirBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl DirBuilder {
    /// A builder of one folder with the mode `0o777`, less the process's mask.
    pub fn new() -> Self {
        Self { recursive: false, mode: 0o777 }
    }

    /// Whether folders that are missing on the way are made too, with the same mode. A folder that is there
    /// already is no error then. Default: no.
    pub fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.recursive = recursive;
        self
    }

    /// The mode of new folders, of which the process's mask (`umask`) takes bits away.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Makes the folder.
    ///
    /// # Cancel safety
    ///
    /// That of [`create_dir_all`].
    ///
    /// # Errors
    ///
    /// Those of [`create_dir`], or of [`create_dir_all`] if it is recursive.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(self.recursive).mode(self.mode);
        on_path("create", path.as_ref(), move |path| builder.create(path)).await
    }
}

/// Removes an empty folder.
///
/// asyncio: has none; `os.rmdir`. tokio: the same.
///
/// # Cancel safety
///
/// It is removed or not.
///
/// # Errors
///
/// There is nothing at that path, or no folder, or one that is not empty.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```no_run
/// # ringloop::run(async {
/// ringloop::fs::remove_dir("uploads").await?;
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
#[doc(alias = "rmdir")]
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    on_path("remove_dir", path.as_ref(), |path| fs::remove_dir(path)).await
}

/// Removes a folder with all that is in it. Symbolic links are removed and not followed, and so is one at
/// `path`.
///
/// Nothing outside of the folder is removed, even if somebody replaces a folder by a link at the same time:
/// each name is looked up in its open folder. A tree may be as deep as it likes. At most 32 folders are
/// open. What another process removes first is no error.
///
/// asyncio: has none; `shutil.rmtree`, which fails on a link. tokio: the same.
///
/// # Cancel safety
///
/// The thread stops before the next name. What it has removed is gone.
///
/// # Errors
///
/// The error names the path that could not be removed. What was removed before is gone. If names are added
/// at the same time, a folder may be [not empty](io::ErrorKind::DirectoryNotEmpty).
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-tree-{}", std::process::id()));
/// ringloop::run(async {
///     ringloop::fs::create_dir_all(path.join("a/b/c")).await.unwrap();
///     ringloop::fs::remove_dir_all(&path).await.unwrap();
///     assert!(!ringloop::fs::try_exists(&path).await.unwrap());
/// });
/// ```
#[doc(alias = "rmtree")]
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    on_path("remove_dir_all", path.as_ref(), remove_tree).await
}
