//! A ring of events with one writer, which any thread may read.
//!
//! * W1 The writer counts an event in `written` after it has stored its words (Release), and before it
//!   stores the words of the next one (the fence).
//! * W2 A reader that has seen a word of event `n` sees a count of at least `n` behind its own fence. So an
//!   event that is not more than a ring's length behind that count has not been overwritten.

use crate::loom::atomic::{AtomicU64, Ordering, fence};

/// Words of an event. A model takes fewer.
pub(crate) const WORDS: usize = 4;

/// The ring. Its writer calls [`push`](Self::push), from one thread at a time.
pub(crate) struct Ring<const N: usize = WORDS> {
    slots: Box<[[AtomicU64; N]]>,
    /// Events ever written: the next one goes to this place, modulo the length.
    written: AtomicU64,
}

/// What a reader took out.
pub(crate) struct Read<const N: usize = WORDS> {
    /// The events, the oldest first.
    pub(crate) events: Vec<[u64; N]>,
    /// The number of the event that comes next.
    pub(crate) next: u64,
    /// Events that were overwritten before they were read.
    pub(crate) lost: u64,
}

impl<const N: usize> Ring<N> {
    /// Room for `len` events, of which a reader finds the last `len - 1`.
    pub(crate) fn new(len: usize) -> Self {
        debug_assert!(len.is_power_of_two());
        let slot = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { slots: (0..len).map(|_| slot()).collect(), written: AtomicU64::new(0) }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val::<[_]>(&self.slots)
    }

    fn slot(&self, number: u64) -> &[AtomicU64; N] {
        &self.slots[number as usize & (self.slots.len() - 1)]
    }

    /// Writes an event over the oldest one. By the one writer.
    #[inline]
    pub(crate) fn push(&self, words: [u64; N]) {
        // Relaxed: the writer's own count.
        let number = self.written.load(Ordering::Relaxed);
        // Release: W1, pairs with the fence in `read`.
        fence(Ordering::Release);
        for (place, word) in self.slot(number).iter().zip(words) {
            // Relaxed: ordered by the fence before and the store after.
            place.store(word, Ordering::Relaxed);
        }
        // Release: W1, pairs with the first load in `read`.
        self.written.store(number + 1, Ordering::Release);
    }

    /// The events from number `from` on that are still there.
    pub(crate) fn read(&self, from: u64) -> Read<N> {
        let len = self.slots.len() as u64;
        // Acquire: the words of these events are there; pairs with the store in `push`.
        let next = self.written.load(Ordering::Acquire);
        let first = from.max((next + 1).saturating_sub(len)).min(next);
        // Relaxed: what was overwritten meanwhile is left out below.
        let load = |number| {
            let slot = self.slot(number);
            std::array::from_fn(|at| slot[at].load(Ordering::Relaxed))
        };
        let mut events: Vec<[u64; N]> = (first..next).map(load).collect();
        // Acquire: W2, pairs with the fence in `push`.
        fence(Ordering::Acquire);
        // Relaxed: ordered by the fence.
        let now = self.written.load(Ordering::Relaxed);
        // Event `now` may be under way, over the one that is a ring's length before it.
        let whole = (now + 1).saturating_sub(len).clamp(first, next);
        events.drain(..(whole - first) as usize);
        Read { events, next, lost: whole.saturating_sub(from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> [u64; WORDS] {
        [number; WORDS]
    }

    #[test]
    fn reader_finds_the_last_events_and_counts_what_is_gone() {
        let ring = Ring::new(8);
        assert!(ring.read(0).events.is_empty());
        (0..3).for_each(|number| ring.push(event(number)));
        let read = ring.read(0);
        assert_eq!((read.events, read.next, read.lost), ((0..3).map(event).collect(), 3, 0));
        (3..20).for_each(|number| ring.push(event(number)));
        let read = ring.read(3);
        assert_eq!((read.events, read.next, read.lost), ((13..20).map(event).collect(), 20, 10));
        let read = ring.read(20);
        assert_eq!((read.events.len(), read.next, read.lost), (0, 20, 0));
    }

    #[test]
    fn events_that_are_read_while_others_are_written_are_whole() {
        // Goal: no event is torn, and the numbers are in order. Method: a writer that does not
        // pause, and a ring that it fills again and again while it is read.
        const EVENTS: u64 = 300_000;
        let ring = Ring::new(64);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..EVENTS).for_each(|number| ring.push(event(number))));
            let (mut from, mut count) = (0, 0);
            while from < EVENTS {
                let read = ring.read(from);
                let first = from + read.lost;
                for (at, found) in read.events.iter().enumerate() {
                    assert_eq!(*found, event(first + at as u64));
                }
                count += read.events.len() as u64 + read.lost;
                from = read.next;
            }
            assert_eq!(count, EVENTS);
        });
    }
}
