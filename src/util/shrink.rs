//! Queues that give memory back: a burst does not leave its size behind for good.
//!
//! A queue that runs empty keeps room for some items, since it will soon have some again.
//! What it has beyond that it gives back with its last item.

use std::collections::VecDeque;

/// Bytes that an empty queue keeps.
const KEEPS: usize = 32 * 1024;

/// Items for which an empty queue keeps room.
pub(crate) const fn keeps<T>() -> usize {
    let size = if size_of::<T>() > 0 { size_of::<T>() } else { 1 };
    if size < KEEPS { KEEPS / size } else { 1 }
}

/// Takes the first; with the last, the queue gives memory back.
#[inline]
pub(crate) fn pop_front<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() {
        self::queue(queue);
    }
    first
}

/// A queue that has run empty gives memory back.
#[inline]
pub(crate) fn queue<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > keeps::<T>() {
        shrink_queue(queue);
    }
}

/// A stack that has run empty gives memory back.
#[inline]
pub(crate) fn stack<T>(stack: &mut Vec<T>) {
    if stack.capacity() > keeps::<T>() {
        shrink_stack(stack);
    }
}

#[cold]
fn shrink_queue<T>(queue: &mut VecDeque<T>) {
    queue.shrink_to(keeps::<T>());
}

#[cold]
fn shrink_stack<T>(stack: &mut Vec<T>) {
    stack.shrink_to(keeps::<T>());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the size of an item, an empty queue keeps little; a small one is left alone.
    #[test]
    fn an_empty_queue_is_small() {
        fn check<T: Clone>(item: T, count: usize) {
            let mut queue: VecDeque<T> = std::iter::repeat_n(item.clone(), count).collect();
            let mut stack: Vec<T> = std::iter::repeat_n(item, count).collect();
            let (queue_had, stack_had) = (queue.capacity(), stack.capacity());
            while pop_front(&mut queue).is_some() {}
            stack.clear();
            super::stack(&mut stack);
            for (has, had) in [(queue.capacity(), queue_had), (stack.capacity(), stack_had)] {
                assert!(has <= keeps::<T>() || size_of::<T>() == 0, "{has} of {had}");
                assert!(has > 0 && (had > keeps::<T>() || has == had), "{has} of {had}");
            }
        }
        for count in [1, 100, 50_000] {
            check(0_u8, count);
            check([0_u64; 3], count);
            check((), count);
        }
        check([0_u8; 100_000], 4);
    }
}
