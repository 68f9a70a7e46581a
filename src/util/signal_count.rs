//! The word of one kind of signal: how many have come, and how many listen.
//!
//! Both are in one word, so that each signal has one place in the order in which listeners come and
//! go. It is heard by all listeners that are there, and by no other. If there is none, the
//! operation that counts the signal shows that to the handler.

use crate::loom::atomic::{AtomicU64, Ordering};

/// The signals are counted above the listeners.
const SIGNAL: u64 = 1 << 32;

/// Of one kind.
pub(crate) struct Count(AtomicU64);

/// The signals that a listener has heard of, by their number. It wraps: one that has not looked for
/// 2^32 signals may miss that there were any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u32);

impl Count {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Called by the handler for a signal: all listeners will find it, and `ring` wakes them.
    /// `false`: there are none.
    pub(crate) fn come(&self, ring: impl FnOnce()) -> bool {
        // Before the bell is rung, so that the listener that it wakes finds the count. AcqRel: what
        // the sender of the signal has done comes along to `hear`.
        let was = self.0.fetch_add(SIGNAL, Ordering::AcqRel);
        let is_heard = listeners(was) > 0;
        if is_heard {
            ring();
        }
        is_heard
    }

    /// A listener is there. It hears of the signals that come from here on.
    pub(crate) fn listen(&self) -> Seen {
        // Relaxed: one word, in which signals and listeners have one order.
        Seen::of(self.0.fetch_add(1, Ordering::Relaxed))
    }

    /// A listener has gone.
    pub(crate) fn leave(&self) {
        // Relaxed: as in `listen`.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether signals have come that the listener has not heard of. It has heard of them then.
    pub(crate) fn hear(&self, seen: &mut Seen) -> bool {
        // Acquire: pairs with `come`.
        let now = Seen::of(self.0.load(Ordering::Acquire));
        let is_new = now != *seen;
        *seen = now;
        is_new
    }
}

fn listeners(word: u64) -> u32 {
    (word % SIGNAL) as u32
}

impl Seen {
    fn of(word: u64) -> Self {
        Self((word / SIGNAL) as u32)
    }
}
