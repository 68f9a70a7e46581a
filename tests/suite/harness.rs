//! The sweep over backends and worker counts, deadlines, seeds, and the check that every counter
//! that must return to zero has done so.

use std::any::Any;
use std::future::Future;
use std::io::Write;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringloop::{Backend, Builder, ErrorEvent, Handle, Metrics, Runtime};

/// A configuration of a backend, on which every test must pass.
pub struct BackendCase {
    pub name: &'static str,
    apply: fn(Builder) -> Builder,
}

impl BackendCase {
    /// A builder for this backend whose reports are dropped. Its runtime has no thread and no descriptor but its own,
    /// which tests count: `tests/inspect.rs` is for the others.
    pub fn builder(&self, workers: usize) -> Builder {
        let asked = std::env::var("RINGLOOP_INSPECT").is_ok_and(|value| value == "1");
        (self.apply)(Builder::new().workers(workers).inspect(asked))
    }
}

/// The only list of backends.
pub const BACKENDS: &[BackendCase] = &[
    BackendCase { name: "uring", apply: |builder| builder.backend(Backend::Uring) },
    BackendCase {
        name: "uring-coop",
        apply: |builder| builder.backend(Backend::Uring).defer_taskrun(false),
    },
    // As on kernels before 6.15: each arrival takes a whole buffer.
    BackendCase {
        name: "uring-whole",
        apply: |builder| builder.backend(Backend::Uring).incremental_buffers(false),
    },
    BackendCase { name: "epoll", apply: |builder| builder.backend(Backend::Epoll) },
];

/// The backends of the list that work on this machine; the others are printed, once.
fn backends() -> impl Iterator<Item = &'static BackendCase> {
    static MISSING: OnceLock<Vec<&str>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let refused = |case: &&BackendCase| {
            let built = (case.apply)(Builder::new().workers(1)).build();
            let error = built.err()?;
            loud(&format!("NOTE: without the backend {}: {error}", case.name));
            Some(case.name)
        };
        BACKENDS.iter().filter_map(|case| refused(&case)).collect()
    });
    assert!(missing.len() < BACKENDS.len(), "no backend works here");
    BACKENDS.iter().filter(|case| !missing.contains(&case.name))
}

const WORKERS: &[usize] = &[1, 2, 4];

/// How long counters may take to reach zero after the last await.
const SETTLE: Duration = Duration::from_secs(20);

/// `n`, multiplied by `RINGLOOP_TEST_SCALE`.
pub fn scaled(n: usize) -> usize {
    n * scale()
}

pub fn scale() -> usize {
    match std::env::var("RINGLOOP_TEST_SCALE") {
        Ok(text) => text.parse().expect("RINGLOOP_TEST_SCALE is a number"),
        Err(_) => 1,
    }
}

/// Prints a line on the terminal, even though the test harness captures output.
pub fn loud(text: &str) {
    let line = format!("ringloop tests: {text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The path of the test in which `F`, a closure, was written (`task::name_of_test`).
pub fn test_name<F>(_: &F) -> &'static str {
    let full = std::any::type_name::<F>();
    let function = full.split("::{{closure}}").next().unwrap_or(full);
    function.split_once("::").map_or(function, |(_, path)| path)
}

/// Runs `body` for each backend and each worker count, under a deadline of 60 s.
pub fn on_every<F: Fn(&Cfg)>(body: F) {
    on_every_within(Duration::from_secs(60), body);
}

/// [`on_every`] with another deadline, multiplied by the scale, for each single case.
pub fn on_every_within<F: Fn(&Cfg)>(deadline: Duration, body: F) {
    let name = test_name(&body);
    let only_backend = std::env::var("RINGLOOP_TEST_BACKEND").ok();
    let only_workers = std::env::var("RINGLOOP_TEST_WORKERS").ok();
    for case in backends() {
        for &workers in WORKERS {
            if only_backend.as_deref().is_some_and(|b| b != case.name)
                || only_workers.as_deref().is_some_and(|w| w != workers.to_string())
            {
                continue;
            }
            let cfg = Cfg { case, workers, seed: fresh_seed() };
            guarded(&format!("{name} on {cfg}"), deadline, || body(&cfg));
        }
    }
}

/// Runs `body`; a panic names `what` (which holds the seed). When the deadline passes, the process
/// ends with that name, because there is no other way to stop a thread that hangs.
pub fn guarded<R>(what: &str, deadline: Duration, body: impl FnOnce() -> R) -> R {
    let watchdog = Watchdog::start(what.to_owned(), deadline * scale() as u32);
    let result = catch_unwind(AssertUnwindSafe(body));
    watchdog.stop();
    match result {
        Ok(value) => value,
        Err(payload) => {
            eprintln!("failed: {what}");
            resume_unwind(payload)
        }
    }
}

fn fresh_seed() -> u64 {
    if let Ok(text) = std::env::var("RINGLOOP_SEED") {
        return text.parse().expect("RINGLOOP_SEED is a number");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("clock after 1970").as_nanos() as u64 | 1
}

struct Watchdog {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    fn start(what: String, deadline: Duration) -> Watchdog {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = stopped.clone();
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                let (lock, condvar) = &*theirs;
                let guard = lock.lock().unwrap();
                let (guard, _) =
                    condvar.wait_timeout_while(guard, deadline, |stop| !*stop).unwrap();
                if !*guard {
                    loud(&format!("DEADLINE of {deadline:?} passed in {what}"));
                    loud(&crate::measure::threads_in_words());
                    std::process::abort();
                }
            })
            .expect("watchdog thread");
        Watchdog { stopped, thread }
    }

    fn stop(self) {
        *self.stopped.0.lock().unwrap() = true;
        self.stopped.1.notify_all();
        self.thread.join().expect("watchdog lives");
    }
}

/// One case of the sweep.
pub struct Cfg {
    case: &'static BackendCase,
    pub workers: usize,
    pub seed: u64,
}

impl std::fmt::Display for Cfg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {} workers, RINGLOOP_SEED={}", self.case.name, self.workers, self.seed)
    }
}

impl Cfg {
    /// Every case of the sweep, for the few tests that run all of them at the same time.
    pub fn all() -> Vec<Cfg> {
        let seed = fresh_seed();
        backends()
            .flat_map(|case| WORKERS.iter().map(move |&workers| Cfg { case, workers, seed }))
            .collect()
    }

    pub fn rng(&self, salt: u64) -> Rng {
        Rng::new(self.seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn single(&self) -> bool {
        self.workers == 1
    }

    /// A builder for this case whose reports are dropped.
    pub fn builder(&self) -> Builder {
        self.case.builder(self.workers)
    }

    /// The backend's name in the list.
    pub fn backend(&self) -> &'static str {
        self.case.name
    }

    /// A builder for this case whose error hook fills `log`.
    pub fn builder_with(&self, log: &ErrorLog) -> Builder {
        let log = log.clone();
        self.builder().on_error(move |event| log.hear(event))
    }

    /// A runtime with threads of its own; its drop checks counters and the error log.
    pub fn runtime(&self) -> TestRuntime {
        let log = ErrorLog::default();
        let runtime = self.builder_with(&log).build().unwrap_or_else(|e| panic!("build: {e}"));
        TestRuntime { runtime: Some(runtime), log }
    }

    /// The one-shot form: `main` runs on the calling thread, which is worker 0.
    pub fn once<F: Future>(&self, main: F) -> F::Output {
        let log = ErrorLog::default();
        let output = self.once_with(&log, main);
        log.assert_silent();
        output
    }

    /// [`Cfg::once`] for tests that expect reports.
    pub fn once_with<F: Future>(&self, log: &ErrorLog, main: F) -> F::Output {
        let whole = async {
            let tasks = Handle::current().metrics().live_tasks;
            let output = main.await;
            settle(tasks).await;
            output
        };
        match self.builder_with(log).run(whole) {
            Ok(output) => output,
            Err(error) if error.is_panicked() => resume_unwind(error.into_panic()),
            Err(error) => panic!("run: {error}"),
        }
    }

    /// [`Cfg::once`] with a mock clock.
    pub fn mocked<F: Future>(&self, main: F) -> F::Output {
        let log = ErrorLog::default();
        let result = self.builder_with(&log).mock_clock().run(main);
        log.assert_silent();
        match result {
            Ok(output) => output,
            Err(error) if error.is_panicked() => resume_unwind(error.into_panic()),
            Err(error) => panic!("run: {error}"),
        }
    }

    /// Runs the futures of `make` in both forms, one-shot and on a runtime's own threads.
    pub fn everywhere<F>(&self, mut make: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send,
    {
        self.once(make());
        let runtime = self.runtime();
        runtime.must_run(make());
    }
}

/// A runtime whose drop asserts that all counters are zero, and that no report is left that the
/// test has not taken.
pub struct TestRuntime {
    runtime: Option<Runtime>,
    log: ErrorLog,
}

impl TestRuntime {
    pub fn log(&self) -> &ErrorLog {
        &self.log
    }

    /// Runs `f`, and resumes its panic.
    pub fn must_run<F>(&self, f: F) -> F::Output
    where
        F: Future + Send,
        F::Output: Send,
    {
        match self.run(f) {
            Ok(output) => output,
            Err(error) if error.is_panicked() => resume_unwind(error.into_panic()),
            Err(error) => panic!("run: {error}"),
        }
    }

    /// Gives up the checks at drop, for tests about shutdown itself.
    pub fn into_inner(mut self) -> Runtime {
        self.runtime.take().expect("held until drop")
    }
}

impl Deref for TestRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.runtime.as_ref().expect("held until drop")
    }
}

impl Drop for TestRuntime {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if std::thread::panicking() {
            return;
        }
        let handle = runtime.handle();
        assert_quiet(&handle);
        let _ = runtime.shutdown(SETTLE);
        self.log.assert_silent();
    }
}

/// The reports to the hook that no test has taken yet.
#[derive(Clone, Default)]
pub struct ErrorLog(Arc<Mutex<Vec<Heard>>>);

pub struct Heard {
    pub kind: Kind,
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Panic,
    AcceptPaused,
    Hog,
    Shutdown,
    Other,
}

impl ErrorLog {
    pub fn hear(&self, event: &ErrorEvent) {
        let kind = match event {
            ErrorEvent::TaskPanicked { .. } | ErrorEvent::CallPanicked { .. } => Kind::Panic,
            ErrorEvent::AcceptPaused { .. } => Kind::AcceptPaused,
            ErrorEvent::TaskHogsWorker { .. } => Kind::Hog,
            ErrorEvent::ShutdownTimedOut { .. } => Kind::Shutdown,
            _ => Kind::Other,
        };
        self.0.lock().unwrap().push(Heard { kind, text: event.to_string() });
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.0.lock().unwrap().iter().filter(|heard| heard.kind == kind).count()
    }

    /// Removes and returns the texts of one kind.
    pub fn take(&self, kind: Kind) -> Vec<String> {
        let mut all = self.0.lock().unwrap();
        let (taken, left) =
            std::mem::take(&mut *all).into_iter().partition::<Vec<_>, _>(|h| h.kind == kind);
        *all = left;
        taken.into_iter().map(|heard| heard.text).collect()
    }

    /// Waits, on a plain thread, until there are `n` reports of `kind`.
    pub fn wait_for(&self, kind: Kind, n: usize) {
        wait_until(|| self.count(kind) >= n, || format!("{n} reports of {kind:?}"));
    }

    /// Reports of long polls may come from a machine that is too busy; any other report must be
    /// expected.
    pub fn assert_silent(&self) {
        let all = self.0.lock().unwrap();
        let left: Vec<_> =
            all.iter().filter(|heard| heard.kind != Kind::Hog).map(|h| &h.text).collect();
        assert!(left.is_empty(), "unexpected reports: {left:#?}");
    }
}

/// Polls `done` on a plain thread until it holds; fails after [`SETTLE`].
pub fn wait_until(done: impl Fn() -> bool, what: impl Fn() -> String) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SETTLE * scale() as u32, "in vain: {}", what());
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// [`wait_until`] inside a task.
pub async fn wait_until_async(done: impl Fn() -> bool, what: impl Fn() -> String) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SETTLE * scale() as u32, "in vain: {}", what());
        ringloop::yield_now().await;
    }
}

/// Waits until every counter is zero that must return to zero; on a plain thread.
pub fn assert_quiet(handle: &Handle) {
    let noise = || noise(&handle.metrics(), 0);
    wait_until(|| noise().is_none(), || format!("{:?} return to zero", noise()));
}

/// Waits until every counter is zero that must return to zero; in a task, beside `tasks` live ones.
pub async fn settle(tasks: u64) {
    let handle = Handle::current();
    let noise = || noise(&handle.metrics(), tasks);
    wait_until_async(|| noise().is_none(), || format!("{:?} return to zero", noise())).await;
}

fn noise(metrics: &Metrics, tasks: u64) -> Option<String> {
    let counters = [
        ("live_tasks", metrics.live_tasks, tasks),
        ("in_flight_operations", metrics.in_flight_operations, 0),
        ("registered_descriptors", metrics.registered_descriptors, 0),
        ("armed_timers", metrics.armed_timers, 0),
        ("leases", metrics.leases, 0),
        ("leaked_operations", metrics.leaked_operations, 0),
        ("blocking_jobs", metrics.blocking_jobs, 0),
    ];
    let loud: Vec<String> = counters
        .iter()
        .filter(|(_, value, goal)| value != goal)
        .map(|(name, value, goal)| format!("{name} is {value}, not {goal}"))
        .collect();
    (!loud.is_empty()).then(|| loud.join(", "))
}

/// A small seeded generator (xorshift64*), so that a failing schedule can be replayed.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        // Neighbouring seeds must not give neighbouring streams, and zero is a fixed point.
        let mixed = (seed ^ (seed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Rng((mixed ^ (mixed >> 27)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The text of a panic's payload.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is no text".to_owned()
    }
}

/// Panics without the hook's message on stderr, for panics that a test makes on purpose.
pub fn deliberate(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

/// Runs `f`, which must panic, and returns the panic's text.
pub fn must_panic<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("no panic where one is promised"),
        Err(payload) => panic_text(&*payload),
    }
}
