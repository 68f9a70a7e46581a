//! This process's ends of a child's standard streams.

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    io::{
        AsyncWrite, Connection, Lease, PipeReader, PipeWriter, Plain, PlainKind, Read, ReadBuffer,
        Write, WriteBuffer, enter_plain, reads,
    },
    loom::global::AtomicBool,
};

/// Where a child writes to: its standard input, as this process has it.
///
/// Dropping it, or [closing](crate::io::AsyncWriteExt::close) it, tells the child the end of its input.
/// Everything else is said at [`PipeWriter`].
#[derive(Debug)]
pub struct ChildStdin(PipeWriter);

/// A child's standard output, as this process has it: see [`PipeReader`].
#[derive(Debug)]
pub struct ChildStdout(PipeReader);

/// A child's standard error, as this process has it: see [`PipeReader`].
#[derive(Debug)]
pub struct ChildStderr(PipeReader);

impl ChildStdin {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        enter();
        PipeWriter::from_fd(fd).map(Self)
    }

    /// So many bytes are about to be written.
    pub(super) fn expect_bytes(&self, len: usize) {
        self.0.expect_bytes(len);
    }

    /// Writes from a buffer, borrowed or owned: see [`PipeWriter::write`].
    ///
    /// # Cancel safety
    ///
    /// As there.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write<B: WriteBuffer>(&mut self, buffer: B) -> Write<'_, B> {
        self.0.write(buffer)
    }

    /// Writes leased bytes, all of them: see [`PipeWriter::write_lease`].
    ///
    /// # Cancel safety
    ///
    /// A part of the bytes may have been written.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn write_lease(&mut self, lease: Lease) -> io::Result<()> {
        self.0.write_lease(lease).await
    }

    /// The pipe.
    pub fn into_pipe(self) -> PipeWriter {
        self.0
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

macro_rules! output {
    ($name:ident) => {
        impl $name {
            pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
                enter();
                PipeReader::from_fd(fd).map(Self)
            }

            /// Reads what is there, into a borrowed buffer or an owned one: see [`PipeReader::read`].
            ///
            /// # Cancel safety
            ///
            /// As there.
            ///
            /// # Errors
            ///
            /// As there.
            pub fn read<B: ReadBuffer>(&mut self, buffer: B) -> Read<'_, B> {
                self.0.read(buffer)
            }

            /// Waits for bytes, and gives them on loan: see [`PipeReader::read_lease`].
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn read_lease(&mut self) -> io::Result<Lease> {
                self.0.read_lease().await
            }

            #[inline]
            pub(crate) fn connection(&self) -> &Connection {
                self.0.connection()
            }

            /// The pipe. Another child's standard input may be made of it:
            /// [`PipeReader::into_fd`].
            pub fn into_pipe(self) -> PipeReader {
                self.0
            }
        }

        reads!($name);

        impl Plain for $name {
            fn plain(&self) -> Option<&Connection> {
                self.0.plain()
            }
        }
    };
}

output!(ChildStdout);
output!(ChildStderr);

impl Plain for ChildStdin {
    fn plain(&self) -> Option<&Connection> {
        self.0.plain()
    }
}

/// Has copies know these streams.
fn enter() {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    enter_plain(
        &ENTERED,
        &[PlainKind::of::<ChildStdin>, PlainKind::of::<ChildStdout>, PlainKind::of::<ChildStderr>],
    );
}
