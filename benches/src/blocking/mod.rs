//! Work that blocks, on threads beside the workers.
//!
//! Questions: what does an empty job cost, from the task that submits it back to that task? It is alone
//! (`to_thread_1`), one of 16 tasks (`to_thread_16`), or one of 10 000 at once for a pool of at
//! most 512, 64 and 4 threads (`to_thread_burst_10k` and its siblings). How near does a pool with a
//! thread for each core come to (work / cores) (`thread_pool_cpu`)? Does a look-up of a name wait
//! for jobs ([`lookup`])?
//!
//! Does not show: jobs that wait in the kernel, except for those beside look-ups. All peers run on
//! as many cores as they have workers; a figure with 1 worker has its pool's threads on the
//! worker's core.

mod lookup;

use std::future::Future;
use std::hint::black_box;
use std::net::ToSocketAddrs as _;
use std::sync::{LazyLock, OnceLock};

use ringloop::ThreadPool;
use tokio::runtime::{Builder as Tokio, Runtime};

use crate::harness::Spec;
use crate::peers::Peer;
use crate::peers::async_executor::AsyncExecutor;
use crate::sample::Sample;
use crate::sched::{STEPS, measure, work, work_alone};
use crate::sys;

/// Jobs of a burst.
const BURST: u64 = 10_000;
/// Jobs of one task, one after the other.
const CHAIN: u64 = 64;
const TASKS: u64 = 16;
/// The number of jobs that compute, and the microseconds that each takes, about.
const CPU_JOBS: u64 = 2000;
const CPU_MICROS: u64 = 20;
/// The limit of a pool, where a case does not set one: tokio's and ringloop's own.
const LIMIT: usize = 512;

/// A runtime with a pool of at most `limit` threads.
trait Pool: 'static {
    fn run<F>(workers: usize, limit: usize, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Submits a job at once, and returns the future of its value.
    fn hand_over<T, F>(job: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static;

    /// The same for a job that computes, where the runtime has another pool for that.
    fn compute<T, F>(job: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Self::hand_over(job)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Looks a name and port up; returns the number of addresses.
    fn look_up(name: &'static str) -> impl Future<Output = usize> + Send + 'static;
}

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "tokio" => on::<MultiThread>(spec),
        "tokio-ct" => on::<CurrentThread>(spec),
        "unblock" => on::<Unblock>(spec),
        "ringloop" => on::<Ringloop>(spec),
        other => Err(format!("no peer is called {other:?}")),
    }
}

fn on<P: Pool>(spec: &Spec) -> Result<Sample, String> {
    let (workers, warmup, window) = (spec.workers, spec.warmup, spec.window);
    let burst = |limit| P::run(workers, limit, measure(warmup, window, burst::<P>));
    Ok(match spec.case.name {
        "to_thread_1" => P::run(workers, LIMIT, measure(warmup, window, chain::<P>)),
        "to_thread_16" => P::run(workers, LIMIT, measure(warmup, window, chains::<P>)),
        "to_thread_burst_10k" => burst(LIMIT),
        "to_thread_burst_10k_64" => burst(64),
        "to_thread_burst_10k_4" => burst(4),
        "thread_pool_cpu" => {
            let alone = work_alone(CPU_MICROS * STEPS);
            let sample = P::run(workers, sys::cores().len(), measure(warmup, window, compute::<P>));
            Sample { work_ns_per_op: Some(alone), ..sample }
        }
        "lookup_alone" => lookup::run::<P>(spec, 0),
        "lookup_beside_full_lane" => lookup::run::<P>(spec, 8),
        other => return Err(format!("blocking has no case {other:?}")),
    })
}

async fn chain<P: Pool>() -> u64 {
    for number in 0..CHAIN {
        assert_eq!(P::hand_over(move || black_box(number)).await, number);
    }
    CHAIN
}

async fn chains<P: Pool>() -> u64 {
    let tasks: Vec<_> = (0..TASKS).map(|_| P::spawn(chain::<P>())).collect();
    let mut jobs = 0;
    for task in tasks {
        jobs += task.await;
    }
    jobs
}

async fn burst<P: Pool>() -> u64 {
    let jobs: Vec<_> = (0..BURST).map(|number| P::hand_over(move || black_box(number))).collect();
    let mut sum = 0;
    for job in jobs {
        sum += job.await;
    }
    assert_eq!(sum, BURST * (BURST - 1) / 2);
    BURST
}

async fn compute<P: Pool>() -> u64 {
    let jobs: Vec<_> =
        (0..CPU_JOBS).map(|seed| P::compute(move || work(seed, CPU_MICROS * STEPS))).collect();
    for job in jobs {
        black_box(job.await);
    }
    CPU_JOBS
}

struct Ringloop;

impl Pool for Ringloop {
    fn run<F>(workers: usize, limit: usize, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let main = async { ringloop::spawn(body).await.expect("no task panics") };
        let builder = ringloop::Builder::new().workers(workers).blocking_threads(limit);
        builder.run(main).expect("ringloop starts")
    }

    fn hand_over<T, F>(job: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let job = ringloop::to_thread(job);
        async { job.await.expect("no job panics") }
    }

    fn compute<T, F>(job: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        static CORES: LazyLock<ThreadPool> = LazyLock::new(|| {
            ThreadPool::new("cores", sys::cores().len()).expect("there is a core")
        });
        let job = ringloop::run_in_executor(&CORES, job);
        async { job.await.expect("no job panics") }
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = ringloop::spawn(future);
        async { task.await.expect("no task panics") }
    }

    async fn look_up(name: &'static str) -> usize {
        ringloop::net::lookup_host(name).await.expect("the system knows it").len()
    }
}

struct MultiThread;
struct CurrentThread;

/// The two differ only in how they are built.
macro_rules! tokio_pool {
    ($name:ident, $workers:ident => $build:expr) => {
        impl Pool for $name {
            fn run<F>($workers: usize, limit: usize, body: F) -> F::Output
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                let runtime: Runtime =
                    $build.enable_all().max_blocking_threads(limit).build().expect("tokio starts");
                runtime.block_on(async { tokio::spawn(body).await.expect("no task panics") })
            }

            fn hand_over<T, F>(job: F) -> impl Future<Output = T> + Send + 'static
            where
                T: Send + 'static,
                F: FnOnce() -> T + Send + 'static,
            {
                let job = tokio::task::spawn_blocking(job);
                async { job.await.expect("no job panics") }
            }

            fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                let task = tokio::spawn(future);
                async { task.await.expect("no task panics") }
            }

            async fn look_up(name: &'static str) -> usize {
                tokio::net::lookup_host(name).await.expect("the system knows it").count()
            }
        }
    };
}

tokio_pool!(MultiThread, workers => Tokio::new_multi_thread().worker_threads(workers));
tokio_pool!(CurrentThread, _workers => Tokio::new_current_thread());

/// smol's pool, under its executor.
struct Unblock;

impl Pool for Unblock {
    fn run<F>(workers: usize, limit: usize, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        static LIMIT_SET: OnceLock<()> = OnceLock::new();
        // SAFETY: no other thread has been started yet in this process, which runs one case.
        LIMIT_SET.get_or_init(|| unsafe {
            std::env::set_var("BLOCKING_MAX_THREADS", limit.to_string());
        });
        AsyncExecutor::run(workers, body)
    }

    fn hand_over<T, F>(job: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        ::blocking::unblock(job)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        AsyncExecutor::spawn(future)
    }

    /// As smol's own `resolve` does it.
    async fn look_up(name: &'static str) -> usize {
        let addrs = Self::hand_over(move || name.to_socket_addrs()).await;
        addrs.expect("the system knows it").count()
    }
}
