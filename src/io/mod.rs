//! Reading and writing, for sockets and for any descriptor that can be polled.
//!
//! The traits are those of the `futures` crates; their methods are brought in with
//! `use ringloop::io::{AsyncReadExt, AsyncWriteExt}`.

mod async_fd;
mod private;

pub use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
pub use futures_util::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, copy,
};

pub use self::async_fd::AsyncFd;
pub use crate::{
    buf::{IoBuf, IoBufMut},
    reactor::Lease,
};
