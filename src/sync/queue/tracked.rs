//! Items that report themselves done.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{Queue, work::Work};

/// An item, reported done when this is dropped: from [`get_tracked`](Queue::get_tracked).
///
/// asyncio: `task_done()`, which one may forget, or call twice.
#[must_use = "the item is reported done when this is dropped, so at once if it is not kept"]
pub struct Tracked<'a, T> {
    // Dropped first: the item's own end is part of the work.
    item: T,
    _done: Done<&'a Work>,
}

/// An item that holds its queue by an `Arc`, and is reported done when this is dropped: from
/// [`get_tracked_owned`](Queue::get_tracked_owned). It may go to another task.
///
/// asyncio: `task_done()`, which one may forget, or call twice.
#[must_use = "the item is reported done when this is dropped, so at once if it is not kept"]
pub struct OwnedTracked<T, Q: TrackedQueue = Queue<T>> {
    // Dropped first, as above.
    item: T,
    _done: Done<Arc<Q>>,
}

/// A queue that tracks its items: [`Queue`], [`PriorityQueue`](super::PriorityQueue) and
/// [`LifoQueue`](super::LifoQueue).
#[expect(private_bounds, reason = "others cannot implement it")]
pub trait TrackedQueue: Counts {}

impl<Q: Counts> TrackedQueue for Q {}

/// What knows how many items are in work.
pub(super) trait Counts {
    fn work(&self) -> &Work;
}

impl Counts for &Work {
    fn work(&self) -> &Work {
        self
    }
}

impl<Q: Counts> Counts for Arc<Q> {
    fn work(&self) -> &Work {
        Q::work(self)
    }
}

struct Done<W: Counts>(W);

impl<W: Counts> Drop for Done<W> {
    fn drop(&mut self) {
        // One too many, if somebody called `task_done` for this item as well: refused if all is
        // done; else it counts for another item, as with any call too many.
        self.0.work().finish(1);
    }
}

impl<'a, T> Tracked<'a, T> {
    pub(super) fn new(item: T, work: &'a Work) -> Self {
        Self { item, _done: Done(work) }
    }
}

impl<T, Q: TrackedQueue> OwnedTracked<T, Q> {
    pub(super) fn new(item: T, queue: Arc<Q>) -> Self {
        Self { item, _done: Done(queue) }
    }

    /// The queue that it is of.
    #[must_use]
    pub fn queue(&self) -> &Arc<Q> {
        &self._done.0
    }
}

macro_rules! tracked {
    ([$($generics:tt)*] $Tracked:ty) => {
        impl<$($generics)*> $Tracked {
            /// Reports the item done, and gives it away.
            pub fn into_inner(self) -> T {
                self.item
            }
        }

        impl<$($generics)*> Deref for $Tracked {
            type Target = T;

            fn deref(&self) -> &T {
                &self.item
            }
        }

        impl<$($generics)*> DerefMut for $Tracked {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.item
            }
        }
    };
}

tracked!([T] Tracked<'_, T>);
tracked!([T, Q: TrackedQueue] OwnedTracked<T, Q>);

impl<T: fmt::Debug> fmt::Debug for Tracked<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracked").field(&self.item).finish()
    }
}

impl<T: fmt::Debug, Q: TrackedQueue> fmt::Debug for OwnedTracked<T, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedTracked").field(&self.item).finish()
    }
}
