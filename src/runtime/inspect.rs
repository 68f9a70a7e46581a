//! What a runtime tells about itself.

use std::time::Duration;

use super::{Handle, Histogram, Inner};
use crate::{
    blocking::{Kind, Lane},
    reactor::Home,
    scheduler::Hub,
    task::TaskInfo,
};

/// Counters of a runtime at one instant, as exact as reading them one by one allows.
///
/// Those of the first group return to zero when everything that was started has
/// ended; a test may assert that. The others only grow.
///
/// # Memory after a peak
///
/// The memory that many tasks, timers or connections leave behind when they are gone:
///
/// * for each task of the most that the runtime has had at once, 12 to 24 bytes;
/// * for each descriptor of the most that this crate has had open at once in the process, 68 to 136
///   bytes;
/// * of timers 256 KiB in the process, and up to 0.5 MiB for each worker: the rest goes back to the
///   allocator when a worker has nothing to do, and it was not needed for a second;
/// * free memory for the next tasks, up to 256 KiB for each thread that has run tasks and each size of a task, of which
///   there are 32: multiples of 64 bytes. Larger tasks go back at once.
///
/// Queues, those of `sync` among them, keep 32 KiB at most when they run empty.
/// What goes back to the allocator need not go back to the system: glibc keeps some of it for what is allocated next.
///
/// ```
/// let rt = ringloop::Runtime::new().unwrap();
/// rt.run(async { ringloop::spawn(async {}).await }).unwrap().unwrap();
/// let metrics = rt.metrics();
/// assert!(metrics.spawned >= 1);
/// assert_eq!(metrics.in_flight_operations, 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Workers of the runtime.
    pub workers: usize,

    /// Tasks that have been spawned and have not ended.
    pub live_tasks: u64,
    /// Operations that are in the workers' rings: receives, polls of sockets, sends
    /// that had to wait, reads. Always 0 on epoll, which reports readiness and leaves the
    /// work to the task.
    pub in_flight_operations: u64,
    /// Descriptors that a worker's epoll instance reports on now; on io_uring, those of
    /// [`AsyncFd`](crate::io::AsyncFd) only.
    pub registered_descriptors: u64,
    /// Timers that have not fired.
    pub armed_timers: u64,
    /// Leases that are out, of the workers' memory or with memory of their own.
    pub leases: u64,
    /// Jobs that wait for a thread of the blocking pool or run on one.
    pub blocking_jobs: u64,
    /// Operations that shutdown could not wait for and leaked on purpose.
    pub leaked_operations: u64,

    /// Tasks ever spawned.
    pub spawned: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Times that a worker took tasks from another's queue.
    pub steals: u64,
    /// Times that a worker woke another for its backlog.
    pub announces: u64,
    /// Times that a worker went to sleep.
    pub parks: u64,
    /// Times that a worker woke up.
    pub wakeups: u64,
    /// Times that a worker looked whether another is held.
    pub patrols: u64,
    /// Times that work was taken from a held worker.
    pub rescues: u64,
    /// Threads of the blocking pool.
    pub blocking_threads: usize,
    /// How calls on files went.
    pub files: FileMetrics,
    /// How long polls took: one in 64 is timed, and each while an [`Observer`](crate::introspect::Observer) exists.
    pub poll_times: Histogram,
    /// How long tasks were ready before these polls began.
    pub schedule_delays: Histogram,

    /// The blocking pool by what its threads are for: jobs of [`to_thread`](crate::to_thread)
    /// (`"blocking"`), calls on files (`"files"`), look-ups of names (`"names"`).
    pub lanes: Vec<LaneMetrics>,

    /// The tokio runtime that its threads have entered, if there is one:
    /// [`Builder::tokio_bridge`](crate::Builder::tokio_bridge).
    #[cfg(feature = "tokio-bridge")]
    pub tokio: Option<TokioMetrics>,

    /// The workers one by one, by their [index](crate::WorkerId::index).
    pub per_worker: Vec<WorkerMetrics>,
}

/// How calls on files went, ever: see [`fs`](crate::fs).
///
/// ```
/// ringloop::run(async {
///     let file = ringloop::fs::File::open("/proc/self/stat").await.unwrap();
///     let (result, _) = file.read_at(vec![0; 4096], 0).await;
///     assert!(result.unwrap() > 0);
///     let files = ringloop::Handle::current().metrics().files;
///     assert!(files.at_once + files.in_ring + files.on_thread >= 2);
/// });
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileMetrics {
    /// Calls that the task's own worker made at once, since they could not wait for a disk.
    pub at_once: u64,
    /// Operations of the workers' rings. Always 0 on epoll.
    pub in_ring: u64,
    /// Calls on the threads for files.
    pub on_thread: u64,
}

/// Threads for blocking jobs of one kind, or those of a [`ThreadPool`](crate::ThreadPool), at one instant.
///
/// ```
/// ringloop::run(async {
///     ringloop::to_thread(|| ()).await.unwrap();
///     let lanes = ringloop::Handle::current().metrics().lanes;
///     let blocking = lanes.iter().find(|lane| lane.name == "blocking").unwrap();
///     assert_eq!((blocking.limit, blocking.queued, blocking.oldest), (512, 0, None));
/// });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneMetrics {
    /// Which.
    pub name: String,
    /// Threads that there may be.
    pub limit: usize,
    /// Threads that there are, those included that are about to start.
    pub threads: usize,
    /// Of these, threads that are at a job.
    pub busy: usize,
    /// Threads that wait for a job.
    pub idle: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// How long the oldest of them has waited. A lane whose jobs wait for long needs more threads.
    pub oldest: Option<Duration>,
}

impl LaneMetrics {
    /// Of a forked child, which has none of its parent's threads.
    pub(crate) fn none(name: &str, lane: &Lane) -> Self {
        Self { name: name.to_owned(), limit: lane.limit(), ..Self::default() }
    }

    pub(crate) fn of(name: &str, lane: &Lane) -> Self {
        let look = lane.look();
        Self {
            name: name.to_owned(),
            limit: lane.limit(),
            threads: look.threads,
            busy: look.busy,
            idle: look.idle,
            queued: look.queued,
            oldest: look.oldest,
        }
    }
}

/// Counters of a tokio runtime that serves libraries inside of tasks: what the bridge costs. See
/// [`compat::tokio`](crate::compat::tokio).
///
/// ```
/// let rt = ringloop::Builder::new().workers(1).tokio_bridge().build().unwrap();
/// let tokio = rt.metrics().tokio.unwrap();
/// assert_eq!((tokio.workers, tokio.live_tasks), (1, 0));
/// ```
#[cfg(feature = "tokio-bridge")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokioMetrics {
    /// Its worker threads.
    pub workers: usize,
    /// Tasks that have been spawned by `tokio::spawn` and have not ended.
    pub live_tasks: usize,
    /// Times that one of its workers went to sleep, ever. Each is a way through the kernel and through a second thread for
    /// what came meanwhile: an event of a socket, a timer, a task.
    pub parks: u64,
    /// How long its workers were not asleep, ever.
    pub busy: Duration,
}

/// What one worker does: how evenly the load is spread.
///
/// ```
/// let rt = ringloop::Runtime::new().unwrap();
/// let metrics = rt.metrics();
/// assert_eq!(metrics.per_worker.len(), metrics.workers);
/// assert!(metrics.per_worker.iter().all(|worker| worker.homes == 0));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Sockets, and descriptors of [`AsyncFd`](crate::io::AsyncFd), for which it waits on behalf of
    /// their tasks.
    pub homes: u64,
    /// Sockets that it has handed over to other workers, ever, since it could not keep up.
    pub homes_given: u64,
    /// Operations that are in its ring. Always 0 on epoll.
    pub in_flight_operations: u64,
    /// Events and completions that its ring or epoll instance has brought, ever.
    pub arrivals: u64,
    /// Polls of tasks, ever.
    pub polls: u64,
    /// Times that it took tasks from another's queue.
    pub steals: u64,
    /// Times that it went to sleep.
    pub parks: u64,
}

impl Inner {
    /// Whether nothing is under way that ends by itself: no blocking job, and no call on a file in a ring.
    pub(super) fn jobs_rest(&self) -> bool {
        let files = self.homes.iter().map(Home::owned).sum::<u64>();
        files == 0 && self.pool.rests() && self.guests.is_empty()
    }

    pub(super) fn lanes(&self) -> Vec<LaneMetrics> {
        let lanes = [("blocking", Kind::User), ("files", Kind::Files), ("names", Kind::Names)];
        lanes.map(|(name, kind)| LaneMetrics::of(name, self.pool.lane(kind))).into()
    }
}

impl Handle {
    /// Counters of the runtime; those of its last moment once it is shut down.
    pub fn metrics(&self) -> Metrics {
        let last = self.inner.last_metrics.lock();
        match &*last {
            Some(metrics) => metrics.clone(),
            None => self.read_metrics(),
        }
    }

    pub(super) fn read_metrics(&self) -> Metrics {
        let inner = &*self.inner;
        let mut metrics = Metrics {
            workers: inner.hub.workers(),
            live_tasks: inner.hub.live(),
            spawned: inner.hub.total_spawned(),
            registered_descriptors: inner.homes.iter().map(Home::registered).sum(),
            in_flight_operations: inner.homes.iter().map(Home::in_flight).sum(),
            leases: inner.homes.iter().map(Home::leased).sum(),
            leaked_operations: inner.hub.leaked(),
            blocking_jobs: inner.pool.jobs(),
            blocking_threads: inner.pool.threads(),
            lanes: inner.lanes(),
            #[cfg(feature = "tokio-bridge")]
            tokio: inner.threads.outer.as_ref().map(|outer| outer.metrics()),
            ..Metrics::default()
        };
        for block in inner.hub.blocks() {
            metrics.armed_timers += block.armed_timers();
            metrics.polls += block.counts.polls.get();
            metrics.steals += block.counts.steals.get();
            metrics.announces += block.counts.announces.get();
            metrics.parks += block.counts.parks.get();
            metrics.wakeups += block.counts.wakeups.get();
            metrics.patrols += block.counts.patrols.get();
            metrics.rescues += block.counts.rescues.get();
            metrics.poll_times.add(&block.samples.poll);
            metrics.schedule_delays.add(&block.samples.delay);
            metrics.files.at_once += block.counts.files_at_once.get();
            metrics.files.in_ring += block.counts.files_in_ring.get();
            metrics.files.on_thread += block.counts.files_on_thread.get();
        }
        let workers = inner.hub.blocks().zip(&inner.homes);
        metrics.per_worker = workers
            .map(|(block, home)| WorkerMetrics {
                homes: home.homes(),
                homes_given: home.given(),
                in_flight_operations: home.in_flight(),
                arrivals: home.arrivals(),
                polls: block.counts.polls.get(),
                steals: block.counts.steals.get(),
                parks: block.counts.parks.get(),
            })
            .collect();
        metrics
    }
}

impl Handle {
    /// The tasks that have been spawned on the runtime and have not ended, in no order.
    ///
    /// A task that is spawned or ends while they are listed may be in the list or not. Jobs of
    /// [`to_thread`](crate::to_thread) are no tasks of the runtime. After the runtime's end the list is
    /// empty.
    ///
    /// asyncio: `asyncio.all_tasks(loop)`.
    pub fn all_tasks(&self) -> Vec<TaskInfo> {
        self.first_tasks(usize::MAX).0
    }

    /// `most` of its tasks, and the number of those beyond.
    pub(super) fn first_tasks(&self, most: usize) -> (Vec<TaskInfo>, usize) {
        let (mut tasks, mut left_out) = (Vec::new(), 0);
        {
            // While it is held, the hub is not given to another runtime.
            let last = self.inner.last_metrics.lock();
            if last.is_none() && self.inner.is_ours() {
                self.inner.hub.registry.for_each(|task| {
                    if tasks.len() < most {
                        tasks.push(task.clone());
                    } else {
                        left_out += 1;
                    }
                });
            }
        }
        // A task that ends meanwhile is freed here, where its destructors may do as they please.
        (tasks.into_iter().map(TaskInfo::of).collect(), left_out)
    }

    /// The tasks that have not ended, in words.
    pub(crate) fn list_tasks(&self) -> String {
        self.inner.hub.list_tasks()
    }
}

/// The tasks of the current runtime that have not ended: see [`Handle::all_tasks`].
///
/// asyncio: `asyncio.all_tasks`.
///
/// # Panics
///
/// On a thread that belongs to no runtime.
///
/// ```
/// use ringloop::{all_tasks, task::Builder};
///
/// ringloop::run(async {
///     let task = Builder::new().name("waits").spawn(std::future::pending::<()>());
///     let listed = all_tasks();
///     let info = listed.iter().find(|info| info.name() == Some("waits")).unwrap();
///     assert_eq!(info.id(), task.id());
///     info.canceller().cancel();
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
#[track_caller]
pub fn all_tasks() -> Vec<TaskInfo> {
    match Handle::try_current() {
        Ok(handle) => handle.all_tasks(),
        Err(error) => panic!("ringloop::all_tasks: {error}"),
    }
}

/// What a [shutdown](super::Runtime::shutdown) could not wait for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// What held it at the deadline, one line each: stuck tasks, blocking jobs. Empty
    /// if everything ended.
    pub holders: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl ShutdownReport {
    /// Whether everything ended in time.
    pub fn is_clean(&self) -> bool {
        self.holders.is_empty()
    }
}

/// Names what keeps a runtime from its end.
pub(super) fn holders(hub: &Hub) -> Vec<String> {
    let running = hub.blocks().enumerate().filter_map(|(worker, block)| {
        let (task, at) = block.running()?;
        Some(format!("task {task} (spawned at {at}) is in one long poll on worker {worker}"))
    });
    let mut holders: Vec<String> = running.collect();
    let live = hub.live();
    if live > holders.len() as u64 {
        holders.push(format!("{live} tasks in all have not ended"));
    }
    holders
}
