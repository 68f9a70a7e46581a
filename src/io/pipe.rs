//! Pipes.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    io::ioctl_fionbio,
    pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with},
};

use super::{
    connection::{Connection, Read, ReadBuffer, Write, WriteBuffer, reads},
    copy::{Plain, PlainKind, enter_plain},
};
use crate::{
    loom::global::AtomicBool,
    reactor::{Endpoint, Lease},
};

/// What a new pipe mostly holds.
const DEFAULT: usize = 64 << 10;
/// What a pipe that carries much is to hold: half the price for each byte. More gains little, and pipes are
/// rationed.
const LARGE: usize = 256 << 10;

/// Bytes that show whether there is more.
const PROBE: usize = 32;

/// A pipe: what is written to one end is read from the other, in order.
///
/// Its ends can go to different tasks, threads and processes.
///
/// asyncio: `os.pipe()` with `connect_read_pipe` and `connect_write_pipe`.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, Pipe};
///
/// ringloop::run(async {
///     let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
///     let writing = ringloop::spawn(async move { writer.write_all(b"through the pipe").await });
///     let mut text = String::new();
///     reader.read_to_string(&mut text).await.unwrap();
///     writing.await.unwrap().unwrap();
///     assert_eq!(text, "through the pipe");
/// });
/// ```
#[doc(alias = "connect_read_pipe")]
#[doc(alias = "connect_write_pipe")]
#[derive(Debug)]
pub struct Pipe {
    /// The end to read from.
    pub reader: PipeReader,
    /// The end to write to.
    pub writer: PipeWriter,
}

impl Pipe {
    /// A new pipe. It mostly holds 64 KiB.
    ///
    /// # Errors
    ///
    /// Those of pipe2(2): no descriptors are left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader: PipeReader::of(reader), writer: PipeWriter::of(writer) })
    }
}

/// The end of a [`Pipe`] that is read from.
///
/// There are the three ways of reading that [sockets](crate::net) have: the traits, [owned
/// buffers](Self::read) and [leases](Self::read_lease). The end comes when all writers are gone. Of a [named
/// pipe](Self::open) it is over when another writer comes.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte.
pub struct PipeReader {
    connection: Connection,
}

impl PipeReader {
    /// The descriptor must have a non-blocking open file.
    fn of(fd: OwnedFd) -> Self {
        enter();
        Self { connection: Connection::new(Endpoint::Polled(fd)) }
    }

    /// Takes the end of a pipe over, and makes it non-blocking, for all that have this open file.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&fd, true)?;
        Ok(Self::of(fd))
    }

    /// Takes the end of a pipe over, and makes it non-blocking; other descriptors of the same open file see
    /// that, too. A named pipe (FIFO) has [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(reader: io::PipeReader) -> io::Result<Self> {
        let this = Self::from_fd(reader.into())?;
        // There may be copies of it.
        this.connection.socket().show();
        Ok(this)
    }

    #[inline]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads what is there, up to the buffer's size; 0 is the end. Waits if nothing is. A borrowed buffer
    /// (`&mut [u8]`) gives `io::Result<usize>`; an owned one (`Vec<u8>`, `Box<[u8]>`) comes back with the
    /// result, as by [`TcpStream::read`](crate::net::TcpStream::read).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost; an owned buffer is.
    ///
    /// # Errors
    ///
    /// Those of read(2).
    ///
    /// ```
    /// use ringloop::io::{AsyncWriteExt, Pipe};
    ///
    /// ringloop::run(async {
    ///     let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
    ///     writer.write_all(b"abc").await.unwrap();
    ///     let (result, bytes) = reader.read(Vec::with_capacity(100)).await;
    ///     assert_eq!((result.unwrap(), &bytes[..]), (3, &b"abc"[..]));
    /// });
    /// ```
    pub fn read<B: ReadBuffer>(&mut self, buffer: B) -> Read<'_, B> {
        Read::new(&self.connection, buffer)
    }

    /// Waits for bytes, and gives them on loan; an empty lease is the end. They are read into memory that all
    /// pipes and sockets of a worker share: a pipe that is idle has none. (The kernel has no way to have bytes
    /// of a pipe received before they are asked for, so that nothing is received ahead.)
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of read(2).
    ///
    /// ```
    /// use ringloop::io::{AsyncWriteExt, Pipe};
    ///
    /// ringloop::run(async {
    ///     let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
    ///     writer.write_all(b"abc").await.unwrap();
    ///     let lease = reader.read_lease().await.unwrap();
    ///     assert_eq!(&*lease, b"abc");
    ///     writer.write_lease(lease).await.unwrap();
    /// });
    /// ```
    pub async fn read_lease(&mut self) -> io::Result<Lease> {
        self.connection.read_lease().await
    }

    /// Waits until a read would not have to wait: there are bytes, or the end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.connection.readable().await
    }

    /// Reads what is there, without waiting. 0 is the end.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is there.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection.try_read(buf)
    }

    /// How many bytes the pipe holds.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2).
    pub fn capacity(&self) -> io::Result<usize> {
        Ok(fcntl_getpipe_size(&**self.connection.socket())?)
    }

    /// Has the pipe hold at least so many bytes, and says how many it holds now. 256 KiB carry much data at half
    /// the price for each byte; more gains little.
    ///
    /// # Errors
    ///
    /// The kernel rations the memory of a user's pipes (`/proc/sys/fs/pipe-user-pages-soft`), and has a greatest
    /// size (`pipe-max-size`); it holds more than that already.
    pub fn set_capacity(&self, bytes: usize) -> io::Result<usize> {
        set_capacity(&self.connection, bytes)
    }

    /// Hands the descriptor over, in blocking mode, as the standard input of a child for instance. It works
    /// on any executor.
    ///
    /// # Errors
    ///
    /// It was waited for in the parent of this forked child; the descriptor refuses to be blocking. In each
    /// case it is closed.
    ///
    /// ```
    /// use ringloop::process::{Command, Stdio};
    ///
    /// ringloop::run(async {
    ///     let mut first = Command::new("echo").arg("b").stdout(Stdio::piped()).spawn().await?;
    ///     let between = first.stdout.take().expect("it is piped").into_pipe().into_fd().await?;
    ///     let last = Command::new("cat").stdin(between).output().await?;
    ///     assert_eq!(last.stdout, b"b\n");
    ///     assert!(first.wait().await?.success());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn into_fd(self) -> io::Result<OwnedFd> {
        into_fd(self.connection).await
    }

    /// Reads to the end, behind what is in `bytes`.
    pub(crate) async fn read_everything(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut is_large = false;
        let mut probe = Vec::new();
        loop {
            let full = !bytes.is_empty() && bytes.len() == bytes.capacity();
            // The stream may end here: the vector grows only if a small read finds more bytes.
            let into = if full { &mut probe } else { &mut *bytes };
            let room = if full { PROBE } else { DEFAULT };
            let read = poll_fn(|cx| self.connection.poll_read_behind(cx, into, room)).await?;
            if read == 0 {
                return Ok(());
            }
            if full {
                // As much as the pipe can hold, so that one call takes all; and a power of two.
                let room = if is_large { LARGE } else { DEFAULT };
                bytes.reserve_exact((bytes.len() + room).next_power_of_two() - bytes.len());
                bytes.append(&mut probe);
                continue;
            }
            if read >= DEFAULT && !is_large {
                // It was full: there is much to come. Refused, it stays as it is.
                is_large = set_capacity(&self.connection, LARGE).is_ok();
            }
        }
    }
}

reads!(PipeReader);

/// The end of a [`Pipe`] that is written to.
///
/// There are the three ways of writing that [sockets](crate::net) have: the traits, [owned
/// buffers](Self::write) and [leases](Self::write_lease). The kernel has the bytes when a write returns, so that
/// flushing costs next to nothing.
///
/// Dropping it, or [closing](super::AsyncWriteExt::close) it, shows the reader the end, once other writers are
/// gone, too. If another worker had to wait for room in the pipe, that worker has to come out of its poll
/// before.
///
/// A write to a pipe that nobody reads is an error
/// ([`BrokenPipe`](io::ErrorKind::BrokenPipe)), and also SIGPIPE, which Rust's programs ignore from their start: one
/// that gives SIGPIPE its default is ended by it.
///
/// # Cancel safety
///
/// A write of a borrowed buffer that is dropped before it returned has written nothing.
pub struct PipeWriter {
    /// Until it is closed.
    connection: Option<Connection>,
}

impl PipeWriter {
    /// The descriptor must have a non-blocking open file.
    fn of(fd: OwnedFd) -> Self {
        enter();
        Self { connection: Some(Connection::new(Endpoint::Polled(fd))) }
    }

    /// Takes the end of a pipe over, and makes it non-blocking, for all that have this open file.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&fd, true)?;
        Ok(Self::of(fd))
    }

    /// Takes the end of a pipe over, and makes it non-blocking; other descriptors of the same open file see
    /// that, too.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(writer: io::PipeWriter) -> io::Result<Self> {
        let this = Self::from_fd(writer.into())?;
        // There may be copies of it.
        this.connection()?.socket().show();
        Ok(this)
    }

    /// An error once it is closed.
    #[inline]
    fn connection(&self) -> io::Result<&Connection> {
        self.connection.as_ref().ok_or_else(closed)
    }

    /// Writes from a buffer. Of a borrowed one (`&[u8]`) as much as there is room for; the result says how much. Of an owned
    /// one (`Vec<u8>`, a [`Lease`]) all of it; it comes back with the result, as by
    /// [`TcpStream::write`](crate::net::TcpStream::write).
    ///
    /// # Cancel safety
    ///
    /// A write of a borrowed buffer that is dropped has written nothing. One of an owned buffer may have
    /// written a part.
    ///
    /// # Errors
    ///
    /// Those of write(2).
    ///
    /// # Panics
    ///
    /// If it was closed.
    pub fn write<B: WriteBuffer>(&mut self, buffer: B) -> Write<'_, B> {
        Write::new(
            self.connection.as_ref().expect("a pipe that was closed is not written to"),
            buffer,
        )
    }

    /// Writes leased bytes, all of them.
    ///
    /// # Cancel safety
    ///
    /// A part of the bytes may have been written.
    ///
    /// # Errors
    ///
    /// Those of write(2).
    pub async fn write_lease(&mut self, lease: Lease) -> io::Result<()> {
        self.connection()?.write_lease(lease).await
    }

    /// Waits until a write would not have to wait: there is room, or nobody reads any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime; it was closed.
    pub async fn writable(&self) -> io::Result<()> {
        self.connection()?.writable().await
    }

    /// Writes what fits, without waiting. Up to 4096 bytes (`PIPE_BUF`) are written as a whole.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing fits; those of write(2).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.connection()?.try_write(buf)
    }

    /// How many bytes the pipe holds.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2); it was closed.
    pub fn capacity(&self) -> io::Result<usize> {
        Ok(fcntl_getpipe_size(&**self.connection()?.socket())?)
    }

    /// Has the pipe hold at least so many bytes: see [`PipeReader::set_capacity`].
    ///
    /// # Errors
    ///
    /// As there; it was closed.
    pub fn set_capacity(&self, bytes: usize) -> io::Result<usize> {
        set_capacity(self.connection()?, bytes)
    }

    /// Hands the descriptor over, in blocking mode, as the standard output of a child for instance. It works
    /// on any executor.
    ///
    /// # Errors
    ///
    /// As [`PipeReader::into_fd`]; it was closed.
    pub async fn into_fd(mut self) -> io::Result<OwnedFd> {
        into_fd(self.connection.take().ok_or_else(closed)?).await
    }

    /// So many bytes are about to be written.
    pub(crate) fn expect_bytes(&self, len: usize) {
        if len > DEFAULT {
            // Refused, it stays as it is.
            let _ = self.set_capacity(LARGE);
        }
    }
}

impl super::AsyncWrite for PipeWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection()?.poll_write_slices(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.connection {
            Some(connection) => connection.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.connection = None;
        Poll::Ready(Ok(()))
    }
}

impl Plain for PipeReader {
    fn plain(&self) -> Option<&Connection> {
        Some(&self.connection)
    }
}

impl Plain for PipeWriter {
    fn plain(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }
}

/// Has copies know the two ends.
fn enter() {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    enter_plain(&ENTERED, &[PlainKind::of::<PipeReader>, PlainKind::of::<PipeWriter>]);
}

fn set_capacity(connection: &Connection, bytes: usize) -> io::Result<usize> {
    Ok(fcntl_setpipe_size(&**connection.socket(), bytes)?)
}

async fn into_fd(connection: Connection) -> io::Result<OwnedFd> {
    // Nothing is received ahead of a pipe.
    let (fd, _none) = connection.into_parts().await?;
    ioctl_fionbio(&fd, false)?;
    Ok(fd)
}

#[cold]
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "this end of the pipe was closed")
}

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket().show()
    }
}

impl AsRawFd for PipeReader {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// # Panics
///
/// If it was closed.
impl AsFd for PipeWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_ref().expect("a pipe that was closed has no descriptor").socket().show()
    }
}

/// # Panics
///
/// If it was closed.
impl AsRawFd for PipeWriter {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipeReader").field(&self.connection).finish()
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipeWriter").field(&self.connection).finish()
    }
}
