//! A pool of threads that belongs to the program, and not to a runtime.

use std::{
    error::Error,
    fmt,
    panic::Location,
    sync::Arc,
    task::{Wake, Waker},
    time::Duration,
};

use crate::{
    blocking::{self, Hand, KEEP_ALIVE, Lane},
    error::{BuildError, hook::NOBODY, stack_too_small},
    runtime::{Handle, LaneMetrics, ShutdownReport},
    scheduler::new_ids,
    sync::{Deferred, OwnedPermit, Semaphore, oneshot},
    task::{self, Canceller, Task},
    util::{
        clock, current, fork, panic, park,
        threads::{SMALLEST_STACK, available},
    },
};

/// Threads for jobs that block or compute, apart from those of every runtime: concurrent.futures'
/// `ThreadPoolExecutor`.
///
/// A task hands a job over by [`run_in_executor`], any thread by [`submit`](Self::submit). Threads are
/// started when jobs need them, up to the limit, and end when they have been idle for some seconds. Jobs begin in
/// the order in which they came. Copies are of the same pool.
///
/// When the last copy is dropped the pool closes as by `shutdown(false)`: jobs that are queued still run.
///
/// In a forked child, which has none of the threads, it refuses all jobs, and dropping it does nothing.
///
/// asyncio: `concurrent.futures.ThreadPoolExecutor(max_workers, thread_name_prefix)`. Here it has to be said
/// how many threads there may be, and jobs may run on all cores at once.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{ThreadPool, run_in_executor};
///
/// let pool = ThreadPool::new("sums", 2).unwrap();
/// // From a task:
/// let sum = ringloop::run(async { run_in_executor(&pool, || (1..=10).sum::<u32>()).await.unwrap() });
/// assert_eq!(sum, 55);
/// // From a thread:
/// let mut product = pool.submit(|| (1..=10).product::<u32>());
/// assert_eq!(product.blocking_wait_timeout(Duration::from_secs(60)), Some(Ok(3_628_800)));
/// pool.shutdown(true);
/// ```
#[doc(alias = "ThreadPoolExecutor")]
#[doc(alias = "Executor")]
#[derive(Clone)]
pub struct ThreadPool(Arc<Owned>);

struct Owned {
    name: String,
    lane: Lane,
    /// Room in its queue, if that is limited.
    room: Option<(usize, Arc<Semaphore>)>,
    /// The process that has its threads.
    process: fork::Generation,
}

impl Owned {
    fn is_ours(&self) -> bool {
        fork::generation() == self.process
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.is_ours() {
            self.lane.finish();
        }
    }
}

/// Options of a [`ThreadPool`]: made by [`ThreadPool::builder`].
#[must_use = "there is no pool before `build`"]
pub struct ThreadPoolBuilder {
    name: String,
    threads: usize,
    queue: Option<usize>,
    keep_alive: Duration,
    stack_size: Option<usize>,
    on_start: Option<Box<dyn Fn() + Send + Sync>>,
    on_stop: Option<Box<dyn Fn() + Send + Sync>>,
}

impl ThreadPoolBuilder {
    /// How many threads there may be, at least 1. Default: the cores available to the process.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// How many jobs may wait for a thread, at least 1. Default: any number.
    ///
    /// What happens beyond is for each call to choose: [`ThreadPool::reserve`] waits in a task,
    /// [`ThreadPool::submit`] on a thread; [`run_in_executor`] and [`ThreadPool::try_submit`] fail.
    pub fn queue(mut self, jobs: usize) -> Self {
        self.queue = Some(jobs);
        self
    }

    /// How long an idle thread stays. Default: 10 s.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = time;
        self
    }

    /// The size of each thread's stack, in bytes, at least 64 KiB. Default: that of [`std::thread`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Has `f` called by each thread when it begins. A panic of `f` is printed and goes no further.
    ///
    /// concurrent.futures: `initializer`, whose failure breaks the pool.
    #[doc(alias = "initializer")]
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_start = Some(Box::new(f));
        self
    }

    /// Has `f` called by each thread when it ends.
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_stop = Some(Box::new(f));
        self
    }

    /// Makes the pool. It starts no thread before the first job.
    ///
    /// # Errors
    ///
    /// 0 threads, a queue of 0 jobs, a stack below 64 KiB, and a name with a NUL byte; the text names the fix.
    pub fn build(self) -> Result<ThreadPool, BuildError> {
        if self.threads == 0 {
            return Err(BuildError::of_pool("0 threads run nothing: give it at least 1"));
        }
        if self.queue == Some(0) {
            return Err(BuildError::of_pool(
                "a queue of 0 jobs takes nothing: give it room for at least 1",
            ));
        }
        if let Some(bytes) = self.stack_size.filter(|bytes| *bytes < SMALLEST_STACK) {
            return Err(BuildError::of_pool(stack_too_small(bytes)));
        }
        if self.name.contains('\0') {
            return Err(BuildError::of_pool(
                "a thread's name has no NUL byte in it: choose another name",
            ));
        }
        let (on_start, on_stop) = (self.on_start, self.on_stop);
        let call = |f: &Option<Box<dyn Fn() + Send + Sync>>| {
            if let Some(f) = f {
                panic::contain(f);
            }
        };
        let lane = Lane::new(blocking::Options {
            name: self.name.clone(),
            is_pool: true,
            label: format!("the thread pool \"{}\"", self.name),
            threads: self.threads,
            cores: available(),
            keep_alive: self.keep_alive,
            // A job is handed over with room that it has.
            queued: usize::MAX,
            stack_size: self.stack_size,
            hook: NOBODY,
            surround: Box::new(move |duty, life| {
                if duty == blocking::Duty::Watch {
                    return life();
                }
                call(&on_start);
                life();
                call(&on_stop);
            }),
        });
        let room = self.queue.map(|jobs| (jobs, Arc::new(Semaphore::new(jobs))));
        let process = fork::generation();
        Ok(ThreadPool(Arc::new(Owned { name: self.name, lane, room, process })))
    }
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("name", &self.name)
            .field("threads", &self.threads)
            .field("queue", &self.queue)
            .field("keep_alive", &self.keep_alive)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

impl ThreadPool {
    /// A pool of at most `threads` threads with this name; its queue takes any number of jobs.
    ///
    /// The kernel keeps 15 bytes of a thread's name.
    ///
    /// # Errors
    ///
    /// As [`ThreadPoolBuilder::build`].
    ///
    /// ```
    /// let error = ringloop::ThreadPool::new("none", 0).unwrap_err();
    /// assert!(error.to_string().contains("at least 1"));
    /// ```
    pub fn new(name: impl Into<String>, threads: usize) -> Result<Self, BuildError> {
        Self::builder(name).threads(threads).build()
    }

    /// A pool with more options.
    pub fn builder(name: impl Into<String>) -> ThreadPoolBuilder {
        ThreadPoolBuilder {
            name: name.into(),
            threads: available(),
            queue: None,
            keep_alive: KEEP_ALIVE,
            stack_size: None,
            on_start: None,
            on_stop: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its threads and jobs at this moment.
    pub fn metrics(&self) -> LaneMetrics {
        match self.0.is_ours() {
            true => LaneMetrics::of(&self.0.name, &self.0.lane),
            // A thread of the parent may have been at them when it was forked.
            false => LaneMetrics::none(&self.0.name, &self.0.lane),
        }
    }

    /// Hands `f` over from a plain thread, and gives the future of its value: to be awaited, or waited
    /// for by [`blocking_wait`](Deferred::blocking_wait) and
    /// [`blocking_wait_timeout`](Deferred::blocking_wait_timeout).
    ///
    /// Dropping the `Deferred` cancels the job: it never runs if no thread has taken it yet, and else hears of
    /// it by [`check_cancelled`](crate::check_cancelled). The promise is broken if `f` panics, which standard
    /// error or the current runtime's hook hears of, if the system refuses the pool its first
    /// thread, and if the pool has been shut down.
    ///
    /// If the pool's queue is [limited](ThreadPoolBuilder::queue) and full, this waits for room.
    ///
    /// asyncio: `Executor.submit`, whose future has to be wrapped by `wrap_future` to be awaited.
    ///
    /// # Panics
    ///
    /// On a worker's thread if the queue is full, since it would wait: take [`reserve`](Self::reserve) there.
    #[doc(alias = "wrap_future")]
    #[track_caller]
    pub fn submit<F, T>(&self, f: F) -> Deferred<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let started_at = Location::caller();
        let room = match self.take_room() {
            Ok(room) => room,
            Err(Full { semaphore, .. }) => {
                assert!(
                    !current::must_not_block(),
                    "ThreadPool::submit would wait for room in the queue of {:?}, and this thread is a \
                     worker: await pool.reserve(), or take try_submit",
                    self.0.name
                );
                // Closed: the pool has been shut down, and refuses the job below.
                park::block_on(semaphore.acquire_owned()).ok()
            }
        };
        self.submit_with(f, room, started_at)
    }

    /// The same without waiting for room in the queue.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], which gives `f` back: the queue is full, or the pool has been shut down.
    ///
    /// ```
    /// let pool = ringloop::ThreadPool::new("quick", 1).unwrap();
    /// assert_eq!(pool.try_submit(|| 7).unwrap().blocking_wait(), Ok(7));
    /// pool.shutdown(true);
    /// assert!(pool.try_submit(|| 8).unwrap_err().is_closed());
    /// ```
    #[track_caller]
    pub fn try_submit<F, T>(&self, f: F) -> Result<Deferred<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.is_closed() {
            return Err(SubmitError { job: f, full: None });
        }
        match self.take_room() {
            Ok(room) => Ok(self.submit_with(f, room, Location::caller())),
            Err(Full { limit, .. }) => Err(SubmitError { job: f, full: Some(limit) }),
        }
    }

    /// Waits until there is room in the pool's queue, and keeps it for one job.
    ///
    /// Without a [limit](ThreadPoolBuilder::queue) there always is.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in line.
    ///
    /// # Errors
    ///
    /// [`PoolClosed`] if the pool has been shut down.
    ///
    /// ```
    /// use ringloop::ThreadPool;
    ///
    /// ringloop::run(async {
    ///     let pool = ThreadPool::builder("few").threads(1).queue(1).build().unwrap();
    ///     let mut jobs = Vec::new();
    ///     for number in 0..10 {
    ///         jobs.push(pool.reserve().await.unwrap().run(move || number));
    ///     }
    ///     assert_eq!(jobs.pop().unwrap().await.unwrap(), 9);
    /// });
    /// ```
    pub async fn reserve(&self) -> Result<PoolSlot, PoolClosed> {
        let room = match &self.0.room {
            Some((_, semaphore)) if self.0.is_ours() => {
                Some(semaphore.clone().acquire_owned().await.map_err(|_| PoolClosed(()))?)
            }
            _ => None,
        };
        match self.is_closed() {
            true => Err(PoolClosed(())),
            false => Ok(PoolSlot { pool: self.clone(), room }),
        }
    }

    /// Closes the pool to new jobs. Jobs that are queued still run, and threads end when none is left.
    ///
    /// `wait`: returns when all jobs have run and all threads have ended, with the destructors of
    /// their thread-local values. Else it returns at once.
    ///
    /// concurrent.futures: `Executor.shutdown(wait=..)`.
    ///
    /// # Panics
    ///
    /// With `wait` on a worker's thread, which it would hold up, and on a thread of the pool, which
    /// would wait for itself: take `to_thread(move || pool.shutdown(true))`.
    ///
    /// ```
    /// let pool = ringloop::ThreadPool::new("last", 1).unwrap();
    /// let job = pool.submit(|| "done");
    /// pool.shutdown(true);
    /// assert!(job.is_done());
    /// ```
    #[track_caller]
    pub fn shutdown(&self, wait: bool) {
        if wait {
            self.check_wait();
        }
        self.finish();
        if wait && self.0.is_ours() {
            self.0.lane.wait_for_end(u64::MAX);
        }
    }

    /// Closes the pool, drops jobs that are queued, asks those that run to [end](crate::check_cancelled), and waits
    /// for that up to `limit`. Says which jobs have not ended by then; they are left to themselves.
    ///
    /// concurrent.futures: `shutdown(cancel_futures=True)`, which has no limit.
    ///
    /// # Panics
    ///
    /// As [`shutdown`](Self::shutdown) with `wait`.
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let pool = ringloop::ThreadPool::new("stuck", 1).unwrap();
    /// let (go, wait) = mpsc::channel::<()>();
    /// let (tell, begun) = mpsc::channel();
    /// let _job = pool.submit(move || {
    ///     tell.send(()).unwrap();
    ///     let _ = wait.recv();
    /// });
    /// begun.recv().unwrap();
    /// let report = pool.shutdown_now(Duration::from_millis(10));
    /// assert!(report.holders[0].contains("is still running"));
    /// drop(go);
    /// ```
    #[track_caller]
    pub fn shutdown_now(&self, limit: Duration) -> ShutdownReport {
        self.check_wait();
        let begun = clock::machine();
        let holders = match self.0.is_ours() {
            true => {
                self.0.lane.refuse_queued();
                self.close_room();
                self.0.lane.wait_for_end(begun.saturating_add(clock::nanos(limit)))
            }
            false => Vec::new(),
        };
        ShutdownReport { holders, took: Duration::from_nanos(clock::machine() - begun) }
    }

    /// Whether it has been shut down: no job is taken any more.
    pub fn is_closed(&self) -> bool {
        !self.0.is_ours() || self.0.lane.is_closed()
    }

    #[track_caller]
    fn check_wait(&self) {
        assert!(
            !current::must_not_block() && !blocking::is_thread_of(&self.0.lane),
            "the end of the thread pool {:?} is not waited for on a worker's thread, which it would hold \
             up, nor on one of its own: take ringloop::to_thread(move || pool.shutdown(true))",
            self.0.name
        );
    }

    fn finish(&self) {
        if self.0.is_ours() {
            self.0.lane.finish();
            self.close_room();
        }
    }

    /// Waiters for room go on: the lane is closed, and refuses their jobs.
    fn close_room(&self) {
        if let Some((_, semaphore)) = &self.0.room {
            semaphore.close();
        }
    }

    /// Room for a job in the queue, if there is some.
    fn take_room(&self) -> Result<Option<OwnedPermit>, Full> {
        let room = self.0.room.as_ref().filter(|_| self.0.is_ours());
        let Some((limit, semaphore)) = room else { return Ok(None) };
        match semaphore.clone().try_acquire_owned() {
            Ok(room) => Ok(Some(room)),
            // The queue is closed as well.
            Err(error) if error.is_closed() => Ok(None),
            Err(_) => Err(Full { limit: *limit, semaphore: semaphore.clone() }),
        }
    }

    fn submit_with<F, T>(
        &self,
        f: F,
        room: Option<OwnedPermit>,
        started_at: &'static Location<'static>,
    ) -> Deferred<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (promise, deferred) = oneshot();
        let job = move || {
            // Refused: the other end is gone.
            let _ = promise.set(f());
        };
        let task = self.start(job, room, started_at);
        let canceller = CancelOnWake(task.canceller());
        deferred.on_cancel(Waker::from(Arc::new(canceller)));
        task.detach();
        deferred
    }

    /// Queues a job, for which there is room.
    fn start<F, T>(
        &self,
        f: F,
        room: Option<OwnedPermit>,
        started_at: &'static Location<'static>,
    ) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match Handle::try_current() {
            Ok(handle) if self.0.is_ours() => {
                handle.start_elsewhere(&self.0.lane, f, room, started_at)
            }
            _ => {
                let (id, origin) = (new_ids(1), started_at.into());
                match self.0.is_ours() {
                    true => {
                        let hand = Hand { id, origin, hook: NOBODY, guest: None };
                        self.0.lane.spawn_in(f, room, hand)
                    }
                    false => task::refused(async move { f() }, id, origin),
                }
            }
        }
    }
}

/// A queue without room.
struct Full {
    limit: usize,
    semaphore: Arc<Semaphore>,
}

/// Cancels a job whose value has no taker any more.
struct CancelOnWake(Canceller);

impl Wake for CancelOnWake {
    fn wake(self: Arc<Self>) {
        self.0.cancel();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.0.name)
            .field("threads", &self.0.lane.limit())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Room for one job in the queue of a [`ThreadPool`]: made by [`ThreadPool::reserve`]. Dropping it gives
/// the room back.
#[must_use = "dropping it gives the room back"]
pub struct PoolSlot {
    pool: ThreadPool,
    room: Option<OwnedPermit>,
}

impl PoolSlot {
    /// Hands `f` over: [`run_in_executor`] that does not fail for want of room.
    #[track_caller]
    pub fn run<F, T>(self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.pool.start(f, self.room, Location::caller())
    }
}

impl fmt::Debug for PoolSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSlot").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Runs `f` on a thread of a pool of the program's own.
///
/// As [`to_thread`](crate::to_thread): the task can be cancelled until a thread takes it, `f` may ask
/// [`check_cancelled`](crate::check_cancelled), has copies of inherited task-local values, and finds the
/// runtime of the caller. The end of that runtime does not wait for `f`, the end of the
/// [pool](ThreadPool::shutdown) does. After that end the task is cancelled at once.
///
/// If the pool's queue is [limited](ThreadPoolBuilder::queue) and full, the task
/// [fails](crate::TaskError::is_queue_full); [`ThreadPool::reserve`] waits instead.
///
/// asyncio: `loop.run_in_executor(executor, f)`. Here `f` has the caller's inherited context, as in
/// `asyncio.to_thread`; and after `shutdown` the task is cancelled, where asyncio raises `RuntimeError`.
///
/// ```
/// use ringloop::{ThreadPool, run_in_executor};
///
/// ringloop::run(async {
///     let pool = ThreadPool::new("numbers", 2).unwrap();
///     let jobs: Vec<_> = (0..4_u64).map(|n| run_in_executor(&pool, move || n * n)).collect();
///     let mut squares = Vec::new();
///     for job in jobs {
///         squares.push(job.await.unwrap());
///     }
///     assert_eq!(squares, [0, 1, 4, 9]);
/// });
/// ```
#[track_caller]
pub fn run_in_executor<F, T>(pool: &ThreadPool, f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let started_at = Location::caller();
    match pool.take_room() {
        Ok(room) => pool.start(f, room, started_at),
        Err(Full { limit, .. }) => {
            let (id, origin) = (new_ids(1), started_at.into());
            pool.0.lane.refuse_full(f, limit, Hand { id, origin, hook: NOBODY, guest: None })
        }
    }
}

/// Why [`ThreadPool::try_submit`] took no job: it gives the job back.
pub struct SubmitError<F> {
    job: F,
    /// The limit of the queue, if that is why.
    full: Option<usize>,
}

impl<F> SubmitError<F> {
    /// Whether as many jobs are queued as may be.
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Whether the pool has been shut down.
    pub fn is_closed(&self) -> bool {
        self.full.is_none()
    }

    /// The job, to be run elsewhere or later.
    pub fn into_job(self) -> F {
        self.job
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitError({self})")
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.full {
            Some(limit) => write!(
                f,
                "the pool's queue is full with {limit} jobs: wait with submit() on a thread or \
                 reserve() in a task, or give it a longer queue or more threads"
            ),
            None => PoolClosed(()).fmt(f),
        }
    }
}

impl<F> Error for SubmitError<F> {}

/// A [`ThreadPool`] takes no job any more: it has been shut down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PoolClosed(());

impl fmt::Debug for PoolClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolClosed")
    }
}

impl fmt::Display for PoolClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread pool has been shut down: keep it open for as long as it is used")
    }
}

impl Error for PoolClosed {}

crate::error::into_io_error!(PoolClosed);
