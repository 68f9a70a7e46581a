//! What can be chosen about a runtime, and how one comes to be.

use std::{
    fmt, io,
    sync::{Arc, Weak},
    time::Duration,
};

use rustix::io::Errno;

use super::{
    Backend, BackendInfo, Handle, Inner, Resolver, Runtime,
    backend::Choice,
    crew::Crew,
    inspected,
    record::RecordOptions,
    resolver::Names,
    run,
    testing::{Replay, TestOptions},
    threads::ThreadOptions,
};
use crate::{
    blocking::Guests,
    error::{
        BuildError, ErrorEvent, RunError,
        hook::{self, Hook},
    },
    reactor::{Allowed, Reactor, TriedRing},
    scheduler::{self, Hooks, Hub, MAX_HUBS, MAX_WORKERS, Peer, Seat, Standstill},
    task,
    util::{clock, current::RuntimeId, fork, gate::Gate, threads::available},
};

/// Options of a runtime.
///
/// asyncio: the arguments of `asyncio.Runner`.
///
/// ```
/// let total = ringloop::Builder::new()
///     .workers(2)
///     .run(async { ringloop::spawn(async { 40 }).await.unwrap() + 2 })
///     .unwrap();
/// assert_eq!(total, 42);
/// ```
#[must_use = "a Builder does nothing until `build` or `run`"]
pub struct Builder {
    workers: Option<usize>,
    backend: Backend,
    allowed: Allowed,
    name: String,
    pub(super) threads: ThreadOptions,
    shutdown_deadline: Duration,
    on_error: Option<Hook>,
    /// Unless the default is to be taken.
    pub(super) inspect: Option<bool>,
    pub(super) hooks: Hooks,
    pub(super) resolver: Option<Arc<dyn Resolver>>,
    pub(super) record: RecordOptions,
    pub(super) tests: TestOptions,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("backend", &self.backend)
            .field("defer_taskrun", &self.allowed.defer_taskrun)
            .field("name", &self.name)
            .field("threads", &self.threads)
            .field("shutdown_deadline", &self.shutdown_deadline)
            .field("inspect", &self.inspect)
            .field("tests", &self.tests)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The defaults: see each option.
    pub fn new() -> Self {
        Self {
            workers: None,
            backend: Backend::Auto,
            allowed: Allowed::ALL,
            name: "ringloop".to_owned(),
            threads: ThreadOptions::default(),
            shutdown_deadline: Duration::from_secs(10),
            on_error: None,
            inspect: None,
            hooks: Hooks::default(),
            resolver: None,
            record: RecordOptions::default(),
            tests: TestOptions::default(),
        }
    }

    /// How many workers run tasks: 1 to 48. Default: the cores available to the process,
    /// 48 at most.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How to talk to the kernel. Default: [`Backend::Auto`].
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// With io_uring, whether the kernel works completions off only when their worker asks
    /// for them (`IORING_SETUP_DEFER_TASKRUN`), or whenever the worker returns to user
    /// space (`IORING_SETUP_COOP_TASKRUN`). The former is faster, and the default.
    pub fn defer_taskrun(mut self, defer: bool) -> Self {
        self.allowed.defer_taskrun = defer;
        self
    }

    /// Private: for tests and benches. With io_uring, whether the kernel may consume memory for
    /// leases in pieces, as kernels since Linux 6.15 can, or takes a whole buffer for each arrival.
    #[doc(hidden)]
    pub fn incremental_buffers(mut self, incremental: bool) -> Self {
        self.allowed.incremental = incremental;
        self
    }

    /// What the names of its threads begin with. Default: `ringloop`. The kernel keeps 15 bytes of a
    /// thread's name: of a long one it keeps the beginning, and the worker's number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long the end of the runtime waits for tasks and blocking jobs. Default: 10 s.
    pub fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.shutdown_deadline = deadline;
        self
    }

    /// The hook for errors that no task waits for. It is called on the thread that finds the error, and
    /// must not block: that thread waits for it. If the hook holds up the end of the runtime past the
    /// deadline, that is reported to standard error. Default: a hook that writes to standard error.
    ///
    /// asyncio: `loop.set_exception_handler`. As there, if the hook itself fails,
    /// standard error hears of both errors.
    pub fn on_error(mut self, hook: impl Fn(&ErrorEvent) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(hook));
        self
    }

    /// Builds a runtime with threads of its own.
    ///
    /// # Errors
    ///
    /// Options out of range, a backend that does not work here, and exhausted limits
    /// (descriptors, threads; with [`Backend::Uring`], locked memory); the text names the
    /// fix.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let deadline = self.shutdown_deadline;
        let replay = Replay::new(self.tests.seed()?);
        let (inner, seats) = self.prepare()?;
        let crew = Crew::start(&inner, seats, 0)?;
        inner.begin_inspection();
        Ok(Runtime::new_with(Handle { inner }, crew, deadline, replay))
    }

    /// Runs `main` on a runtime that lasts as long: [`run`](crate::run) with options.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); [nested](RunError::is_nested) on a worker's thread;
    /// [interrupted](RunError::is_interrupted) when Ctrl-C has cancelled `main`, under the conditions of
    /// [`run`](crate::run), and without the end of the process;
    /// [panicked](RunError::is_panicked) if `main` did.
    #[track_caller]
    pub fn run<F: Future>(self, main: F) -> Result<F::Output, RunError> {
        let replay = Replay::new(self.tests.seed()?);
        let result = run::run_here(self, main);
        replay.judge(&result);
        result
    }

    /// Does everything that can fail, but for the threads.
    pub(super) fn prepare(self) -> Result<(Arc<Inner>, Vec<Seat>), BuildError> {
        let workers = self.workers.unwrap_or_else(|| available().min(MAX_WORKERS));
        if workers == 0 {
            return Err(BuildError::new("0 workers run nothing: give it at least 1"));
        }
        if workers > MAX_WORKERS {
            return Err(BuildError::new(format!(
                "{workers} workers are too many: a runtime has up to {MAX_WORKERS}; run several in one process"
            )));
        }
        let threads = self.threads.resolve()?;
        check_name(&self.name)?;
        let choice = Choice::find(self.backend, workers, self.allowed)?;
        let options = self.tests.resolve(&choice.info)?;
        let slow_poll = self.tests.debug.resolve()?;
        let inspected = inspected::resolve(self.inspect, self.tests.is_test())?;
        let (is_recorded, record_to) = self.record.resolve()?;
        let hub = Hub::acquire(workers).ok_or_else(|| {
            BuildError::new(format!("{MAX_HUBS} runtimes are alive: drop some of them first"))
        })?;
        if let Some(limit) = slow_poll {
            hub.set_slow_poll(limit);
        }
        hub.set_hooks(self.hooks);
        let standstill = Standstill::new(options);
        let seats = match seats(hub, workers, (&choice.info, choice.rings), &standstill, &threads) {
            Ok(seats) => seats,
            Err(error) => {
                hub.blocks().for_each(|block| block.doorbell.close());
                hub.recycle();
                return Err(error);
            }
        };
        hook::introduce(task::here);
        task::introduce(super::callbacks::spawn);
        let is_told = self.on_error.is_some() || !choice.by_filter;
        if let Some(hook) = self.on_error {
            hook::set(hub.key(), scheduler::new_ids(1), hook);
        }
        tell_fallback(hub, &choice.info, is_told);
        let gate = Gate::new();
        let _opened = gate.open();
        let id = RuntimeId::new();
        let inner = Arc::new_cyclic(|inner: &Weak<Inner>| Inner {
            id,
            hub,
            gate,
            backend: choice.info,
            homes: seats.iter().map(|seat| seat.peer().home).collect(),
            pool: threads.pool(&self.name, id, hub.key(), inner, &standstill),
            threads,
            guests: Guests::default(),
            standstill: standstill.clone(),
            record_to,
            name: self.name,
            names: Names::new(self.resolver),
            shutdown_deadline: self.shutdown_deadline,
            last_metrics: parking_lot::Mutex::new(None),
            inspected,
            process: fork::generation(),
            born: clock::machine(),
        });
        let _ = is_recorded && inner.record();
        let weak = Arc::downgrade(&inner);
        standstill.set_pool(move || weak.upgrade().is_none_or(|inner| inner.jobs_rest()));
        super::callbacks::add(&inner);
        Ok((inner, seats))
    }
}

fn check_name(name: &str) -> Result<(), BuildError> {
    match name.contains('\0') {
        false => Ok(()),
        true => Err(BuildError::new("a thread's name has no NUL byte in it: choose another name")),
    }
}

/// Reports why the backend is not the first choice, if it is not.
fn tell_fallback(hub: &Hub, info: &BackendInfo, is_told: bool) {
    if let Some(reason) = info.fallback.clone().filter(|_| is_told) {
        let backend = info.backend.to_string();
        hook::report(hub.key(), &ErrorEvent::BackendFallback { backend, reason });
    }
}

/// A seat for each worker, on the rings if there are some.
fn seats(
    hub: &'static Hub,
    workers: usize,
    (info, rings): (&BackendInfo, Option<Vec<TriedRing>>),
    standstill: &Arc<Standstill>,
    threads: &ThreadOptions,
) -> Result<Vec<Seat>, BuildError> {
    let mut rings = rings.map(Vec::into_iter);
    (0..workers)
        .map(|worker| {
            let doorbell = &hub.block(worker).doorbell;
            let reactor = match &mut rings {
                Some(rings) => {
                    Reactor::uring(rings.next().expect("a ring for each worker"), doorbell)
                }
                #[cfg(test)]
                None if info.backend == Backend::Memory => Reactor::memory(doorbell),
                None => Reactor::epoll(doorbell),
            };
            let refused = |error: io::Error| {
                let advice = advice(&error, info.backend);
                let text =
                    format!("worker {worker} of {workers} cannot set up {}{advice}", info.backend);
                BuildError::io(text, error)
            };
            Ok(Seat::new(reactor.map_err(refused)?, workers, standstill, threads.on_park.clone()))
        })
        .collect()
}

/// What to do about a worker that was refused something.
fn advice(error: &io::Error, backend: Backend) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) if backend == Backend::Uring => {
            ", which needs 3 descriptors: raise their limit (ulimit -n)"
        }
        Some(Errno::MFILE) => ", which needs 2 descriptors: raise their limit (ulimit -n)",
        Some(Errno::NFILE) => ": the system is out of descriptors, see the sysctl fs.file-max",
        Some(Errno::NOSPC) => ": see the sysctl fs.epoll.max_user_watches",
        _ => "",
    }
}

/// The view that workers have of each other.
pub(super) fn peers(seats: &[Seat]) -> Arc<[Peer]> {
    seats.iter().map(Seat::peer).collect()
}
