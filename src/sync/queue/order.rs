//! In what order items leave.

use std::{cmp::Ordering, collections::VecDeque};

use crate::{
    loom::{BriefLock, Mutex},
    sync::wait_list::ListLock,
    util::{
        panic::{self, Payload},
        shrink,
    },
};

/// Items, in the order in which they are to leave.
pub(in crate::sync) trait Store<T>: Default {
    /// What guards it: a [`BriefLock`], unless foreign code runs in `push` and `pop`.
    type Lock<S>: ListLock<S>;

    /// Puts an item in.
    ///
    /// # Errors
    ///
    /// If a comparison panicked, what it carried. The item is there all the same; the order is
    /// unspecified from now on.
    fn push(&mut self, item: T) -> Result<(), Payload>;

    /// Takes the first out.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push): all items are still there.
    fn pop(&mut self) -> Result<Option<T>, Payload>;

    fn len(&self) -> usize;

    /// Gives back memory that an empty one need not keep.
    fn shrink(&mut self);

    /// All of them, the first to leave first; in any order, if a comparison panics.
    fn into_vec(self) -> Vec<T>;
}

/// First in, first out.
pub(in crate::sync) type Fifo<T> = VecDeque<T>;

impl<T> Store<T> for VecDeque<T> {
    type Lock<S> = BriefLock<S>;

    #[inline]
    fn push(&mut self, item: T) -> Result<(), Payload> {
        self.push_back(item);
        Ok(())
    }

    #[inline]
    fn pop(&mut self) -> Result<Option<T>, Payload> {
        Ok(self.pop_front())
    }

    #[inline]
    fn len(&self) -> usize {
        self.len()
    }

    #[inline]
    fn shrink(&mut self) {
        shrink::queue(self);
    }

    fn into_vec(self) -> Vec<T> {
        self.into()
    }
}

/// Last in, first out.
pub(in crate::sync) type Lifo<T> = Vec<T>;

impl<T> Store<T> for Vec<T> {
    type Lock<S> = BriefLock<S>;

    #[inline]
    fn push(&mut self, item: T) -> Result<(), Payload> {
        self.push(item);
        Ok(())
    }

    #[inline]
    fn pop(&mut self) -> Result<Option<T>, Payload> {
        Ok(self.pop())
    }

    #[inline]
    fn len(&self) -> usize {
        self.len()
    }

    #[inline]
    fn shrink(&mut self) {
        shrink::stack(self);
    }

    fn into_vec(mut self) -> Vec<T> {
        self.reverse();
        self
    }
}

/// The least first; among equals, first in, first out.
///
/// A binary heap of its own: std's drops the item that it was to give out when a comparison
/// panics. This one only swaps, so that all items are there whatever happens.
pub(in crate::sync) struct Least<T> {
    /// None is less than the one at half its index (of both, counted from 1).
    heap: Vec<Ranked<T>>,
    /// The number of the next item. It does not wrap around in 500 years.
    next: u64,
}

struct Ranked<T> {
    item: T,
    number: u64,
}

impl<T: Ord> Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.item.cmp(&other.item).then(self.number.cmp(&other.number))
    }
}

impl<T: Ord> Least<T> {
    fn is_less(&self, one: usize, other: usize) -> bool {
        self.heap[one].cmp(&self.heap[other]).is_lt()
    }

    /// Brings the last one to its place.
    fn rise(&mut self) {
        let mut at = self.heap.len() - 1;
        while at > 0 && self.is_less(at, (at - 1) / 2) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Brings the first one to its place among the first `len`.
    fn sink(&mut self, len: usize) {
        let mut at = 0;
        loop {
            let mut least = at;
            for below in [2 * at + 1, 2 * at + 2] {
                if below < len && self.is_less(below, least) {
                    least = below;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

impl<T: Ord> Default for Least<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), next: 0 }
    }
}

impl<T: Ord> Store<T> for Least<T> {
    type Lock<S> = Mutex<S>;

    fn push(&mut self, item: T) -> Result<(), Payload> {
        let number = self.next;
        self.next += 1;
        self.heap.push(Ranked { item, number });
        panic::catch(|| self.rise())
    }

    fn pop(&mut self) -> Result<Option<T>, Payload> {
        let Some(last) = self.heap.len().checked_sub(1) else { return Ok(None) };
        self.heap.swap(0, last);
        // Not among the items that it moves; and whatever happens, the first is still there.
        panic::catch(|| self.sink(last))?;
        Ok(self.heap.pop().map(|first| first.item))
    }

    fn len(&self) -> usize {
        self.heap.len()
    }

    #[inline]
    fn shrink(&mut self) {
        shrink::stack(&mut self.heap);
    }

    fn into_vec(mut self) -> Vec<T> {
        // A sort that panics leaves all items there.
        if let Err(payload) = panic::catch(|| self.heap.sort_unstable_by(Ranked::cmp)) {
            panic::discard(payload);
        }
        self.heap.into_iter().map(|ranked| ranked.item).collect()
    }
}

#[cfg(test)]
impl<T> Least<T> {
    pub(super) fn capacity(&self) -> usize {
        self.heap.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill_and_empty<S: Store<[u64; 8]>>() -> S {
        let mut store = S::default();
        for round in 0..2_u64 {
            for number in 0..50_000 {
                assert!(store.push([round * number; 8]).is_ok());
            }
            for _ in 0..50_000 {
                assert!(matches!(store.pop(), Ok(Some(_))));
            }
            assert!(matches!(store.pop(), Ok(None)));
            store.shrink();
        }
        store
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        // Goal: an idle queue is small, whatever it has held; 3 MiB here.
        let keeps = shrink::keeps::<[u64; 8]>();
        assert!(fill_and_empty::<Fifo<_>>().capacity() <= keeps);
        assert!(fill_and_empty::<Lifo<_>>().capacity() <= keeps);
        assert!(fill_and_empty::<Least<_>>().capacity() <= keeps);
    }

    #[test]
    fn the_least_is_first_whatever_the_order_of_coming() {
        let mut store = Least::default();
        let items = (0..500_u32).map(|n| n * 7919 % 251);
        items.clone().for_each(|item| assert!(store.push(item).is_ok()));
        let mut sorted: Vec<_> = items.collect();
        sorted.sort_unstable();
        let popped: Vec<_> = std::iter::from_fn(|| store.pop().ok().flatten()).collect();
        assert_eq!(popped, sorted);
    }
}
