//! Processes to ask: this binary runs itself again, in a role.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use ringloop::{Builder, Runtime, spawn, task, time::sleep};

const ROLE: &str = "RINGLOOP_INSPECT_ROLE";
const MARK: &str = "role: ";

/// A process in a role, which ends with this value.
pub struct Service {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Service {
    pub fn start(role: &str) -> Self {
        Self::start_with(role, |_| {})
    }

    /// The same, with `prepare` adding to the command. Returns once the role is ready.
    pub fn start_with(role: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env::current_exe().expect("the path of this binary"));
        command.args(["roles::role", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env_remove("RINGLOOP_INSPECT");
        prepare(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut service = Self { child, input, output };
        service.expect("ready");
        service
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next word that it says.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let len = self.output.read_line(&mut line).expect("its output");
            assert!(len > 0, "it ended in silence: {:?}", self.child.wait());
            if let Some((_, word)) = line.trim_end().split_once(MARK) {
                return word.to_owned();
            }
        }
    }

    pub fn expect(&mut self, word: &str) {
        assert_eq!(self.hear(), word);
    }

    /// Says a word to it, and waits for its answer.
    pub fn tell(&mut self, word: &str) -> String {
        writeln!(self.input, "{word}").expect("it listens");
        self.hear()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program answers to these arguments.
pub fn ringloop(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringloop"));
    command.args(arguments).output().expect("the program runs")
}

/// Its standard output, where it has done what was asked.
pub fn told(arguments: &[&str]) -> String {
    let output = ringloop(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {} {error}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Its exit code and its words on standard error, where it has not.
pub fn refused(output: &Output) -> (i32, String) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or_else(|| panic!("it has crashed: {error}")), error)
}

/// Runs a test that may take up to a minute: then the process ends with its name.
pub fn within_a_minute(name: &str, test: impl FnOnce()) {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watched = name.to_owned();
    thread::spawn(move || {
        let patience = Duration::from_secs(60);
        if ended.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{watched} has not ended within {patience:?}");
            std::process::exit(70);
        }
    });
    test();
    drop(done);
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{MARK}{word}\n").as_bytes()).expect("the test listens");
    out.flush().expect("the test listens");
}

/// Waits for the test's words, and answers each; ends with the test.
fn obey(mut answer: impl FnMut(&str) -> String) {
    for line in std::io::stdin().lines() {
        let word = answer(&line.expect("the test speaks"));
        say(&word);
    }
}

#[test]
fn role() {
    let Ok(role) = env::var(ROLE) else { return };
    match role.as_str() {
        "service" => service(),
        "stuck" => stuck(),
        "several" => several(),
        "off" => off(),
        "deadlock" => deadlock(),
        "busy" => busy(),
        "healthy" => examined(false),
        "five-faults" => examined(true),
        "idle" => obey_ready(|_| String::new()),
        "fork" => fork(),
        "exec" => exec(),
        "full" => full(),
        "ends" => ends(),
        "protected" => protected(),
        _ => panic!("no such role: {role}"),
    }
}

/// Waits until the process has a door: its thread has its name a moment after the runtime is there.
fn await_door() {
    let is_off = || env::var("RINGLOOP_INSPECT").is_ok_and(|word| word == "0");
    let has_door = || {
        let threads = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
        let names = threads.filter_map(|of| std::fs::read_to_string(of.path().join("comm")).ok());
        names.into_iter().any(|name| name.starts_with("ring-ask-"))
    };
    while !is_off() && !has_door() {
        thread::yield_now();
    }
}

fn obey_ready(answer: impl FnMut(&str) -> String) {
    say("ready");
    obey(answer);
}

/// Tasks that wait: for a lock that one holds, for each other, for time.
fn with_tasks(runtime: &Runtime) {
    let named = |name: &'static str| task::Builder::new().name(name);
    let lock = Arc::new(ringloop::sync::Lock::new(()));
    runtime
        .run(async {
            let (held, is_held) = ringloop::sync::oneshot();
            let own = lock.clone();
            named("holder")
                .spawn(async move {
                    let _guard = own.lock().await;
                    let _ = held.set(());
                    sleep(Duration::from_secs(3600)).await;
                })
                .detach();
            is_held.await.expect("it is held");
            named("waiter")
                .spawn(async move {
                    let _guard = lock.lock().await;
                })
                .detach();
            let sleeper = named("sleeper").spawn(sleep(Duration::from_secs(3600)));
            named("joiner").spawn(async move { _ = sleeper.await }).detach();
            // A name that would clear the terminal.
            named("evil\u{1b}[2J\nname").spawn(std::future::pending::<()>()).detach();
        })
        .expect("it runs");
    await_door();
}

fn service() {
    let runtime = Builder::new().workers(2).name("gateway").build().expect("a runtime");
    with_tasks(&runtime);
    let handle = runtime.handle();
    obey_ready(|word| match word {
        // Serves: a task that runs on a worker answers.
        "ping" => handle.block_on(async { spawn(async { "pong" }).await }).map_or_else(
            |error| error.to_string(),
            |word| word.expect("it does not panic").to_owned(),
        ),
        "fds" => std::fs::read_dir("/proc/self/fd").expect("/proc").count().to_string(),
        other => panic!("{other}"),
    });
}

/// Every worker is in a poll that does not end.
fn stuck() {
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let (tell, held) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let tell = tell.clone();
        task::Builder::new().name("hog").spawn_on_runtime(&runtime, async move {
            tell.send(()).expect("the main thread listens");
            loop {
                thread::park();
            }
        });
    }
    held.recv().expect("the first holds its worker");
    held.recv().expect("the second holds its worker");
    await_door();
    obey_ready(|_| String::new());
}

trait OnRuntime {
    fn spawn_on_runtime(self, runtime: &Runtime, body: impl Future<Output = ()> + Send + 'static);
}

impl OnRuntime for task::Builder {
    fn spawn_on_runtime(self, runtime: &Runtime, body: impl Future<Output = ()> + Send + 'static) {
        runtime.run(async { self.spawn(body).detach() }).expect("it runs");
    }
}

/// The example of the doctor.
fn examined(has_faults: bool) {
    let runtime = crate::five_faults::runtime();
    runtime.run(crate::five_faults::healthy()).expect("it runs");
    if has_faults {
        runtime.run(crate::five_faults::five_faults()).expect("it runs");
    }
    obey_ready(|_| String::new());
}

/// Three runtimes, of which one may not be looked into.
fn several() {
    let build = |name, may| Builder::new().workers(1).name(name).inspect(may).build().unwrap();
    let runtimes = [build("first", true), build("second", true), build("hidden", false)];
    runtimes.iter().for_each(with_tasks);
    obey_ready(|_| String::new());
}

fn off() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    with_tasks(&runtime);
    obey_ready(|_| String::new());
}

/// For a look by hand: tasks that compute, tick and wait, and blocking jobs that queue. See `docs/inspect.md`.
fn busy() {
    let runtime = Builder::new().workers(2).name("gateway").blocking_threads(2);
    let runtime = runtime.build().expect("a runtime");
    with_tasks(&runtime);
    let named = |name: String| task::Builder::new().name(name);
    runtime
        .run(async {
            for number in 0..20 {
                let tick = Duration::from_millis(1 << (number % 8));
                let body = async move {
                    loop {
                        sleep(tick).await;
                    }
                };
                named(format!("ticker {number}")).spawn(body).detach();
            }
            let body = async {
                let mut sum = 0_u64;
                loop {
                    (0..1_000_000).for_each(|number| sum = std::hint::black_box(sum ^ number));
                    sleep(Duration::from_millis(10)).await;
                }
            };
            named("summer".to_owned()).spawn(body).detach();
            for _ in 0..5 {
                ringloop::to_thread(|| thread::sleep(Duration::from_secs(3600))).detach();
            }
        })
        .expect("it runs");
    obey_ready(|_| String::new());
}

/// Two tasks that wait for each other's end (T74).
fn deadlock() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let (to_one, for_one) = ringloop::sync::oneshot::<ringloop::Task<()>>();
    let (to_two, for_two) = ringloop::sync::oneshot::<ringloop::Task<()>>();
    let spawn = |name, other: ringloop::sync::Deferred<ringloop::Task<()>>| {
        let body = async move {
            let other = other.await.expect("the other is there");
            let _ = other.await;
        };
        let mut task = None;
        let main = async { task = Some(task::Builder::new().name(name).spawn(body)) };
        runtime.run(main).expect("it runs");
        task.expect("it was spawned")
    };
    let (one, two) = (spawn("one", for_one), spawn("two", for_two));
    assert!(to_one.set(two).is_ok() && to_two.set(one).is_ok(), "both wait");
    let handle = runtime.handle();
    let joins = || {
        let dump = handle.dump();
        let waits = dump.tasks().filter_map(|task| task.waiting_on.as_ref());
        waits.filter(|wait| wait.kind == ringloop::introspect::WaitKind::Task).count()
    };
    while joins() < 2 {
        thread::yield_now();
    }
    await_door();
    obey_ready(|_| String::new());
}

/// A child, forked from a thread that belongs to no runtime, says its number and waits; then it builds a runtime.
fn fork() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    with_tasks(&runtime);
    let (mut to_child, mut from_child) = (pipe(), pipe());
    // SAFETY: the child uses only what is its own: pipes, and a runtime of its own.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            // So that it hears of the parent's end.
            drop(to_child.1);
            let mut byte = [0];
            to_child.0.read_exact(&mut byte).expect("the parent speaks");
            let own = Builder::new().workers(1).name("child").build().expect("a runtime");
            await_door();
            from_child.1.write_all(b"b").expect("the parent listens");
            // Until the parent has gone.
            let _ = to_child.0.read_exact(&mut byte);
            drop(own);
            // SAFETY: no destructor is to run twice.
            unsafe { libc::_exit(0) }
        }
        child => obey_ready(|word| match word {
            "child" => child.to_string(),
            "build" => {
                to_child.1.write_all(b"a").expect("the child listens");
                from_child.0.read_exact(&mut [0]).expect("the child answers");
                "built".to_owned()
            }
            other => panic!("{other}"),
        }),
    }
}

fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().expect("a pipe")
}

/// A process with a runtime that becomes another program.
fn exec() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    with_tasks(&runtime);
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the test speaks");
    let script = format!("echo '{MARK}other'; cat > /dev/null");
    panic!("exec: {}", Command::new("sh").arg("-c").arg(script).exec());
}

/// A process that is out of descriptors.
fn full() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    with_tasks(&runtime);
    let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a lower limit");
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    obey_ready(|_| files.len().to_string());
}

/// A process whose runtime comes and goes.
fn ends() {
    let mut runtime = None;
    obey_ready(|word| {
        runtime = (word == "begin").then(|| Builder::new().workers(1).build().expect("a runtime"));
        if runtime.is_some() {
            await_door();
        }
        let threads = std::fs::read_dir("/proc/self/task").expect("/proc").count();
        let fds = std::fs::read_dir("/proc/self/fd").expect("/proc").count();
        format!("{threads} {fds}")
    });
}

/// A process that the kernel protects from its own user, as one with capabilities.
fn protected() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    with_tasks(&runtime);
    // SAFETY: it changes a flag of the process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    obey_ready(|_| String::new());
}
