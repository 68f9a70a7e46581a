//! Reading and writing, for sockets and for any descriptor that can be polled.
//!
//! The traits are those of the `futures` crates; their methods are brought in with
//! `use ringloop::io::{AsyncReadExt, AsyncWriteExt}`. What those crates have for any stream is here, too, under
//! the same names: with the feature `tokio`, streams have tokio's traits as well.
//!
//! | for | here | tokio | asyncio |
//! |---|---|---|---|
//! | a descriptor of another library | [`AsyncFd`] | `unix::AsyncFd` | `loop.add_reader` |
//! | waiting for either direction | [`AsyncFd::ready`], [`TcpStream::ready`](crate::net::TcpStream::ready) with [`Interest`] | `ready` with `Interest` | `selectors` |
//! | a pipe | [`Pipe`] | `unix::pipe` | `connect_read_pipe`, `connect_write_pipe` |
//! | a named pipe | [`mkfifo`], [`PipeReader::open`], [`PipeWriter::open`], [`PipeOptions`] | `unix::pipe::OpenOptions` | `os.mkfifo`, `connect_read_pipe` |
//! | the standard streams | [`stdin`], [`stdout`], [`stderr`] | the same | `connect_read_pipe` with `sys.stdin` |
//! | a stream in memory | [`duplex`], [`simplex`] | the same | none |
//! | copying | [`copy`], [`copy_bidirectional`] | the same | none |
//! | two halves for two tasks | [`split`], or `into_split` of a stream | the same | what `open_connection` returns |
//! | a buffer around a reader | [`BufReader`], with [`AsyncBufReadExt`] | the same | `StreamReader` |
//! | a buffer around a writer | [`BufWriter`], which has to be flushed | the same | `StreamWriter` |
//! | lines | [`AsyncBufReadExt::read_line`], [`AsyncBufReadExt::lines`] | the same | `StreamReader.readline` |
//! | exactly so many bytes | [`AsyncReadExt::read_exact`] | the same | `StreamReader.readexactly` |
//! | everything up to the end | [`AsyncReadExt::read_to_end`] | the same | `StreamReader.read()` |
//! | at most so many bytes of a reader | [`AsyncReadExt::take`], [`Take`] | the same | none |
//! | one reader behind another | [`AsyncReadExt::chain`], [`Chain`] | the same | none |
//! | seeking | [`AsyncSeekExt`] | the same | none |
//! | the end of a stream's write side | [`AsyncWriteExt::close`] | `AsyncWriteExt::shutdown` | `StreamWriter.write_eof` |
//! | nothing, always the same, a hole | [`empty`], [`repeat`], [`sink`] | the same | none |
//! | bytes as a stream | `&[u8]`, [`Cursor`] | the same | `StreamReader.feed_data` |
//!
//! Reads and writes of this crate's streams are cancel-safe. Those that are made of several, such as `read_exact`, `write_all`
//! and `read_line`, lose count when they are dropped. Those of a [`StreamReader`](crate::streams::StreamReader) and a
//! [`StreamWriter`](crate::streams::StreamWriter) do not.

mod async_fd;
mod connection;
mod copy;
mod duplex;
mod ends;
mod fifo;
mod freed;
pub(crate) mod outgoing;
mod pipe;
mod private;
mod ready;
mod send_file;
pub(crate) mod source;
mod split;
mod standard;

pub use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
pub use futures_util::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader, BufWriter, Chain,
    Cursor, Empty, Lines, ReadHalf, Repeat, Sink, Take, WriteHalf, empty, repeat, sink,
};

pub use self::{
    async_fd::AsyncFd,
    connection::{Read, ReadBuffer, Write, WriteBuffer},
    copy::{copy, copy_bidirectional, copy_bidirectional_with_sizes},
    duplex::{DuplexStream, SimplexReader, SimplexWriter, duplex, simplex},
    ends::{Ends, IntoEnds},
    fifo::{PipeOptions, mkfifo},
    pipe::{Pipe, PipeReader, PipeWriter},
    ready::{Interest, Ready},
    split::split,
    standard::{Stderr, Stdin, Stdout, stderr, stdin, stdout},
};
pub(crate) use self::{
    connection::{
        Connection, Handle as SocketHandle, ReadHalf as ConnectionReadHalf, Readable, Writable,
        WriteHalf as ConnectionWriteHalf, as_uninit, first_buffer, reads,
        split as split_connection, writes,
    },
    copy::{Plain, PlainKind, enter_plain},
    freed::Freed,
    send_file::SendFile,
};
pub use crate::{
    buf::{IoBuf, IoBufMut},
    reactor::Lease,
};
