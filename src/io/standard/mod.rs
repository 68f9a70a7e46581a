//! The standard streams of the process.
//!
//! Other processes have their open files, too, and want them to block: `O_NONBLOCK` is never set there.
//! What can be polled is waited for until it is ready ([`console`]); a file is read in the blocking pool
//! ([`file`]).

mod console;
mod file;

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};
use rustix::{
    fd::BorrowedFd,
    fs::{FileType, OFlags, fstat},
    io::Errno,
};

use self::console::Console;
use crate::{reactor::Source, runtime::operation, util::current};

/// The standard input of the process.
///
/// See [`Stdin`]. Lines come from a [`BufReader`](super::BufReader) around it:
///
/// ```no_run
/// use ringloop::io::{AsyncBufReadExt, BufReader, stdin};
///
/// ringloop::run(async {
///     let mut line = String::new();
///     let mut input = BufReader::new(stdin());
///     while input.read_line(&mut line).await? > 0 {
///         println!("you said: {}", line.trim_end());
///         line.clear();
///     }
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
///
/// asyncio: has none; `connect_read_pipe(protocol, sys.stdin)`, which makes the terminal non-blocking for
/// every process. tokio: the same name, where a thread blocks in each read.
#[must_use]
pub fn stdin() -> Stdin {
    Stdin { input: None, is_ended: false }
}

/// The standard output of the process: see [`Stdout`].
///
/// asyncio: has none; `connect_write_pipe(protocol, sys.stdout)`. tokio: the same name; its writes have to be
/// flushed.
///
/// ```
/// use ringloop::io::{AsyncWriteExt, stdout};
///
/// ringloop::run(async {
///     let mut out = stdout();
///     out.write_all(b"done\n").await?;
///     out.flush().await
/// })
/// # .unwrap();
/// ```
#[must_use]
pub fn stdout() -> Stdout {
    Stdout { output: None }
}

/// The standard error of the process: see [`Stderr`].
///
/// asyncio: has none. tokio: the same name.
///
/// ```
/// use ringloop::io::{AsyncWriteExt, stderr};
///
/// ringloop::run(async { stderr().write_all(b"something is wrong\n").await }).unwrap();
/// ```
#[must_use]
pub fn stderr() -> Stderr {
    Stderr { output: None }
}

/// The standard input of the process, from [`stdin`](fn@stdin).
///
/// A terminal, a pipe or a socket is waited for without a thread, and no flag is set on it: other processes
/// that have it go on as before. A file, or a device such as `/dev/null`, is read by the blocking pool. If
/// descriptor 0 is closed, that is the end.
///
/// A read of a terminal gives one line at a time. Its end (Ctrl-D) stays the end of this `Stdin`; another one
/// could read on. It holds no bytes back. [`std::io::stdin`] does: use one of the two.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte. What the pool has read of a file is there for the next read.
///
/// # Errors
///
/// Reads fail with those of read(2).
pub struct Stdin {
    /// Opened by the first read.
    input: Option<Stream>,
    is_ended: bool,
}

/// The standard output of the process, from [`stdout`](fn@stdout).
///
/// A terminal, a pipe or a socket that is full is waited for without a thread, and no flag is set on it. A file
/// is written in place, by the thread of the task, as `println!` does it. The kernel has the bytes when a write
/// returns: a flush has nothing to do, and nothing is lost at the end of the process.
///
/// A write to a pipe or terminal may take a part of the bytes; `write_all` writes the rest. Up to 4096 bytes to a
/// pipe are written as a whole. Tasks that write more, and must not mix, share a
/// [`Lock`](crate::sync::Lock). If descriptor 1 is closed, writes go nowhere, as those of std.
///
/// # Cancel safety
///
/// A write that is dropped before it returned has written nothing.
///
/// # Errors
///
/// Writes fail with those of write(2): [`BrokenPipe`](io::ErrorKind::BrokenPipe) if nobody reads the pipe.
pub struct Stdout {
    /// Opened by the first write.
    output: Option<Stream>,
}

/// The standard error of the process, from [`stderr`](fn@stderr): as [`Stdout`], for descriptor 2.
pub struct Stderr {
    output: Option<Stream>,
}

/// What a standard stream is.
enum Stream {
    /// It can be waited for.
    Console(Source<Console>),
    /// It is always ready.
    File(BorrowedFd<'static>),
    Closed,
}

impl Stream {
    fn open(fd: BorrowedFd<'static>, access: OFlags) -> io::Result<Self> {
        let kind = match fstat(fd) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::BADF) => return Ok(Self::Closed),
            Err(error) => return Err(error.into()),
        };
        let waits = match kind {
            FileType::Fifo | FileType::Socket => true,
            FileType::CharacterDevice => io::IsTerminal::is_terminal(&fd),
            _ => false,
        };
        match waits {
            true => Ok(Self::Console(Source::new(Console::open(fd, kind, access)?))),
            false => Ok(Self::File(fd)),
        }
    }

    /// That of a standard stream, opened if it is not.
    fn get<'a>(
        place: &'a mut Option<Self>,
        fd: BorrowedFd<'static>,
        access: OFlags,
    ) -> io::Result<&'a mut Self> {
        if place.is_none() {
            *place = Some(Self::open(fd, access)?);
        }
        Ok(place.as_mut().expect("opened above"))
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Console(source) => operation::poll(source, cx, &mut console::Read(buf)),
            Self::File(_) => file::poll_read(cx, buf),
            Self::Closed => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Console(source) => operation::poll(source, cx, &mut console::Write(bytes)),
            Self::File(fd) => {
                ready!(current::poll_budget(cx));
                Poll::Ready(Ok(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?))
            }
            Self::Closed => Poll::Ready(Ok(bytes.len())),
        }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() || self.is_ended {
            return Poll::Ready(Ok(0));
        }
        let input = Stream::get(&mut self.input, rustix::stdio::stdin(), OFlags::RDONLY)?;
        let read = ready!(input.poll_read(cx, buf))?;
        self.is_ended = read == 0;
        Poll::Ready(Ok(read))
    }
}

macro_rules! writes {
    ($type:ty, $fd:path) => {
        impl AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                if buf.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                let output = Stream::get(&mut self.output, $fd(), OFlags::WRONLY)?;
                output.poll_write(cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// The descriptor stays open.
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    };
}

writes!(Stdout, rustix::stdio::stdout);
writes!(Stderr, rustix::stdio::stderr);

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdin").field("ended", &self.is_ended).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdout").finish_non_exhaustive()
    }
}

impl fmt::Debug for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stderr").finish_non_exhaustive()
    }
}
