//! What can be chosen about the threads of a runtime, and how each of them begins and ends.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{
    Builder, Handle, Inner, context,
    outer::{Guard, OuterRuntime},
};
use crate::{
    blocking::{self, Duty, KEEP_ALIVE, Kind, Lane, Pool},
    error::{BuildError, stack_too_small},
    scheduler::{Call, Standstill},
    util::{
        clock::played::Clock,
        current::{self, Role, RuntimeId},
        panic,
        threads::{SMALLEST_STACK, available},
    },
};

/// The options that were chosen.
#[derive(Clone)]
pub(super) struct ThreadOptions {
    /// By [`Kind`].
    limits: [usize; 3],
    queue: usize,
    keep_alive: Duration,
    pub(super) stack_size: Option<usize>,
    on_start: Option<Call>,
    on_stop: Option<Call>,
    pub(super) on_park: Option<Call>,
    pin_workers: bool,
    /// The cores of the process, if workers are pinned to one of them each.
    cores: Option<CpuSet>,
    /// The runtime that each thread enters.
    pub(super) outer: Option<Arc<dyn OuterRuntime>>,
}

impl Default for ThreadOptions {
    fn default() -> Self {
        Self {
            limits: [512, 128, 32],
            queue: usize::MAX,
            keep_alive: KEEP_ALIVE,
            stack_size: None,
            on_start: None,
            on_stop: None,
            on_park: None,
            pin_workers: false,
            cores: None,
            outer: None,
        }
    }
}

impl fmt::Debug for ThreadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadOptions")
            .field("blocking", &self.limits[Kind::User as usize])
            .field("files", &self.limits[Kind::Files as usize])
            .field("names", &self.limits[Kind::Names as usize])
            .field("queue", &self.queue)
            .field("keep_alive", &self.keep_alive)
            .field("stack_size", &self.stack_size)
            .field("pin_workers", &self.pin_workers)
            .field("enters_another", &self.outer.is_some())
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// How many threads there may be for jobs of [`to_thread`](crate::to_thread), at least 1; further
    /// jobs wait. Threads are started when needed and end after some
    /// [idle](Self::thread_keep_alive) seconds. Default: 512.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.threads.limits[Kind::User as usize] = threads;
        self
    }

    /// How many threads there may be for calls on files, at least 1. They are apart from those of
    /// [`to_thread`](crate::to_thread), so that stuck jobs of the program do not hold up files, nor a
    /// stuck file system the program's jobs. Default: 128.
    pub fn file_threads(mut self, threads: usize) -> Self {
        self.threads.limits[Kind::Files as usize] = threads;
        self
    }

    /// How many threads there may be for look-ups of names, at least 1, apart from all others.
    /// Default: 32.
    pub fn name_threads(mut self, threads: usize) -> Self {
        self.threads.limits[Kind::Names as usize] = threads;
        self
    }

    /// How many jobs of [`to_thread`](crate::to_thread) may wait for a thread, at least 1. Beyond, a job
    /// [fails](crate::TaskError::is_queue_full) at once. Default: any number.
    ///
    /// To wait instead of failing, take a [`CapacityLimiter`](crate::CapacityLimiter), or a
    /// [`ThreadPool`](crate::ThreadPool), which can do [both](crate::ThreadPoolBuilder::queue).
    ///
    /// asyncio: the queue of an executor has no limit.
    pub fn blocking_queue(mut self, jobs: usize) -> Self {
        self.threads.queue = jobs;
        self
    }

    /// The size of the stack of each thread that the runtime starts, in bytes, at least 64 KiB. Default: that of
    /// [`std::thread`], which is 2 MiB or what `RUST_MIN_STACK` says.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.threads.stack_size = Some(bytes);
        self
    }

    /// How long a thread for blocking jobs stays when there are none. Default: 10 s.
    pub fn thread_keep_alive(mut self, time: Duration) -> Self {
        self.threads.keep_alive = time;
        self
    }

    /// Has `f` called by each worker and each thread for blocking jobs when it begins, on that thread.
    /// The thread that calls [`run`](Self::run) is a worker for as long. A panic of `f` is printed and
    /// goes no further.
    ///
    /// asyncio: `ThreadPoolExecutor(initializer=..)`.
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.threads.on_start = Some(Arc::new(f));
        self
    }

    /// The same when such a thread ends.
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.threads.on_stop = Some(Arc::new(f));
        self
    }

    /// Has `f` called by each worker before it sleeps; it may find something to do all the same. It must
    /// not block. A panic of `f` is printed and goes no further.
    pub fn on_thread_park(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.threads.on_park = Some(Arc::new(f));
        self
    }

    /// Whether each worker stays on a core of its own, in the order of their numbers, of those that are
    /// available to the process; with more workers than cores, several share one. Threads for blocking
    /// jobs are not pinned; a thread that a task starts with [`std::thread`] inherits the core of its
    /// worker. The thread that calls [`run`](Self::run) has its own cores again when that returns.
    /// Default: no.
    pub fn pin_workers(mut self, pin: bool) -> Self {
        self.threads.pin_workers = pin;
        self
    }
}

impl ThreadOptions {
    /// Checks the options, and asks for the cores.
    pub(super) fn resolve(mut self) -> Result<Self, BuildError> {
        let what = ["blocking threads", "file threads", "name threads"];
        for (threads, what) in self.limits.iter().zip(what) {
            if *threads == 0 {
                return Err(BuildError::new(format!("0 {what} run nothing: give it at least 1")));
            }
        }
        if self.queue == 0 {
            return Err(BuildError::new(
                "a blocking queue of 0 jobs takes nothing: give it room for at least 1",
            ));
        }
        if let Some(bytes) = self.stack_size.filter(|bytes| *bytes < SMALLEST_STACK) {
            return Err(BuildError::new(stack_too_small(bytes)));
        }
        if let Some(outer) = &self.outer {
            outer.start()?;
        }
        if self.pin_workers {
            let refused = |error| BuildError::io("the cores of the process are not known", error);
            self.cores = Some(sched_getaffinity(None).map_err(|errno| refused(errno.into()))?);
        }
        Ok(self)
    }

    /// The lanes of the runtime.
    pub(super) fn pool(
        &self,
        name: &str,
        id: RuntimeId,
        hook: u16,
        inner: &Weak<Inner>,
        standstill: &Arc<Standstill>,
    ) -> Pool {
        let cores = available();
        Pool::new(|kind| {
            let (suffix, label) = match kind {
                Kind::User => ("blocking", "blocking jobs"),
                Kind::Files => ("files", "files"),
                Kind::Names => ("names", "names"),
            };
            Lane::new(blocking::Options {
                name: format!("{name}-{suffix}"),
                label: label.to_owned(),
                is_pool: false,
                threads: self.limits[kind as usize],
                cores,
                keep_alive: self.keep_alive,
                queued: if kind == Kind::User { self.queue } else { usize::MAX },
                stack_size: self.stack_size,
                hook,
                surround: self.surround(id, inner.clone(), standstill.clone()),
            })
        })
    }

    /// Has threads for blocking jobs find their runtime as the current one, and go by its clock.
    fn surround(
        &self,
        id: RuntimeId,
        inner: Weak<Inner>,
        standstill: Arc<Standstill>,
    ) -> blocking::Surround {
        let options = self.clone();
        Box::new(move |duty, life| {
            current::set_role(Role::Helper(id));
            options.spread();
            if duty == Duty::Watch {
                return life();
            }
            let _playing = standstill.clock().map(Clock::play);
            // Where the runtime is gone, no job is queued any more.
            let _entered = inner.upgrade().map(|inner| context::enter(Handle { inner }));
            let _hooked = options.enter();
            life();
        })
    }

    /// Lets a thread that a pinned worker has started run on all cores.
    fn spread(&self) {
        if let Some(cores) = &self.cores {
            // Refused, it stays where it is.
            let _ = sched_setaffinity(None, cores);
        }
    }

    /// A thread begins; it ends when the value is dropped.
    pub(super) fn enter(&self) -> Entered<'_> {
        let inside = self.outer.as_ref().map(|outer| outer.enter());
        if let Some(call) = &self.on_start {
            panic::contain(|| call());
        }
        Entered { options: self, pinned: false, _inside: inside }
    }

    /// The same for a worker, on its core.
    pub(super) fn enter_worker(&self, worker: usize) -> Entered<'_> {
        let core = self.cores.as_ref().and_then(|cores| nth_core(cores, worker));
        if let Some(core) = core {
            let mut own = CpuSet::new();
            own.set(core);
            // Refused, it is not pinned.
            let _ = sched_setaffinity(None, &own);
        }
        let mut entered = self.enter();
        entered.pinned = core.is_some();
        entered
    }
}

/// One of the cores of a set, counted in circles.
fn nth_core(cores: &CpuSet, number: usize) -> Option<usize> {
    let count = cores.count() as usize;
    let mut set = (0..CpuSet::MAX_CPU).filter(|&core| cores.is_set(core));
    set.nth(number.checked_rem(count)?)
}

/// A thread that has begun.
pub(super) struct Entered<'a> {
    options: &'a ThreadOptions,
    pinned: bool,
    /// Dropped after the program's call.
    _inside: Option<Box<dyn Guard + 'a>>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(call) = &self.options.on_stop {
            panic::contain(|| call());
        }
        if self.pinned {
            self.options.spread();
        }
    }
}
