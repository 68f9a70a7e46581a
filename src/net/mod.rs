//! TCP sockets.
//!
//! A socket belongs to no worker: it may be made, used and dropped on any. The worker on
//! which it first has to wait becomes its home, and wakes its task from then on.
//!
//! Cancelling an operation loses nothing: bytes that were not returned are there for the
//! next read, a connection that was not returned for the next accept.

mod addr;
mod exhaustion;
mod listener;
mod ops;
mod split;
mod stream;

pub use self::{
    addr::{ToSocketAddrs, lookup_host},
    listener::TcpListener,
    split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError},
    stream::TcpStream,
};
