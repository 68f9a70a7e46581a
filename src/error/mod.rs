//! Every error of the runtime itself. I/O errors pass through as `io::Error`.

mod cause;
pub(crate) mod hook;
mod to_io;

use std::{
    any::Any,
    borrow::Cow,
    error::Error,
    fmt,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

pub use self::cause::{CancelCause, ScopeKind};
pub(crate) use self::{cause::Cause, to_io::into_io_error};

use crate::util::threads::SMALLEST_STACK;

/// Names one task, uniquely within the process. Events and errors speak of tasks by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(crate) u64);

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A task as reports show it: its number, and its name if it has one.
pub(crate) struct Named<'a>(pub(crate) TaskId, pub(crate) Option<&'a str>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.1 {
            Some(name) => write!(f, " \"{name}\""),
            None => Ok(()),
        }
    }
}

type Payload = Box<dyn Any + Send + 'static>;

/// A payload that several threads may look at: errors are `Sync`, so that they fit into other error
/// types.
struct Panic(Mutex<Payload>);

impl Panic {
    fn new(payload: Payload) -> Self {
        Self(Mutex::new(payload))
    }

    fn into_payload(self) -> Payload {
        self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn message(&self) -> String {
        let payload = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        crate::util::panic::message(&payload)
    }
}

/// Why a task has no value: it was cancelled, it panicked, or, for a job of
/// [`to_thread`](crate::to_thread), there was no thread to run it.
///
/// asyncio: `CancelledError`, or the exception that the task raised.
///
/// ```
/// ringloop::run(async {
///     let task = ringloop::spawn(std::future::pending::<()>());
///     task.cancel();
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
pub struct TaskError(Arc<Failure>);

/// What is known of it: behind one pointer, since the error is part of every task's result.
enum Failure {
    Cancelled(CancelCause),
    Panicked(Panic),
    /// What the system said.
    NoThread(std::io::Error),
    /// Which, and how many jobs it holds.
    QueueFull(String, usize),
}

impl TaskError {
    pub(crate) fn cancelled_by(cause: Cause) -> Self {
        Self(cause.0)
    }

    pub(crate) fn panicked(payload: Payload) -> Self {
        Self(Arc::new(Failure::Panicked(Panic::new(payload))))
    }

    pub(crate) fn no_thread(error: std::io::Error) -> Self {
        Self(Arc::new(Failure::NoThread(error)))
    }

    pub(crate) fn queue_full(lane: &str, limit: usize) -> Self {
        Self(Arc::new(Failure::QueueFull(lane.to_owned(), limit)))
    }

    /// The panic's text, if it was one.
    pub(crate) fn panic_message(&self) -> Option<String> {
        match &*self.0 {
            Failure::Panicked(panic) => Some(panic.message()),
            _ => None,
        }
    }

    /// Whether the task was cancelled, aborted, or refused by a runtime that was ending.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, Failure::Cancelled(_))
    }

    /// The cause of the task's cancellation, if it was cancelled.
    ///
    /// asyncio: the `msg` of the `CancelledError`.
    pub fn cancel_cause(&self) -> Option<&CancelCause> {
        match &*self.0 {
            Failure::Cancelled(cause) => Some(cause),
            _ => None,
        }
    }

    /// Whether the task panicked, in a poll or in the destructor of its future.
    pub fn is_panicked(&self) -> bool {
        matches!(*self.0, Failure::Panicked(_))
    }

    /// Whether it was a job of [`to_thread`](crate::to_thread) or of a [`ThreadPool`](crate::ThreadPool)
    /// that never ran: the system refused a thread for it, and there was no other; or the
    /// [queue was full](Self::is_queue_full). To try again later may help.
    pub fn is_refused(&self) -> bool {
        matches!(*self.0, Failure::NoThread(_) | Failure::QueueFull(..))
    }

    /// Whether it was a job that never ran, since as many were queued as may be: see
    /// [`Builder::blocking_queue`](crate::Builder::blocking_queue) and
    /// [`ThreadPoolBuilder::queue`](crate::ThreadPoolBuilder::queue).
    pub fn is_queue_full(&self) -> bool {
        matches!(*self.0, Failure::QueueFull(..))
    }

    /// What the panic carried, to look at or to [resume](std::panic::resume_unwind).
    ///
    /// # Panics
    ///
    /// If the task did not panic; see [`try_into_panic`](Self::try_into_panic).
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic().unwrap_or_else(|error| panic!("the task did not panic: {error}"))
    }

    /// What the panic carried, or the error back.
    ///
    /// # Errors
    ///
    /// `self`, if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, TaskError> {
        if !self.is_panicked() {
            return Err(self);
        }
        match Arc::into_inner(self.0) {
            Some(Failure::Panicked(panic)) => Ok(panic.into_payload()),
            _ => unreachable!("no other error shares it"),
        }
    }
}

/// A text without its middle, if it is long. A task that unwraps the result of another one has that one's error in its own
/// panic: in a chain of tasks, each text would be twice as long as the one before, if quotes were escaped.
struct Short<'a>(&'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Of the beginning and of the end, in characters.
        const KEPT: usize = 400;
        let mut starts = self.0.char_indices().map(|(at, _)| at);
        let head = starts.nth(KEPT);
        let tail = starts.nth_back(KEPT - 1);
        match (head, tail) {
            (Some(head), Some(tail)) => write!(f, "{} .. {}", &self.0[..head], &self.0[tail..]),
            _ => f.write_str(self.0),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Failure::Cancelled(cause) => write!(f, "TaskError::Cancelled({cause})"),
            Failure::Panicked(panic) => {
                write!(f, "TaskError::Panicked(\"{}\")", Short(&panic.message()))
            }
            Failure::NoThread(error) => write!(f, "TaskError::Refused({error})"),
            Failure::QueueFull(lane, limit) => write!(f, "TaskError::QueueFull({lane}, {limit})"),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Failure::Cancelled(cause) => write!(f, "the task was {cause}"),
            Failure::Panicked(panic) => write!(f, "the task panicked: {}", panic.message()),
            Failure::NoThread(error) => write!(
                f,
                "the system refused the blocking pool its first thread: {error}; {RAISE_THREADS}"
            ),
            Failure::QueueFull(lane, limit) => write!(
                f,
                "the queue of {lane} is full with {limit} jobs: hand fewer over at a time (a \
                 CapacityLimiter waits for its turn), or give it a longer queue or more threads"
            ),
        }
    }
}

/// What to do where threads are refused.
const RAISE_THREADS: &str = "raise the limit of threads (ulimit -u, the cgroup's pids.max)";

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            Failure::NoThread(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a main future has no value.
///
/// asyncio: what `asyncio.run` raises.
pub struct RunError(RunErrorKind);

enum RunErrorKind {
    Nested,
    Closed,
    Cancelled,
    Interrupted,
    Panicked(Box<Panic>),
    Build(BuildError),
}

impl RunError {
    pub(crate) fn nested() -> Self {
        Self(RunErrorKind::Nested)
    }

    pub(crate) fn closed() -> Self {
        Self(RunErrorKind::Closed)
    }

    /// Of a main that has no value, perhaps since SIGINT came.
    pub(crate) fn from_main(error: TaskError, interrupted: bool) -> Self {
        Self(match error.try_into_panic() {
            Ok(payload) => RunErrorKind::Panicked(Box::new(Panic::new(payload))),
            Err(_) if interrupted => RunErrorKind::Interrupted,
            Err(_) => RunErrorKind::Cancelled,
        })
    }

    /// What the panic carried, or the error back.
    ///
    /// # Errors
    ///
    /// `self`, if the future did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, RunError> {
        match self.0 {
            RunErrorKind::Panicked(panic) => Ok(panic.into_payload()),
            kind => Err(Self(kind)),
        }
    }

    /// Whether the call was made on a worker thread, which it would have blocked.
    pub fn is_nested(&self) -> bool {
        matches!(self.0, RunErrorKind::Nested)
    }

    /// Whether the runtime had been shut down.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, RunErrorKind::Closed)
    }

    /// Whether the future was cancelled, as by a shutdown while it ran. By Ctrl-C, it was
    /// [interrupted](Self::is_interrupted).
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, RunErrorKind::Cancelled)
    }

    /// Whether Ctrl-C (SIGINT) has cancelled the future: see [`run`](crate::run).
    ///
    /// asyncio: `KeyboardInterrupt`.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.0, RunErrorKind::Interrupted)
    }

    /// Whether the future panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self.0, RunErrorKind::Panicked(_))
    }

    /// The reason why the runtime could not be built, if that is what failed.
    pub fn as_build_error(&self) -> Option<&BuildError> {
        match &self.0 {
            RunErrorKind::Build(error) => Some(error),
            _ => None,
        }
    }

    /// What the panic carried.
    ///
    /// # Panics
    ///
    /// If the future did not panic.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic().unwrap_or_else(|error| panic!("the future did not panic: {error}"))
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            RunErrorKind::Nested => f.write_str(
                "this thread is a worker of a runtime, so it must not block: \
                 await the future instead, or move the call to ringloop::to_thread",
            ),
            RunErrorKind::Closed => f.write_str(
                "the runtime has been shut down: keep the Runtime alive for as long as its handles run futures",
            ),
            RunErrorKind::Cancelled => f.write_str("the future was cancelled before it had a value"),
            RunErrorKind::Interrupted => {
                f.write_str("the future was cancelled by Ctrl-C (SIGINT) before it had a value")
            }
            RunErrorKind::Panicked(panic) => {
                write!(f, "the future panicked: {}", panic.message())
            }
            RunErrorKind::Build(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunError({self})")
    }
}

impl Error for RunError {}

impl From<BuildError> for RunError {
    fn from(error: BuildError) -> Self {
        Self(RunErrorKind::Build(error))
    }
}

const RUNTIME: &str = "the runtime";

/// Why a runtime or a [`ThreadPool`](crate::ThreadPool) could not be built. The text names the fix.
#[derive(Debug)]
pub struct BuildError {
    /// What could not be built.
    what: &'static str,
    message: Cow<'static, str>,
    source: Option<std::io::Error>,
}

impl BuildError {
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { what: RUNTIME, message: message.into(), source: None }
    }

    /// Of a [`ThreadPool`](crate::ThreadPool).
    pub(crate) fn of_pool(message: impl Into<Cow<'static, str>>) -> Self {
        Self { what: "the thread pool", message: message.into(), source: None }
    }

    pub(crate) fn io(message: impl Into<Cow<'static, str>>, source: std::io::Error) -> Self {
        Self { what: RUNTIME, message: message.into(), source: Some(source) }
    }

    /// The system's error behind it, if one is.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        self.source.as_ref()
    }
}

pub(crate) fn stack_too_small(bytes: usize) -> String {
    format!("a stack of {bytes} bytes overflows at once: give it at least {SMALLEST_STACK}")
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            None => write!(f, "cannot build {}: {}", self.what, self.message),
            Some(source) => write!(f, "cannot build {}: {}: {source}", self.what, self.message),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// There is no runtime on this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRuntime(());

impl NoRuntime {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no ringloop runtime on this thread: call this inside ringloop::run(async { .. }), \
             on a task, or through a Handle",
        )
    }
}

impl Error for NoRuntime {}

/// Something that went wrong and that no task awaits.
///
/// [`Builder::on_error`](crate::Builder::on_error) sets the function that receives it; by default
/// it is written to standard error. asyncio: the context given to `loop.call_exception_handler`.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorEvent {
    /// A task panicked and its handle was dropped, before or after, without taking the result.
    #[non_exhaustive]
    TaskPanicked {
        /// Which task.
        task: TaskId,
        /// Its name, if it has one.
        name: Option<String>,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// The panic's text.
        message: String,
    },
    /// A function that [`Handle::call_soon`](crate::Handle::call_soon) or its siblings called panicked.
    #[non_exhaustive]
    CallPanicked {
        /// Where it was scheduled.
        scheduled_at: &'static Location<'static>,
        /// The panic's text.
        message: String,
    },
    /// A task of [`spawn_logged`](crate::spawn_logged) has ended with an error.
    #[non_exhaustive]
    TaskFailed {
        /// Which task.
        task: TaskId,
        /// Its name, if it has one.
        name: Option<String>,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// The error's text.
        error: String,
    },
    /// A callback of [`Task::on_done`](crate::Task::on_done) panicked.
    #[non_exhaustive]
    CallbackPanicked {
        /// The task whose end it was called for.
        task: TaskId,
        /// The task's name, if it has one.
        name: Option<String>,
        /// Where the task was spawned.
        spawned_at: &'static Location<'static>,
        /// The panic's text.
        message: String,
    },
    /// A runtime does not get what it would use: io_uring, or rings of full size. It works all the
    /// same, with less speed. It is reported once per runtime. A runtime without a hook reports to
    /// standard error, but not that a seccomp filter refuses io_uring.
    #[non_exhaustive]
    BackendFallback {
        /// What it uses.
        backend: String,
        /// What is missing, and what to do about it.
        reason: String,
    },
    /// A listener cannot accept: descriptors or memory are exhausted, or each connection is
    /// forbidden. It waits for a moment and tries again; each pause is reported once.
    #[non_exhaustive]
    AcceptPaused {
        /// What accept(2) said.
        error: std::io::Error,
    },
    /// One poll has held a worker for long while other tasks wait on it; they were taken to another
    /// worker if there is one. Each such poll is reported once. The time counts in which the poll
    /// runs or sleeps in the kernel, not that in which its thread has no core, or is stopped.
    #[non_exhaustive]
    TaskHogsWorker {
        /// Which task.
        task: TaskId,
        /// Its name, if it has one.
        name: Option<String>,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// The worker's number.
        worker: usize,
        /// For how long at least, so far.
        running: Duration,
    },
    /// One poll of a task took long. Only [debug mode](crate::Builder::debug) looks for it, which
    /// reports each such poll at its end, whether others wait or not.
    #[non_exhaustive]
    SlowPoll {
        /// Which task.
        task: TaskId,
        /// Its name, if it has one.
        name: Option<String>,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// How long the poll took.
        took: Duration,
    },
    /// A task has caught one and the same cancellation many times and goes on. Only [debug
    /// mode](crate::Builder::debug) looks for it, which reports it once for each request.
    #[non_exhaustive]
    CancelIgnored {
        /// Which task.
        task: TaskId,
        /// Its name, if it has one.
        name: Option<String>,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// How often so far.
        catches: u64,
    },
    /// The system refuses a thread for blocking jobs. They wait for the threads that there are; if
    /// there is none, they [fail](TaskError::is_refused). It is reported once, and again after a
    /// thread could be started.
    #[non_exhaustive]
    ThreadRefused {
        /// What clone(2) said.
        error: std::io::Error,
    },
    /// Blocking jobs have waited for a second, and no further thread may be started for them. It is
    /// reported once, and again when the queue has been empty meanwhile.
    #[non_exhaustive]
    BlockingSaturated {
        /// Which threads: "blocking jobs", "files", "names", or the name of a
        /// [`ThreadPool`](crate::ThreadPool).
        lane: String,
        /// The limit of its threads, all of which are busy.
        threads: usize,
        /// Jobs that wait.
        queued: usize,
        /// How long the oldest of them has waited.
        waits: Duration,
        /// The job that has held its thread for longest.
        task: TaskId,
        /// Where that was handed over.
        started_at: &'static Location<'static>,
    },
    /// A task waits for a lock that it acquired itself and that was not released since. Only
    /// builds with `debug_assertions` look for it.
    ///
    /// It waits for itself, and for ever. There are two exceptions, which cannot be seen, and where
    /// the report may be ignored: another part of the task releases the lock, as in a `join!`, or
    /// the task has given the guard to another task.
    #[non_exhaustive]
    LockHeldByWaiter {
        /// Which task.
        task: TaskId,
        /// Its name, if it has one.
        name: Option<String>,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
    },
    /// The kernel had no memory for completions of a worker's io_uring, and has dropped them. Their
    /// operations never end, and nobody knows which they are: the runtime cancels all tasks and
    /// ends, as if it was shut down. That takes 2 s longer, in which it waits for the operations that
    /// are in flight; those that do not end are leaked, on purpose.
    #[non_exhaustive]
    CompletionsLost {
        /// The worker's number.
        worker: usize,
    },
    /// Shutdown gave up waiting. What is named here was leaked, on purpose.
    #[non_exhaustive]
    ShutdownTimedOut {
        /// What held it, one line each.
        holders: Vec<String>,
    },
}

/// Whether accept(2) failed because the connection is not allowed.
fn is_forbidden(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported)
}

impl ErrorEvent {
    /// The task that it is about, if that may have ended long before.
    pub(crate) fn late_task(&self) -> Option<TaskId> {
        match self {
            Self::TaskPanicked { task, .. } | Self::CallbackPanicked { task, .. } => Some(*task),
            _ => None,
        }
    }

    /// A mistake that a task makes.
    fn fmt_mistake(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskHogsWorker { task, name, spawned_at, worker, running } => write!(
                f,
                "task {} (spawned at {spawned_at}) has held worker {worker} for {running:?} in one poll; \
                 move blocking work to ringloop::to_thread, or yield in long loops",
                Named(*task, name.as_deref()),
            ),
            Self::SlowPoll { task, name, spawned_at, took } => write!(
                f,
                "task {} (spawned at {spawned_at}) took {took:?} in one poll; \
                 move blocking work to ringloop::to_thread, or yield in long loops",
                Named(*task, name.as_deref()),
            ),
            Self::CancelIgnored { task, name, spawned_at, catches } => write!(
                f,
                "task {} (spawned at {spawned_at}) has caught its cancellation {catches} times and goes on; \
                 let it return after its cleanup, or call Cancelled::consume",
                Named(*task, name.as_deref()),
            ),
            Self::LockHeldByWaiter { task, name, spawned_at } => write!(
                f,
                "task {} (spawned at {spawned_at}) waits for a lock that it acquired itself; \
                 unless it handed the guard on, it waits for itself: drop the guard before",
                Named(*task, name.as_deref()),
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ErrorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskPanicked { task, name, spawned_at, message } => {
                let task = Named(*task, name.as_deref());
                write!(
                    f,
                    "task {task} (spawned at {spawned_at}) panicked and nobody took its result: {message}"
                )
            }
            Self::CallPanicked { scheduled_at, message } => {
                write!(f, "the call that was scheduled at {scheduled_at} panicked: {message}")
            }
            Self::TaskFailed { task, name, spawned_at, error } => {
                let task = Named(*task, name.as_deref());
                write!(f, "task {task} (spawned at {spawned_at}) failed: {error}")
            }
            Self::CallbackPanicked { task, name, spawned_at, message } => {
                let task = Named(*task, name.as_deref());
                write!(
                    f,
                    "a callback for the end of task {task} (spawned at {spawned_at}) panicked: {message}"
                )
            }
            Self::BackendFallback { backend, reason } => {
                write!(f, "the backend is {backend}, and less than it could be: {reason}")
            }
            Self::AcceptPaused { error } if is_forbidden(error) => write!(
                f,
                "accepting is paused for a moment: {error}; \
                a firewall or a security module forbids the connections"
            ),
            Self::AcceptPaused { error } => write!(
                f,
                "accepting is paused until a descriptor is freed: {error}; \
                 raise the limit (ulimit -n) or cap the connections"
            ),
            Self::TaskHogsWorker { .. }
            | Self::SlowPoll { .. }
            | Self::CancelIgnored { .. }
            | Self::LockHeldByWaiter { .. } => self.fmt_mistake(f),
            Self::ThreadRefused { error } => write!(
                f,
                "the system refuses a thread for blocking jobs, which wait for the others, or fail \
                 if there is none: {error}; {RAISE_THREADS}"
            ),
            Self::BlockingSaturated { lane, threads, queued, waits, task, started_at } => write!(
                f,
                "{lane}: all {threads} threads are busy, and {queued} jobs wait, the oldest for {waits:?}; \
                 job {task} (started at {started_at}) has held its thread for longest: raise the limit of \
                 threads, or move jobs that take long to a ThreadPool of their own"
            ),
            Self::CompletionsLost { worker } => write!(
                f,
                "the kernel has dropped completions of worker {worker}'s io_uring for want of memory, so that \
                 the runtime ends and all tasks are cancelled; raise the memory limit of the control group"
            ),
            Self::ShutdownTimedOut { holders } => {
                write!(f, "shutdown gave up waiting for: {}", holders.join("; "))
            }
        }
    }
}
