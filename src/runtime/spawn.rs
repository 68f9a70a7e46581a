//! Spawning tasks, from any thread.

use std::{fmt, future::pending, panic::Location};

use super::{Handle, Inner, context};
use crate::{
    scheduler::{self, Worker},
    task::{self, Origin, Task},
    util::current,
};

/// Starts a task on the current runtime. It runs at the same time as the spawner.
///
/// On one worker, tasks begin in the order in which they were spawned, and none before
/// the spawner's next suspension. After the runtime has begun to end, the task is
/// dropped unpolled.
///
/// asyncio: `asyncio.create_task`. The runtime holds the task: nothing is lost if the
/// handle is dropped.
///
/// # Panics
///
/// On a thread that belongs to no runtime; [`Handle::spawn`] works from anywhere.
///
/// ```
/// ringloop::run(async {
///     let twice = ringloop::spawn(async { 21 * 2 });
///     assert_eq!(twice.await.unwrap(), 42);
/// });
/// ```
///
/// What it captures must be `Send`, and so must what it holds across an await, since the task may be stolen by another
/// worker:
///
/// ```compile_fail
/// use std::rc::Rc;
///
/// async fn count(shared: Rc<u32>) {
///     ringloop::yield_now().await;
///     println!("{shared}");
/// }
///
/// ringloop::run(async {
///     ringloop::spawn(count(Rc::new(1))).detach();
/// });
/// ```
///
/// The compiler says what is held, and at which await:
///
/// ```text
/// error: future cannot be sent between threads safely
///     ringloop::spawn(count(Rc::new(1))).detach();
///                     ^^^^^^^^^^^^^^^^^ future returned by `count` is not `Send`
/// note: future is not `Send` as this value is used across an await
///     async fn count(shared: Rc<u32>) {
///                    ------ has type `Rc<u32>` which is not `Send`
///     ringloop::yield_now().await;
///                           ^^^^^ await occurs here, with `shared` maybe used later
/// ```
///
/// Take [`spawn_local`], which needs no `Send`; or an `Arc` for the `Rc`. A guard of a `std::sync::Mutex` has to be dropped
/// before the await, or be one of [`sync::Lock`](crate::sync::Lock).
#[doc(alias = "create_task")]
#[doc(alias = "ensure_future")]
#[track_caller]
#[inline]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_from(future, Location::caller())
}

/// As [`spawn`], for the place that reports are to name.
#[inline]
pub(crate) fn spawn_from<F>(future: F, spawned_at: &'static Location<'static>) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if size_of::<F>() > BOXED {
        spawn_at(Box::pin(future), spawned_at)
    } else {
        spawn_at(future, spawned_at)
    }
}

/// Futures larger than this are boxed before anything else. By value they would be moved
/// from frame to frame, and without optimisation each frame keeps its copy: a megabyte
/// would not fit a thread's stack.
const BOXED: usize = if cfg!(debug_assertions) { 2048 } else { 16 * 1024 };

#[inline]
fn spawn_at<F>(future: F, spawned_at: &'static Location<'static>) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if scheduler::is_worker() {
        let spawned = scheduler::with_worker(|worker| worker.spawn(future, spawned_at));
        spawned.expect("this thread is a worker")
    } else {
        spawn_in_context(future, spawned_at)
    }
}

#[cold]
fn spawn_in_context<F>(future: F, spawned_at: &'static Location<'static>) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match context::current() {
        Ok(handle) => handle.spawn_at(future, spawned_at),
        Err(error) => panic!("ringloop::spawn at {spawned_at}: {error}"),
    }
}

/// Starts a task whose error goes to the [hook](crate::Builder::on_error), as
/// [`ErrorEvent::TaskFailed`](crate::ErrorEvent::TaskFailed): no task has to await it to learn of
/// the error.
///
/// The error is reported when the task ends with it. A panic is reported as for any task: when its
/// handle is dropped.
///
/// asyncio: "Task exception was never retrieved", which is logged when the task is collected.
///
/// # Panics
///
/// On a thread that belongs to no runtime.
///
/// ```
/// use std::io;
///
/// let (told, hears) = std::sync::mpsc::channel();
/// ringloop::Builder::new()
///     .on_error(move |event| told.send(event.to_string()).unwrap())
///     .run(async {
///         ringloop::spawn_logged(async { Err(io::Error::other("no such page")) }).await.unwrap();
///     })
///     .unwrap();
/// assert!(hears.recv().unwrap().ends_with("failed: no such page"));
/// ```
#[track_caller]
pub fn spawn_logged<F, E>(future: F) -> Task<()>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + 'static,
{
    spawn_at(logged(future), Location::caller())
}

async fn logged<E: fmt::Display>(future: impl Future<Output = Result<(), E>>) {
    if let Err(error) = future.await {
        task::report_failure(&error);
    }
}

/// Starts a task that stays on this worker: its future need not be `Send`.
///
/// Between two of its suspensions no other task of this worker runs, which is
/// asyncio's promise. It competes fairly with other tasks, and cannot be stolen: a
/// worker that is busy with one long poll keeps all its local tasks waiting.
///
/// # Panics
///
/// On a thread that is not a worker: a local task has to stay where it begins.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// ringloop::run(async {
///     let count = Rc::new(Cell::new(0));
///     let shared = count.clone();
///     ringloop::spawn_local(async move { shared.set(1) }).await.unwrap();
///     assert_eq!(count.get(), 1);
/// });
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let spawned_at = Location::caller();
    if size_of::<F>() > BOXED {
        spawn_local_at(Box::pin(future), spawned_at)
    } else {
        spawn_local_at(future, spawned_at)
    }
}

fn spawn_local_at<F>(future: F, spawned_at: &'static Location<'static>) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    // SAFETY: `'static`.
    let spawn = |worker: &Worker| unsafe { worker.spawn_local(future, spawned_at) };
    match scheduler::with_worker(spawn) {
        Some(task) => task,
        None => not_a_worker(spawned_at),
    }
}

#[cold]
fn not_a_worker(spawned_at: &Location<'_>) -> ! {
    panic!(
        "ringloop::spawn_local at {spawned_at}: this thread is not a worker; \
         call it inside ringloop::run(async {{ .. }}) or on a task"
    )
}

impl Handle {
    /// Starts a task on this runtime, from any thread. After the runtime's end the
    /// task is dropped unpolled, and is [cancelled](crate::TaskError::is_cancelled). So it
    /// is in a forked child, if the handle is from before the fork: there is no worker.
    ///
    /// asyncio: `run_coroutine_threadsafe`.
    ///
    /// ```
    /// let rt = ringloop::Runtime::new().unwrap();
    /// let handle = rt.handle();
    /// let task = std::thread::spawn(move || handle.spawn(async { "from afar" })).join().unwrap();
    /// assert_eq!(rt.run(task).unwrap().unwrap(), "from afar");
    /// ```
    #[doc(alias = "run_coroutine_threadsafe")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned_at = Location::caller();
        if size_of::<F>() > BOXED {
            self.spawn_at(Box::pin(future), spawned_at)
        } else {
            self.spawn_at(future, spawned_at)
        }
    }

    fn spawn_at<F>(&self, future: F, spawned_at: &'static Location<'static>) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.is_here() {
            spawn_at(future, spawned_at)
        } else {
            self.send(future, spawned_at.into())
        }
    }

    /// Whether this thread is a worker of the runtime, which has not begun to end.
    pub(crate) fn is_here(&self) -> bool {
        let inner = &*self.inner;
        let here = scheduler::with_worker(|worker| worker.hub().key() == inner.hub.key());
        here == Some(true) && inner.is_ours() && inner.gate.is_open()
    }

    /// Starts a task from a thread that is no worker of the runtime.
    fn send<F>(&self, future: F, origin: Origin) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut new = Some((future, origin));
        let mut take = || new.take().expect("taken once");
        self.inner.try_spawn(&mut take).unwrap_or_else(|| {
            let (future, origin) = take();
            task::refused(future, scheduler::new_ids(1), origin)
        })
    }
}

impl Inner {
    /// Starts a task from a thread that is no worker of the runtime. After its end `make` is not called.
    pub(super) fn try_spawn<F>(&self, make: impl FnOnce() -> (F, Origin)) -> Option<Task<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawn = || {
            let (future, origin) = make();
            // SAFETY: `Send` and `'static`.
            unsafe { scheduler::spawn_foreign(self.hub, future, origin) }
        };
        if self.is_ours() { self.gate.pass(spawn, || {}) } else { None }
    }
}

impl task::Builder {
    /// Starts the task on the current runtime, as [`spawn`](crate::spawn).
    ///
    /// # Panics
    ///
    /// On a thread that belongs to no runtime; [`spawn_to`](Self::spawn_to) works from anywhere.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned_at = Location::caller();
        match context::current() {
            Ok(handle) => handle.build(self.into_origin(spawned_at), future),
            Err(error) => panic!("ringloop::task::Builder::spawn at {spawned_at}: {error}"),
        }
    }

    /// Starts the task on the runtime of a handle, from any thread, as [`Handle::spawn`].
    ///
    /// ```
    /// let rt = ringloop::Runtime::new().unwrap();
    /// let builder = ringloop::task::Builder::new().name("from afar");
    /// let task = builder.spawn_to(&rt.handle(), async { 7 });
    /// assert_eq!(task.name(), Some("from afar"));
    /// assert_eq!(rt.run(task).unwrap().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn spawn_to<F>(self, runtime: &Handle, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        runtime.build(self.into_origin(Location::caller()), future)
    }

    /// Starts the task on this worker, where it stays, as [`spawn_local`](crate::spawn_local).
    ///
    /// # Panics
    ///
    /// On a thread that is not a worker.
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let spawned_at = Location::caller();
        let origin = self.into_origin(spawned_at);
        let spawned = if size_of::<F>() > BOXED {
            build_local(origin, Box::pin(future))
        } else {
            build_local(origin, future)
        };
        spawned.unwrap_or_else(|| not_a_worker(spawned_at))
    }
}

fn build_local<F>((origin, eager): (Origin, bool), future: F) -> Option<Task<F::Output>>
where
    F: Future + 'static,
    F::Output: 'static,
{
    scheduler::with_worker(|worker| match eager {
        true => worker.spawn_local_eager(future, origin),
        // SAFETY: `'static`.
        false => unsafe { worker.spawn_local(future, origin) },
    })
}

impl Handle {
    fn build<F>(&self, origin: (Origin, bool), future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if size_of::<F>() > BOXED {
            self.build_unboxed(origin, Box::pin(future))
        } else {
            self.build_unboxed(origin, future)
        }
    }

    fn build_unboxed<F>(&self, (origin, eager): (Origin, bool), future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if !self.is_here() {
            return self.send(future, origin);
        }
        let spawn = |worker: &Worker| match eager {
            true => worker.spawn_eager(future, origin),
            false => worker.spawn(future, origin),
        };
        scheduler::with_worker(spawn).expect("this thread is a worker")
    }
}

/// A worker of a runtime, by its number: from 0 to one less than [`Handle::workers`].
///
/// ```
/// ringloop::run(async {
///     let ids = ringloop::Handle::current().worker_ids();
///     assert_eq!(ids[0].index(), 0);
///     assert_eq!(ids.len(), ringloop::Handle::current().workers());
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(usize);

impl WorkerId {
    /// The worker's number.
    pub fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Handle {
    /// The workers of the runtime, for [`spawn_on`](Self::spawn_on).
    pub fn worker_ids(&self) -> Vec<WorkerId> {
        (0..self.workers()).map(WorkerId).collect()
    }

    /// Starts a task that stays on one worker, from any thread.
    ///
    /// `make` runs on that worker, at the task's first poll, so that the future which it returns need
    /// not be `Send`. The task competes fairly with the worker's other tasks, and cannot be stolen: a
    /// worker that one long poll holds keeps it waiting. After the runtime's end `make` is dropped
    /// uncalled, and the task is [cancelled](crate::TaskError::is_cancelled).
    ///
    /// asyncio: nothing alike, since a loop has one thread.
    ///
    /// # Panics
    ///
    /// The runtime has no such worker: the id is another runtime's.
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// ringloop::run(async {
    ///     let handle = ringloop::Handle::current();
    ///     for worker in handle.worker_ids() {
    ///         let task = handle.spawn_on(worker, move || async move {
    ///             let shared = Rc::new(worker.index());
    ///             ringloop::yield_now().await;
    ///             *shared
    ///         });
    ///         assert_eq!(task.await.unwrap(), worker.index());
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_on<M, F>(&self, worker: WorkerId, make: M) -> Task<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let spawned_at = Location::caller();
        let workers = self.workers();
        assert!(
            worker.0 < workers,
            "Handle::spawn_on: worker {worker} of a runtime that has {workers}: take an id of its own \
             worker_ids()"
        );
        let inner = &*self.inner;
        let spawn = || {
            let future = async move { make().await };
            // SAFETY: `'static`; and until its first poll the future holds nothing but `make`.
            unsafe { scheduler::spawn_on(inner.hub, worker.0, future, spawned_at) }
        };
        let spawned = if inner.is_ours() { inner.gate.pass(spawn, || {}) } else { None };
        // Refused, `make` has been dropped: a future that never ends stands for its own.
        spawned.unwrap_or_else(|| task::refused(pending(), scheduler::new_ids(1), spawned_at))
    }
}

/// Lets every other task that is ready on this worker run once before this one
/// goes on.
///
/// asyncio: `asyncio.sleep(0)`.
///
/// # Cancel safety
///
/// Nothing is lost.
///
/// ```
/// ringloop::run(async {
///     for _ in 0..3 {
///         ringloop::yield_now().await;
///     }
/// });
/// ```
#[doc(alias = "sleep(0)")]
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        if current::in_task() {
            task::yield_turn(cx)
        } else {
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    })
    .await;
}
