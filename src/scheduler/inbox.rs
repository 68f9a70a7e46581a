//! Where other threads leave tasks for a worker.
//!
//! A stack of tasks, linked through their headers: pushing is one CAS and never
//! allocates. Whoever drains takes all of it in one swap, and gets it in the order
//! of arrival. Nobody pops single entries, so there is no ABA; and since all is
//! taken at once, a patrol may drain another worker's inbox.
//!
//! * I1 A task in the stack is owned by it (its queue entry's reference), and so
//!   is its `next` link (H2).

use std::ptr::{self, NonNull};

use crate::{
    loom::atomic::{AtomicPtr, Ordering},
    task::{Header, Runnable},
};

pub(crate) struct Inbox {
    head: AtomicPtr<Header>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn push(&self, task: Runnable) {
        let task = task.into_raw();
        // Relaxed: the CAS below checks it.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: I1: until the CAS succeeds the entry is ours.
            unsafe { task.as_ref().set_next(NonNull::new(head)) };
            // Release: publishes the link; pairs with the swap in `drain`.
            match self.head.compare_exchange_weak(
                head,
                task.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Hands every task to `each`, oldest first. Says how many there were.
    pub(crate) fn drain(&self, mut each: impl FnMut(Runnable)) -> usize {
        if self.is_empty() {
            return 0;
        }
        // Acquire: pairs with `push`.
        let mut newest = NonNull::new(self.head.swap(ptr::null_mut(), Ordering::Acquire));
        let mut oldest = None;
        let mut count = 0;
        while let Some(task) = newest {
            // SAFETY: I1: the swap made the whole chain ours.
            unsafe {
                newest = task.as_ref().take_next();
                task.as_ref().set_next(oldest);
            }
            oldest = Some(task);
            count += 1;
        }
        while let Some(task) = oldest {
            // SAFETY: I1, and the entry came from `into_raw` in `push`.
            unsafe {
                oldest = task.as_ref().take_next();
                each(Runnable::from_raw(task));
            }
        }
        count
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: an answer that must not be stale is preceded by a fence (P2).
        self.head.load(Ordering::Relaxed).is_null()
    }
}
