//! How files are opened.

use std::{io, path::Path};

use rustix::fs::{Mode, OFlags};

use super::{cached, file::File};

/// How a file is to be opened, as with [`std::fs::OpenOptions`].
///
/// ```
/// use ringloop::{fs::OpenOptions, io::AsyncWriteExt};
///
/// # let path = std::env::temp_dir().join(format!("ringloop-options-{}", std::process::id()));
/// ringloop::run(async {
///     let mut log = OpenOptions::new().append(true).create(true).open(&path).await.unwrap();
///     log.write_all(b"one line\n").await.unwrap();
/// });
/// # std::fs::remove_file(path).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    flags: OFlags,
    mode: Mode,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is allowed yet: choose [`read`](Self::read), [`write`](Self::write) or [`append`](Self::append).
    pub const fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            flags: OFlags::empty(),
            mode: Mode::from_raw_mode(0o666),
        }
    }

    /// Whether it may be read.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// Whether it may be written.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Whether each write goes to the end of the file as it is then.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Whether what is there is thrown away.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Whether it is made if it is not there.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Whether it is made, and must not be there: also not as a link that leads nowhere.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// The permissions of a file that is made, of which the process' umask takes some away. `0o666` unless set.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Mode::from_raw_mode(mode);
        self
    }

    /// Other flags of open(2), such as `libc::O_NOFOLLOW`. Those that the methods set are ignored here.
    ///
    /// With `O_DIRECT`, memory and offsets must be aligned: see [`AlignedBuf`](super::AlignedBuf).
    pub fn custom_flags(&mut self, flags: i32) -> &mut Self {
        let ours = OFlags::RWMODE | OFlags::APPEND | OFlags::TRUNC | OFlags::CREATE | OFlags::EXCL;
        self.flags = OFlags::from_bits_retain(flags as u32) - ours;
        self
    }

    /// Opens the file. No other program inherits it.
    ///
    /// A file that is there, and whose name the system has in memory, is opened at once; for all else a thread is
    /// taken. On it a named pipe waits for its other end; to read one, that may be until its writer has written
    /// something. [`PipeReader::open`](crate::io::PipeReader::open) holds no thread.
    ///
    /// # Cancel safety
    ///
    /// A file that was opened is closed; one that was made stays.
    ///
    /// # Errors
    ///
    /// Those of open(2), as [`PathError`](super::PathError). [`InvalidInput`](io::ErrorKind::InvalidInput) for options that do not go together, and
    /// for a path with a zero byte.
    ///
    /// ```
    /// use ringloop::fs::OpenOptions;
    ///
    /// ringloop::run(async {
    ///     let error = OpenOptions::new().create(true).open("/tmp/new").await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// });
    /// ```
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let file = cached::open("open", path.as_ref(), self.flags()?, self.mode).await?;
        Ok(File::from_std(file.into()))
    }

    /// As std checks them.
    fn flags(&self) -> io::Result<OFlags> {
        let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let access = match (self.read, self.write, self.append) {
            (true, false, false) => OFlags::RDONLY,
            (false, true, false) => OFlags::WRONLY,
            (true, true, false) => OFlags::RDWR,
            (false, _, true) => OFlags::WRONLY | OFlags::APPEND,
            (true, _, true) => OFlags::RDWR | OFlags::APPEND,
            (false, false, false) => {
                return refused("to open a file, allow `read`, `write` or `append`");
            }
        };
        let creates = self.create || self.create_new;
        if !self.write && !self.append && (creates || self.truncate) {
            return refused("a file is made or truncated only with `write` or `append`");
        }
        if self.append && self.truncate && !self.create_new {
            return refused("`append` and `truncate` do not go together");
        }
        let how = match (self.create, self.truncate, self.create_new) {
            (_, _, true) => OFlags::CREATE | OFlags::EXCL,
            (true, true, false) => OFlags::CREATE | OFlags::TRUNC,
            (true, false, false) => OFlags::CREATE,
            (false, true, false) => OFlags::TRUNC,
            (false, false, false) => OFlags::empty(),
        };
        Ok(access | how | self.flags)
    }
}
