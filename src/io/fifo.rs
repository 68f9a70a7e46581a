//! Named pipes.

use std::{
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, mknodat, open},
    io::Errno,
};

use super::{PipeReader, PipeWriter};
use crate::{
    blocking::Kind,
    runtime::{Handle, call_on},
    time::sleep,
};

/// Between two tries to open a pipe that nobody reads; doubled each time. No event tells of a reader.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// Makes a named pipe (FIFO) with these permissions, less those of the umask: mkfifo(3).
///
/// asyncio: `os.mkfifo`.
///
/// # Cancel safety
///
/// It is made, or not.
///
/// # Errors
///
/// Something is at the path already, the folder is not there, or it is not permitted.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, PipeReader, PipeWriter, mkfifo};
///
/// ringloop::run(async {
///     let path = std::env::temp_dir().join(format!("ringloop-doc-fifo-{}", std::process::id()));
///     mkfifo(&path, 0o600).await?;
///     let of_reader = path.clone();
///     let reading = ringloop::spawn(async move {
///         let mut text = String::new();
///         PipeReader::open(&of_reader).await?.read_to_string(&mut text).await?;
///         std::io::Result::Ok(text)
///     });
///     let mut writer = PipeWriter::open(&path).await?;
///     writer.write_all(b"by name").await?;
///     drop(writer);
///     assert_eq!(reading.await.unwrap()?, "by name");
///     std::fs::remove_file(&path)
/// })
/// # .unwrap();
/// ```
pub async fn mkfifo(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let path = CString::new(path.as_ref().as_os_str().as_bytes())?;
    on_thread(move || {
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(mode & 0o7777), 0)?;
        Ok(())
    })
    .await
}

/// How a named pipe (FIFO) is opened, by [`open_reader`](Self::open_reader) and [`open_writer`](Self::open_writer), none of
/// which waits for the other side. [`PipeReader::open`] and [`PipeWriter::open`] do.
///
/// tokio: `unix::pipe::OpenOptions`, with `open_receiver` and `open_sender`.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, PipeOptions, mkfifo};
///
/// ringloop::run(async {
///     let path = std::env::temp_dir().join(format!("ringloop-doc-options-{}", std::process::id()));
///     mkfifo(&path, 0o600).await?;
///     // It sees no end between two writers.
///     let mut reader = PipeOptions::new().read_write(true).open_reader(&path).await?;
///     for _ in 0..2 {
///         let mut writer = PipeOptions::new().open_writer(&path).await?;
///         writer.write_all(b"entry\n").await?;
///     }
///     let mut got = [0; 12];
///     reader.read_exact(&mut got).await?;
///     assert_eq!(&got, b"entry\nentry\n");
///     std::fs::remove_file(&path)
/// })
/// # .unwrap();
/// ```
#[doc(alias = "OpenOptions")]
#[derive(Debug, Clone, Default)]
pub struct PipeOptions {
    read_write: bool,
    unchecked: bool,
}

impl PipeOptions {
    /// Each end is for its direction only, and what is not a pipe is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it for both directions (`O_RDWR`). So a reader sees no end while writers come and go, and a writer finds a
    /// reader in itself: what it writes waits for one.
    pub fn read_write(&mut self, read_write: bool) -> &mut Self {
        self.read_write = read_write;
        self
    }

    /// Takes whatever is at the path for a named pipe. What cannot be waited for fails at its first wait.
    pub fn unchecked(&mut self, unchecked: bool) -> &mut Self {
        self.unchecked = unchecked;
        self
    }

    /// Opens the end to read from, at once. Until a writer has come, a read says the end;
    /// [`readable`](PipeReader::readable) waits for bytes, or for the end of the first writers.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    ///
    /// # Errors
    ///
    /// Nothing is at the path, it is no named pipe, or it is not permitted.
    #[doc(alias = "open_receiver")]
    pub async fn open_reader(&self, path: impl AsRef<Path>) -> io::Result<PipeReader> {
        PipeReader::from_fd(self.open(path.as_ref(), OFlags::RDONLY).await?)
    }

    /// Opens the end to write to, at once.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    ///
    /// # Errors
    ///
    /// Nobody has it open for reading (`ENXIO`). Nothing is at the path, it is no named pipe, or it is not
    /// permitted.
    #[doc(alias = "open_sender")]
    pub async fn open_writer(&self, path: impl AsRef<Path>) -> io::Result<PipeWriter> {
        let path = path.as_ref();
        match self.open(path, OFlags::WRONLY).await {
            Ok(fd) => PipeWriter::from_fd(fd),
            Err(error) if has_no_reader(&error) => Err(explain(path, error)),
            Err(error) => Err(error),
        }
    }

    /// A path may lead to a disk.
    async fn open(&self, path: &Path, access: OFlags) -> io::Result<OwnedFd> {
        let access = if self.read_write { OFlags::RDWR } else { access };
        let (path, is_checked) = (PathBuf::from(path), !self.unchecked);
        on_thread(move || {
            let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
            let fd = open(&path, flags, Mode::empty())?;
            let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
            if is_checked && kind != FileType::Fifo {
                let text = format!("{} is no named pipe; make one with mkfifo", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            Ok(fd)
        })
        .await
    }
}

impl PipeReader {
    /// Opens a named pipe (FIFO), and waits until there is something to read, or until the first writers have come and
    /// gone. So the first read says the end only if there were no bytes. After the end, writers that come later can be read
    /// from as well: [`readable`](Self::readable) waits for their bytes once a read has said
    /// [`WouldBlock`](io::ErrorKind::WouldBlock). A reader that is to see no end is opened with
    /// [`read_write`](PipeOptions::read_write).
    ///
    /// asyncio: `connect_read_pipe` with a file that was opened, which blocks.
    ///
    /// # Cancel safety
    ///
    /// The pipe is closed; what a writer has written by then is lost if nobody else has the pipe open.
    ///
    /// # Errors
    ///
    /// As [`PipeOptions::open_reader`].
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let reader = PipeOptions::new().open_reader(path).await?;
        reader.readable().await?;
        Ok(reader)
    }
}

impl PipeWriter {
    /// Opens a named pipe (FIFO), once a process has it open for reading, or waits in its open(2). It looks for one every
    /// 20 ms at least, since no event tells.
    ///
    /// asyncio: `connect_write_pipe` with a file that was opened, which blocks.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    ///
    /// # Errors
    ///
    /// As [`PipeOptions::open_writer`], but for the reader that is not there.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let options = PipeOptions::new();
        let mut pause = FIRST_PAUSE;
        loop {
            match options.open(path.as_ref(), OFlags::WRONLY).await {
                Err(error) if has_no_reader(&error) => sleep(pause).await,
                opened => return Self::from_fd(opened?),
            }
            pause = LAST_PAUSE.min(pause * 2);
        }
    }
}

fn has_no_reader(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NXIO)
}

fn explain(path: &Path, error: io::Error) -> io::Error {
    let text = format!(
        "nobody reads the named pipe {}: {error}; PipeWriter::open waits for a reader, and \
         PipeOptions::read_write does without",
        path.display()
    );
    io::Error::new(error.kind(), text)
}

async fn on_thread<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let handle = Handle::try_current().map_err(io::Error::other)?;
    call_on(&handle, Kind::Files, call).await
}
