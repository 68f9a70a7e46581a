//! What this thread is doing: the crate's one thread-local.
//!
//! A worker writes it around each poll; leaf operations read it. Where nothing
//! is set, the thread is a plain one driving futures by some other executor, and
//! leaves work without budget.

use std::{
    cell::Cell,
    ptr,
    task::{Context, Poll},
};

/// Leaf operations that may complete in one poll before the task has to yield.
///
/// 128 as in tokio: about 100 us of small reads, well below what a neighbour notices.
pub(crate) const BUDGET: u8 = 128;

/// One thread's state.
#[derive(Debug)]
pub(crate) struct Current {
    /// The scheduler's worker that this thread is, opaque at this rank; null on other threads.
    pub(crate) worker: Cell<*const ()>,
    /// The header of the task that is being polled, opaque; null between polls.
    pub(crate) task: Cell<*const ()>,
    /// Whether a waker of `task` has the reference that the runner came with.
    pub(crate) lent: Cell<bool>,
    /// Leaf completions left in this poll.
    pub(crate) budget: Cell<u8>,
    /// The running task asked to go to the back of the queue once this poll is over.
    pub(crate) yielded: Cell<bool>,
}

crate::loom::thread_local! {
    static CURRENT: Current = const {
        Current {
            worker: Cell::new(ptr::null()),
            task: Cell::new(ptr::null()),
            lent: Cell::new(false),
            budget: Cell::new(BUDGET),
            yielded: Cell::new(false),
        }
    };
}

/// Looks at this thread's state. It has no destructor, so this works even while
/// the thread ends.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&Current) -> R) -> R {
    CURRENT.with(f)
}

/// Spends one unit of the running task's budget. `false`: none is left; the leaf
/// must wake its waker and return `Pending`.
#[inline]
pub(crate) fn budget_spend() -> bool {
    with(|current| {
        if current.task.get().is_null() {
            return true;
        }
        match current.budget.get().checked_sub(1) {
            Some(rest) => {
                current.budget.set(rest);
                true
            }
            None => false,
        }
    })
}

/// [`budget_spend`] for a future that could complete at once: pending, its waker woken,
/// if there is no budget left.
#[inline]
pub(crate) fn poll_budget(cx: &Context<'_>) -> Poll<()> {
    if budget_spend() {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Runs code that a task calls, but that may block, as if no task were polled: it has no
/// budget, and may run futures of its own.
pub(crate) fn outside_task<R>(f: impl FnOnce() -> R) -> R {
    struct Back(*const ());
    impl Drop for Back {
        fn drop(&mut self) {
            with(|current| current.task.set(self.0));
        }
    }

    let _back = Back(with(|current| current.task.replace(ptr::null())));
    f()
}

/// Whether this thread is inside the poll of a task.
#[inline]
pub(crate) fn in_task() -> bool {
    with(|current| !current.task.get().is_null())
}
