//! tokio's runtime around ours: for a whole runtime, or for one future.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use ::tokio::runtime::{self, Runtime};
use pin_project_lite::pin_project;

use crate::{
    error::BuildError,
    loom::global::Mutex,
    runtime::{Builder, Guard, OuterRuntime, TokioMetrics},
    util::fork,
};

/// The runtime of the process, once it runs, and the process that has its thread. It is never dropped: a destructor
/// at the end of the process would have to wait for what libraries run there.
static SHARED: Mutex<Option<(fork::Generation, &'static Runtime)>> = Mutex::new(None);

/// The tokio runtime of the bridge: one for the process, with one worker thread, all drivers enabled, and tokio's
/// threads for blocking calls as they are needed. The first call starts it, and it stays to the end of the process.
///
/// In a forked child, which has no thread of it, the first call starts another.
///
/// # Errors
///
/// Those of `tokio::runtime::Builder::build`: limits of threads or of descriptors.
///
/// ```
/// let tokio = ringloop::compat::tokio::handle()?;
/// assert_eq!(tokio.block_on(async { 7 }), 7);
/// # Ok::<_, std::io::Error>(())
/// ```
pub fn handle() -> io::Result<runtime::Handle> {
    shared().map(|runtime| runtime.handle().clone())
}

fn shared() -> io::Result<&'static Runtime> {
    let mut shared = SHARED.lock();
    match *shared {
        Some((process, runtime)) if process == fork::generation() => Ok(runtime),
        _ => {
            let mut builder = runtime::Builder::new_multi_thread();
            let builder = builder.worker_threads(1).thread_name("ringloop-tokio").enable_all();
            let runtime: &'static Runtime = Box::leak(Box::new(builder.build()?));
            *shared = Some((fork::generation(), runtime));
            Ok(runtime)
        }
    }
}

/// Counters of the runtime of [`handle`]; `None` while it has not been started.
///
/// ```
/// ringloop::compat::tokio::handle()?;
/// assert_eq!(ringloop::compat::tokio::metrics().unwrap().workers, 1);
/// # Ok::<_, std::io::Error>(())
/// ```
pub fn metrics() -> Option<TokioMetrics> {
    let shared = *SHARED.lock();
    shared.map(|(_, runtime)| read(runtime.handle()))
}

fn read(handle: &runtime::Handle) -> TokioMetrics {
    let metrics = handle.metrics();
    let workers = metrics.num_workers();
    let mut read = TokioMetrics::default();
    (read.workers, read.live_tasks) = (workers, metrics.num_alive_tasks());
    // tokio has these on targets with 64-bit atomics only.
    #[cfg(target_has_atomic = "64")]
    for worker in 0..workers {
        read.parks += metrics.worker_park_count(worker);
        read.busy += metrics.worker_total_busy_duration(worker);
    }
    read
}

/// The runtime of the process.
struct Shared;

impl OuterRuntime for Shared {
    fn start(&self) -> Result<(), BuildError> {
        shared().map(drop).map_err(refused)
    }

    fn enter(&self) -> Box<dyn Guard + '_> {
        // It was started before the threads were. In a forked child there is no thread to enter it.
        Box::new(shared().map(|runtime| runtime.enter()))
    }

    fn metrics(&self) -> TokioMetrics {
        metrics().unwrap_or_default()
    }
}

fn refused(error: io::Error) -> BuildError {
    let text = "tokio's runtime was refused: raise the limits of threads (ulimit -u, the cgroup's pids.max) and of \
                descriptors (ulimit -n), or build without `tokio_bridge`";
    BuildError::io(text, error)
}

/// A runtime of the program.
struct Given(runtime::Handle);

impl OuterRuntime for Given {
    fn start(&self) -> Result<(), BuildError> {
        Ok(())
    }

    fn enter(&self) -> Box<dyn Guard + '_> {
        Box::new(self.0.enter())
    }

    fn metrics(&self) -> TokioMetrics {
        read(&self.0)
    }
}

impl Builder {
    /// Has each worker and each thread for blocking jobs enter the tokio runtime of the process, once, when it begins
    /// (feature `tokio-bridge`). Then libraries that need tokio's runtime work in every task.
    ///
    /// Their sockets, timers and spawned tasks run on one thread of tokio's, which wakes the task of ours. The runtime is
    /// that of [`compat::tokio::handle`](crate::compat::tokio::handle); the first [`build`](Self::build) starts it.
    /// [`guide::tokio`](crate::guide::tokio) says what that costs.
    ///
    /// Jobs of [`run_in_executor`](crate::run_in_executor) are inside, too. A thread that the program starts by itself has not
    /// entered.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let answer = ringloop::Builder::new()
    ///     .tokio_bridge()
    ///     .run(async {
    ///         tokio::time::sleep(Duration::from_millis(1)).await;
    ///         tokio::spawn(async { 7 }).await.unwrap()
    ///     })
    ///     .unwrap();
    /// assert_eq!(answer, 7);
    /// ```
    pub fn tokio_bridge(self) -> Self {
        self.within(Shared)
    }

    /// The same with a tokio runtime of the program's own, which must live as long: for a program on tokio that moves over bit by bit.
    ///
    /// Its tasks start tasks of ours by [`Handle::spawn`](crate::Handle::spawn), and await them.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    /// tokio.block_on(async {
    ///     let ours = ringloop::Builder::new()
    ///         .tokio_handle(tokio::runtime::Handle::current())
    ///         .build()
    ///         .unwrap();
    ///     let task = ours.handle().spawn(async {
    ///         ringloop::yield_now().await;
    ///         tokio::spawn(async { "both ways" }).await
    ///     });
    ///     assert_eq!(task.await.unwrap().unwrap(), "both ways");
    ///     // Its end waits for tasks: not on a thread of tokio's.
    ///     tokio::task::spawn_blocking(move || ours.shutdown(Duration::from_secs(10))).await.unwrap();
    /// });
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn tokio_handle(self, tokio: runtime::Handle) -> Self {
        self.within(Given(tokio))
    }
}

/// Polls `future` inside the tokio runtime of the process, on whatever worker that happens, and drops it there.
///
/// For one library in a program whose other tasks need no tokio. Tasks that `future` starts by [`spawn`](crate::spawn) are
/// not inside: give them a `bridge` of their own. Each poll enters and leaves.
///
/// # Cancel safety
///
/// That of `future`.
///
/// # Panics
///
/// Polling it panics if tokio's runtime has to be started and is refused: [`handle`] gives that as an error.
///
/// ```
/// use std::time::Duration;
///
/// use ringloop::compat::tokio::bridge;
///
/// ringloop::run(async {
///     // tokio's timer panics outside of a tokio runtime.
///     bridge(async { tokio::time::sleep(Duration::from_millis(1)).await }).await;
/// });
/// ```
pub fn bridge<F: Future>(future: F) -> Bridged<F> {
    Bridged { future: Some(future), inside: None }
}

pin_project! {
    /// A future that is polled inside a tokio runtime: see [`bridge()`].
    pub struct Bridged<F> {
        // `None` while it is dropped.
        #[pin]
        future: Option<F>,
        // Since the first poll: the lock is not for every one.
        inside: Option<&'static Runtime>,
    }

    impl<F> PinnedDrop for Bridged<F> {
        fn drop(this: Pin<&mut Self>) {
            // Destructors may spawn, too.
            let mut this = this.project();
            let _inside = this.inside.map(|runtime| runtime.enter());
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for Bridged<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let start = || shared().unwrap_or_else(|error| panic!("{}", refused(error)));
        let _inside = this.inside.get_or_insert_with(start).enter();
        this.future.as_pin_mut().expect("not dropped").poll(cx)
    }
}

impl<F: fmt::Debug> fmt::Debug for Bridged<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bridged").field(&self.future).finish()
    }
}
