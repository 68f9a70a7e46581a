//! Building, running and ending runtimes: the joint between tasks, workers, the
//! reactor and the blocking pool, and the two doors through which the modules above
//! reach them, [`operation`] for I/O and [`deadline`] for time.

mod backend;
mod builder;
mod callbacks;
mod context;
mod crew;
mod deadline;
mod debug;
mod histogram;
mod hooks;
mod inspect;
mod inspected;
pub(crate) mod interrupt;
mod job;
mod look;
pub(crate) mod operation;
mod outer;
mod owned;
#[cfg(test)]
mod owned_tests;
mod record;
mod resolver;
mod run;
mod shutdown;
mod spawn;
mod testing;
mod threads;

use std::{fmt, panic::Location, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;

#[cfg(feature = "tokio-bridge")]
pub use self::inspect::TokioMetrics;
#[cfg(feature = "tokio-bridge")]
pub(crate) use self::outer::{Guard, OuterRuntime};
pub use self::{
    backend::{Backend, BackendInfo, backend},
    builder::Builder,
    histogram::Histogram,
    inspect::{FileMetrics, LaneMetrics, Metrics, ShutdownReport, WorkerMetrics, all_tasks},
    resolver::Resolver,
    run::run,
    spawn::{WorkerId, spawn, spawn_local, spawn_logged, yield_now},
};
use self::{crew::Crew, testing::Replay, threads::ThreadOptions};
pub(crate) use self::{
    deadline::{Deadline, next_tick},
    inspected::{Inspection, inspected, is_any_inspected},
    job::call_on,
    look::{Look, all as all_runtimes},
    owned::{Route, count, perform, perform_on_thread},
    run::run_on,
    spawn::spawn_from,
    testing::MockClock,
};
use crate::{
    blocking::{self, Guests, Hand, Kind, Lane},
    error::{BuildError, ErrorEvent, NoRuntime, RunError, hook},
    reactor::Home,
    scheduler::{self, Hub, Standstill},
    task::{self, Task},
    util::{clock::played::Clock, current::RuntimeId, fork, gate::Gate},
};

/// What all handles of a runtime share.
struct Inner {
    id: RuntimeId,
    hub: &'static Hub,
    /// Open while threads that are no workers may spawn.
    gate: Gate,
    backend: BackendInfo,
    homes: Vec<Home>,
    pool: blocking::Pool,
    /// Its jobs on threads of others.
    guests: Guests,
    threads: ThreadOptions,
    standstill: Arc<Standstill>,
    /// The file for recordings that an alarm writes.
    record_to: Option<PathBuf>,
    name: String,
    names: resolver::Names,
    shutdown_deadline: Duration,
    /// The counters, once the runtime has ended and the hub is another's.
    last_metrics: Mutex<Option<Metrics>>,
    /// Whether other processes may look into it.
    inspected: bool,
    /// The process that has its threads.
    process: fork::Generation,
    /// When it was built.
    born: u64,
}

impl Inner {
    /// Whether this is not a forked child, which has none of the threads.
    fn is_ours(&self) -> bool {
        fork::generation() == self.process
    }

    /// Lets no more spawns in, and waits for those under way: each a few instructions.
    fn close_gate(&self) {
        self.gate.close(|| {});
        while !self.gate.is_closed() {
            std::thread::yield_now();
        }
    }

    /// The runtime has ended and all its threads are gone.
    fn release_hub(&self) {
        hook::clear(self.hub.key());
        callbacks::remove(self);
        self.end_inspection();
        self.hub.recycle();
    }
}

/// A runtime with worker threads of its own, which runs any number of main futures, one
/// after the other or from several threads at once.
///
/// Dropping it ends it, and waits for that: see [`shutdown`](Self::shutdown). Dropped on a worker's
/// thread, of this runtime or of another, or on a thread of its own blocking pool, it hands its end
/// to a thread made for that, and does not wait.
///
/// A forked child inherits the value, but none of its threads. There it refuses all work
/// (see [`Handle`]), dropping it does nothing, and a new runtime can be built.
///
/// asyncio: `asyncio.Runner`.
///
/// ```
/// let rt = ringloop::Runtime::new().unwrap();
/// let a = rt.run(async { 1 }).unwrap();
/// let b = rt.run(async { a + 1 }).unwrap();
/// assert_eq!(b, 2);
/// ```
#[doc(alias = "asyncio.Runner")]
pub struct Runtime {
    handle: Handle,
    crew: Option<Crew>,
    deadline: Duration,
    /// Dropped last: its drop may print a report.
    _replay: Replay,
}

impl Runtime {
    /// A runtime with the defaults of [`Builder`].
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Runtime, BuildError> {
        Builder::new().build()
    }

    fn new_with(handle: Handle, crew: Crew, deadline: Duration, replay: Replay) -> Self {
        Self { handle, crew: Some(crew), deadline, _replay: replay }
    }

    /// Runs `future` on the workers while this thread waits, so that the future may
    /// borrow. See [`Handle::block_on`].
    ///
    /// asyncio: `Runner.run`.
    ///
    /// # Errors
    ///
    /// As [`Handle::block_on`].
    #[doc(alias = "block_on", alias = "run_until_complete")]
    #[track_caller]
    pub fn run<F>(&self, future: F) -> Result<F::Output, RunError>
    where
        F: Future + Send,
        F::Output: Send,
    {
        self.handle.block_on(future)
    }

    /// Starts a task. See [`Handle::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// A handle, to give to others. It does not keep the runtime alive.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Counters of the runtime.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// A reference to a runtime, for any thread. It does not keep the runtime alive.
///
/// In a forked child, a handle that was made before behaves as if its runtime had been shut
/// down. A worker can not go on there: a child that was forked by a task, or by a job of
/// [`to_thread`](crate::to_thread), calls exec or leaves; if it returns from that, it is
/// aborted. What becomes of sockets is said [there](crate::net).
///
/// asyncio: the event loop object, with its thread-safe methods only.
#[doc(alias = "AbstractEventLoop")]
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

impl Handle {
    /// The runtime that this thread belongs to: of its worker, or of the blocking pool
    /// whose jobs it runs.
    ///
    /// asyncio: `get_running_loop`.
    ///
    /// # Panics
    ///
    /// If there is none. [`try_current`](Self::try_current) returns that as an error.
    ///
    /// ```
    /// ringloop::run(async {
    ///     assert!(ringloop::Handle::current().workers() > 0);
    /// });
    /// ```
    #[doc(alias = "get_running_loop")]
    #[doc(alias = "get_event_loop")]
    #[track_caller]
    pub fn current() -> Handle {
        match Self::try_current() {
            Ok(handle) => handle,
            Err(error) => panic!("Handle::current: {error}"),
        }
    }

    /// The runtime that this thread belongs to.
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] if there is none.
    pub fn try_current() -> Result<Handle, NoRuntime> {
        context::current()
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.inner.homes.len()
    }

    /// The backend in use: never [`Backend::Auto`].
    pub fn backend(&self) -> Backend {
        self.inner.backend.backend
    }

    /// Gives `f` to a lane of the blocking pool, whose threads have this runtime as their current one.
    pub(crate) fn start_blocking<F, T>(
        &self,
        kind: Kind,
        f: F,
        started_at: &'static Location<'static>,
    ) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if !self.inner.is_ours() {
            return task::refused(async move { f() }, scheduler::new_ids(1), started_at);
        }
        self.inner.pool.lane(kind).spawn(f, self.hand(started_at))
    }

    /// What a job is handed over with.
    pub(crate) fn hand(&self, started_at: &'static Location<'static>) -> Hand {
        let (id, origin) = (scheduler::new_ids(1), started_at.into());
        Hand { id, origin, hook: self.inner.hub.key(), guest: None }
    }

    /// Gives `f` to threads that are not the runtime's, but have it as their current one meanwhile.
    pub(crate) fn start_elsewhere<F, T, R>(
        &self,
        lane: &Lane,
        f: F,
        room: R,
        started_at: &'static Location<'static>,
    ) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let handle = self.clone();
        let job = move || {
            let _playing = handle.inner.standstill.clock().map(Clock::play);
            let outer = handle.inner.threads.outer.clone();
            let _inside = outer.as_ref().map(|outer| outer.enter());
            let _entered = context::enter(handle);
            f()
        };
        let guest = Some(self.inner.guests.enter());
        lane.spawn_in(job, room, Hand { guest, ..self.hand(started_at) })
    }

    /// Tells the runtime's error hook.
    pub(crate) fn report(&self, event: &ErrorEvent) {
        hook::report(self.inner.hub.key(), event);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("name", &self.inner.name)
            .field("workers", &self.workers())
            .field("backend", &self.backend())
            .finish()
    }
}
