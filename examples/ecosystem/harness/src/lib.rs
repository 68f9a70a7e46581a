//! What the tests of this workspace share: every test runs on each backend, with one worker and with two, under a
//! deadline, and no error may be reported.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use ringloop::{Backend, Builder};

/// How long one case may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a server may take to start: RabbitMQ takes 5 s where nothing else runs.
const START: Duration = Duration::from_secs(120);

/// Runs the test that `make` gives on each backend, with one worker and with two.
pub fn on_every<F: Future<Output = ()>>(make: impl Fn() -> F) {
    on_every_with(|builder| builder, make);
}

/// The same, with options of the test's own.
pub fn on_every_with<F: Future<Output = ()>>(
    options: impl Fn(Builder) -> Builder,
    make: impl Fn() -> F,
) {
    for backend in [Backend::Uring, Backend::Epoll] {
        if let Err(error) = Builder::new().workers(1).backend(backend).build() {
            eprintln!("NOTE: without {backend:?}: {error}");
            continue;
        }
        for workers in [1, 2] {
            let (stop, stopped) = mpsc::channel::<()>();
            let watchdog = thread::spawn(move || {
                if stopped.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    eprintln!("DEADLINE of {DEADLINE:?} passed on {backend:?}, {workers} workers");
                    std::process::abort();
                }
            });
            let heard = Arc::new(Mutex::new(Vec::new()));
            let log = heard.clone();
            options(Builder::new())
                .workers(workers)
                .backend(backend)
                .on_error(move |event| log.lock().unwrap().push(format!("{event:?}")))
                .run(make())
                .unwrap_or_else(|error| panic!("on {backend:?}, {workers} workers: {error}"));
            let heard = std::mem::take(&mut *heard.lock().unwrap());
            assert!(heard.is_empty(), "reported on {backend:?}, {workers} workers: {heard:?}");
            drop(stop);
            watchdog.join().expect("it only waits");
        }
    }
}

/// Where a program is. `.ci/services` installs them; a test without its program says so and ends.
pub fn path_of(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&paths).collect();
    // Debian has a wrapper of RabbitMQ's server in the paths, which takes another user.
    folders.insert(0, "/usr/lib/rabbitmq/bin".into());
    // Debian has the server of PostgreSQL beside the paths, in a folder for each version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("NOTE skipped: {program} is not installed: bash .ci/services");
    }
    found
}

/// Whether a program is installed: see [`path_of`].
pub fn has(program: &str) -> bool {
    path_of(program).is_some()
}

/// A port of the loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port()
}

/// A program that runs until it is dropped.
pub struct Service(Child);

impl Service {
    /// Starts it, and waits until it listens on `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().expect("it starts");
        let mut service = Self(child);
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < START, "{command:?} does not listen");
            assert!(service.0.try_wait().expect("a child").is_none(), "{command:?} has ended");
            thread::sleep(Duration::from_millis(10));
        }
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
