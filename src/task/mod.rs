//! Tasks: what a program starts and then awaits, cancels, names or lists.
//!
//! [`spawn`](crate::spawn) starts one and gives its handle, a [`Task`]: it watches, [`Task::join`]
//! owns. A [`Builder`] gives a task a name, or its first turn at once. A [`Canceller`] can end a task
//! and knows nothing of its result; [`current_task`] gives that of the task that asks.
//!
//! ```
//! use ringloop::task;
//!
//! ringloop::run(async {
//!     let worker = task::Builder::new().name("worker").spawn(async {
//!         task::current_task().unwrap().name().unwrap().to_owned()
//!     });
//!     assert_eq!(worker.name(), Some("worker"));
//!     assert_eq!(worker.await.unwrap(), "worker");
//! });
//! ```

mod budget;
mod builder;
mod cancel;
mod canceller;
mod debug;
mod done;
mod event;
mod extra;
mod handle;
mod header;
mod info;
mod local;
mod raw;
mod state;
mod waker;

use std::{
    fmt,
    mem::ManuallyDrop,
    panic::Location,
    ptr::NonNull,
    task::{Context, Poll},
};

use self::extra::{Asked, Extra};
pub use self::{
    budget::{Coop, Unconstrained, consume_budget, coop, unconstrained},
    builder::Builder,
    cancel::{Cancelled, CatchCancel, Uncancellable, catch_cancel, uncancellable},
    canceller::{Canceller, current_task},
    done::{OnDone, Outcome},
    event::TaskEvent,
    handle::{BlockingJoinError, Join, Task},
    info::{TaskInfo, TaskState},
    local::{LocalKey, LocalScope, NoLocal},
};
pub(crate) use self::{
    cancel::{Node, Region, Scope, leave_to_outer_scope, new_scope},
    done::{Caller, End, introduce},
    event::Moment,
    header::{Birth, Header, Origin, Schedule},
    local::hidden,
    raw::Ran,
    waker::{is_tasks, wake_for},
};
pub use crate::error::TaskId;
use crate::{
    error::{Cause, ErrorEvent, TaskError, hook},
    util::{current, record::Record},
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

    /// Makes it a task that nobody has woken. It is new: nobody else has seen it.
    pub(crate) fn rest(self) -> TaskRef {
        let this = ManuallyDrop::new(self);
        this.header().state.rest();
        // The entry's reference goes along.
        TaskRef(this.0)
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

/// Asks the task that is being polled to end, for its group or its owner, which ends.
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
    let birth = Birth { place: 0, id, origin: spawned_at.into() };
    let (entry, _registered, task) = create::<_, Nowhere>(std::future::pending(), birth);
    // SAFETY: R1: the entry's reference.
    let extra = unsafe { raw::extra(entry.0) };
    let (_, push) = extra.ask(Asked::Owner(cause), &entry.header().state, false);
    debug_assert!(!push, "an entry exists: this one");
    entry.refuse();
    task
}

/// A task of a runtime that has ended: its future is dropped unpolled, at once.
pub(crate) fn refused<F>(future: F, id: TaskId, origin: impl Into<Origin>) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (entry, _registered, task) =
        create::<F, Nowhere>(future, Birth { place: 0, id, origin: origin.into() });
    entry.refuse();
    task
}

/// The scheduler of tasks that end before anybody could wake them.
struct Nowhere;

impl Schedule for Nowhere {
    fn schedule(_task: Runnable) {
        unreachable!("it has ended before anybody could wake it");
    }

    fn ended(_task: &Header, _end: End) {}

    fn report(_place: u64, event: &ErrorEvent) {
        hook::report(hook::NOBODY, event);
    }

    fn defer(_place: u64, _at: &'static Location<'static>, caller: Caller) {
        caller.give_up();
    }
}

/// The registry's reference to a live task. The completer of the task takes it over.
#[derive(Clone, Copy)]
pub(crate) struct Registered(pub(crate) NonNull<Header>);

/// A reference to a task, whatever its result.
pub(crate) struct TaskRef(NonNull<Header>);

// SAFETY: what it reaches is the state word, the extra word and what never changes (H1), which
// are for any thread; the last reference frees a block whose stage is empty.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.header().state.add_ref();
        Self(self.0)
    }
}

impl TaskRef {
    /// # Safety
    ///
    /// The caller has a reference during the call.
    unsafe fn to(task: NonNull<Header>) -> Self {
        // SAFETY: R1, by the caller.
        unsafe { task.as_ref() }.state.add_ref();
        Self(task)
    }

    /// # Safety
    ///
    /// A reference of the registry lives during the call.
    pub(crate) unsafe fn from_registered(raw: NonNull<Header>) -> Self {
        // SAFETY: R1: the registry's reference.
        unsafe { Self::to(raw) }
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: R1: our own reference.
        unsafe { self.0.as_ref() }
    }

    /// Asks it to end, for its group or its owner, which ends.
    pub(crate) fn cancel_by(&self, cause: &Cause) {
        self.ask(false, Asked::Owner(cause.clone()));
    }

    fn extra(&self) -> &Extra {
        // SAFETY: R1: our own reference.
        unsafe { raw::extra(self.0) }
    }

    fn record(&self) -> &Record {
        // SAFETY: R1: our own reference.
        unsafe { raw::record(self.0) }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.extra().name().map(|name| &**name)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.header().state.load().is_complete()
    }

    /// Wakes a task that is to run on this thread. `None`: somebody else has, or it has ended.
    pub(crate) fn claim(self) -> Option<Runnable> {
        // The reference goes to the entry.
        let wakes = self.header().state.wake_by_val();
        wakes.then(|| Runnable(ManuallyDrop::new(self).0))
    }

    /// As [`Task::cancel`] and [`Task::abort`], by the runtime.
    pub(crate) fn request(&self, abort: bool) {
        let (_, push) = self.header().state.request(abort);
        if push {
            (self.header().vtable.schedule)(Runnable(self.0));
        }
    }

    /// The same, with the origin of the request, which is noted.
    fn ask(&self, abort: bool, asked: Asked) -> bool {
        // SAFETY: R1: our own reference.
        unsafe { raw::ask(self.0, abort, asked) }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header().describe(self.extra(), f)
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
    let task = polled()?;
    Some(here_of(task.header(), task.extra()))
}

/// The same of any task.
fn here_of(header: &Header, extra: &Extra) -> hook::Here {
    hook::Here {
        task: header.id(),
        name: extra.name().cloned(),
        spawned_at: header.spawned_at(),
        place: header.place(),
        report: header.vtable.report,
    }
}

/// The task that is polled on this thread, by the reference of its runner, which does not get ahead
/// of the caller.
fn polled() -> Option<ManuallyDrop<TaskRef>> {
    let task = NonNull::new(current::with(|current| current.task.get()).cast_mut())?;
    Some(ManuallyDrop::new(TaskRef(task.cast())))
}

/// Tells the hook that the task which is polled on this thread has ended with an error.
#[cold]
pub(crate) fn report_failure(error: &dyn fmt::Display) {
    let Some(task) = polled() else { return };
    let header = task.header();
    let event = ErrorEvent::TaskFailed {
        task: header.id(),
        name: task.name().map(str::to_owned),
        spawned_at: header.spawned_at(),
        error: error.to_string(),
    };
    (header.vtable.report)(header.place(), &event);
}

/// An error if the blocking job that runs on this thread has been asked to end, or `ends` with its
/// runtime.
pub(crate) fn check_job(ends: bool) -> Result<(), TaskError> {
    let Some(job) = NonNull::new(current::with(|current| current.job.get()).cast_mut()) else {
        return Ok(());
    };
    // R1: the reference of its runner, which is below us on this thread.
    let job = ManuallyDrop::new(TaskRef(job.cast()));
    let asked = job.header().state.load().is_cancelled();
    if !asked && !ends {
        return Ok(());
    }
    let noted = asked.then(|| job.extra().noted()).flatten();
    let cause = noted.map_or_else(|| cancel::shutdown(job.extra().name()), |noted| noted.cause);
    Err(TaskError::cancelled_by(cause))
}

/// Calls `f` with the task that is polled on this thread.
pub(crate) fn with_polled<R>(f: impl FnOnce(&Header) -> R) -> Option<R> {
    polled().map(|task| f(task.header()))
}
