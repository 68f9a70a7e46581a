//! Running a main future: on the calling thread, or on a runtime's workers.

use std::{
    cell::Cell,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
};

use super::{
    Builder, Handle, context,
    crew::Crew,
    interrupt::{self, Waiter},
    shutdown,
    testing::Watched,
};
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
/// Ctrl-C (SIGINT) cancels `main`: it is dropped where it waits, with its destructors, and the runtime ends.
/// Then the process ends as by the signal itself, unless `main` had a value all the same. A second Ctrl-C
/// ends the process at once. That is so if the signal had its default disposition when this was
/// called, and while nobody [listens](crate::signal::ctrl_c) for it.
///
/// asyncio: `asyncio.run`, which raises `KeyboardInterrupt` then, and does so on the main thread only.
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
#[doc(alias = "asyncio.run", alias = "run_until_complete")]
pub fn run<F: Future>(main: F) -> F::Output {
    run_on(Builder::new(), main)
}

/// [`run`] with options.
#[track_caller]
pub(crate) fn run_on<F: Future>(builder: Builder, main: F) -> F::Output {
    match run_here(builder, main) {
        Ok(value) => value,
        Err(error) if error.is_interrupted() => interrupt::end_process(),
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
    inner.begin_inspection();
    let handle = Handle { inner };
    let role = RoleForNow::take(Role::Worker(handle.inner.id));
    let context = context::enter(handle.clone());
    let begun = handle.inner.threads.enter_worker(0);
    let worker = Worker::new(0, hub, first, peers);
    let watch = interrupt::watch(hub, None);
    let interrupted = Cell::new(false);
    let (result, deadline) = worker.enter(|| {
        // SAFETY: the loop below ends when the task has, which is before `main`'s
        // borrows do: they outlive this function.
        let mut task = unsafe { worker.spawn_local(Watched::new(main), spawned_at) };
        let interrupt = || {
            if watch.is_some() {
                interrupted.set(true);
                task.cancel_from_outside(interrupt::REASON);
            }
        };
        interrupt::attend(&worker, || task.is_finished() || worker.has_lost(), interrupt);
        if worker.has_lost() {
            shutdown::end_after_loss(&handle.inner, &worker);
            worker.run(|| task.is_finished());
        }
        // A child that `main` has forked cannot end the parent's runtime.
        fork::expect_parent(handle.inner.process);
        // From here on SIGINT ends the process, if that is its default.
        drop(watch);
        let result = take(&mut task);
        (result, shutdown::close_worker(&handle, &worker))
    });
    worker.close();
    drop(begun);
    shutdown::finish(&handle, crew, deadline);
    drop((context, role));
    result.map_err(|error| RunError::from_main(error, interrupted.get()))
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
    /// [interrupted](RunError::is_interrupted) when Ctrl-C has cancelled the future, under the conditions
    /// of [`run`]; [panicked](RunError::is_panicked) if the future did.
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
    #[doc(alias = "run_until_complete")]
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
        let future = Watched::new(future);
        let waiter = Waiter::new();
        let _watch = interrupt::watch(inner.hub, Some(&waiter));
        // SAFETY: the future is `Send`. It may borrow: this function does not return,
        // nor unwind, before the task has ended and its future is gone.
        let spawn = || unsafe { scheduler::spawn_foreign(inner.hub, future, spawned_at) };
        let Some(task) = inner.gate.pass(spawn, || {}) else {
            return Err(RunError::closed());
        };
        wait_for(task, &waiter).map_err(|error| RunError::from_main(error, waiter.is_interrupted()))
    }
}

/// Blocks this thread until the task has ended, and cancels it when the thread is interrupted. Does
/// not unwind.
fn wait_for<T>(task: Task<T>, waiter: &Arc<Waiter>) -> Result<T, TaskError> {
    let waker = Waker::from(waiter.clone());
    let mut task = pin!(task);
    loop {
        if waiter.is_interrupted() {
            task.cancel_from_outside(interrupt::REASON);
        }
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }
}
