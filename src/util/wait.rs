//! What a suspended task waits for: one word, for reports.
//!
//! The word is the link by which a task is chained to the next one in an inbox
//! ([`Header`](crate::task::Header)): a task that is suspended, or polled, is in none. Links are
//! pointers to headers, which are aligned; so the lowest bit tells the two apart.

use std::ptr;

use crate::loom::atomic::{AtomicPtr, Ordering};

/// Set in a word that is no link.
const WAIT: u64 = 1;
/// Where the key begins; below it, and above `WAIT`, is the kind.
const KEY: u32 = 6;

/// The kinds of what a task can wait for, each with what its key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitKind {
    /// A primitive of `sync`: the address of its list of waiters.
    Primitive = 1,
    /// A descriptor that is to be ready: its number.
    Descriptor = 2,
    /// A point in time, in ns of the clock.
    Timer = 3,
    /// The end of a task: its number.
    Task = 4,
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) kind: WaitKind,
    /// Its lowest 58 bits.
    pub(crate) key: u64,
}

/// The word: null, a link, or a wait.
pub(crate) struct LinkOrWait(AtomicPtr<()>);

impl LinkOrWait {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The word, as a link.
    pub(crate) fn link(&self) -> &AtomicPtr<()> {
        &self.0
    }

    /// A poll begins: nothing is noted.
    #[inline]
    pub(crate) fn clear(&self) {
        // Relaxed: for reports, and for the runner itself.
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Notes what the task that is polled waits for. The last one stays; a timer is noted only where
    /// there is nothing else, since most are limits on something else.
    #[inline]
    pub(crate) fn note(&self, kind: WaitKind, key: u64) {
        if kind == WaitKind::Timer && self.get().is_some() {
            return;
        }
        let word = key << KEY | (kind as u64) << 1 | WAIT;
        // Relaxed: for reports.
        self.0.store(ptr::without_provenance_mut(word as usize), Ordering::Relaxed);
    }

    /// What was noted.
    pub(crate) fn get(&self) -> Option<Wait> {
        // Relaxed: for reports.
        let word = self.0.load(Ordering::Relaxed).addr() as u64;
        if word & WAIT == 0 {
            return None;
        }
        let kind = match (word >> 1) & 31 {
            1 => WaitKind::Primitive,
            2 => WaitKind::Descriptor,
            3 => WaitKind::Timer,
            _ => WaitKind::Task,
        };
        Some(Wait { kind, key: word >> KEY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_and_a_timer_gives_way() {
        let word = LinkOrWait::new();
        assert_eq!(word.get(), None);
        for kind in [WaitKind::Timer, WaitKind::Primitive, WaitKind::Descriptor, WaitKind::Task] {
            for key in [0, 7, (1 << 58) - 1] {
                word.clear();
                word.note(kind, key);
                assert_eq!(word.get(), Some(Wait { kind, key }));
            }
        }
        word.note(WaitKind::Timer, 1);
        assert_eq!(word.get().unwrap().kind, WaitKind::Task);
        let mut aligned = 0_u64;
        word.link().store(ptr::from_mut(&mut aligned).cast(), Ordering::Relaxed);
        assert_eq!(word.get(), None);
    }
}
