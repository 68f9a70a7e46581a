//! Reading and writing, for sockets and for any descriptor that can be polled.
//!
//! The traits are those of the `futures` crates; their methods are brought in with
//! `use ringloop::io::{AsyncReadExt, AsyncWriteExt}`.

mod async_fd;
mod connection;
mod copy;
mod duplex;
mod ends;
mod freed;
pub(crate) mod outgoing;
mod pipe;
mod private;
pub(crate) mod source;
mod standard;

pub use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
pub use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};

pub use self::{
    async_fd::AsyncFd,
    connection::{Read, ReadBuffer, Write, WriteBuffer},
    copy::{copy, copy_bidirectional, copy_bidirectional_with_sizes},
    duplex::{DuplexStream, SimplexReader, SimplexWriter, duplex, simplex},
    ends::{Ends, IntoEnds},
    pipe::{Pipe, PipeReader, PipeWriter},
    standard::{Stderr, Stdin, Stdout, stderr, stdin, stdout},
};
pub(crate) use self::{
    connection::{
        Connection, Handle as SocketHandle, ReadHalf, Readable, Writable, WriteHalf, as_uninit,
        first_buffer, reads, split, writes,
    },
    freed::Freed,
};
pub use crate::{
    buf::{IoBuf, IoBufMut},
    reactor::Lease,
};
