//! An open file.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

/// An open file.
///
/// asyncio: has none; `open` and `to_thread`.
#[derive(Debug)]
pub struct File {
    file: Arc<OwnedFd>,
}

impl File {
    /// A file that was opened elsewhere.
    ///
    /// ```
    /// let file = std::fs::File::open("/proc/self/stat").unwrap();
    /// let file = ringloop::fs::File::from_std(file);
    /// ```
    pub fn from_std(file: fs::File) -> File {
        File { file: Arc::new(file.into()) }
    }

    /// The file for the standard library, as another descriptor of the same open file.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn to_std(&self) -> io::Result<fs::File> {
        Ok(self.file.try_clone()?.into())
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
