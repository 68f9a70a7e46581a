//! Temporary files and folders.

use std::{
    env,
    error::Error,
    ffi::{OsStr, OsString},
    fmt, fs,
    hash::{BuildHasher, RandomState},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    panic::Location,
    path::{Path, PathBuf, absolute},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, fstat, linkat, open},
    io::Errno,
};

use super::{
    error::{PathError, on_path},
    file::File,
    lane::on_lane,
    remove::remove_tree,
};
use crate::{blocking::Kind, runtime::Handle};

/// How often a name is tried that is taken.
const TRIES: usize = 100;

/// Makes temporary files and folders with options.
///
/// asyncio: has none; the package tempfile. tokio: has none; the crate tempfile, which blocks.
///
/// ```
/// use ringloop::fs::TempBuilder;
///
/// ringloop::run(async {
///     let folder = TempBuilder::new().prefix("job-").dir().await.unwrap();
///     let file = TempBuilder::new().within(folder.path()).suffix(".csv").named(true).file().await.unwrap();
///     assert!(file.path().unwrap().starts_with(folder.path()));
///     folder.close().await.unwrap();
/// });
/// ```
#[derive(Debug, Clone, Default)]
pub struct TempBuilder {
    folder: Option<PathBuf>,
    prefix: OsString,
    suffix: OsString,
    named: bool,
}

impl TempBuilder {
    /// A builder for the folder of temporary files ([`std::env::temp_dir`]).
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes another folder. A file that is to be [persisted](TempFile::persist) must be on the file system
    /// where it goes.
    pub fn within(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// The beginning of the name. Default: nothing.
    pub fn prefix(mut self, prefix: impl AsRef<OsStr>) -> Self {
        self.prefix = prefix.as_ref().to_owned();
        self
    }

    /// The end of the name, such as `.csv`. Default: nothing.
    pub fn suffix(mut self, suffix: impl AsRef<OsStr>) -> Self {
        self.suffix = suffix.as_ref().to_owned();
        self
    }

    /// Whether a file has a name, which other programs need to open it. Default: no, if the file system has
    /// files without one (`O_TMPFILE`). Such a file vanishes with the process, even in a crash.
    pub fn named(mut self, named: bool) -> Self {
        self.named = named;
        self
    }

    /// Makes a file that only this user can read and write.
    ///
    /// # Cancel safety
    ///
    /// A file that was made is removed.
    ///
    /// # Errors
    ///
    /// The folder is missing, or may not be changed; or prefix or suffix have a `/`.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn file(&self) -> io::Result<TempFile> {
        let (options, folder) = (self.clone(), self.folder());
        on_path("temporary file", &folder, move |folder| options.make_file(folder)).await
    }

    /// Makes a folder that only this user can enter.
    ///
    /// # Cancel safety
    ///
    /// A folder that was made is removed.
    ///
    /// # Errors
    ///
    /// The folder that it comes into is missing, or may not be changed; or prefix or suffix have a `/`.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn dir(&self) -> io::Result<TempDir> {
        let (options, folder) = (self.clone(), self.folder());
        let make = move |folder: &Path| {
            let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
            let (path, ()) = options.with_new_name(folder, make)?;
            Ok(TempDir(Some(Remains(Some(path), What::Folder))))
        };
        on_path("temporary folder", &folder, make).await
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(env::temp_dir)
    }

    fn make_file(&self, folder: &Path) -> io::Result<TempFile> {
        if !self.named
            && let Some(file) = nameless(folder, 0o600)?
        {
            return Ok(TempFile::with(None, file));
        }
        let (path, file) = self.with_new_name(folder, |path| {
            fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        })?;
        Ok(TempFile::with(Some(path), file.into()))
    }

    /// Makes something under a name that is free.
    fn with_new_name<T>(
        &self,
        folder: &Path,
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(PathBuf, T)> {
        for part in [&self.prefix, &self.suffix] {
            if part.as_encoded_bytes().contains(&b'/') {
                let text =
                    "the prefix and the suffix of a temporary name have no `/`: take `within`";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        // The working directory may be another one at the end.
        let folder = absolute(folder)?;
        let mut tries = 0;
        loop {
            let mut name = self.prefix.clone();
            name.push(unique());
            name.push(&self.suffix);
            let path = folder.join(name);
            tries += 1;
            match make(&path) {
                Ok(made) => return Ok((path, made)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A file without a name in a folder, if the file system has them.
pub(super) fn nameless(folder: &Path, mode: u32) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match open(folder, flags, Mode::from_raw_mode(mode)) {
        Ok(file) => Ok(Some(file)),
        // The last one: a kernel that does not know the flag takes it for a folder to write to.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::ISDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives an open file a name, which must be free.
pub(super) fn give_name(file: impl AsFd, to: impl AsFd, name: &Path) -> rustix::io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    match linkat(CWD, own, &to, name, AtFlags::SYMLINK_FOLLOW) {
        // Without /proc. It takes a right that few processes have.
        Err(Errno::NOENT) => linkat(file, c"", to, name, AtFlags::EMPTY_PATH),
        result => result,
    }
}

/// A part of a name that hardly any other has.
pub(super) fn unique() -> String {
    // Its keys are random; no two in a process are the same.
    format!("{:016x}", RandomState::new().hash_one(0))
}

/// A temporary file, which is removed when this is dropped.
///
/// To drop it blocks no worker: a thread for files closes the file and removes its name, if it has one. A
/// runtime that ends waits for that. Outside of a runtime it is removed by the drop itself. If the process is
/// killed, a file with a name stays.
///
/// asyncio: has none; `tempfile.TemporaryFile`.
///
/// ```
/// use ringloop::fs::TempFile;
///
/// ringloop::run(async {
///     let file = TempFile::new().await.unwrap();
///     let mut inside = file.file().to_std().unwrap();
///     std::io::Write::write_all(&mut inside, b"some text").unwrap();
/// });
/// ```
#[derive(Debug)]
pub struct TempFile(Option<Remains>);

impl TempFile {
    /// A file in the folder of temporary files, without a name where that can be: see [`TempBuilder`].
    ///
    /// # Cancel safety
    ///
    /// A file that was made is removed.
    ///
    /// # Errors
    ///
    /// Those of [`TempBuilder::file`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn new() -> io::Result<TempFile> {
        TempBuilder::new().file().await
    }

    fn with(name: Option<PathBuf>, file: OwnedFd) -> Self {
        Self(Some(Remains(name, What::File(File::from_std(file.into())))))
    }

    fn remains(&self) -> &Remains {
        self.0.as_ref().expect("there until the end")
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.remains().file()
    }

    /// The open file, for its cursor.
    pub fn file_mut(&mut self) -> &mut File {
        match &mut self.0.as_mut().expect("there until the end").1 {
            What::File(file) => file,
            What::Folder => unreachable!("a file has one"),
        }
    }

    /// Its absolute path, if it has a name.
    pub fn path(&self) -> Option<&Path> {
        self.remains().0.as_deref()
    }

    /// Gives the file a name for good, and replaces a file that has it, without a moment in which there is
    /// none.
    ///
    /// It may still be lost in a crash of the machine: sync it first, or take
    /// [`write_durably`](super::write_durably).
    ///
    /// # Cancel safety
    ///
    /// The file has its name, or it is removed.
    ///
    /// # Errors
    ///
    /// The path is on another file system, or its folder may not be changed. The error has the file.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ringloop-persist-{}", std::process::id()));
    /// use ringloop::fs::TempFile;
    ///
    /// ringloop::run(async {
    ///     TempFile::new().await.unwrap().persist(&path).await.unwrap();
    ///     assert!(path.exists());
    /// });
    /// # std::fs::remove_file(&path).unwrap();
    /// ```
    pub async fn persist(self, path: impl AsRef<Path>) -> Result<File, PersistError> {
        self.persist_by("persist", path.as_ref(), true).await
    }

    /// The same if the name is free.
    ///
    /// # Cancel safety
    ///
    /// The file has its name, or it is removed.
    ///
    /// # Errors
    ///
    /// Those of [`persist`](Self::persist); and there is something at that path
    /// ([`AlreadyExists`](io::ErrorKind::AlreadyExists)).
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn persist_noclobber(self, path: impl AsRef<Path>) -> Result<File, PersistError> {
        self.persist_by("persist_noclobber", path.as_ref(), false).await
    }

    async fn persist_by(
        self,
        call: &'static str,
        path: &Path,
        replace: bool,
    ) -> Result<File, PersistError> {
        let path = path.to_owned();
        let kept = on_lane(move || {
            Ok(match self.remains().keep(&path, replace) {
                Ok(()) => Ok(self.into_kept()),
                Err(error) => Err((self, PathError::wrap(call, &path, error))),
            })
        });
        match kept.await {
            Ok(Ok(file)) => Ok(file),
            Ok(Err((file, error))) => Err(PersistError { error, file: Some(file) }),
            Err(error) => Err(PersistError { error, file: None }),
        }
    }

    fn into_kept(mut self) -> File {
        let mut remains = self.0.take().expect("there until the end");
        remains.0 = None;
        match std::mem::replace(&mut remains.1, What::Folder) {
            What::File(file) => file,
            What::Folder => unreachable!("a file has one"),
        }
    }

    /// Removes the file, and says whether that went well.
    ///
    /// # Cancel safety
    ///
    /// It is removed in any case.
    ///
    /// # Errors
    ///
    /// Its name cannot be removed.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn close(mut self) -> io::Result<()> {
        let mut remains = self.0.take().expect("there until the end");
        on_lane(move || remains.remove()).await
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        remove_later(self.0.take());
    }
}

/// A temporary folder, which is removed with all that is in it when this is dropped.
///
/// To drop it blocks no worker: see [`TempFile`]. [`close`](Self::close) waits for the removal, and has its
/// errors.
///
/// asyncio: has none; `tempfile.TemporaryDirectory`.
///
/// ```
/// use ringloop::fs::{self, TempDir};
///
/// ringloop::run(async {
///     let folder = TempDir::new().await.unwrap();
///     fs::write(folder.path().join("file"), "some text").await.unwrap();
///     let path = folder.path().to_owned();
///     folder.close().await.unwrap();
///     assert!(!fs::try_exists(&path).await.unwrap());
/// });
/// ```
#[derive(Debug)]
pub struct TempDir(Option<Remains>);

impl TempDir {
    /// A folder in that of temporary files: see [`TempBuilder`].
    ///
    /// # Cancel safety
    ///
    /// A folder that was made is removed.
    ///
    /// # Errors
    ///
    /// Those of [`TempBuilder::dir`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn new() -> io::Result<TempDir> {
        TempBuilder::new().dir().await
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        let path = self.0.as_ref().and_then(|remains| remains.0.as_deref());
        path.expect("there until the end")
    }

    /// Keeps the folder.
    pub fn keep(mut self) -> PathBuf {
        let path = self.0.as_mut().and_then(|remains| remains.0.take());
        path.expect("there until the end")
    }

    /// Removes the folder with all that is in it, and says whether that went well.
    ///
    /// # Cancel safety
    ///
    /// It is removed in any case.
    ///
    /// # Errors
    ///
    /// Those of [`remove_dir_all`](super::remove_dir_all).
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn close(mut self) -> io::Result<()> {
        let mut remains = self.0.take().expect("there until the end");
        on_lane(move || remains.remove()).await
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        remove_later(self.0.take());
    }
}

/// Why a temporary file has no name for good.
#[derive(Debug)]
pub struct PersistError {
    error: io::Error,
    file: Option<TempFile>,
}

impl PersistError {
    /// The error of the call, which has the [path](PathError::of).
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// The file, for another try. There is none if the call could not be made, because the runtime ends.
    pub fn into_file(self) -> Option<TempFile> {
        self.file
    }
}

impl fmt::Display for PersistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the temporary file was not kept: {}", self.error)
    }
}

impl Error for PersistError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<PersistError> for io::Error {
    fn from(error: PersistError) -> Self {
        error.error
    }
}

/// What is to be removed: a name, if there is one. It is removed at the latest when this is dropped, which may
/// block.
#[derive(Debug)]
struct Remains(Option<PathBuf>, What);

#[derive(Debug)]
enum What {
    File(File),
    /// With all that is in it.
    Folder,
}

impl Remains {
    fn file(&self) -> &File {
        match &self.1 {
            What::File(file) => file,
            What::Folder => unreachable!("a file has one"),
        }
    }

    fn remove(&mut self) -> io::Result<()> {
        let Some(path) = self.0.take() else {
            return Ok(());
        };
        match &self.1 {
            What::File(file) => {
                let own = fstat(file)?;
                let is_own = fs::symlink_metadata(&path)
                    .is_ok_and(|now| (now.dev(), now.ino()) == (own.st_dev, own.st_ino));
                // Else it was moved, and the name may be another file's.
                let removed = if is_own { fs::remove_file(&path) } else { Ok(()) };
                removed.map_err(|error| PathError::wrap("remove_file", &path, error))
            }
            What::Folder => {
                remove_tree(&path).map_err(|error| PathError::wrap("remove_dir_all", &path, error))
            }
        }
    }

    /// Gives a file its name for good.
    fn keep(&self, path: &Path, replace: bool) -> io::Result<()> {
        match &self.0 {
            Some(name) if replace => fs::rename(name, path),
            Some(name) => {
                fs::hard_link(name, path)?;
                fs::remove_file(name)
            }
            None => match give_name(self.file(), CWD, path) {
                Err(Errno::EXIST) if replace => self.replace(path),
                result => Ok(result?),
            },
        }
    }

    /// Takes the place of another file, which needs a name first.
    fn replace(&self, path: &Path) -> io::Result<()> {
        let name = path.with_file_name(format!(".{}", unique()));
        give_name(self.file(), CWD, &name)?;
        fs::rename(&name, path).inspect_err(|_| {
            // The error of the rename counts.
            let _ = fs::remove_file(&name);
        })
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // There is nobody to hear of an error: `close` is for that.
        let _ = self.remove();
    }
}

/// Leaves the removal to a thread for files.
#[track_caller]
fn remove_later(remains: Option<Remains>) {
    let Some(remains) = remains else { return };
    if let Ok(handle) = Handle::try_current() {
        // If no thread takes it, because the runtime ends, it is dropped by the way.
        drop(handle.start_blocking(Kind::Files, || drop(remains), Location::caller()));
    }
}
