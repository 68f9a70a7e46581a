//! The two handles of a task: [`Task`] watches, [`Join`] owns.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    marker::PhantomData,
    mem::MaybeUninit,
    panic::Location,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::FusedFuture;

use super::{
    Canceller, OnDone, Outcome, TaskEvent, TaskRef,
    cancel::{self, Region},
    done,
    extra::{Asked, Extra},
    header::Header,
    raw,
    state::Detach,
};
use crate::{
    error::{CancelCause, Cause, Named, ScopeKind, TaskError, TaskId},
    util::{current, panic, park},
};

/// A handle that watches a task: a future of its result.
///
/// The runtime owns the task. Dropping the handle detaches it: the task runs on,
/// and if it panics the [error hook](crate::Builder::on_error) hears of it. To
/// end the task with its handle, [`join`](Self::join) it instead.
///
/// asyncio: `asyncio.Task`. There, awaiting a task from one that is cancelled
/// cancels both; here that is what `join` is for.
///
/// # Cancel safety
///
/// Awaiting `&mut task` loses nothing when it is cancelled: the task runs on and
/// the result waits for the next await.
///
/// # Panics
///
/// If it is polled again after it gave its result; and if a task that has not ended awaits itself,
/// which would take for ever (asyncio: `RuntimeError: Task cannot await on itself`).
///
/// ```
/// let sum = ringloop::run(async {
///     let task = ringloop::spawn(async { 1 + 2 });
///     task.await.unwrap()
/// });
/// assert_eq!(sum, 3);
/// ```
#[doc(alias = "JoinHandle")]
#[doc(alias = "asyncio.Task")]
#[must_use = "dropping a Task detaches it: await it, join it, or call `.detach()`"]
pub struct Task<T> {
    raw: NonNull<Header>,
    taken: bool,
    result: PhantomData<T>,
}

// SAFETY: the handle moves or drops a `T` on whatever thread has it, which wants
// `T: Send`; all else it touches is the state word and what that guards.
unsafe impl<T: Send> Send for Task<T> {}
// SAFETY: through `&Task` nobody reaches the `T`.
unsafe impl<T: Send> Sync for Task<T> {}

impl<T> Unpin for Task<T> {}

impl<T> Task<T> {
    /// # Safety
    ///
    /// The handle's reference of a task with result `T` goes to the new value.
    pub(super) unsafe fn from_raw(raw: NonNull<Header>) -> Self {
        Self { raw, taken: false, result: PhantomData }
    }

    fn header(&self) -> &Header {
        // SAFETY: R1: the handle has a reference.
        unsafe { self.raw.as_ref() }
    }

    fn extra(&self) -> &Extra {
        // SAFETY: R1: the handle has a reference.
        unsafe { raw::extra(self.raw) }
    }

    /// The task's number, which no other task of the process has.
    pub fn id(&self) -> TaskId {
        self.header().id()
    }

    /// The name that its [`Builder`](crate::task::Builder) gave it.
    ///
    /// asyncio: `Task.get_name`, which makes one up for a task that was given none.
    pub fn name(&self) -> Option<&str> {
        self.extra().name().map(|name| &**name)
    }

    /// The place in the source that spawned it.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.header().spawned_at()
    }

    /// Whether the task has ended: with a value, cancelled, or by a panic.
    ///
    /// asyncio: `Task.done`.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.header().state.load().is_complete()
    }

    /// Asks the task to end. `true` if it was unfinished and nobody had asked yet.
    ///
    /// A task that has not been polled yet is dropped unpolled. Any other is polled once more, so
    /// that a value that is ready wins. If it is still pending, its innermost
    /// [`catch_cancel`](crate::catch_cancel) hears of it, then the next one outward. When none is
    /// left, the future is dropped and the result is a [cancelled](TaskError::is_cancelled) error.
    /// What runs under [`uncancellable`](crate::uncancellable) is not disturbed. This only asks:
    /// await the task to see it end.
    ///
    /// asyncio: `Task.cancel`. Here the request stays: code that catches it once does not use it
    /// up; [`Cancelled::consume`](crate::Cancelled::consume) does.
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.request(false, Asked::At(Location::caller()))
    }

    /// As [`cancel`](Self::cancel), with a reason, which the error tells.
    ///
    /// asyncio: `Task.cancel(msg)`.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let task = ringloop::spawn(std::future::pending::<()>());
    ///     task.cancel_with("the user went away");
    ///     let error = task.await.unwrap_err();
    ///     assert_eq!(error.cancel_cause().unwrap().reason(), Some("the user went away"));
    /// });
    /// ```
    #[track_caller]
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        self.request(false, Asked::for_reason(self.extra(), reason.into(), Location::caller()))
    }

    /// As [`cancel`](Self::cancel), for a reason that comes from no place in the program.
    pub(crate) fn cancel_from_outside(&self, reason: &'static str) -> bool {
        let mut cause = CancelCause::new(ScopeKind::Task, None);
        cause.reason = Some(reason.into());
        self.request(false, Asked::For(Cause::new(cause)))
    }

    /// Ends the task without another poll, as soon as its worker gets to it: no region hears of it.
    /// `true` if it was unfinished and had not been aborted.
    #[track_caller]
    pub fn abort(&self) -> bool {
        self.request(true, Asked::At(Location::caller()))
    }

    /// Asks the task to end, for its group or its owner, which ends.
    pub(crate) fn cancel_by(&self, cause: &Cause) -> bool {
        self.request(false, Asked::Owner(cause.clone()))
    }

    fn request(&self, abort: bool, asked: Asked) -> bool {
        // SAFETY: R1: the handle has a reference.
        unsafe { raw::ask(self.raw, abort, asked) }
    }

    /// What cancels the task from elsewhere: it can be cloned and sent, and keeps no result alive.
    ///
    /// asyncio: the task itself, of which every holder can do everything.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let task = ringloop::spawn(std::future::pending::<()>());
    ///     let canceller = task.canceller();
    ///     std::thread::spawn(move || canceller.cancel()).join().unwrap();
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    #[doc(alias = "abort_handle")]
    pub fn canceller(&self) -> Canceller {
        // SAFETY: R1: the handle has a reference.
        Canceller::new(unsafe { TaskRef::to(self.raw) })
    }

    /// Has `callback` called when the task has ended, or soon if it has ended already.
    ///
    /// It is called on a worker of the runtime, never within this call or within the task's last
    /// poll. The callbacks of one task are called one after the other, in the order in which they
    /// were registered. One that panics is [reported](crate::ErrorEvent::CallbackPanicked), and the
    /// rest are called. A callback that blocks holds a worker.
    ///
    /// It is called also if the handle is dropped, and for a task that is cancelled by the end of its
    /// runtime. What is registered after that end is dropped uncalled, for there is no worker.
    ///
    /// asyncio: `Task.add_done_callback`. There the callback gets the task; here it gets what can be
    /// shared: the result is for the handle.
    ///
    /// ```
    /// use ringloop::sync::oneshot;
    ///
    /// ringloop::run(async {
    ///     let (ended, hears) = oneshot();
    ///     let task = ringloop::spawn(async { 7 });
    ///     task.on_done(move |outcome| ended.set(outcome.is_ok()).unwrap()).keep();
    ///     assert!(hears.await.unwrap());
    ///     assert_eq!(task.await.unwrap(), 7);
    /// });
    /// ```
    #[doc(alias = "add_done_callback")]
    #[track_caller]
    pub fn on_done(&self, callback: impl FnOnce(Outcome) + Send + 'static) -> OnDone {
        // SAFETY: R1: the handle has a reference.
        let task = unsafe { TaskRef::to(self.raw) };
        done::register(&task, Box::new(callback), Location::caller())
    }

    /// The result, if the task has ended; it does not wait.
    ///
    /// asyncio: `Task.result`, which raises `InvalidStateError` before the task's end.
    ///
    /// # Panics
    ///
    /// If the task has given its result already.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let mut task = ringloop::spawn(async { 7 });
    ///     while !task.is_finished() {
    ///         ringloop::yield_now().await;
    ///     }
    ///     assert_eq!(task.try_result().unwrap().unwrap(), 7);
    /// });
    /// ```
    #[doc(alias = "result")]
    pub fn try_result(&mut self) -> Option<Result<T, TaskError>> {
        assert!(!self.taken, "a Task was asked after it gave its result");
        self.is_finished().then(|| self.take_result())
    }

    /// Waits on a plain thread for the result, for `timeout` at most.
    ///
    /// asyncio: `concurrent.futures.Future.result(timeout)`.
    ///
    /// # Errors
    ///
    /// [`BlockingJoinError`], which gives the handle back: the time is over, or this thread is a
    /// worker, whose tasks it would hold up. There the task is to be awaited.
    ///
    /// # Panics
    ///
    /// If the task has given its result already.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = ringloop::Runtime::new().unwrap();
    /// let slow = rt.spawn(std::future::pending::<()>());
    /// let error = slow.blocking_join(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// let slow = error.into_task();
    /// slow.cancel();
    /// assert!(slow.blocking_join(Duration::from_secs(60)).unwrap().is_err());
    /// ```
    pub fn blocking_join(
        mut self,
        timeout: Duration,
    ) -> Result<Result<T, TaskError>, BlockingJoinError<T>> {
        if current::must_not_block() {
            return Err(BlockingJoinError { task: self, on_worker: true });
        }
        match park::block_on_timeout(&mut self, timeout) {
            Some(result) => Ok(result),
            None => Err(BlockingJoinError { task: self, on_worker: false }),
        }
    }

    /// Lets the task run on without its handle: says that dropping is meant.
    pub fn detach(self) {}

    /// Makes the handle own the task: dropping the returned future cancels it.
    ///
    /// asyncio: what `await task` does there when the awaiting task is cancelled.
    ///
    /// ```
    /// # use std::time::Duration;
    /// ringloop::run(async {
    ///     let task = ringloop::spawn(std::future::pending::<()>());
    ///     let gone = ringloop::time::timeout(Duration::from_millis(1), task.join()).await;
    ///     assert!(gone.is_err()); // and the task was cancelled with it
    /// });
    /// ```
    #[track_caller]
    pub fn join(self) -> Join<T> {
        Join {
            task: self,
            region: Region::default(),
            ending: false,
            ended: None,
            made_at: Location::caller(),
        }
    }

    /// The task, for a hook.
    pub(crate) fn event(&self) -> TaskEvent {
        // SAFETY: R1: the handle has a reference.
        TaskEvent::of(&unsafe { TaskRef::to(self.raw) })
    }

    /// Whether the task has ended; else a waker is left for that.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> bool {
        self.is_finished() || !self.leave_waker(cx)
    }

    /// Whether the result is there and is a panic.
    pub(crate) fn has_panicked(&self) -> bool {
        // SAFETY: R2: the task is complete, and the handle has the result.
        self.is_finished() && unsafe { (self.header().vtable.has_panicked)(self.raw) }
    }

    /// [`poll_result`](Self::poll_result) by a combinator, which waits for several tasks.
    pub(crate) fn poll_result_of_many(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, TaskError>> {
        let polled = self.poll_result(cx);
        if polled.is_pending() {
            self.note_awaiter();
        }
        polled
    }

    /// Notes that the task which is polled waits for this one, beside others.
    pub(crate) fn note_awaiter(&self) {
        if let Some(awaiter) = super::with_polled(Header::id) {
            // SAFETY: R1: the handle has a reference.
            unsafe { raw::extra(self.raw) }.note_awaiter(awaiter);
        }
    }

    /// Takes the result if it is there, else leaves a waker for it.
    pub(crate) fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        assert!(!self.taken, "a Task was polled after it gave its result");
        if !self.is_finished() {
            let own = current::with(|current| current.task.get()) == self.raw.as_ptr().cast();
            assert!(!own, "a task awaits itself: it would wait for ever");
            if self.leave_waker(cx) {
                current::waits_for(self.header().vtable.ends, self.id().0);
                return Poll::Pending;
            }
        }
        // Only a complete task costs budget: a look at many tasks, most of them unfinished, must
        // get to the one that has ended.
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.take_result())
    }

    /// The result of a task that is complete.
    fn take_result(&mut self) -> Result<T, TaskError> {
        self.taken = true;
        let mut output = MaybeUninit::<Result<T, TaskError>>::uninit();
        // SAFETY: R2: the task is complete, and the handle takes the result once.
        unsafe {
            (self.header().vtable.read_output)(self.raw, output.as_mut_ptr().cast());
            output.assume_init()
        }
    }

    /// `false`: too late, the task is complete.
    fn leave_waker(&self, cx: &Context<'_>) -> bool {
        let header = self.header();
        if header.state.waiter_offered() && !header.state.reclaim_waiter() {
            return false;
        }
        // Foreign code (clone, drop) runs outside of the cell.
        // SAFETY: H3: WAITER is clear, and stays so until `offer_waiter` below.
        let kept = header.waiter.with(|waiter| unsafe {
            (*waiter).as_ref().is_some_and(|old| old.will_wake(cx.waker()))
        });
        if !kept {
            let new = cx.waker().clone();
            // SAFETY: H3, as above.
            let old = header.waiter.with_mut(|waiter| unsafe { (*waiter).replace(new) });
            panic::discard_foreign(old);
        }
        if header.state.offer_waiter() {
            return true;
        }
        self.drop_waiter();
        false
    }

    /// The waiter's cell must be the handle's (H3).
    fn drop_waiter(&self) {
        // SAFETY: H3, by the caller.
        let waker = self.header().waiter.with_mut(|waiter| unsafe { (*waiter).take() });
        panic::discard_foreign(waker);
    }
}

impl<T> FusedFuture for Task<T> {
    fn is_terminated(&self) -> bool {
        self.taken
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_result(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        match self.header().state.detach() {
            Detach::Nothing => {}
            Detach::DropWaiter => self.drop_waiter(),
            Detach::DropOutput if self.taken => {}
            // The reference goes with it.
            Detach::DropOutput => return drop_outputs(self.raw),
        }
        // SAFETY: the handle's reference ends here.
        unsafe { raw::drop_refs(self.raw, 1) };
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header().describe(self.extra(), f)
    }
}

/// Why [`Task::blocking_join`] has no result: it gives the handle back.
pub struct BlockingJoinError<T> {
    task: Task<T>,
    on_worker: bool,
}

impl<T> BlockingJoinError<T> {
    /// Whether the time was over before the task's end.
    pub fn is_timeout(&self) -> bool {
        !self.on_worker
    }

    /// Whether it was refused, since the thread is a worker of a runtime and must not block.
    pub fn is_on_worker(&self) -> bool {
        self.on_worker
    }

    /// The handle.
    pub fn into_task(self) -> Task<T> {
        self.task
    }
}

impl<T> fmt::Debug for BlockingJoinError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockingJoinError({self})")
    }
}

impl<T> fmt::Display for BlockingJoinError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = Named(self.task.id(), self.task.name());
        if self.on_worker {
            write!(
                f,
                "this thread is a worker of a runtime, so it must not block for task {task}: \
                 await the task, or move the call to ringloop::to_thread"
            )
        } else {
            write!(f, "task {task} has not ended in time")
        }
    }
}

impl<T> std::error::Error for BlockingJoinError<T> {}

/// Results that are dropped one within the other, before they are listed.
const DEEPEST: usize = 16;

/// Drops the result of a complete task and then the handle's reference to it.
///
/// A result may hold the handle of another task, whose result holds the next, and so on for a
/// million. Past some depth an inner result is only listed, and the deepest call drops the listed
/// ones in turn, so that the stack does not grow. Up to there the result is gone when the handle
/// is: the destructor that has dropped the handle may rely on that.
fn drop_outputs(task: NonNull<Header>) {
    crate::loom::thread_local! {
        /// How deep this thread is, and what is listed.
        static DROPPING: Cell<(usize, Option<NonNull<Header>>)> = const { Cell::new((0, None)) };
    }
    let (depth, listed) = DROPPING.with(Cell::get);
    if depth == DEEPEST {
        // SAFETY: H2: the task is complete, in no queue, and this was its handle.
        unsafe { task.as_ref().set_next(listed) };
        DROPPING.with(|dropping| dropping.set((depth, Some(task))));
        return;
    }
    debug_assert!(listed.is_none(), "the deepest call has dropped them");
    DROPPING.with(|dropping| dropping.set((depth + 1, None)));
    let mut next = Some(task);
    while let Some(task) = next {
        // SAFETY: R2: complete, and the handle is gone; R1 until the last line.
        unsafe {
            (task.as_ref().vtable.drop_output)(task);
            raw::drop_refs(task, 1);
        }
        next = DROPPING.with(Cell::get).1;
        if let Some(listed) = next {
            // SAFETY: H2, as above.
            let rest = unsafe { listed.as_ref().take_next() };
            DROPPING.with(|dropping| dropping.set((depth + 1, rest)));
        }
    }
    DROPPING.with(|dropping| dropping.set((depth, None)));
}

/// A handle that owns a task: a future of its result that takes the task with it.
///
/// Made by [`Task::join`]. When a scope around it is cancelled, it cancels the task and waits for
/// its end: what the task has to clean up is done when the scope ends. If the task gives a value
/// all the same, the awaiting task gets it. If the task was cancelled so, the awaiting task gets
/// nothing, since its own scope ends then.
///
/// # Cancel safety
///
/// Dropping it before it is ready cancels the task: that is its purpose. The runtime ends the task
/// then, soon after.
#[must_use = "dropping a Join cancels the task"]
pub struct Join<T> {
    task: Task<T>,
    region: Region,
    /// A scope around it was cancelled, and the task with it.
    ending: bool,
    /// The task was cancelled so and has ended.
    ended: Option<TaskError>,
    made_at: &'static Location<'static>,
}

impl<T> Join<T> {
    /// Gives up ownership: the task watches again.
    pub fn detach(self) -> Task<T> {
        let mut join = std::mem::ManuallyDrop::new(self);
        drop((std::mem::take(&mut join.region), join.ended.take()));
        // SAFETY: moved out of a value whose destructor does not run.
        unsafe { std::ptr::read(&raw const join.task) }
    }

    /// The task, to ask or to cancel it.
    pub fn task(&self) -> &Task<T> {
        &self.task
    }
}

impl<T> FusedFuture for Join<T> {
    fn is_terminated(&self) -> bool {
        self.task.taken
    }
}

impl<T> Future for Join<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.ending {
            match this.region.poll_catch(cx, |cx| this.task.poll_result(cx)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(result)) => return Poll::Ready(result),
                Poll::Ready(Err(gone)) => {
                    this.ending = true;
                    this.task.cancel_by(gone.shared_cause());
                }
            }
        }
        let result = match this.ended.take() {
            Some(error) => Err(error),
            None => ready!(this.region.poll_masked(|| this.task.poll_result(cx))),
        };
        match result {
            // The scope that asked goes on from here, and drops this.
            Err(error) if error.is_cancelled() && cancel::is_outer_requested() => {
                this.ended = Some(error);
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        self.task.request(false, Asked::At(self.made_at));
    }
}

impl<T> fmt::Debug for Join<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("task", &self.task).finish()
    }
}
