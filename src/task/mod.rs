//! Tasks: memory, state, wakers, handles. They know no queue and no thread.
//!
//! # The life of a task
//!
//! 1. [`create`] makes one block of memory: a [`Header`] of 64 bytes and the
//!    future. It is born `ACTIVE`, with references for its first queue entry
//!    (a [`Runnable`]), for the registry of live tasks and for its [`Task`] handle.
//! 2. A worker takes the entry and calls [`Runnable::run`]: edge
//!    [`start`](state::State::start), one poll, then one of four exits.
//! 3. *Pending*: edge [`suspend`](state::State::suspend); the entry's reference is
//!    given up in the same atomic operation. If it was woken during the poll, it stays
//!    active and is queued again instead.
//! 4. *Yielded*: edge [`stay`](state::State::stay): it is queued again in any case.
//! 5. *Ready, panicked or cancelled*: the future is dropped and the result takes its
//!    place; the registry forgets the task; edge [`complete`](state::State::complete);
//!    the waiter is woken, or, when there is no handle, the result dropped.
//! 6. A [wake](state::State::wake_by_ref) of an idle task makes it `ACTIVE`: the waker takes a
//!    reference and calls [`Schedule::schedule`]. One of an active task sets `NOTIFIED`.
//! 7. The last reference frees the block: a handle, or a waker that somebody kept.
//!
//! A panic, in the poll or in any destructor, is contained where it arises and
//! becomes the task's result (S8).
//!
//! The table of bits is in [`state`], the table of who may touch which field at
//! [`Header`], the invariants that unsafe code cites in [`raw`].

mod cancel;
mod extra;
mod handle;
mod header;
mod raw;
mod state;
mod waker;

use std::{
    mem::ManuallyDrop,
    panic::Location,
    ptr::NonNull,
    task::{Context, Poll},
};

use self::extra::Asked;
pub use self::{
    cancel::{Cancelled, CatchCancel, Uncancellable, catch_cancel, uncancellable},
    handle::{Join, Task},
};
pub(crate) use self::{
    cancel::{Node, Region, Scope, leave_to_outer_scope, new_scope},
    header::{Birth, Header, Schedule},
    raw::Ran,
    waker::{is_tasks, wake_for},
};
use crate::{
    error::{Cause, ErrorEvent, TaskError, TaskId, hook},
    util::current,
};

/// An entry of a queue: the right to run a task once, and a reference to it.
///
/// Dropping it leaks the task: its future may belong to another thread. That is
/// for runtimes that could not end in time.
pub(crate) struct Runnable(NonNull<Header>);

// SAFETY: the entry of a task whose future is not `Send` stays with its owner
// thread once there, and reaches it by an inbox: R4 binds the scheduler.
unsafe impl Send for Runnable {}

impl Runnable {
    /// Gives the task one turn on this thread.
    #[inline]
    pub(crate) fn run(self) -> Ran {
        let this = ManuallyDrop::new(self);
        // SAFETY: the entry's reference goes along; R4 is the scheduler's (S13).
        unsafe { raw::run(this.0) }
    }

    /// Ends the task without a poll, on this thread.
    pub(crate) fn refuse(self) {
        let (_, push) = self.header().state.request(true);
        debug_assert!(!push, "an entry exists: this one");
        let ran = self.run();
        debug_assert!(matches!(ran, Ran::Done));
    }

    /// Ends a task that was never polled with an error, on this thread.
    pub(crate) fn fail(self, error: TaskError) {
        let this = ManuallyDrop::new(self);
        // SAFETY: as in `run`.
        unsafe { raw::fail(this.0, error) };
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: R1: the entry has a reference.
        unsafe { self.0.as_ref() }
    }

    /// As a pointer for intrusive lists and atomic slots; the reference goes with it.
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// `raw` came from [`into_raw`](Self::into_raw), and is taken back once.
    pub(crate) unsafe fn from_raw(raw: NonNull<Header>) -> Self {
        Self(raw)
    }
}

/// Makes a task from a future that may move between threads.
#[inline]
pub(crate) fn create<F, S>(future: F, birth: Birth) -> (Runnable, Registered, Task<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: Schedule,
{
    // SAFETY: `Send` and `'static`: all that is asked below.
    unsafe { create_unchecked::<F, S>(future, birth) }
}

/// Makes a task from any future.
///
/// # Safety
///
/// If `F` is not `Send`, the scheduler runs the task on this thread only (R4).
/// If it is not `'static`, the caller sees the task end before what it borrows does.
#[inline]
pub(crate) unsafe fn create_unchecked<F, S>(
    future: F,
    birth: Birth,
) -> (Runnable, Registered, Task<F::Output>)
where
    F: Future,
    S: Schedule,
{
    let raw = raw::create::<F, S>(future, birth);
    // SAFETY: the three references of a new task.
    unsafe { (Runnable(raw), Registered(raw), Task::from_raw(raw)) }
}

/// The task that is being polled on this thread.
pub(crate) fn current_ref() -> Option<TaskRef> {
    let task = NonNull::new(current::with(|current| current.task.get()).cast_mut())?.cast();
    // SAFETY: R1: the registry's reference lives until the poll is over.
    Some(unsafe { TaskRef::from_registered(task) })
}

/// Asks the task that is being polled to end, as a part of something larger that ends.
pub(crate) fn cancel_current(cause: &Cause) {
    if let Some(task) = current_ref() {
        task.cancel_by(cause);
    }
}

/// Ends the task that is being polled as cancelled, whatever regions it has: what is returned is for
/// its poll to return.
pub(crate) fn end_current<T>(cause: &Cause) -> Poll<T> {
    cancel_current(cause);
    if let Some(task) = current_ref() {
        task.request(true);
    }
    Poll::Pending
}

/// A task that was cancelled before it was made.
pub(crate) fn refused_by<T: Send + 'static>(
    id: TaskId,
    spawned_at: &'static Location<'static>,
    cause: Cause,
) -> Task<T> {
    let birth = Birth { place: 0, id, spawned_at };
    let (entry, _registered, task) = create::<_, Nowhere>(std::future::pending(), birth);
    // SAFETY: R1: the entry's reference.
    unsafe { raw::extra(entry.0) }.ask(Asked::Owner(cause));
    entry.refuse();
    task
}

/// A task of a runtime that has ended: its future is dropped unpolled, at once.
pub(crate) fn refused<F>(
    future: F,
    id: TaskId,
    spawned_at: &'static Location<'static>,
) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (entry, _registered, task) =
        create::<F, Nowhere>(future, Birth { place: 0, id, spawned_at });
    entry.refuse();
    task
}

/// The scheduler of tasks that end before anybody could wake them.
struct Nowhere;

impl Schedule for Nowhere {
    fn schedule(_task: Runnable) {
        unreachable!("it has ended before anybody could wake it");
    }

    fn ended(_task: &Header) {}

    fn report(_place: u64, event: &ErrorEvent) {
        hook::report(hook::NOBODY, event);
    }
}

/// The registry's reference to a live task. Whoever completes the task takes it over.
#[derive(Clone, Copy)]
pub(crate) struct Registered(pub(crate) NonNull<Header>);

/// A reference to a task for asking it to end, held by nobody for long.
pub(crate) struct TaskRef(NonNull<Header>);

// SAFETY: all that it touches is what anybody with a reference may (H1), and the memory, which whoever
// gives up the last reference frees: the stage is empty by then.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// # Safety
    ///
    /// The caller sees to it that a reference of the registry lives during the call.
    pub(crate) unsafe fn from_registered(raw: NonNull<Header>) -> Self {
        // SAFETY: R1: the registry's reference.
        unsafe { raw.as_ref() }.state.add_ref();
        Self(raw)
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: R1: our own reference.
        unsafe { self.0.as_ref() }
    }

    /// Asks it to end, as a part of something larger that ends.
    pub(crate) fn cancel_by(&self, cause: &Cause) {
        // SAFETY: R1: our own reference.
        unsafe { raw::extra(self.0) }.ask(Asked::Owner(cause.clone()));
        self.request(false);
    }

    /// As [`Task::cancel`] and [`Task::abort`].
    pub(crate) fn request(&self, abort: bool) {
        let (_, push) = self.header().state.request(abort);
        if push {
            (self.header().vtable.schedule)(Runnable(self.0));
        }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // SAFETY: our own reference ends here.
        unsafe { raw::drop_refs(self.0, 1) };
    }
}

/// Sends the running task to the back of its queue: the caller returns `Pending`.
///
/// If `cx` carries the task's own waker, as it does outside of combinators, this
/// costs no atomic operation.
#[inline]
pub(crate) fn yield_turn(cx: &Context<'_>) -> Poll<()> {
    current::with(|current| {
        if waker::is_of(cx.waker(), current.task.get()) {
            current.yielded.set(true);
        } else {
            cx.waker().wake_by_ref();
        }
    });
    Poll::Pending
}

/// The task that is polled on this thread, for reports by code that knows no tasks: the
/// answer that [`hook::introduce`] takes.
pub(crate) fn here() -> Option<hook::Here> {
    let task = NonNull::new(current::with(|current| current.task.get()).cast_mut())?;
    // SAFETY: R1: who polls it has a reference, and does not get ahead of this call.
    let header = unsafe { task.cast::<Header>().as_ref() };
    Some(hook::Here {
        task: header.id(),
        spawned_at: header.spawned_at(),
        place: header.place(),
        report: header.vtable.report,
    })
}
