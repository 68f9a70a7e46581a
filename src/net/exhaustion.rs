//! Waiting for descriptors when there are none left.
//!
//! accept(2) that fails for want of a descriptor leaves the connection in the backlog,
//! and the listener ready: trying again at once would spin. So the accepting task waits
//! until this process closes one of its sockets, or for a moment, whichever is first.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    loom::global::{AtomicU64, Ordering},
    time::{Sleep, sleep},
    util::panic,
};

/// Descriptors may be freed where nobody tells us.
const PAUSE: Duration = Duration::from_millis(100);

static WAITING: AtomicU64 = AtomicU64::new(0);
static WAITERS: Mutex<Vec<(u64, Waker)>> = Mutex::new(Vec::new());

/// Whether the system is out of descriptors, or of memory for one.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
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
    let waiters = std::mem::take(&mut *WAITERS.lock());
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
            let mut waiters = WAITERS.lock();
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
            let mut waiters = WAITERS.lock();
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
