//! What the end of a socket takes, beside close(2).
//!
//! * The peer is to see the end at once. A descriptor closes with the last operation on it, and an
//!   operation in a ring ends only when the ring's worker calls the kernel, which one long poll may
//!   hold up. So a thread that drops a socket with its home elsewhere shuts it down: shutdown(2)
//!   sends the end whatever is in flight, and makes a listener give up its port.
//! * Bytes that nobody has read are thrown away. The kernel would answer them with a reset when
//!   the descriptor closes, and a reset overtakes what was written and is still on its way. A stream
//!   that was read to its end has none.
//! * `SO_LINGER` with a time is turned off: with it, close(2) blocks its thread for that time,
//!   whether the descriptor is non-blocking or not. The kernel sends what was written all the same.
//!
//! The first two act on the socket, which others may share by a copy of the descriptor, and must
//! go on for them. So they are for sockets that are [ours alone](Socket::is_ours_alone): made by this
//! crate, never shown to anybody, in a process that has not been forked since.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::io::Errno;

use super::Socket;
use crate::{loom::global::Ordering, util::fork};

/// The descriptor was shown, or came from outside: there may be copies of it.
const SHOWN: u8 = 1;
/// `SO_LINGER` may be set.
const MAY_LINGER: u8 = 1 << 1;
/// A read has seen the end of what the peer sends, or a reset.
const ENDED: u8 = 1 << 2;
/// The way in is shut: a read sees an end, and bytes may come behind it.
const SHUT_IN: u8 = 1 << 3;

/// A send has taken the error of a connection that is gone: a reset, or a peer that answers no more. The kernel
/// reports it once, to a send or a read, and then gives an end to reads.
const WAS_RESET: u8 = 1 << 4;
const TIMED_OUT: u8 = 1 << 5;

/// The longest linger time that the kernel takes, in seconds.
const LONGEST: u64 = i32::MAX as u64;

impl Socket {
    /// The descriptor, for others to use, and to copy.
    pub(crate) fn show(&self) -> BorrowedFd<'_> {
        self.note(SHOWN | MAY_LINGER);
        self.as_fd()
    }

    /// Makes it a connection that `listener` has accepted: it has the listener's options.
    pub(crate) fn inherit(&self, listener: &Self) {
        if listener.has(MAY_LINGER) {
            self.note(MAY_LINGER);
        }
    }

    /// Sets `SO_LINGER`, to whole seconds, rounded up: a time that is cut to none resets.
    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.note(MAY_LINGER);
        let whole = |time: Duration| {
            let up = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
            Duration::from_secs(up.min(LONGEST))
        };
        self.endpoint().set_linger(linger.map(whole))
    }

    /// Before the way in is shut down.
    pub(crate) fn note_shut_in(&self) {
        self.note(SHUT_IN);
    }

    /// Notes a read that has said how the stream ends: by its end, or by a reset.
    #[cold]
    pub(in crate::reactor) fn note_end(&self) {
        self.note(ENDED);
    }

    /// A read has seen the end. That is an error if a send has found that the connection is gone: the peer has not
    /// ended the stream. It is reported once.
    #[cold]
    pub(in crate::reactor) fn end(&self) -> Result<(), Errno> {
        self.note(ENDED);
        let both = WAS_RESET | TIMED_OUT;
        if !self.has(both) {
            return Ok(());
        }
        match self.flights.exposure.fetch_and(!both, Ordering::Relaxed) {
            what if what & WAS_RESET != 0 => Err(Errno::CONNRESET),
            what if what & TIMED_OUT != 0 => Err(Errno::TIMEDOUT),
            _ => Ok(()),
        }
    }

    /// Notes the error of a send.
    #[cold]
    pub(in crate::reactor) fn note_send_error(&self, error: Errno) {
        match error {
            Errno::CONNRESET => self.note(WAS_RESET),
            Errno::TIMEDOUT => self.note(TIMED_OUT),
            _ => {}
        }
    }

    fn note(&self, what: u8) {
        // Relaxed: for the thread that drops the socket, after all its users.
        self.flights.exposure.fetch_or(what, Ordering::Relaxed);
    }

    fn has(&self, what: u8) -> bool {
        // Relaxed: as above.
        self.flights.exposure.load(Ordering::Relaxed) & what != 0
    }

    /// Whether no other descriptor, here or in another process, is this socket.
    pub(crate) fn is_ours_alone(&self) -> bool {
        !self.has(SHOWN) && self.flights.forks == fork::forks()
    }

    /// Before it closes: turns a linger time off, and throws away what nobody has read.
    pub(super) fn prepare_close(&self) {
        if self.has(MAY_LINGER) && self.ends_lingering() {
            // A reset is what its owner wants.
            return;
        }
        if self.outbound.is_idle() {
            self.discard_unread();
        }
    }

    /// Turns a linger time off. `true`: the close is to reset the connection.
    #[cold]
    fn ends_lingering(&self) -> bool {
        match self.endpoint().linger() {
            Ok(Some(Duration::ZERO)) => true,
            Ok(Some(_)) => {
                let _ = self.endpoint().set_linger(None);
                false
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Throws away what has arrived and was not read, if nobody else can read it.
    ///
    /// It is not known what has arrived: the event may wait for its worker, or the bytes have
    /// come since the last read, in the same poll. A call that finds nothing costs little beside
    /// close(2).
    pub(crate) fn discard_unread(&self) {
        let may_have_some = !self.has(ENDED) || self.has(SHUT_IN);
        if may_have_some && self.is_ours_alone() {
            self.endpoint().discard_unread();
        }
    }

    /// Ends the connection, or the listening, for the other side, whatever is in flight at a home
    /// that may be held. What is still to be sent goes first: then it is the home that ends it.
    pub(super) fn end_from_afar(&self) {
        let resets = || self.has(MAY_LINGER) && self.endpoint().linger().is_ok_and(|l| l.is_some());
        if self.is_ours_alone() && self.outbound.is_idle() && !resets() {
            // A connection that is gone needs no end.
            let _ = self.endpoint().shutdown(Shutdown::Both);
        }
    }
}
