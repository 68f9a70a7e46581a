//! What can be chosen about a runtime, and how one comes to be.

use std::{env, fmt, str::FromStr, sync::Arc, time::Duration};

use super::{Handle, Inner, Runtime, crew::Crew, run};
use crate::{
    blocking,
    error::{
        BuildError, ErrorEvent, RunError,
        hook::{self, Hook},
    },
    reactor::Reactor,
    scheduler::{self, Hub, MAX_HUBS, MAX_WORKERS, Peer, Seat},
    util::{gate::Gate, threads},
};

/// How a runtime talks to the kernel.
///
/// asyncio: the choice of an event loop (`SelectorEventLoop`, uvloop).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backend {
    /// The best that works here. The environment variable `RINGLOOP_BACKEND` (`auto`,
    /// `uring` or `epoll`) overrides it.
    #[default]
    Auto,
    /// io_uring(7). Not there yet: building fails with an error that says so.
    Uring,
    /// epoll(7): on every Linux. A sleeping worker's timers are late by up to 1 ms, never
    /// early.
    Epoll,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

impl FromStr for Backend {
    type Err = BuildError;

    /// Reads `auto`, `uring` or `epoll`.
    ///
    /// # Errors
    ///
    /// Anything else is refused, with the three names in the text.
    fn from_str(text: &str) -> Result<Self, BuildError> {
        Self::parse(text).ok_or_else(|| Self::unknown(text, ""))
    }
}

impl Backend {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "uring" => Some(Self::Uring),
            "epoll" => Some(Self::Epoll),
            _ => None,
        }
    }

    fn unknown(text: &str, place: &str) -> BuildError {
        BuildError::new(format!("there is no backend {text:?}{place}: say auto, uring or epoll"))
    }

    /// The backend that is really used.
    fn resolve(self) -> Result<Self, BuildError> {
        let wanted = match (self, env::var("RINGLOOP_BACKEND")) {
            (Self::Auto, Ok(text)) => {
                Self::parse(&text).ok_or_else(|| Self::unknown(&text, " in RINGLOOP_BACKEND"))?
            }
            (wanted, _) => wanted,
        };
        match wanted {
            Self::Auto | Self::Epoll => Ok(Self::Epoll),
            Self::Uring => Err(BuildError::new(
                "the io_uring backend does not exist yet: use the backend epoll, or auto",
            )),
        }
    }
}

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
    name: String,
    blocking_threads: usize,
    shutdown_deadline: Duration,
    on_error: Option<Hook>,
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
            .field("name", &self.name)
            .field("blocking_threads", &self.blocking_threads)
            .field("shutdown_deadline", &self.shutdown_deadline)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The defaults: see each option.
    pub fn new() -> Self {
        Self {
            workers: None,
            backend: Backend::Auto,
            name: "ringloop".to_owned(),
            blocking_threads: 512,
            shutdown_deadline: Duration::from_secs(10),
            on_error: None,
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

    /// What the names of its threads begin with. Default: `ringloop`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many threads the blocking pool may have, at least 1; further jobs wait.
    /// Threads are started when needed and end after 10 idle seconds. Default: 512.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// How long the end of the runtime waits for tasks and blocking jobs. Default: 10 s.
    pub fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.shutdown_deadline = deadline;
        self
    }

    /// Who hears of errors that nobody waits for. It is called on whatever thread finds
    /// the error, and must not block. Default: standard error.
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
    /// (descriptors, threads); the text names the fix.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let deadline = self.shutdown_deadline;
        let (inner, seats) = self.prepare()?;
        let crew = Crew::start(&inner, seats, 0)?;
        Ok(Runtime::new_with(Handle { inner }, crew, deadline))
    }

    /// Runs `main` on a runtime that lasts as long: [`run`](crate::run) with options.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); [nested](RunError::is_nested) on a worker's thread;
    /// [panicked](RunError::is_panicked) if `main` did.
    #[track_caller]
    pub fn run<F: Future>(self, main: F) -> Result<F::Output, RunError> {
        run::run_here(self, main)
    }

    /// Does everything that can fail, but for the threads.
    pub(super) fn prepare(self) -> Result<(Arc<Inner>, Vec<Seat>), BuildError> {
        let workers = self.workers.unwrap_or_else(|| threads::available().min(MAX_WORKERS));
        if workers == 0 {
            return Err(BuildError::new("0 workers run nothing: give it at least 1"));
        }
        if workers > MAX_WORKERS {
            return Err(BuildError::new(format!(
                "{workers} workers are too many: a runtime has up to {MAX_WORKERS}; run several in one process"
            )));
        }
        if self.blocking_threads == 0 {
            return Err(BuildError::new("0 blocking threads run nothing: give it at least 1"));
        }
        if self.name.contains('\0') {
            return Err(BuildError::new(
                "a thread's name has no NUL byte in it: choose another name",
            ));
        }
        let backend = self.backend.resolve()?;
        let hub = Hub::acquire(workers).ok_or_else(|| {
            BuildError::new(format!("{MAX_HUBS} runtimes are alive: drop some of them first"))
        })?;
        let seats = match seats(hub, workers) {
            Ok(seats) => seats,
            Err(error) => {
                hub.blocks().for_each(|block| block.doorbell.close());
                hub.recycle();
                return Err(error);
            }
        };
        if let Some(hook) = self.on_error {
            hook::set(hub.key(), scheduler::new_ids(1), hook);
        }
        let gate = Gate::new();
        let opened = gate.open();
        debug_assert!(opened);
        let inner = Inner {
            hub,
            gate,
            backend,
            homes: seats.iter().map(|seat| seat.peer().home).collect(),
            pool: blocking::Pool::new(&self.name, self.blocking_threads, hub.key()),
            name: self.name,
            shutdown_deadline: self.shutdown_deadline,
            last_metrics: parking_lot::Mutex::new(None),
        };
        Ok((Arc::new(inner), seats))
    }
}

fn seats(hub: &'static Hub, workers: usize) -> Result<Vec<Seat>, BuildError> {
    (0..workers)
        .map(|worker| {
            let reactor = Reactor::epoll(&hub.block(worker).doorbell).map_err(|error| {
                BuildError::io(
                    format!(
                        "worker {worker} of {workers} cannot set up epoll (it needs 2 descriptors: \
                         see ulimit -n)"
                    ),
                    error,
                )
            })?;
            Ok(Seat::new(reactor))
        })
        .collect()
}

/// The view that workers have of each other.
pub(super) fn peers(seats: &[Seat]) -> Arc<[Peer]> {
    seats.iter().map(Seat::peer).collect()
}
