//! What is true of a file as a whole: that it is on the disk, its length, its space, its metadata.

use std::{fs, io, num::NonZeroU64, sync::Arc};

use rustix::fs::{FallocateFlags, fadvise, fallocate, ftruncate};

use super::{
    File,
    access::{Access, Way},
};
use crate::{fs::lane::on_lane, reactor::files::Fsync, runtime::perform};

/// What a program is going to do with a part of a file: see [`File::advise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing special.
    Normal,
    /// Read it from the front to the back: more is read ahead.
    Sequential,
    /// Read it here and there: nothing is read ahead.
    Random,
    /// Read it soon: it is read into memory now.
    WillNeed,
    /// Not read it again: its memory may be used for others. What is not written yet stays.
    DontNeed,
    /// Read it once.
    NoReuse,
}

impl Advice {
    fn raw(self) -> rustix::fs::Advice {
        match self {
            Advice::Normal => rustix::fs::Advice::Normal,
            Advice::Sequential => rustix::fs::Advice::Sequential,
            Advice::Random => rustix::fs::Advice::Random,
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
            Advice::DontNeed => rustix::fs::Advice::DontNeed,
            Advice::NoReuse => rustix::fs::Advice::NoReuse,
        }
    }
}

impl File {
    /// Waits until all that was written to the file is on the disk: bytes, length, times.
    ///
    /// It holds for writes that have returned before; a flush waits for one whose future was dropped. Whether the *name* of a new file is on the disk is another
    /// question: [`write_durably`](super::super::write_durably) answers it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost; the disk may go on.
    ///
    /// # Errors
    ///
    /// Those of fsync(2). After one of them the state of the file on the disk is not known, and a second call
    /// may succeed all the same: write the bytes again, to another file if need be.
    ///
    /// ```
    /// use ringloop::{fs::File, io::AsyncWriteExt};
    ///
    /// # let path = std::env::temp_dir().join(format!("ringloop-sync-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let mut file = File::create(&path).await.unwrap();
    ///     file.write_all(b"safe").await.unwrap();
    ///     file.sync_all().await.unwrap();
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "fsync")]
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(false).await
    }

    /// [`sync_all`](Self::sync_all) without what is not needed to read the bytes again, such as the times.
    ///
    /// # Cancel safety
    ///
    /// As [`sync_all`](Self::sync_all).
    ///
    /// # Errors
    ///
    /// As [`sync_all`](Self::sync_all).
    #[doc(alias = "fdatasync")]
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(true).await
    }

    async fn sync(&self, data_only: bool) -> io::Result<()> {
        perform(Fsync { file: self.access.clone(), data_only }).await
    }

    /// Cuts the file off at a length, in bytes, or makes it longer by zeros that take no space. The cursor stays.
    ///
    /// # Cancel safety
    ///
    /// It is done, or not.
    ///
    /// # Errors
    ///
    /// Those of ftruncate(2).
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ringloop-set_len-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await.unwrap();
    ///     file.set_len(1 << 33).await.unwrap();
    ///     assert_eq!(file.metadata().await.unwrap().len(), 1 << 33);
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "ftruncate")]
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(move |file| Ok(ftruncate(file, len)?)).await
    }

    /// Takes space on the disk for a part of the file, in bytes, so that writes there find some. The file gets longer if
    /// the part ends behind its end.
    ///
    /// Appending to a file with space taken ahead makes [`sync_data`](Self::sync_data) a third cheaper, since the length
    /// does not change: keep the end of the data yourself, and cut the rest off at last.
    ///
    /// # Cancel safety
    ///
    /// It is done, or not, or in part.
    ///
    /// # Errors
    ///
    /// Those of fallocate(2): no space, or a file system that does not have it
    /// ([`Unsupported`](io::ErrorKind::Unsupported)).
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ringloop-allocate-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await.unwrap();
    ///     match file.allocate(0, 1 << 20).await {
    ///         Ok(()) => assert_eq!(file.metadata().await.unwrap().len(), 1 << 20),
    ///         Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
    ///     }
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "fallocate")]
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.call(move |file| Ok(fallocate(file, FallocateFlags::empty(), offset, len)?)).await
    }

    /// Says what the program is going to do with a part of the file, in bytes; a length of 0 means up to its
    /// end. The system may ignore it.
    ///
    /// # Cancel safety
    ///
    /// It is done, or not.
    ///
    /// # Errors
    ///
    /// Those of posix_fadvise(2): the file is a pipe.
    ///
    /// ```
    /// use ringloop::fs::{Advice, File};
    ///
    /// ringloop::run(async {
    ///     let file = File::open("Cargo.toml").await.unwrap();
    ///     file.advise(0, 0, Advice::Sequential).await.unwrap();
    /// });
    /// ```
    #[doc(alias = "posix_fadvise")]
    pub async fn advise(&self, offset: u64, len: u64, advice: Advice) -> io::Result<()> {
        let raw = advice.raw();
        match advice {
            // They may wait for the disk.
            Advice::WillNeed | Advice::DontNeed => {
                let len = NonZeroU64::new(len);
                self.call(move |file| Ok(fadvise(file, offset, len, raw)?)).await
            }
            _ => Ok(fadvise(&*self.access, offset, NonZeroU64::new(len), raw)?),
        }
    }

    /// Length, times, permissions and so on.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    ///
    /// ```
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::open("Cargo.toml").await.unwrap();
    ///     assert!(file.metadata().await.unwrap().is_file());
    /// });
    /// ```
    #[doc(alias = "fstat")]
    pub async fn metadata(&self) -> io::Result<fs::Metadata> {
        match self.access.way() {
            // What is open is in memory.
            Way::Memory | Way::Cached | Way::Stream => self.access.metadata(),
            _ => self.call(|file| file.metadata()).await,
        }
    }

    /// Sets the permissions.
    ///
    /// # Cancel safety
    ///
    /// It is done, or not.
    ///
    /// # Errors
    ///
    /// Those of fchmod(2).
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ringloop-permissions-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await.unwrap();
    ///     let mut permissions = file.metadata().await.unwrap().permissions();
    ///     permissions.set_readonly(true);
    ///     file.set_permissions(permissions).await.unwrap();
    ///     assert!(file.metadata().await.unwrap().permissions().readonly());
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "fchmod")]
    pub async fn set_permissions(&self, permissions: fs::Permissions) -> io::Result<()> {
        self.call(move |file| file.set_permissions(permissions)).await
    }

    /// Sets the times of the last access and change.
    ///
    /// # Cancel safety
    ///
    /// It is done, or not.
    ///
    /// # Errors
    ///
    /// Those of futimens(2).
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// # let path = std::env::temp_dir().join(format!("ringloop-times-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await.unwrap();
    ///     let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    ///     file.set_times(std::fs::FileTimes::new().set_modified(then)).await.unwrap();
    ///     assert_eq!(file.metadata().await.unwrap().modified().unwrap(), then);
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "futimens")]
    pub async fn set_times(&self, times: fs::FileTimes) -> io::Result<()> {
        self.call(move |file| file.set_times(times)).await
    }

    /// Makes a call on a thread for files, which keeps the file open.
    pub(super) async fn call<T, F>(&self, call: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Access) -> io::Result<T> + Send + 'static,
    {
        let file: Arc<Access> = self.access.clone();
        on_lane(move || call(&file)).await
    }
}
