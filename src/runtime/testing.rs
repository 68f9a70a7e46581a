//! What a runtime does for tests: its clock, the order of its tasks, and what becomes of a main future
//! that can never be woken.

use std::{
    env, fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{BackendInfo, Builder, Handle, debug::DebugOptions};
use crate::{
    error::{BuildError, RunError},
    scheduler::{Hub, MainWatch, Options, Standstill},
};

/// Names the seed that is to be taken instead of the program's.
const SEED: &str = "RINGLOOP_TEST_SEED";
/// After how long a runtime for tests finds a deadlock.
const DEADLOCK: Duration = Duration::from_secs(1);

/// What a builder was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TestOptions {
    mock_clock: bool,
    /// Whether the attribute for tests has made the runtime.
    attribute: bool,
    seed: Option<u64>,
    /// Unless the default is to be taken.
    deadlock: Option<Option<Duration>>,
    pub(super) debug: DebugOptions,
}

impl TestOptions {
    /// The seed, if there is one, with a look at the environment.
    pub(super) fn seed(&self) -> Result<Option<u64>, BuildError> {
        let Some(chosen) = self.seed else { return Ok(None) };
        let Some(text) = env::var_os(SEED) else { return Ok(Some(chosen)) };
        let seed = text.to_str().and_then(|text| text.parse().ok());
        match seed {
            Some(seed) => Ok(Some(seed)),
            None => Err(BuildError::new(format!("{SEED} is no number: {}", text.display()))),
        }
    }

    /// Whether the runtime is one of a test.
    pub(super) fn is_test(&self) -> bool {
        self.attribute || self.mock_clock || self.seed.is_some()
    }

    pub(super) fn resolve(&self, _backend: &BackendInfo) -> Result<Options, BuildError> {
        #[cfg(test)]
        let plays_clock = self.mock_clock || _backend.backend == super::Backend::Memory;
        #[cfg(not(test))]
        let plays_clock = self.mock_clock;
        let is_test = self.is_test();
        Ok(Options {
            plays_clock,
            seed: self.seed()?,
            deadlock: self.deadlock.unwrap_or(is_test.then_some(DEADLOCK)),
        })
    }
}

impl Builder {
    /// The runtime is one of `#[ringloop::test]`.
    pub(crate) fn for_test(mut self) -> Self {
        self.tests.attribute = true;
        self
    }

    /// For tests: the program's time stands still while tasks run, and jumps to the next deadline when
    /// everything waits. An hour of [`sleep`](crate::time::sleep) takes no time, and ends to the
    /// nanosecond. See [`testing::Clock`](crate::testing::Clock).
    ///
    /// asyncio: has none. trio: `MockClock(autojump_threshold=0)`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::time::{Instant, sleep};
    ///
    /// ringloop::Builder::new()
    ///     .mock_clock()
    ///     .run(async {
    ///         let begun = Instant::now();
    ///         sleep(Duration::from_secs(3600)).await;
    ///         assert_eq!(begun.elapsed(), Duration::from_secs(3600));
    ///     })
    ///     .unwrap();
    /// ```
    pub fn mock_clock(mut self) -> Self {
        self.tests.mock_clock = true;
        self
    }

    /// For tests: tasks that are ready run in an order that depends on `seed`, to find what counts on
    /// another order. Without this, the order is that of waking.
    ///
    /// All tasks that are ready are put into a random order and run once; those that become ready
    /// meanwhile have their turn after that. With one [worker](Self::workers) and the
    /// [mock clock](Self::mock_clock), the same seed gives the same run, as long as nothing comes from
    /// outside (sockets, other threads) and the program itself takes no random numbers. With several
    /// workers it gives each of them another order, but not the same run.
    ///
    /// If the main future panics, or the thread of a [`Runtime`](crate::Runtime) does, standard error hears of the
    /// seed. The environment variable `RINGLOOP_TEST_SEED` replaces it, to run a test again as it
    /// failed.
    ///
    /// asyncio: has none; there the order is fixed.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) and [`run`](Self::run) refuse a `RINGLOOP_TEST_SEED` that is no number.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// /// The order in which four tasks run.
    /// fn order(seed: u64) -> Vec<i32> {
    ///     let builder = ringloop::Builder::new().workers(1).test_seed(seed);
    ///     let main = async {
    ///         let order = Rc::new(RefCell::new(Vec::new()));
    ///         let tasks = [0, 1, 2, 3].map(|number| {
    ///             let order = order.clone();
    ///             ringloop::spawn_local(async move { order.borrow_mut().push(number) })
    ///         });
    ///         for task in tasks {
    ///             task.await.unwrap();
    ///         }
    ///         order.take()
    ///     };
    ///     builder.run(main).unwrap()
    /// }
    ///
    /// assert_eq!(order(1), order(1));
    /// assert!((0..20).any(|seed| order(seed) != [0, 1, 2, 3]));
    /// ```
    pub fn test_seed(mut self, seed: u64) -> Self {
        self.tests.seed = Some(seed);
        self
    }

    /// For tests: a main future that nothing can wake any more panics, with a list of the tasks that
    /// wait, instead of waiting for ever. `None` switches that off. Default: after 1 s with
    /// [`mock_clock`](Self::mock_clock) or [`test_seed`](Self::test_seed), else `None`.
    ///
    /// It is for [`run`](Self::run), [`Runtime::run`](crate::Runtime::run) and
    /// [`Handle::block_on`](crate::Handle::block_on). A deadlock is found when no task is ready, no timer can
    /// fire, no blocking job is queued or runs, no socket or other descriptor is registered and no
    /// operation is under way. Then only a thread that is none of the runtime's could wake a
    /// task: if none does so for the time `after`, by the machine's clock, there is no hope. Choose it
    /// longer than such a thread may take.
    ///
    /// So a test whose sockets are all idle still hangs: what will come from them, nobody knows.
    ///
    /// asyncio: has none; its loop waits for ever.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let result = ringloop::Builder::new()
    ///     .test_deadlock(Some(Duration::from_millis(10)))
    ///     .run(std::future::pending::<()>());
    /// let text = result.unwrap_err().to_string();
    /// assert!(text.contains("deadlock"), "{text}");
    /// ```
    pub fn test_deadlock(mut self, after: Option<Duration>) -> Self {
        self.tests.deadlock = Some(after);
        self
    }
}

/// Tells standard error of the seed with which a test failed.
pub(super) struct Replay(Option<u64>);

impl Replay {
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self(seed)
    }

    /// What became of the main future.
    pub(super) fn judge<T>(mut self, result: &Result<T, RunError>) {
        if result.as_ref().is_err_and(RunError::is_panicked) {
            self.tell();
        }
        self.0 = None;
    }

    fn tell(&self) {
        if let Some(seed) = self.0 {
            eprintln!("ringloop: tasks ran in the order of seed {seed}: {SEED}={seed} replays it");
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell();
        }
    }
}

pin_project! {
    /// A main future, which panics when the runtime finds that nothing can wake it.
    pub(super) struct Watched<F> {
        #[pin]
        main: F,
        watch: MainWatch,
    }
}

impl<F> Watched<F> {
    pub(super) fn new(main: F) -> Self {
        Self { main, watch: MainWatch::default() }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some(report) = this.watch.poll(cx) {
            panic!("{report}");
        }
        this.main.poll(cx)
    }
}

/// The clock of a runtime that was built with [`mock_clock`](Builder::mock_clock), and the
/// standstills that move it.
#[derive(Clone)]
pub(crate) struct MockClock {
    standstill: Arc<Standstill>,
    hub: &'static Hub,
}

impl MockClock {
    pub(crate) fn of(handle: &Handle) -> Option<Self> {
        let standstill = &handle.inner.standstill;
        standstill.clock()?;
        Some(Self { standstill: standstill.clone(), hub: handle.inner.hub })
    }

    pub(crate) fn now(&self) -> u64 {
        self.standstill.clock().map_or(0, |clock| clock.now())
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.standstill.advance(self.hub, by);
    }

    pub(crate) fn set_jumps(&self, jumps: bool) {
        self.standstill.set_jumps(self.hub, jumps);
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.standstill.set_patience(self.hub, patience);
    }
}

impl fmt::Debug for MockClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MockClock").field(&Duration::from_nanos(self.now())).finish()
    }
}
