//! What this thread is and what it is doing: the crate's one thread-local.
//!
//! A worker writes it around each poll; leaf operations read it. Where nothing
//! is set, the thread is a plain one driving futures by some other executor, and
//! leaves work without budget.
//!
//! What a thread may do is judged by its [`Role`], not by what it happens to run: destructors
//! of results, wakers, error hooks and thread-local values run between polls, too.

use std::{
    cell::Cell,
    ptr,
    task::{Context, Poll},
};

use super::{
    record::{self, Record, Tick},
    wait::{LinkOrWait, WaitKind},
};
use crate::loom::{
    MODELLED,
    global::{AtomicU64, Ordering},
    pick,
};

/// Leaf operations that may complete in one poll before the task has to yield.
///
/// 128 as in tokio: about 100 us of small reads, which delays other tasks little. A model has one,
/// so that it reaches the end of the budget.
pub(crate) const BUDGET: u8 = pick(128, 1) as u8;

/// Names one runtime, uniquely within the process and its forked children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuntimeId(u64);

impl RuntimeId {
    /// One that was never given before.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness matters.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// What a thread is, from its start to its end: thread-local destructors still see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// No thread of a runtime.
    Other,
    /// It runs a worker: while it waits, its tasks do. A thread that calls `run` has this role
    /// until `run` returns.
    Worker(RuntimeId),
    /// Another thread of a runtime, which waits for it at its end. It may block: it runs blocking
    /// jobs, watches a worker, or has been a worker and ends.
    Helper(RuntimeId),
}

/// One thread's state.
#[derive(Debug)]
pub(crate) struct Current {
    role: Cell<Role>,
    /// The scheduler's worker that this thread is, opaque at this rank; null on other threads.
    pub(crate) worker: Cell<*const ()>,
    /// The header of the task that is being polled, opaque but for its first word, a [`LinkOrWait`];
    /// null between polls.
    pub(crate) task: Cell<*const ()>,
    /// Whether a waker of `task` has the reference that the runner came with.
    pub(crate) lent: Cell<bool>,
    /// The header of the blocking job that runs here, opaque; null outside of it.
    pub(crate) job: Cell<*const ()>,
    /// The innermost scope or region that is being polled, opaque; null outside of them.
    pub(crate) frame: Cell<*const ()>,
    /// The innermost frame of task-local values, opaque; null where there are none.
    pub(crate) locals: Cell<*const ()>,
    /// Leaf completions left in this poll.
    pub(crate) budget: Cell<u8>,
    /// What is polled may go on without budget.
    unconstrained: Cell<bool>,
    /// The running task asked to go to the back of the queue once this poll is over.
    pub(crate) yielded: Cell<bool>,
    /// In debug mode, from how many ns on a poll is reported; else 0.
    pub(crate) slow_poll: Cell<u64>,
    /// For the records of tasks.
    pub(crate) tick: Tick,
    /// The group whose child is being spawned, or 0.
    pub(crate) group: Cell<u32>,
}

crate::loom::thread_local! {
    static CURRENT: Current = const {
        Current {
            role: Cell::new(Role::Other),
            worker: Cell::new(ptr::null()),
            task: Cell::new(ptr::null()),
            lent: Cell::new(false),
            job: Cell::new(ptr::null()),
            frame: Cell::new(ptr::null()),
            locals: Cell::new(ptr::null()),
            budget: Cell::new(BUDGET),
            unconstrained: Cell::new(false),
            yielded: Cell::new(false),
            slow_poll: Cell::new(0),
            tick: Tick::none(),
            group: Cell::new(0),
        }
    };
}

/// Looks at this thread's state. It has no destructor, so this works even while
/// the thread ends.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&Current) -> R) -> R {
    let current = CURRENT.with(ptr::from_ref);
    // SAFETY: it lives as long as its thread, on which `f` runs. `LocalKey::with` would not be inlined
    // around an `f` that polls futures.
    f(unsafe { &*current })
}

/// What this thread is.
pub(crate) fn role() -> Role {
    with(|current| current.role.get())
}

/// Says what this thread is from now on.
pub(crate) fn set_role(role: Role) {
    with(|current| current.role.set(role));
}

/// The role of a thread that this one, a worker's, starts.
pub(crate) fn helper_role() -> Role {
    match role() {
        Role::Worker(runtime) => Role::Helper(runtime),
        role => role,
    }
}

/// Gives this thread a role until the value is dropped; then it has its earlier one again.
pub(crate) struct RoleForNow(Role);

impl RoleForNow {
    pub(crate) fn take(role: Role) -> Self {
        Self(with(|current| current.role.replace(role)))
    }
}

impl Drop for RoleForNow {
    fn drop(&mut self) {
        set_role(self.0);
    }
}

/// Whether this thread runs a worker: it must not wait for anything but its reactor.
pub(crate) fn must_not_block() -> bool {
    matches!(role(), Role::Worker(_))
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
            None => current.unconstrained.get(),
        }
    })
}

/// Runs `f` with or without limit; afterwards the limit and what was left of the budget are as before.
pub(crate) fn with_budget<R>(unconstrained: bool, f: impl FnOnce() -> R) -> R {
    struct Back(bool, u8);
    impl Drop for Back {
        fn drop(&mut self) {
            with(|current| {
                current.unconstrained.set(self.0);
                current.budget.set(self.1);
            });
        }
    }

    let _back =
        with(|current| Back(current.unconstrained.replace(unconstrained), current.budget.get()));
    f()
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

/// Runs code that a task calls, but that may run futures of its own, as if no task were polled:
/// it has no budget.
pub(crate) fn outside_task<R>(f: impl FnOnce() -> R) -> R {
    struct Back(*const (), *const ());
    impl Drop for Back {
        fn drop(&mut self) {
            with(|current| {
                current.task.set(self.0);
                current.frame.set(self.1);
            });
        }
    }

    let _back =
        with(|current| Back(current.task.replace(ptr::null()), current.frame.replace(ptr::null())));
    f()
}

/// Runs the code of a blocking job, which is polled as a task, as that of no task: it may run futures
/// of its own.
pub(crate) fn as_job<R>(f: impl FnOnce() -> R) -> R {
    struct Back(*const ());
    impl Drop for Back {
        fn drop(&mut self) {
            with(|current| current.job.set(self.0));
        }
    }

    let _back = with(|current| Back(current.job.replace(current.task.get())));
    outside_task(f)
}

/// Notes what the task that is being polled waits for. Each place where a task suspends calls it.
#[inline]
pub(crate) fn waits_for(kind: WaitKind, key: u64) {
    waits_for_number(kind as u8, key);
}

/// [`waits_for`], with the number of a kind.
#[inline]
pub(crate) fn waits_for_number(kind: u8, key: u64) {
    with(|current| {
        // SAFETY: null, or a header, which begins with such a word and which its runner keeps while
        // it is polled: on this thread, below us.
        if let Some(word) = unsafe { current.task.get().cast::<LinkOrWait>().as_ref() } {
            word.note(kind, key);
        }
    });
}

/// Calls `spawn`, whose task is recorded as one of that group.
#[track_caller]
pub(crate) fn in_group<R>(group: u32, spawn: impl FnOnce() -> R) -> R {
    let outer = with(|current| current.group.replace(group));
    let spawned = spawn();
    with(|current| current.group.set(outer));
    spawned
}

/// Notes that the task which is polled has taken a lock. Returns the one that it had taken before.
#[inline]
pub(crate) fn holds(lock: u64) -> u64 {
    with(|current| record_of(current).map_or(0, |record| record.hold(lock)))
}

/// Notes that the task which is polled gives that lock back; `outer` is what [`holds`] returned.
#[inline]
pub(crate) fn lets_go(lock: u64, outer: u64) {
    with(|current| {
        if let Some(record) = record_of(current) {
            record.let_go(lock, outer);
        }
    });
}

/// The record of the task that is polled.
#[inline]
fn record_of(current: &Current) -> Option<&Record> {
    let task = current.task.get();
    if task.is_null() || MODELLED || cfg!(ringloop_no_record) {
        return None;
    }
    // SAFETY: a header, which its runner, below us on this thread, keeps while it is polled; its record
    // is so far behind it in the same block of memory, as `task/raw.rs` asserts.
    Some(unsafe { &*task.cast::<u8>().add(record::OFFSET).cast::<Record>() })
}

/// Whether this thread is inside the poll of a task.
#[inline]
pub(crate) fn in_task() -> bool {
    with(|current| !current.task.get().is_null())
}
