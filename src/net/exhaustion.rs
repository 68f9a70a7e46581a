//! What an error of accept(2) is about, and the wait where trying again at once would not help.
//!
//! accept(2) that fails for lack of a descriptor leaves the connection in the backlog, and the
//! listener ready: trying again at once would spin. So the accepting task waits until this process
//! closes one of its sockets, or for a moment, whichever is first. The same holds where a security
//! module refuses each connection: it stays in the backlog, too.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustix::io::Errno;

use crate::{
    loom::global::{AtomicU64, Mutex, Ordering},
    reactor::Endpoint,
    time::{Sleep, sleep},
    util::{fork::PerProcess, panic},
};

/// Descriptors may be freed elsewhere without a notice.
const PAUSE: Duration = Duration::from_millis(100);

static WAITING: AtomicU64 = AtomicU64::new(0);

fn waiters() -> &'static Mutex<Vec<(u64, Waker)>> {
    static WAITERS: PerProcess<Mutex<Vec<(u64, Waker)>>> = PerProcess::new();
    WAITERS.get(|| Mutex::new(Vec::new()))
}

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

/// A socket has been closed.
#[inline]
pub(super) fn closed_one() {
    // Relaxed: a waiter that is missed tries again after its pause.
    if WAITING.load(Ordering::Relaxed) > 0 {
        wake_all();
    }
}

#[cold]
fn wake_all() {
    let waiters = std::mem::take(&mut *waiters().lock());
    for (_, waker) in waiters {
        panic::contain(|| waker.wake());
    }
}

/// Waits for a descriptor to try again with.
pub(super) struct Freed {
    pause: Sleep,
    ticket: Option<u64>,
}

impl Freed {
    pub(super) fn new() -> Self {
        Self { pause: sleep(PAUSE), ticket: None }
    }
}

impl Future for Freed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let (old, woken) = {
            let mut waiters = waiters().lock();
            let mine =
                self.ticket.and_then(|ticket| waiters.iter().position(|(of, _)| *of == ticket));
            let old = mine.map(|mine| waiters.swap_remove(mine));
            let woken = self.ticket.is_some() && old.is_none();
            if !woken {
                let ticket = self.ticket.unwrap_or_else(|| {
                    // Relaxed: see `closed_one`.
                    WAITING.fetch_add(1, Ordering::Relaxed);
                    next_ticket()
                });
                waiters.push((ticket, waker));
                self.ticket = Some(ticket);
            }
            (old, woken)
        };
        panic::discard_foreign(old);
        if woken { Poll::Ready(()) } else { Pin::new(&mut self.pause).poll(cx) }
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        // Relaxed: see `closed_one`.
        WAITING.fetch_sub(1, Ordering::Relaxed);
        let old = {
            let mut waiters = waiters().lock();
            let mine = waiters.iter().position(|(of, _)| *of == ticket);
            mine.map(|mine| waiters.swap_remove(mine))
        };
        panic::discard_foreign(old);
    }
}

fn next_ticket() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
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
