//! Running a main future: on the calling thread, or on a runtime's workers.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use super::{Builder, Handle, context, crew::Crew, shutdown};
use crate::{
    error::{RunError, TaskError},
    scheduler::{self, Worker},
    task::Task,
    util::{
        current::{self, Role, RoleForNow},
        fork,
    },
};

/// Runs `main` to its end on a new runtime, of which the calling thread is a worker.
///
/// `main` need not be `Send`, nor `'static`. When it has its value, what it left
/// running is cancelled and waited for, threads are joined, and the runtime is gone.
/// There is a worker for each core that is available to the process;
/// [`Builder::run`] takes options.
///
/// asyncio: `asyncio.run`.
///
/// # Panics
///
/// If it is called on a worker's thread (await instead), if the runtime cannot be built, and if
/// `main` panics. [`Builder::run`] returns these as errors.
///
/// ```
/// let answer = ringloop::run(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// ```
#[track_caller]
pub fn run<F: Future>(main: F) -> F::Output {
    run_on(Builder::new(), main)
}

/// [`run`] with options.
#[track_caller]
pub(crate) fn run_on<F: Future>(builder: Builder, main: F) -> F::Output {
    match run_here(builder, main) {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(error) => panic!("ringloop::run: {error}"),
        },
    }
}

#[track_caller]
pub(super) fn run_here<F: Future>(builder: Builder, main: F) -> Result<F::Output, RunError> {
    if current::must_not_block() {
        return Err(RunError::nested());
    }
    let spawned_at = std::panic::Location::caller();
    let (inner, mut seats) = builder.prepare()?;
    let hub = inner.hub;
    let peers = super::builder::peers(&seats);
    let first = seats.remove(0);
    let crew = Crew::start_with(&inner, seats, 1, peers.clone())?;
    let handle = Handle { inner };
    let role = RoleForNow::take(Role::Worker(handle.inner.id));
    let context = context::enter(handle.clone());
    let worker = Worker::new(0, hub, first, peers);
    let (result, deadline) = worker.enter(|| {
        // SAFETY: the loop below ends when the task has, which is before `main`'s
        // borrows do: they outlive this function.
        let mut task = unsafe { worker.spawn_local(main, spawned_at) };
        worker.run(|| task.is_finished() || worker.has_lost());
        if worker.has_lost() {
            shutdown::end_after_loss(&handle.inner, &worker);
            worker.run(|| task.is_finished());
        }
        // A child that `main` has forked cannot end the parent's runtime.
        fork::expect_parent(handle.inner.process);
        let result = take(&mut task);
        (result, shutdown::close_worker(&handle, &worker))
    });
    worker.close();
    shutdown::finish(&handle, crew, deadline);
    drop((context, role));
    result.map_err(RunError::from_task)
}

/// The result of a task that is finished.
fn take<T>(task: &mut Task<T>) -> Result<T, TaskError> {
    match pin!(task).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the task is finished"),
    }
}

impl Handle {
    /// Runs `future` on the runtime's workers; this thread waits, so that the future
    /// may borrow from it.
    ///
    /// asyncio: `run_coroutine_threadsafe(...).result()`.
    ///
    /// # Errors
    ///
    /// [Nested](RunError::is_nested) on a worker's thread, where waiting would block
    /// other tasks; [closed](RunError::is_closed) after the runtime's end;
    /// [cancelled](RunError::is_cancelled) when the runtime ends meanwhile;
    /// [panicked](RunError::is_panicked) if the future did.
    ///
    /// A forked child has no worker to run it: with a handle from before the fork, it gets
    /// [closed](RunError::is_closed) at once.
    ///
    /// ```
    /// let rt = ringloop::Runtime::new().unwrap();
    /// let handle = rt.handle();
    /// let words = vec!["borrowed", "by", "the", "future"];
    /// let count = handle.block_on(async { words.len() }).unwrap();
    /// assert_eq!(count, 4);
    /// ```
    #[track_caller]
    pub fn block_on<F>(&self, future: F) -> Result<F::Output, RunError>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let inner = &*self.inner;
        if !inner.is_ours() {
            return Err(RunError::closed());
        }
        if current::must_not_block() {
            return Err(RunError::nested());
        }
        let spawned_at = std::panic::Location::caller();
        // SAFETY: the future is `Send`. It may borrow: this function does not return,
        // nor unwind, before the task has ended and its future is gone.
        let spawn = || unsafe { scheduler::spawn_foreign(inner.hub, future, spawned_at) };
        let Some(task) = inner.gate.pass(spawn, || {}) else {
            return Err(RunError::closed());
        };
        wait_for(task).map_err(RunError::from_task)
    }
}

/// Blocks this thread until the task has ended. Does not unwind.
fn wait_for<T>(task: Task<T>) -> Result<T, TaskError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut task = pin!(task);
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}
