//! What an error of accept(2) is about, and whether trying again at once would help.
//!
//! accept(2) that fails for lack of a descriptor leaves the connection in the backlog, and the
//! listener ready: trying again at once would spin. So the accepting task waits until a descriptor is
//! [freed](crate::io::Freed). The same holds where a security module refuses each connection: it
//! stays in the backlog, too.

use std::io;

use rustix::io::Errno;

use crate::reactor::Endpoint;

/// What an error of accept(2) is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// One connection, which is gone: the next may be accepted at once.
    Gone,
    /// One connection, or each, which a firewall or a security module forbids. It may still be in
    /// the backlog.
    Forbidden,
    /// The system is out of descriptors, or of memory for one.
    Exhausted,
    /// The listener itself: no other connection will be accepted.
    Listener,
}

impl Cause {
    /// Sorts the errors that accept(2) lists; `listener` tells whether EOPNOTSUPP is its own.
    pub(super) fn of(error: Errno, listener: &Endpoint) -> Self {
        match error {
            // Linux passes on what was pending on the new socket.
            Errno::CONNABORTED
            | Errno::PROTO
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH => Self::Gone,
            Errno::PERM | Errno::ACCESS => Self::Forbidden,
            // Also the error of a socket that cannot listen.
            Errno::OPNOTSUPP if listener.is_listening() => Self::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Self::Exhausted,
            _ => Self::Listener,
        }
    }
}

/// Whether accepting is worth another try after a pause.
pub(super) fn passes(error: &io::Error, listener: &Endpoint) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| Cause::of(errno, listener) != Cause::Listener)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn errors_of_accept_are_told_apart() {
        // Goal: what concerns one connection, or passes, does not end a service; method: each error
        // that accept(2) lists, on a socket that listens and on one that cannot.
        let listener = Endpoint::Kernel(TcpListener::bind("127.0.0.1:0").unwrap().into());
        let other = Endpoint::Kernel(UdpSocket::bind("127.0.0.1:0").unwrap().into());
        let list = [
            (Errno::CONNABORTED, Cause::Gone),
            (Errno::PROTO, Cause::Gone),
            (Errno::INTR, Cause::Gone),
            (Errno::NETDOWN, Cause::Gone),
            (Errno::NOPROTOOPT, Cause::Gone),
            (Errno::HOSTDOWN, Cause::Gone),
            (Errno::NONET, Cause::Gone),
            (Errno::HOSTUNREACH, Cause::Gone),
            (Errno::NETUNREACH, Cause::Gone),
            (Errno::PERM, Cause::Forbidden),
            (Errno::ACCESS, Cause::Forbidden),
            (Errno::OPNOTSUPP, Cause::Forbidden),
            (Errno::MFILE, Cause::Exhausted),
            (Errno::NFILE, Cause::Exhausted),
            (Errno::NOBUFS, Cause::Exhausted),
            (Errno::NOMEM, Cause::Exhausted),
            (Errno::BADF, Cause::Listener),
            (Errno::INVAL, Cause::Listener),
            (Errno::NOTSOCK, Cause::Listener),
            (Errno::FAULT, Cause::Listener),
        ];
        for (error, cause) in list {
            assert_eq!(Cause::of(error, &listener), cause, "{error:?}");
            assert_eq!(passes(&error.into(), &listener), cause != Cause::Listener, "{error:?}");
        }
        assert_eq!(Cause::of(Errno::OPNOTSUPP, &other), Cause::Listener);
        assert!(!passes(&io::ErrorKind::Other.into(), &listener));
    }
}
