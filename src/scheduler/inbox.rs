//! Where other threads leave tasks for a worker.
//!
//! A queue of tasks, linked through their headers from the oldest to the newest. Pushing is one
//! swap at the newest end and a store that links the task to the one before; it never waits nor
//! allocates. The owner, or a patrol in its place, takes some of the oldest, under a lock that
//! pushers do not take. What is left stays where it is, in order, for either of them.
//!
//! * I1 A task in the queue is owned by it (its queue entry's reference). Its `next` link (H2) is
//!   set once, by the push that comes behind it; until then it is null.
//! * I2 The newest task stays in the queue until the push behind it has linked, for that one will
//!   touch it; or until a CAS shows that there is no such push, and from then on will be none.
//!
//! Between the two steps of a push what comes behind it is out of reach. The queue is not empty
//! then, so that its owner does not sleep. A push that is complete is reached, or another before it
//! is not complete: then that one's notification is still to come (N2).

use std::ptr::{self, NonNull};

use crate::{
    loom::{
        BriefLock,
        atomic::{AtomicPtr, Ordering},
        yield_now,
    },
    task::{Header, Runnable},
};

pub(crate) struct Inbox {
    /// The task that was pushed last; null if there is none.
    newest: AtomicPtr<Header>,
    /// The task that was pushed first; null if there is none, or its push is not complete.
    oldest: AtomicPtr<Header>,
    /// Held by the thread that takes tasks.
    taking: BriefLock<()>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
            oldest: AtomicPtr::new(ptr::null_mut()),
            taking: BriefLock::new(()),
        }
    }

    pub(crate) fn push(&self, task: Runnable) {
        let task = task.into_raw();
        // SAFETY: I1: the entry is ours until the swap.
        unsafe { task.as_ref().set_next(None) };
        // AcqRel. Release: the link is null before the push behind this one sets it. Acquire: that
        // of the task before is null, or `oldest` has been cleared by the thread that took that
        // task.
        match NonNull::new(self.newest.swap(task.as_ptr(), Ordering::AcqRel)) {
            // SAFETY: I2: it stays until this link is there, and I1: nobody else sets it.
            Some(before) => unsafe { before.as_ref().link(task) },
            // Release: publishes the task; pairs with the load in `cut`.
            None => self.oldest.store(task.as_ptr(), Ordering::Release),
        }
    }

    /// Hands the oldest tasks to `each`, in order, `limit` of them at most. Says how many there
    /// were.
    pub(crate) fn take(&self, limit: usize, mut each: impl FnMut(Runnable)) -> usize {
        if self.is_empty() {
            return 0;
        }
        let (mut next, count) = self.cut(limit);
        if count == 0 {
            // A push is not complete, and its thread may wait for this core.
            yield_now();
        }
        for _ in 0..count {
            let task = next.expect("as many are linked as were cut off");
            // SAFETY: I1: `cut` made these tasks ours, and the entries come from `into_raw` in
            // `push`.
            unsafe {
                next = task.as_ref().take_next();
                each(Runnable::from_raw(task));
            }
        }
        count
    }

    /// Cuts off the oldest tasks: the first, which the others are linked to, and how many.
    fn cut(&self, limit: usize) -> (Option<NonNull<Header>>, usize) {
        let _taking = self.taking.lock();
        // Acquire: pairs with the store in `push`.
        let Some(first) = NonNull::new(self.oldest.load(Ordering::Acquire)) else {
            return (None, 0);
        };
        let (mut last, mut count) = (first, 1);
        loop {
            // SAFETY: I1: it is in the queue, and with the lock nobody else takes it.
            let next = unsafe { last.as_ref() }.linked();
            match next {
                Some(next) if count == limit => {
                    // Relaxed: for the next thread that takes, by the lock.
                    self.oldest.store(next.as_ptr(), Ordering::Relaxed);
                    return (Some(first), count);
                }
                Some(next) => (last, count) = (next, count + 1),
                None => break,
            }
        }
        // Relaxed: before the CAS, whose Release the next push acquires: it stores there.
        self.oldest.store(ptr::null_mut(), Ordering::Relaxed);
        let alone = self.newest.compare_exchange(
            last.as_ptr(),
            ptr::null_mut(),
            // Release: as said. What was pushed has been acquired with the links.
            Ordering::Release,
            Ordering::Relaxed,
        );
        if alone.is_err() {
            // I2: somebody is about to link to it. No push finds an empty queue meanwhile.
            self.oldest.store(last.as_ptr(), Ordering::Relaxed);
            count -= 1;
        }
        (Some(first), count)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: an answer that must not be stale is preceded by a fence (P2).
        self.newest.load(Ordering::Relaxed).is_null()
    }
}
