//! Waiting for a descriptor, where the process has none left.
//!
//! A task that waits is woken when this process closes one of its sockets or pipes, and looks again after a
//! moment in any case: other code frees descriptors without a word to us.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    loom::global::{AtomicU64, Mutex, Ordering},
    time::{Sleep, sleep},
    util::{fork::PerProcess, panic},
};

/// How long to wait at most.
const PAUSE: Duration = Duration::from_millis(100);

static WAITING: AtomicU64 = AtomicU64::new(0);

fn waiters() -> &'static Mutex<Vec<(u64, Waker)>> {
    static WAITERS: PerProcess<Mutex<Vec<(u64, Waker)>>> = PerProcess::new();
    WAITERS.get(|| Mutex::new(Vec::new()))
}

/// A socket has been closed.
#[inline]
pub(crate) fn closed_one() {
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
pub(crate) struct Freed {
    pause: Sleep,
    ticket: Option<u64>,
}

impl Freed {
    pub(crate) fn new() -> Self {
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
