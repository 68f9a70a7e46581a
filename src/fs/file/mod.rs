//! An open file.

mod access;
mod attributes;
mod cursor;
mod lock;
mod many;
mod positional;

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::Arc,
};

use self::{access::Access, cursor::Cursor};
pub use self::{
    attributes::Advice,
    many::{ReadMany, WriteMany},
};
use super::{OpenOptions, lane::on_lane};

/// An open file.
///
/// # Cursor
///
/// [`AsyncRead`](crate::io::AsyncRead), [`AsyncWrite`](crate::io::AsyncWrite) and
/// [`AsyncSeek`](crate::io::AsyncSeek) read and write at the cursor, and move it, as those of
/// [`std::fs::File`] do; with the methods of [`AsyncReadExt`](crate::io::AsyncReadExt),
/// [`AsyncWriteExt`](crate::io::AsyncWriteExt) and [`AsyncSeekExt`](crate::io::AsyncSeekExt). A write that has
/// returned is in the file: nothing is kept back, and a flush only waits for writes whose futures were
/// dropped. Many small reads or writes want a [`BufReader`](crate::io::BufReader) or
/// [`BufWriter`](crate::io::BufWriter).
///
/// [`read_at`](Self::read_at) and its siblings have no cursor, and may run side by side.
///
/// # Closing
///
/// A file that is dropped is closed when the last operation on it has ended. The close is made on the worker: where
/// it may wait for a server, [`close`](Self::close) the file instead.
///
/// asyncio: has none; `open` and `to_thread`. tokio: `tokio::fs::File`, where a write returns before it is made,
/// and a file that is dropped without a flush loses it.
///
/// ```
/// use ringloop::{fs::File, io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt}};
///
/// # let path = std::env::temp_dir().join(format!("ringloop-file-{}", std::process::id()));
/// ringloop::run(async {
///     File::create(&path).await.unwrap().write_all(b"hello").await.unwrap();
///     let mut file = File::open(&path).await.unwrap();
///     file.seek(std::io::SeekFrom::Start(1)).await.unwrap();
///     let mut text = String::new();
///     file.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "ello");
/// });
/// # std::fs::remove_file(path).unwrap();
/// ```
pub struct File {
    access: Arc<Access>,
    cursor: Cursor,
}

impl File {
    /// The same descriptor, for calls that have no cursor.
    fn share(&self) -> Self {
        Self { access: self.access.clone(), cursor: Cursor::default() }
    }

    /// Opens a file to read it.
    ///
    /// # Cancel safety
    ///
    /// A file that was opened is closed.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// ```
    /// ringloop::run(async {
    ///     let error = ringloop::fs::File::open("/no such file").await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// });
    /// ```
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file to write it; makes it if it is not there, and throws away what is in it.
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ringloop-create-{}", std::process::id()));
    /// ringloop::run(async {
    ///     ringloop::fs::File::create(&path).await.unwrap();
    ///     assert!(path.exists());
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path).await
    }

    /// Makes a file, to read and write it.
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), and those of [`OpenOptions::open`].
    ///
    /// ```
    /// ringloop::run(async {
    ///     let error = ringloop::fs::File::create_new("Cargo.toml").await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// });
    /// ```
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).await
    }

    /// [`OpenOptions::new`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// A file that was opened elsewhere.
    ///
    /// ```
    /// let file = std::fs::File::open("/proc/self/stat").unwrap();
    /// let file = ringloop::fs::File::from_std(file);
    /// ```
    pub fn from_std(file: fs::File) -> File {
        Self { access: Arc::new(Access::new(file)), cursor: Cursor::default() }
    }

    /// The file for the standard library, as another descriptor of the same open file: they share the cursor. Bytes
    /// of a read that was dropped are behind it; [`into_std`](Self::into_std) goes back to them.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn to_std(&self) -> io::Result<fs::File> {
        self.access.try_clone()
    }

    /// The file for the standard library, once nothing is in flight at the cursor.
    ///
    /// # Cancel safety
    ///
    /// The file is closed.
    ///
    /// # Errors
    ///
    /// That of a write whose future was dropped. Or: other operations still use the file, and the process has no
    /// descriptor left for another one.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::open("Cargo.toml").await.unwrap();
    ///     let mut start = [0; 11];
    ///     file.into_std().await.unwrap().read_exact(&mut start).unwrap();
    ///     assert_eq!(&start, b"[workspace]");
    /// });
    /// ```
    pub async fn into_std(mut self) -> io::Result<fs::File> {
        self.settle().await?;
        let Self { access, .. } = self;
        match Arc::try_unwrap(access) {
            Ok(access) => Ok(access.into_file()),
            Err(shared) => shared.try_clone(),
        }
    }

    /// Another handle for the same open file: both have one cursor. What is in flight stays with this one.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    ///
    /// ```
    /// use ringloop::io::AsyncReadExt;
    ///
    /// ringloop::run(async {
    ///     let mut file = ringloop::fs::File::open("Cargo.toml").await.unwrap();
    ///     let mut other = file.try_clone().unwrap();
    ///     let mut bytes = [0; 6];
    ///     file.read_exact(&mut bytes[..1]).await.unwrap();
    ///     other.read_exact(&mut bytes[1..]).await.unwrap();
    ///     assert_eq!(&bytes, b"[works");
    /// });
    /// ```
    pub fn try_clone(&self) -> io::Result<File> {
        self.access.try_clone().map(Self::from_std)
    }

    /// Waits for what is in flight at the cursor, and closes the file on a thread for files. Dropping it closes it, too, but
    /// tells no error and may hold up the worker.
    ///
    /// If operations on the file are in flight whose futures were dropped, it is closed with the last of
    /// them.
    ///
    /// # Cancel safety
    ///
    /// The file is closed all the same.
    ///
    /// # Errors
    ///
    /// That of a write whose future was dropped, or of close(2): of a file on a server, that earlier writes
    /// have failed.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::open("Cargo.toml").await.unwrap();
    ///     file.close().await.unwrap();
    /// });
    /// ```
    pub async fn close(mut self) -> io::Result<()> {
        let settled = self.settle().await;
        let Self { access, .. } = self;
        let closed = on_lane(move || match Arc::try_unwrap(access) {
            Ok(access) => access.close(),
            Err(_) => Ok(()),
        });
        let closed = closed.await;
        settled.and(closed)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.access.as_fd()
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File::from_std(file)
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("file", &self.access).finish_non_exhaustive()
    }
}
