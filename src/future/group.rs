//! Tasks that end before the block that started them.
//!
//! # The end of a group
//!
//! 1. The body runs, and then waits until no child is left, as one scope: the group's own.
//! 2. A child that fails, or `cancel`, closes the group: it takes no more children, those that it has
//!    are asked to end, and so is the scope.
//! 3. If a scope around the group is cancelled, a region around step 1 gets the request, and closes
//!    the group as well.
//! 4. Then the children are waited for under a mask: none outlives the group.
//! 5. Errors of children come before anything else. Without one, a request of a scope around that
//!    still stands takes effect here; it is never lost.
//! 6. A group whose future is dropped asks its children to end. Until they end they belong to the
//!    runtime.
//!
//! A child joins the list of those to cancel when its first poll was pending. One that comes to its
//! first poll after the group was closed is dropped unpolled; one that finds it closed after its first
//! poll asks itself to end. So nobody is missed, and a child that ends at once costs two locks.

mod errors;

use std::{
    borrow::Cow,
    convert::Infallible,
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

pub use self::errors::{GroupClosed, GroupError, NotStarted, Started};
use super::{
    finally::caught,
    scope::{Scope, ScopeFuture},
};
use crate::{
    error::{Cause, ScopeKind, TaskError},
    loom::Mutex,
    runtime::Handle,
    scheduler,
    sync::{AcquireError, Semaphore, oneshot},
    task::{self, Task, TaskRef, catch_cancel, uncancellable},
    util::{current, panic, record, wait::WaitKind},
};

/// What a group, its handles and its children share.
pub(crate) struct Shared<E> {
    /// For reports; not 0.
    number: u32,
    scope: Scope,
    state: Mutex<State<E>>,
}

struct State<E> {
    /// Why it takes no more children.
    closed: Option<Closed>,
    /// Children that have not ended.
    running: usize,
    /// Those of them that have been polled, by their number; free numbers are `None`.
    children: Vec<Option<TaskRef>>,
    free: Vec<usize>,
    errors: Vec<E>,
    panics: Vec<TaskError>,
    /// The task that waits for the last child.
    waiter: Option<Waker>,
}

#[derive(Clone)]
enum Closed {
    /// Body and children have ended.
    Finished,
    Cancelled(Cause),
}

impl<E> Shared<E> {
    #[track_caller]
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            number: record::new_group(),
            scope: Scope::new(ScopeKind::Group),
            state: Mutex::new(State {
                closed: None,
                running: 0,
                children: Vec::new(),
                free: Vec::new(),
                errors: Vec::new(),
                panics: Vec::new(),
                waiter: None,
            }),
        })
    }

    /// Asks the group to end.
    #[track_caller]
    pub(crate) fn cancel(&self, reason: Option<Cow<'static, str>>) {
        let mut cause = self.scope.new_cause(Some(Location::caller()));
        cause.reason = reason;
        self.close(&Cause::new(cause));
    }

    /// Takes no more children, and asks those that run to end.
    fn close(&self, cause: &Cause) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(Closed::Cancelled(cause.clone()));
        let children = std::mem::take(&mut state.children);
        state.free.clear();
        drop(state);
        for child in children.into_iter().flatten() {
            child.cancel_by(cause);
        }
        self.scope.ask_by(cause.clone());
    }

    /// A child has failed: it is noted, and the others have to end.
    fn fail(&self, note: impl FnOnce(&mut State<E>)) {
        note(&mut self.state.lock());
        let mut cause = self.scope.new_cause(None);
        cause.reason = Some("a task of the group failed".into());
        self.close(&Cause::new(cause));
    }

    fn cause(&self) -> Option<Cause> {
        match &self.state.lock().closed {
            Some(Closed::Cancelled(cause)) => Some(cause.clone()),
            _ => None,
        }
    }

    /// Waits until no child is left; then there will be none, if `finish` says so.
    async fn idle(&self, finish: bool) {
        std::future::poll_fn(|cx| {
            let new = cx.waker().clone();
            let mut state = self.state.lock();
            if state.running == 0 {
                if finish && state.closed.is_none() {
                    state.closed = Some(Closed::Finished);
                }
                drop(state);
                drop(new);
                return Poll::Ready(());
            }
            let old = state.waiter.replace(new);
            drop(state);
            panic::discard_foreign(old);
            current::waits_for(WaitKind::Group, self.number.into());
            Poll::Pending
        })
        .await;
    }

    /// A child may begin.
    fn enter(&self) -> bool {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return false;
        }
        state.running += 1;
        true
    }

    /// A child has ended, and its future is gone.
    fn leave(&self, number: Option<usize>) {
        let mut state = self.state.lock();
        state.running -= 1;
        let child = number.and_then(|number| {
            let child = state.children.get_mut(number).and_then(Option::take);
            if child.is_some() {
                state.free.push(number);
            }
            child
        });
        let waiter = if state.running == 0 { state.waiter.take() } else { None };
        drop(state);
        drop(child);
        if let Some(waiter) = waiter {
            panic::contain(|| waiter.wake());
        }
    }

    /// Lists a child that is being polled, or says why it has to end.
    fn list(&self) -> Result<Option<usize>, Cause> {
        let Some(child) = task::current_ref() else { return Ok(None) };
        let mut state = self.state.lock();
        if let Some(Closed::Cancelled(cause)) = &state.closed {
            return Err(cause.clone());
        }
        let number = match state.free.pop() {
            Some(number) => {
                state.children[number] = Some(child);
                number
            }
            None => {
                state.children.push(Some(child));
                state.children.len() - 1
            }
        };
        Ok(Some(number))
    }
}

pin_project! {
    /// A child: its future, and what it reports to the group.
    pub(crate) struct Child<F, E, N> {
        // `None` after its end.
        #[pin]
        inner: Option<F>,
        // Whether it has been polled.
        begun: bool,
        note: PhantomData<N>,
        // Below the future: the end is reported to the group when the future is gone.
        member: Membership<E>,
    }
}

/// A child's part in the count.
struct Membership<E> {
    group: Arc<Shared<E>>,
    number: Option<usize>,
}

impl<E> Drop for Membership<E> {
    fn drop(&mut self) {
        self.group.leave(self.number);
    }
}

/// What becomes of a child's output: a value, or an error for the group.
pub(crate) trait Note<O, E> {
    type Value;
    fn judge(output: O) -> Result<Self::Value, E>;
}

/// Any output is a value.
struct AnyValue;

impl<O, E> Note<O, E> for AnyValue {
    type Value = O;

    fn judge(output: O) -> Result<O, E> {
        Ok(output)
    }
}

/// Errors are for the group.
pub(crate) struct Fallible;

impl<T, E> Note<Result<T, E>, E> for Fallible {
    type Value = T;

    fn judge(output: Result<T, E>) -> Result<T, E> {
        output
    }
}

impl<F, E, N> Future for Child<F, E, N>
where
    F: Future,
    N: Note<F::Output, E>,
{
    type Output = N::Value;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<N::Value> {
        let mut this = self.project();
        let group = &this.member.group;
        if !*this.begun {
            *this.begun = true;
            if let Some(cause) = group.cause() {
                this.inner.set(None);
                return task::end_current(&cause);
            }
        }
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        let failed = match panic::catch(|| inner.poll(cx)) {
            Ok(Poll::Pending) => {
                if this.member.number.is_none() {
                    match group.list() {
                        Ok(number) => this.member.number = number,
                        // It is asked to end, as by any other cancellation.
                        Err(cause) => task::cancel_current(&cause),
                    }
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => match N::judge(output) {
                Ok(value) => return Poll::Ready(value),
                Err(error) => Ok(error),
            },
            Err(payload) => Err(TaskError::panicked(payload)),
        };
        // The future is gone before its failure is reported.
        panic::contain(|| this.inner.set(None));
        group.fail(|state| match failed {
            Ok(error) => state.errors.push(error),
            Err(panicked) => state.panics.push(panicked),
        });
        // Its handle says that it ended with its group, which has the error.
        task::end_current(&group.cause().expect("closed by the failure"))
    }
}

/// Closes a group whose future is dropped.
struct CloseOnDrop<'a, E>(&'a Shared<E>);

impl<E> Drop for CloseOnDrop<'_, E> {
    fn drop(&mut self) {
        let mut cause = self.0.scope.new_cause(None);
        cause.reason = Some("the future of the group was dropped".into());
        self.0.close(&Cause::new(cause));
    }
}

/// Runs a body and waits for the children: steps 1 to 6.
pub(crate) async fn run<O, T, E, B: Future<Output = O>>(
    shared: Arc<Shared<E>>,
    body: impl FnOnce() -> B,
    judge: impl FnOnce(O) -> Result<T, E>,
) -> Result<T, GroupError<E>> {
    let guard = CloseOnDrop(&shared);
    let mut value = None;
    let mut body_panic = None;
    let own = async {
        let output = match panic::catch(body) {
            Ok(body) => caught(body).await,
            Err(payload) => Err(payload),
        };
        match output.map(judge) {
            Ok(Ok(output)) => value = Some(output),
            Ok(Err(error)) => shared.fail(|state| state.errors.push(error)),
            Err(payload) => {
                body_panic = Some(payload);
                shared.fail(|_| {});
            }
        }
        shared.idle(true).await;
    };
    let ended = caught(catch_cancel(ScopeFuture::new(own, shared.scope.clone()))).await;
    // A request to the scope itself, or to one around it.
    let ended = ended.map(|ended| ended.and_then(|own| own));
    match &ended {
        Ok(Ok(())) => {}
        Ok(Err(gone)) => shared.close(gone.shared_cause()),
        // A destructor of the body, which was cancelled.
        Err(_) => shared.fail(|_| {}),
    }
    uncancellable(shared.idle(false)).await;
    std::mem::forget(guard);
    let (errors, panics) = {
        let mut state = shared.state.lock();
        (std::mem::take(&mut state.errors), std::mem::take(&mut state.panics))
    };
    let ended = match (ended, body_panic) {
        (Err(payload), _) | (_, Some(payload)) => std::panic::resume_unwind(payload),
        (Ok(ended), None) => ended,
    };
    let cause = match ended {
        Ok(()) if errors.is_empty() && panics.is_empty() => None,
        Ok(()) => shared.cause(),
        Err(gone) => Some(gone.shared_cause().clone()),
    };
    if errors.is_empty() && panics.is_empty() {
        if cause.is_some() && value.is_none() {
            // The only error is that it was cancelled: a scope around that asks as well goes first.
            task::leave_to_outer_scope().await;
        }
        if let Some(value) = value {
            return Ok(value);
        }
    }
    Err(GroupError { errors, panics, cause: cause.map(|cause| (*cause).clone()) })
}

/// A handle of a task group: see [`task_group`]. Children may have clones of it.
pub struct Group {
    runtime: Handle,
    shared: Arc<Shared<Infallible>>,
}

/// A handle of a task group whose children may fail: see [`try_task_group`].
pub struct TryGroup<E> {
    runtime: Handle,
    shared: Arc<Shared<E>>,
}

/// Runs a block that may start tasks, and waits for all of them: none outlives the block.
///
/// `body` gets the group's handle, and [spawns](Group::spawn) tasks by it; so may they, with clones of
/// it. If a task panics, the rest of the group is cancelled, `body` as well. When a scope around the
/// group is cancelled, so are its tasks. In any case all have ended, with their cleanup, before
/// this is ready. A task that is cancelled alone does no harm to the group.
///
/// asyncio: `async with asyncio.TaskGroup()`. trio: `open_nursery`.
///
/// # Cancel safety
///
/// A group that is cancelled waits for its tasks. One that is dropped, by a `select!` of another
/// library, asks them to end, and cannot wait.
///
/// # Errors
///
/// [`GroupError`] with the panics of the tasks; or if the group was [cancelled](Group::cancel) before
/// `body` had a value.
///
/// # Panics
///
/// On a thread that belongs to no runtime. A panic of `body` goes on once all tasks have ended.
///
/// ```
/// use ringloop::{sync::Queue, task_group};
/// use std::sync::Arc;
///
/// ringloop::run(async {
///     let queue = Arc::new(Queue::bounded(16));
///     let sum = task_group(async |g| {
///         for n in 1..=10 {
///             let queue = queue.clone();
///             g.spawn(async move { queue.put(n).await.unwrap() }).detach();
///         }
///         let mut sum = 0;
///         for _ in 1..=10 {
///             sum += queue.get().await.unwrap();
///         }
///         sum
///     });
///     assert_eq!(sum.await.unwrap(), 55);
/// });
/// ```
#[doc(alias = "TaskGroup", alias = "nursery", alias = "JoinSet")]
pub async fn task_group<F, Fut>(body: F) -> Result<Fut::Output, GroupError>
where
    F: FnOnce(Group) -> Fut,
    Fut: Future,
{
    let runtime = runtime_of("task_group");
    let shared = Shared::new();
    let group = Group { runtime, shared: shared.clone() };
    run(shared, || body(group), Ok).await
}

/// The runtime of this thread, for the function of that name.
fn runtime_of(function: &str) -> Handle {
    Handle::try_current().unwrap_or_else(|error| panic!("ringloop::{function}: {error}"))
}

/// As [`task_group`], with tasks that may fail: the first error cancels the rest of the group.
///
/// Errors are collected in the order in which the tasks fail, those of their cleanup as well; that of
/// `body` is one of them.
///
/// asyncio: `async with asyncio.TaskGroup()` and its `ExceptionGroup`.
///
/// # Cancel safety
///
/// As [`task_group`].
///
/// # Errors
///
/// [`GroupError`] with all errors and panics.
///
/// # Panics
///
/// As [`task_group`].
///
/// ```
/// use ringloop::try_task_group;
///
/// ringloop::run(async {
///     let failed = try_task_group(async |g| {
///         g.spawn(async { Err::<(), _>("no such host") }).detach();
///         g.spawn(std::future::pending::<Result<(), _>>()).detach();
///         Ok("body")
///     });
///     assert_eq!(failed.await.unwrap_err().errors(), ["no such host"]);
/// });
/// ```
#[doc(alias = "TaskGroup", alias = "ExceptionGroup")]
pub async fn try_task_group<F, Fut, T, E>(body: F) -> Result<T, GroupError<E>>
where
    F: FnOnce(TryGroup<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    let runtime = runtime_of("try_task_group");
    let shared = Shared::new();
    let group = TryGroup { runtime, shared: shared.clone() };
    run(shared, || body(group), |result| result).await
}

impl<E: Send + 'static> Shared<E> {
    #[track_caller]
    fn spawn<F, N>(self: &Arc<Self>, runtime: &Handle, future: F) -> Task<N::Value>
    where
        F: Future + Send + 'static,
        N: Note<F::Output, E, Value: Send + 'static> + Send + 'static,
    {
        match self.admit::<F, N>(future) {
            Ok(child) => current::in_group(self.number, || runtime.spawn(child)),
            Err(GroupClosed(future)) => {
                drop(future);
                let cause = self.cause().unwrap_or_else(|| {
                    let mut cause = self.scope.new_cause(None);
                    cause.reason = Some("the group has finished".into());
                    Cause::new(cause)
                });
                task::refused_by(scheduler::new_ids(1), Location::caller(), cause)
            }
        }
    }

    /// Makes a future a child, which is to be spawned.
    pub(crate) fn admit<F, N>(self: &Arc<Self>, future: F) -> Result<Child<F, E, N>, GroupClosed<F>>
    where
        F: Future,
        N: Note<F::Output, E>,
    {
        if !self.enter() {
            return Err(GroupClosed(future));
        }
        let member = Membership { group: self.clone(), number: None };
        Ok(Child { inner: Some(future), begun: false, note: PhantomData, member })
    }

    async fn start<T, F, N>(
        self: &Arc<Self>,
        runtime: &Handle,
        make: impl FnOnce(Started<T>) -> F,
    ) -> Result<T, NotStarted>
    where
        F: Future + Send + 'static,
        N: Note<F::Output, E, Value: Send + 'static> + Send + 'static,
    {
        let (promise, deferred) = oneshot();
        self.spawn::<F, N>(runtime, make(Started(promise))).detach();
        deferred.await.map_err(|_| NotStarted(()))
    }
}

/// The methods of both kinds of group.
macro_rules! group_methods {
    ($note:ident, $output:ty, $error:ty, [$($bound:tt)*]) => {
        /// Starts a task of the group. Its handle may be dropped: the group waits for it.
        ///
        /// In a group that is over, or is being cancelled, nothing starts: the future is dropped
        /// unpolled, and the handle says that it was cancelled by its group.
        /// [`try_spawn`](Self::try_spawn) gives it back.
        ///
        /// asyncio: `TaskGroup.create_task`, which raises `RuntimeError` then.
        #[track_caller]
        pub fn spawn<F, $($bound)*>(&self, future: F) -> Task<T>
        where
            F: Future<Output = $output> + Send + 'static,
            T: Send + 'static,
        {
            self.shared.spawn::<F, $note>(&self.runtime, future)
        }

        /// As [`spawn`](Self::spawn), where it matters whether the group still takes tasks.
        ///
        /// # Errors
        ///
        /// [`GroupClosed`] with the future, which has not been polled.
        #[track_caller]
        pub fn try_spawn<F, $($bound)*>(&self, future: F) -> Result<Task<T>, GroupClosed<F>>
        where
            F: Future<Output = $output> + Send + 'static,
            T: Send + 'static,
        {
            let child = self.shared.admit::<F, $note>(future)?;
            Ok(current::in_group(self.shared.number, || self.runtime.spawn(child)))
        }

        /// Starts a task and waits until it says that it is ready; gives what it says.
        ///
        /// asyncio: nothing alike. trio: `nursery.start`.
        ///
        /// # Cancel safety
        ///
        /// The task belongs to the group, whether somebody waits for it or not.
        ///
        /// # Errors
        ///
        /// [`NotStarted`] if it ends without having said so.
        pub fn start<F, V, $($bound)*>(
            &self,
            make: impl FnOnce(Started<V>) -> F,
        ) -> impl Future<Output = Result<V, NotStarted>>
        where
            F: Future<Output = $output> + Send + 'static,
            T: Send + 'static,
        {
            self.shared.start::<V, F, $note>(&self.runtime, make)
        }

        /// Cancels the tasks of the group, and its body. The group takes no more tasks.
        ///
        /// asyncio: `TaskGroup.cancel`, from 3.15 on.
        #[track_caller]
        pub fn cancel(&self) {
            self.shared.cancel(None);
        }

        /// As [`cancel`](Self::cancel), with a reason.
        #[track_caller]
        pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) {
            self.shared.cancel(Some(reason.into()));
        }

        /// Gives the group a name, which the [cause](crate::CancelCause::name) of what it cancels tells.
        pub fn set_name(&self, name: impl Into<Cow<'static, str>>) {
            self.shared.scope.set_name(name.into());
        }

        /// How many tasks of the group have not ended.
        pub fn len(&self) -> usize {
            self.shared.state.lock().running
        }

        /// Whether no task of the group is running.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
    };
}

impl Group {
    group_methods!(AnyValue, T, Infallible, [T]);

    /// A handle that runs at most `limit` tasks at a time: its `spawn` waits for one to end.
    ///
    /// asyncio: a `Semaphore` that each task acquires; they all exist at once then.
    ///
    /// ```
    /// use ringloop::task_group;
    ///
    /// ringloop::run(async {
    ///     task_group(async |g| {
    ///         let few = g.with_limit(4);
    ///         for _ in 0..100 {
    ///             few.spawn(async { /* at most four of these */ }).await.detach();
    ///             assert!(g.len() <= 4);
    ///         }
    ///     })
    ///     .await
    ///     .unwrap();
    /// });
    /// ```
    pub fn with_limit(&self, limit: usize) -> LimitedGroup<Self> {
        LimitedGroup { group: self.clone(), room: Arc::new(Semaphore::new(limit)) }
    }
}

impl<E: Send + 'static> TryGroup<E> {
    group_methods!(Fallible, Result<T, E>, E, [T]);

    /// A handle that runs at most `limit` tasks at a time: see [`Group::with_limit`].
    pub fn with_limit(&self, limit: usize) -> LimitedGroup<Self> {
        LimitedGroup { group: self.clone(), room: Arc::new(Semaphore::new(limit)) }
    }
}

/// A group with a limit on how many tasks run at a time: see [`Group::with_limit`].
#[derive(Debug, Clone)]
pub struct LimitedGroup<G> {
    group: G,
    room: Arc<Semaphore>,
}

impl LimitedGroup<Group> {
    /// Waits until fewer tasks than the limit run, and starts one.
    ///
    /// # Cancel safety
    ///
    /// Nothing has started when it is cancelled.
    pub async fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let permit = self.room.clone().acquire_owned().await;
        self.group.spawn(with_permit(permit, future))
    }
}

impl<E: Send + 'static> LimitedGroup<TryGroup<E>> {
    /// Waits until fewer tasks than the limit run, and starts one.
    ///
    /// # Cancel safety
    ///
    /// Nothing has started when it is cancelled.
    pub async fn spawn<F, T>(&self, future: F) -> Task<T>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let permit = self.room.clone().acquire_owned().await;
        self.group.spawn(with_permit(permit, future))
    }
}

/// Keeps the permit until the future is gone.
async fn with_permit<P, F: Future>(permit: Result<P, AcquireError>, future: F) -> F::Output {
    let _permit = permit.expect("nobody closes it");
    future.await
}

impl Clone for Group {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), shared: self.shared.clone() }
    }
}

impl<E> Clone for TryGroup<E> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), shared: self.shared.clone() }
    }
}

impl<E> fmt::Debug for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Group")
            .field("running", &state.running)
            .field("closed", &state.closed.is_some())
            .field("errors", &state.errors.len())
            .field("panics", &state.panics.len())
            .finish()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl<E> fmt::Debug for TryGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}
