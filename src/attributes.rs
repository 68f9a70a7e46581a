//! The attributes `main` and `test`, and what the code that they write calls.

use std::{
    panic::resume_unwind,
    pin::pin,
    process::{ExitCode, Termination},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::{
    runtime::{self, Backend, Builder, Handle},
    time,
    util::{panic, threads},
};

/// Runs an `async fn main` on a runtime: what [`run`](crate::run) does, as an attribute.
///
/// The calling thread is worker 0, so that nothing has to be `Send`. The function takes no arguments,
/// and returns what a `main` may return: nothing, a `Result`, an
/// [`ExitCode`](std::process::ExitCode). It need not be called `main`: called, it runs a runtime.
///
/// The attribute is there with the feature `macros`, which is on by default.
///
/// asyncio: `asyncio.run(main())` at the end of a program.
///
/// ```
/// #[ringloop::main]
/// async fn main() {
///     let answer = ringloop::spawn(async { 6 * 7 });
///     assert_eq!(answer.await.unwrap(), 42);
/// }
/// ```
///
/// With an error, as any `main`:
///
/// ```
/// #[ringloop::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await?;
///     println!("{}", listener.local_addr()?);
///     Ok(())
/// }
/// ```
///
/// # Arguments
///
/// `workers = N`: how many workers run tasks, see [`Builder::workers`]. A number, or any expression
/// that is one. Default: one for each core.
///
/// ```
/// #[ringloop::main(workers = 2)]
/// async fn main() {
///     assert_eq!(ringloop::Handle::current().workers(), 2);
/// }
/// ```
///
/// `backend = ".."`: how to talk to the kernel, see [`Backend`]: `"auto"`, `"uring"` or `"epoll"`. Default:
/// `"auto"`.
///
/// ```
/// #[ringloop::main(backend = "epoll")]
/// async fn main() {
///     assert_eq!(ringloop::Handle::current().backend(), ringloop::Backend::Epoll);
/// }
/// ```
///
/// `name = ".."`: what the names of the threads begin with, see [`Builder::name`]. Default: `"ringloop"`.
///
/// ```
/// #[ringloop::main(workers = 2, name = "gateway")]
/// async fn main() {
///     let name = ringloop::to_thread(|| std::thread::current().name().map(str::to_owned));
///     assert!(name.await.unwrap().unwrap().starts_with("gateway"));
/// }
/// ```
///
/// `crate = ..`: the path of this crate, for programs in which it has another name.
///
/// ```
/// extern crate ringloop as ring;
///
/// #[ring::main(crate = ring)]
/// async fn main() {
///     ring::yield_now().await;
/// }
/// ```
///
/// For other options there are [`Builder`] and its [`run`](Builder::run).
///
/// # Panics
///
/// As [`run`](crate::run): if the runtime cannot be built, and if the function panics.
///
/// # What the compiler refuses
///
/// Arguments of the function, since nobody gives it any; parameters of types; a function that is not
/// `async`:
///
/// ```compile_fail
/// #[ringloop::main]
/// async fn main(name: String) {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main]
/// async fn main<T>() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main]
/// fn main() {}
/// ```
///
/// Arguments of the attribute that it does not know, or that cannot be:
///
/// ```compile_fail
/// #[ringloop::main(threads = 2)]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main(workers = 0)]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main(workers = 1, workers = 2)]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main(backend = "kqueue")]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main(crate = nothing_of_that_name)]
/// async fn main() {}
/// ```
///
/// What is for tests:
///
/// ```compile_fail
/// #[ringloop::main(workers = [1, 2])]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main(deadline = "30s")]
/// async fn main() {}
/// ```
#[cfg(feature = "macros")]
#[doc(alias = "asyncio.run")]
pub use ringloop_macros::main;

/// Makes an `async fn` a test, which runs once on each kind of runtime that the arguments name.
///
/// Without arguments that is one runtime with one worker, on which the order of tasks is exact. The
/// function takes no arguments, and returns what a test may return: nothing, or a `Result`. Other
/// attributes stay: `#[ignore]`, `#[should_panic]`, `#[cfg(..)]`.
///
/// The attribute is there with the feature `macros`, which is on by default.
///
/// asyncio: `unittest.IsolatedAsyncioTestCase`.
///
/// ```test_harness
/// #[ringloop::test]
/// async fn adds() {
///     assert_eq!(ringloop::spawn(async { 1 + 2 }).await.unwrap(), 3);
/// }
/// ```
///
/// # Arguments
///
/// `workers = N` or `workers = [..]`, `backend = ".."` or `backends = [..]`: the body runs once for each
/// combination, on a runtime of its own. If it fails, the combination is named: in the panic's text, if it
/// is a text, and on standard error. Default: `workers = 1`, `backend = "auto"`. A backend that does
/// not work on this machine is a failure, since the test asks for it.
///
/// ```test_harness
/// #[ringloop::test(workers = [1, 2, 4], backends = ["auto", "epoll"])]
/// async fn runs_six_times() {
///     ringloop::yield_now().await;
/// }
/// ```
///
/// `deadline = ..`: how long the body may take on each of the runtimes: a number of seconds, or a text
/// such as `"30s"`, `"500ms"` or `"2m"`. A test that waits for longer panics. If one poll holds the worker, so
/// that nobody can end the test, the process is aborted 10 s later. Default: none.
///
/// ```test_harness
/// #[ringloop::test(deadline = "30s")]
/// async fn ends() {
///     ringloop::time::sleep(std::time::Duration::from_millis(1)).await;
/// }
///
/// #[ringloop::test(deadline = 0.001)]
/// #[should_panic(expected = "has not ended within 1ms")]
/// async fn hangs() {
///     std::future::pending().await
/// }
/// ```
///
/// `name = ".."` and `crate = ..` are those of [`main`](macro@crate::main).
///
/// ```test_harness
/// extern crate ringloop as ring;
///
/// #[ring::test(crate = ring, name = "of-a-test")]
/// async fn has_a_name() {}
/// ```
///
/// # Tests that hang
///
/// A test that nothing in the runtime can wake any more fails after 5 s, with a list of its tasks and of what
/// each waits for: see [`Builder::test_deadlock`]. One that waits for a plain thread for longer than that sets a
/// [`timeout`](crate::time::timeout). A `deadline` that is over lists the tasks as well.
///
/// ```test_harness
/// #[ringloop::test]
/// #[should_panic(expected = "deadlock")]
/// async fn waits_for_ever() {
///     let never = ringloop::spawn(std::future::pending::<()>());
///     never.await.unwrap();
/// }
/// ```
///
/// # Results and panics
///
/// An error is a failure, as in any test. A test with `#[should_panic]` has to panic on each of the runtimes,
/// and each time with the text that is expected, if one is.
///
/// ```test_harness
/// #[ringloop::test(workers = [1, 2])]
/// async fn connects() -> std::io::Result<()> {
///     let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await?;
///     ringloop::net::TcpStream::connect(listener.local_addr()?).await?;
///     Ok(())
/// }
///
/// #[ringloop::test(workers = [1, 2])]
/// #[should_panic(expected = "an empty basket")]
/// async fn panics_on_both() {
///     panic!("an empty basket");
/// }
/// ```
///
/// # What the compiler refuses
///
/// What [`main`](macro@crate::main) refuses, lists that are empty, and a second attribute that makes the
/// function a test:
///
/// ```compile_fail
/// #[ringloop::test(backends = [])]
/// async fn nowhere() {}
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::test(deadline = "soon")]
/// async fn ends() {}
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::test]
/// #[test]
/// async fn twice() {}
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::test]
/// async fn has_an_argument(case: u32) {}
/// # fn main() {}
/// ```
#[cfg(feature = "macros")]
#[doc(alias = "IsolatedAsyncioTestCase")]
pub use ringloop_macros::test;

/// What `#[ringloop::main]` calls.
#[doc(hidden)]
#[track_caller]
pub fn main_on<F: Future>(builder: Builder, main: F) -> F::Output {
    runtime::run_on(builder, main)
}

/// After how long a test that nothing can wake is given up. A plain thread may be about to wake it.
const DEADLOCK: Duration = Duration::from_secs(5);
/// How long a test whose worker is held may go on after its deadline.
const GRACE: Duration = Duration::from_secs(10);

/// A test, and the runtimes that it runs on: what `#[ringloop::test]` writes.
#[doc(hidden)]
#[must_use = "it runs by `run`"]
pub struct Sweep {
    test: &'static str,
    workers: &'static [usize],
    backends: &'static [Backend],
    name: Option<String>,
    deadline: Option<Duration>,
    /// Whether it is to panic, and with which text in its own.
    panics: Option<Option<&'static str>>,
}

impl Sweep {
    /// The test of that name, with the defaults.
    pub fn new(test: &'static str) -> Self {
        let (workers, backends) = (&[1], &[Backend::Auto]);
        Self { test, workers, backends, name: None, deadline: None, panics: None }
    }

    /// The counts of workers.
    pub fn workers(mut self, workers: &'static [usize]) -> Self {
        self.workers = workers;
        self
    }

    /// The backends.
    pub fn backends(mut self, backends: &'static [Backend]) -> Self {
        self.backends = backends;
        self
    }

    /// [`Builder::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long it may take, on each runtime.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// It is to panic, with a text that has this in it.
    pub fn should_panic(mut self, expected: Option<&'static str>) -> Self {
        self.panics = Some(expected);
        self
    }

    /// Runs it on one runtime after the other, until it fails.
    #[track_caller]
    pub fn run<F>(self, body: impl Fn() -> F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        let mut panic = None;
        for &backend in self.backends {
            for &workers in self.workers {
                let case = Case { sweep: &self, workers, backend };
                match case.run(&body) {
                    Ok(code) if code != ExitCode::SUCCESS => {
                        case.tell("failed");
                        return code;
                    }
                    Ok(code) if self.panics.is_some() => {
                        case.tell("has not panicked");
                        return code;
                    }
                    Ok(_) => {}
                    Err(payload) if self.expects(&payload) => panic = Some(payload),
                    Err(payload) => {
                        case.tell("panicked");
                        resume_unwind(case.named(payload));
                    }
                }
            }
        }
        match panic {
            Some(payload) => resume_unwind(payload),
            None => ExitCode::SUCCESS,
        }
    }

    fn expects(&self, payload: &panic::Payload) -> bool {
        self.panics.is_some_and(|expected| {
            expected.is_none_or(|text| panic::message(payload).contains(text))
        })
    }
}

/// One of the runtimes.
struct Case<'a> {
    sweep: &'a Sweep,
    workers: usize,
    backend: Backend,
}

impl Case<'_> {
    #[track_caller]
    fn run<F>(&self, body: &impl Fn() -> F) -> Result<ExitCode, panic::Payload>
    where
        F: Future<Output: Termination>,
    {
        let builder = Builder::new().workers(self.workers).backend(self.backend);
        let mut builder = builder.test_deadlock(Some(DEADLOCK)).for_test();
        if let Some(name) = &self.sweep.name {
            builder = builder.name(name);
        }
        let _watch = self.sweep.deadline.map(|deadline| self.watch(deadline));
        let main = async {
            match self.sweep.deadline {
                None => body().await.report(),
                Some(deadline) => {
                    let mut body = pin!(body());
                    // By reference: what the tasks wait for is listed while the body lives.
                    let Ok(value) = time::timeout(deadline, body.as_mut()).await else {
                        let tasks = Handle::current().list_tasks();
                        panic!("the test has not ended within {deadline:?}. {tasks}");
                    };
                    value.report()
                }
            }
        };
        panic::catch(|| runtime::run_on(builder, main))
    }

    /// Aborts the process if the test goes on for long after its deadline, until the value is dropped.
    fn watch(&self, deadline: Duration) -> mpsc::Sender<()> {
        let (running, ended) = mpsc::channel();
        let text = format!("{} has held its worker past its deadline, {deadline:?}", self.words());
        let watch = move || {
            let waited = ended.recv_timeout(deadline.saturating_add(GRACE));
            if waited == Err(RecvTimeoutError::Timeout) {
                eprintln!("ringloop: {text}: no test can go on");
                std::process::abort();
            }
        };
        // Refused, the test goes on unwatched.
        let _detached = threads::spawn("deadline".to_owned(), watch);
        running
    }

    fn words(&self) -> String {
        let Self { sweep, workers, backend } = self;
        format!("the test {} with workers = {workers}, backend = \"{backend}\"", sweep.test)
    }

    fn tell(&self, outcome: &str) {
        eprintln!("ringloop: {} {outcome}", self.words());
    }

    /// The payload with the runtime in its text, if it is one of several, and the payload is a text.
    fn named(&self, payload: panic::Payload) -> panic::Payload {
        let is_text = payload.is::<&'static str>() || payload.is::<String>();
        if !is_text || self.sweep.workers.len() * self.sweep.backends.len() == 1 {
            return payload;
        }
        let text = panic::message(&payload);
        let Self { workers, backend, .. } = self;
        Box::new(format!("{text} (with workers = {workers}, backend = \"{backend}\")"))
    }
}
