//! Giving homes away: a worker that cannot keep up gives some of its sockets to another.
//!
//! 1. The scheduler names the other worker, and says how many. The next sockets for which something
//!    arrives begin to leave: those are the busy ones.
//! 2. What is in flight on a leaving socket, its poll and its receive, is cancelled. Requests that
//!    tasks send to this home meanwhile are kept.
//! 3. With the last of these completions nothing of the socket is in this ring, unless it is
//!    sending: then it stays. Else the other worker becomes its home, and the requests that were
//!    kept go to it. The socket is put on that home's list first: if the worker is held, others find
//!    the socket there, although it has read no request yet.
//! 4. A request that comes here afterwards, from a thread that had looked for the home before, goes on to
//!    the new home.
//!
//! Bytes keep their order. Readers have the new home arm a receive only when the state
//! ([`Receiving`](crate::reactor::socket)) is the reader's again, which it is with the last
//! completion here; all that came before is queued by then. While this home is held, another worker
//! may read in its place: it has the [claim](super::claim), and looks whether this is still the
//! home. This worker does step 3 only while it has the claim itself.
//!
//! No task is forgotten. A task that waits by the slot is woken by the last completion of the poll,
//! and a reader of the queue by that of the receive. Each looks again, and asks the home that it
//! finds.

use std::{
    mem,
    sync::{Arc, Weak},
    task::Waker,
};

use super::{
    END_RECV, FLUSH, RETIRE, STALE_RECV, Shared, Uring,
    flights::{Flight, Spent},
    orphan,
};
use crate::{
    loom::global::Ordering,
    reactor::{Garbage, Home, Socket},
};

/// For how long a worker goes on giving sockets to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gift {
    /// Until it sleeps: then it keeps up.
    WhileBusy,
    /// Until all that were promised are given.
    Lasting,
}

/// Sockets that are on their way to another home.
#[derive(Default)]
pub(super) struct Moves {
    /// The home to which the next sockets go, how many, and for how long.
    gift: Option<(Weak<Shared>, u32, Gift)>,
    leaving: Vec<Leaving>,
}

struct Leaving {
    socket: Arc<Socket>,
    to: Weak<Shared>,
    /// What was asked for meanwhile.
    requests: u32,
}

impl Moves {
    /// Whether there is a gift to be made of what arrives.
    #[inline]
    pub(super) fn has_gift(&self) -> bool {
        self.gift.is_some()
    }

    /// This worker is about to sleep: it keeps up, so that only a lasting gift goes on.
    pub(super) fn keep_the_rest(&mut self) {
        self.gift.take_if(|(_, _, gift)| *gift == Gift::WhileBusy);
    }

    pub(super) fn is_leaving(&self, socket: &Arc<Socket>) -> bool {
        self.leaving.iter().any(|leaving| Arc::ptr_eq(&leaving.socket, socket))
    }

    /// Step 2: keeps what is asked for, if the socket is leaving. What is left is to be done here.
    pub(super) fn keep(&mut self, socket: &Arc<Socket>, requests: u32) -> u32 {
        let Some(at) = self.leaving.iter().position(|it| Arc::ptr_eq(&it.socket, socket)) else {
            return requests;
        };
        if requests & RETIRE != 0 {
            // Its owner is gone: it ends here.
            self.leaving.swap_remove(at);
            return requests;
        }
        // What this home receives ends as it is.
        self.leaving[at].requests |= requests & !(FLUSH | STALE_RECV | END_RECV);
        requests & FLUSH
    }
}

impl Uring {
    /// Step 1: has the next sockets for which something arrives go to another home.
    pub(crate) fn give_homes(&mut self, to: &Home, count: u32, gift: Gift) {
        if let Home::Uring(to) = to
            && !self.is_ending
        {
            self.moves.gift = Some((to.clone(), count, gift));
        }
    }

    /// Something has arrived for a flight: its socket may be the one to give.
    #[cold]
    pub(super) fn give(&mut self, flight: &Flight) {
        let (Flight::Poll(socket, _) | Flight::Recv(socket)) = flight else { return };
        if socket.flights.is_retired()
            || !socket.outbound.is_idle()
            || self.moves.is_leaving(socket)
            || socket.has_left(&self.shared)
        {
            return;
        }
        let Some((to, count, _)) = &mut self.moves.gift else { return };
        self.moves.leaving.push(Leaving { socket: socket.clone(), to: to.clone(), requests: 0 });
        *count -= 1;
        if *count == 0 {
            self.moves.gift = None;
        }
        self.cancel_leaving(socket);
    }

    fn cancel_leaving(&mut self, socket: &Arc<Socket>) {
        let flights = &socket.flights;
        [&flights.poll, &flights.recv].into_iter().for_each(|wait| self.cancel(wait.get()));
    }

    /// Cancels once more what a cancel has missed.
    pub(super) fn leave_again(&mut self) {
        for at in 0..self.moves.leaving.len() {
            let socket = self.moves.leaving[at].socket.clone();
            self.cancel_leaving(&socket);
            self.garbage.push(Spent::Socket(socket, None));
        }
    }

    /// Whether sockets are on their way.
    #[inline]
    pub(crate) fn has_leaving(&self) -> bool {
        !self.moves.leaving.is_empty()
    }

    /// Step 3, by the worker, with the claim.
    #[cold]
    pub(super) fn finish_leaving(&mut self, wakes: &mut Vec<Waker>) {
        for leaving in mem::take(&mut self.moves.leaving) {
            if leaving.socket.flights.any_wait() {
                self.moves.leaving.push(leaving);
                continue;
            }
            let Leaving { socket, to, requests } = leaving;
            let to = to.upgrade().filter(|to| to.is_alive());
            match to {
                // It ends here, and nobody asks for anything any more.
                _ if socket.flights.is_retired() => {}
                Some(to) if socket.outbound.is_idle() => {
                    self.shared.sockets.remove(&socket);
                    // Now: if it is held, nobody would find the socket there before it has read the request.
                    to.list(&socket);
                    socket.set_home(Home::Uring(Arc::downgrade(&to)));
                    // Relaxed: a figure for people, written by this thread alone.
                    let given = self.shared.given();
                    self.shared.given.store(given + 1, Ordering::Relaxed);
                    let mut left = Garbage::default();
                    if requests != 0 && !to.send(&socket, requests, &mut left) {
                        orphan(&socket, requests, wakes);
                    }
                    self.leave(left);
                }
                // It stays.
                _ => self.answer(&socket, requests),
            }
            self.garbage.push(Spent::Socket(socket, None));
        }
    }

    /// The end of this home: nothing leaves any more.
    pub(super) fn end_moves(&mut self, wakes: &mut Vec<Waker>) {
        let Moves { leaving, .. } = mem::take(&mut self.moves);
        for Leaving { socket, requests, .. } in leaving {
            orphan(&socket, requests, wakes);
            self.garbage.push(Spent::Socket(socket, None));
        }
    }
}

/// Moves without need, for storm tests.
#[cfg(test)]
pub(crate) mod force {
    use crate::loom::global::{AtomicU64, Ordering};

    static USERS: AtomicU64 = AtomicU64::new(0);

    /// While it lives, all workers give homes away at each tick.
    pub(crate) struct Forced(());

    impl Forced {
        pub(crate) fn new() -> Self {
            USERS.fetch_add(1, Ordering::Relaxed);
            Self(())
        }
    }

    impl Drop for Forced {
        fn drop(&mut self) {
            USERS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_on() -> bool {
        USERS.load(Ordering::Relaxed) > 0
    }
}
