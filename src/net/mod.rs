//! TCP, UDP and Unix sockets.
//!
//! A socket belongs to no worker: it may be made, used and dropped on any. The worker on which a
//! task first has to wait for it becomes its home, and wakes its tasks from then on. A worker that
//! cannot keep up gives some of its sockets to others. When the home's runtime ends, a
//! wait on a worker of another runtime gives the socket a new home; that may be the next wait, or
//! one that is under way.
//!
//! In a forked child, a socket for which the parent has waited stays the parent's: waits on it
//! fail, whatever runtime the child has built. A copy of its descriptor makes one of the
//! child's own (`TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into())`). One
//! for which nobody has waited yet works in the child.
//!
//! There are three ways of reading, and a stream takes any of them at any time:
//!
//! * the *poll* face: the traits of `futures_io`, and [`TcpStream::read`] into a borrowed slice;
//! * *leases*: [`TcpStream::read_lease`] gives memory of the runtime's, and nothing is copied;
//! * *owned* buffers: [`TcpStream::read`] of a `Vec`, which comes back with the result.
//!
//! Cancelling an operation loses nothing: bytes that were not returned are there for the
//! next read, a connection that was not returned for the next accept.
//!
//! A listener takes a connection when an `accept` returns it, and none before that. Others that
//! have its descriptor (a duplicate, a forked process, the process that sent it) get the
//! connections that are not asked for here.

mod acceptor;
mod addr;
mod connect;
mod exhaustion;
mod faces;
mod halves;
mod names;
mod options;
mod ready;
pub(crate) mod server;
mod stream;
#[cfg(test)]
mod tests;
mod udp;
mod unix;

pub use self::{
    addr::ToSocketAddrs,
    connect::{Connect, ConnectError, FailedAttempt},
    halves::{OwnedReadHalf, OwnedWriteHalf, ReuniteError},
    names::{lookup_addr, lookup_host},
    options::Keepalive,
    server::{Drained, Server, ServerBuilder},
    stream::{TcpListener, TcpListenerBuilder, TcpStream},
    udp::{Datagrams, EcnCodepoint, RecvMeta, Transmit, UdpSocket},
    unix::{RecvFds, UCred, UnixDatagram, UnixListener, UnixStream},
};
pub use crate::{
    io::{Read, ReadBuffer, Write, WriteBuffer},
    runtime::Resolver,
};
