//! Calls to a pool of processes. The pool's processes run this program, so it needs a `main` of its
//! own that serves them, and no test harness.
//!
//! Every case runs on each backend. Without arguments all cases run; an argument names one.

use std::{
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ringloop::{
    Backend, Builder,
    net::{TcpListener, TcpStream},
    process::{CallError, Function, ProcessPool},
    spawn,
    time::timeout,
};

static SUM: Function<Vec<u64>, u64> = Function::new("sum", |numbers| numbers.iter().sum());
static ECHO: Function<Vec<u8>, Vec<u8>> = Function::new("echo", |bytes| bytes);
static PID: Function<(), u32> = Function::new("pid", |()| std::process::id());
static ABORT: Function<(), ()> = Function::new("abort", |()| std::process::abort());
static EXIT: Function<i32, ()> = Function::new("exit", |status| std::process::exit(status));
static PANIC: Function<String, ()> = Function::new("panic", |text| panic!("{text}"));
static SPIN: Function<(), ()> = Function::new("spin", |()| {
    loop {
        std::hint::spin_loop();
    }
});
static ALLOCATE: Function<usize, usize> =
    Function::new("allocate", |bytes| vec![1_u8; bytes].len());
static ENVIRONMENT: Function<(), (String, Vec<String>)> = Function::new("environment", |()| {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let files = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let files = files.map(|file| file.display().to_string()).collect();
    (std::io::read_to_string(std::io::stdin()).unwrap(), files)
});
/// A function that is not registered.
static UNKNOWN: Function<(), ()> = Function::new("unknown", |()| ());
/// The name of a registered function, with other types.
static OTHER_SUM: Function<String, Vec<String>> = Function::new("sum", |text| vec![text]);

/// Makes builders for the runtimes of a case.
type Make = dyn Fn() -> Builder;
type Case = (&'static str, fn(&Make));

const CASES: &[Case] = &[
    ("calls", calls),
    ("many_at_once", many_at_once),
    ("large", large),
    ("crash_costs_its_own_call", crash_costs_its_own_call),
    ("worker_that_dies_while_idle_is_replaced", worker_that_dies_while_idle_is_replaced),
    ("panic_leaves_the_process", panic_leaves_the_process),
    ("limits", limits),
    ("recycling", recycling),
    ("cancelled_call_costs_its_process", cancelled_call_costs_its_process),
    ("shutdown_waits_and_refuses", shutdown_waits_and_refuses),
    ("bad_input", bad_input),
    ("worker_inherits_nothing", worker_inherits_nothing),
    ("forked_child_leaves_the_pool_alone", forked_child_leaves_the_pool_alone),
    ("shutdown_does_not_wait_for_a_fork", shutdown_does_not_wait_for_a_fork),
    ("parent_that_is_killed_leaves_no_process", parent_that_is_killed_leaves_no_process),
];

fn main() {
    // Before `serve`, a pool would start the whole program.
    let refused = ProcessPool::new(1).expect_err("no process serves").to_string();
    assert!(refused.contains("call ProcessPool::serve first in main"), "{refused}");
    ProcessPool::serve(&[&SUM, &ECHO, &PID, &ABORT, &EXIT, &PANIC, &SPIN, &ALLOCATE, &ENVIRONMENT]);
    if std::env::var_os("PARENT").is_some() {
        return parent();
    }
    let only = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    for (name, case) in CASES {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for backend in [Backend::Auto, Backend::Epoll] {
            for workers in [1, 2] {
                case(&move || Builder::new().backend(backend).workers(workers));
            }
        }
        println!("test process_pool::{name} ... ok");
    }
    no_zombies();
}

/// Runs a case, with a time limit.
fn run<F: Future<Output = ()>>(make: &Make, case: F) {
    let limited = timeout(Duration::from_secs(60), case);
    make().run(limited).expect("it runs").expect("it ends in time");
}

/// Children of a process: their numbers and states.
fn children_of(parent: u32) -> Vec<(u32, char)> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may have anything in it.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, above) = (fields.next().unwrap(), fields.next().unwrap());
        if above.parse() == Ok(parent) {
            children.push((pid, state.chars().next().unwrap()));
        }
    }
    children
}

/// Waits until `done`, on a thread outside of any runtime.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn no_zombies() {
    wait_until("no child is left", || children_of(std::process::id()).is_empty());
}

fn calls(make: &Make) {
    run(make, async {
        let pool = ProcessPool::new(2).unwrap();
        assert_eq!(pool.call(&SUM, vec![1, 2, 3]).await.unwrap(), 6);
        let pid = pool.call(&PID, ()).await.unwrap();
        assert_ne!(pid, std::process::id());
        // Calls in sequence go to one process.
        assert_eq!(pool.call(&PID, ()).await.unwrap(), pid);
    });
}

fn many_at_once(make: &Make) {
    run(make, async {
        let pool = Arc::new(ProcessPool::new(3).unwrap());
        let calls = (0..60).map(|n| {
            let pool = pool.clone();
            spawn(async move { (pool.call(&SUM, vec![n, n]).await, pool.call(&PID, ()).await) })
        });
        let mut pids = Vec::new();
        for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            let (sum, pid) = call.await.unwrap();
            assert_eq!(sum.unwrap(), 2 * n as u64);
            pids.push(pid.unwrap());
        }
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 3);
    });
}

fn large(make: &Make) {
    run(make, async {
        let pool = ProcessPool::new(1).unwrap();
        for size in [0, 1, 65_535, 3_000_000] {
            let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
            assert!(pool.call(&ECHO, bytes.clone()).await.unwrap() == bytes, "{size} bytes");
        }
    });
}

fn crash_costs_its_own_call(make: &Make) {
    use std::os::unix::process::ExitStatusExt;
    run(make, async {
        let pool = Arc::new(ProcessPool::new(2).unwrap());
        let beside = {
            let pool = pool.clone();
            spawn(async move { pool.call(&SUM, vec![1; 100_000]).await })
        };
        match pool.call(&ABORT, ()).await {
            Err(CallError::WorkerDied { status }) => assert_eq!(status.signal(), Some(6)),
            other => panic!("{other:?}"),
        }
        match pool.call(&EXIT, 7).await {
            Err(CallError::WorkerDied { status }) => assert_eq!(status.code(), Some(7)),
            other => panic!("{other:?}"),
        }
        assert_eq!(beside.await.unwrap().unwrap(), 100_000);
        assert_eq!(pool.call(&SUM, vec![4]).await.unwrap(), 4);
    });
}

fn worker_that_dies_while_idle_is_replaced(make: &Make) {
    run(make, async {
        let pool = ProcessPool::new(1).unwrap();
        let pid = pool.call(&PID, ()).await.unwrap();
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        let ended = move || {
            children_of(std::process::id()).iter().all(|c| *c != (pid, 'S') && *c != (pid, 'R'))
        };
        ringloop::to_thread(move || wait_until("it is killed", ended)).await.unwrap();
        assert_ne!(pool.call(&PID, ()).await.unwrap(), pid);
    });
}

fn panic_leaves_the_process(make: &Make) {
    run(make, async {
        let pool = ProcessPool::new(1).unwrap();
        let pid = pool.call(&PID, ()).await.unwrap();
        match pool.call(&PANIC, "deliberate".to_owned()).await {
            Err(CallError::Panicked { message }) => assert_eq!(message, "deliberate"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.call(&PID, ()).await.unwrap(), pid);
    });
}

fn limits(make: &Make) {
    run(make, async {
        let limit = Duration::from_millis(20);
        let pool = ProcessPool::builder(1).time_limit(limit).build().unwrap();
        let error = pool.call(&SPIN, ()).await.unwrap_err();
        assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
        let pool = ProcessPool::builder(1).memory_limit(1 << 30).build().unwrap();
        assert_eq!(pool.call(&ALLOCATE, 1 << 20).await.unwrap(), 1 << 20);
        assert!(pool.call(&ALLOCATE, 2 << 30).await.unwrap_err().is_worker_died());
        assert_eq!(pool.call(&ALLOCATE, 1 << 20).await.unwrap(), 1 << 20);
    });
}

fn recycling(make: &Make) {
    run(make, async {
        let pool = ProcessPool::builder(1).calls_per_process(2).build().unwrap();
        let mut pids = Vec::new();
        for _ in 0..6 {
            pids.push(pool.call(&PID, ()).await.unwrap());
        }
        assert!(pids.chunks(2).all(|pair| pair[0] == pair[1]), "{pids:?}");
        pids.dedup();
        assert_eq!(pids.len(), 3);
    });
}

fn cancelled_call_costs_its_process(make: &Make) {
    run(make, async {
        let pool = Arc::new(ProcessPool::new(1).unwrap());
        let pid = pool.call(&PID, ()).await.unwrap();
        let other = pool.clone();
        let call = spawn(async move { other.call(&SPIN, ()).await });
        // The call waits in the queue, and never runs.
        let running = move || children_of(std::process::id()).contains(&(pid, 'R'));
        ringloop::to_thread(move || wait_until("it spins", running)).await.unwrap();
        let other = pool.clone();
        let queued = spawn(async move { other.call(&ABORT, ()).await });
        ringloop::yield_now().await;
        queued.cancel();
        assert!(queued.await.unwrap_err().is_cancelled());
        call.cancel();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_ne!(pool.call(&PID, ()).await.unwrap(), pid);
    });
    no_zombies();
}

fn shutdown_waits_and_refuses(make: &Make) {
    run(make, async {
        let pool = Arc::new(ProcessPool::new(2).unwrap());
        let other = pool.clone();
        let call = spawn(async move { other.call(&SUM, vec![1; 300_000]).await });
        pool.call(&PID, ()).await.unwrap();
        pool.shutdown().await;
        assert!(children_of(std::process::id()).is_empty());
        // The call ran before the shutdown, or was refused.
        match call.await.unwrap() {
            Ok(sum) => assert_eq!(sum, 300_000),
            Err(error) => assert!(matches!(error, CallError::ShutDown), "{error}"),
        }
        let refused = pool.call(&PID, ()).await.unwrap_err();
        assert!(matches!(refused, CallError::ShutDown), "{refused}");
    });
}

fn bad_input(make: &Make) {
    run(make, async {
        let text = ProcessPool::new(0).unwrap_err().to_string();
        assert!(text.contains("at least 1"), "{text}");
        let text = ProcessPool::builder(1).calls_per_process(0).build().unwrap_err().to_string();
        assert!(text.contains("at least 1"), "{text}");
        let pool = ProcessPool::new(1).unwrap();
        let error = pool.call(&UNKNOWN, ()).await.unwrap_err();
        assert!(error.to_string().contains("ProcessPool::serve"), "{error}");
        let error = pool.call(&OTHER_SUM, "text".to_owned()).await.unwrap_err();
        assert!(matches!(error, CallError::Encoding { .. }), "{error}");
        assert!(error.to_string().contains("\"sum\""), "{error}");
        // None of these errors costs the process.
        assert_eq!(pool.call(&SUM, vec![2]).await.unwrap(), 2);
    });
}

fn worker_inherits_nothing(make: &Make) {
    run(make, async {
        let pool = ProcessPool::new(1).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        pool.call(&EXIT, 0).await.unwrap_err();
        let (stdin, files) = pool.call(&ENVIRONMENT, ()).await.unwrap();
        assert_eq!(stdin, "");
        // No ring, no epoll instance, no eventfd; the pidfd and the sockets are the worker's own, these twice.
        let is_pidfd = |file: &&String| file.contains("pidfd");
        assert_eq!(files.iter().filter(is_pidfd).count(), 1, "{files:?}");
        let mut others = files.iter().filter(|file| !is_pidfd(file));
        assert!(!others.any(|file| file.contains("anon_inode")), "{files:?}");
        assert_eq!(files.iter().filter(|file| file.starts_with("socket:")).count(), 2, "{files:?}");
    });
}

/// Runs `body` in a forked child, which then ends; returns whether it returned.
fn fork(body: impl FnOnce()) -> bool {
    // SAFETY: the child runs on the same copied memory, and ends without returning from here.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: without a handler, the signal ends the child, if it hangs.
            unsafe { libc::alarm(30) };
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: no destructor of the parent must run here.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the result.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            status == 0
        }
    }
}

fn forked_child_leaves_the_pool_alone(make: &Make) {
    // Goal: a fork neither uses the parent's processes nor ends them, and does not wait for the
    // parent's calls; method: a child calls, shuts down and drops the pool, while its process is
    // idle and while a call runs that never ends. Then the parent calls again.
    let runtime = make().build().unwrap();
    let pool = Arc::new(ProcessPool::new(1).unwrap());
    let pid = || {
        let pool = pool.clone();
        runtime.run(async move { pool.call(&PID, ()).await.unwrap() }).unwrap()
    };
    let parents = pid();
    let leaves_it_alone = || {
        fork(|| {
            run(make, async {
                for _ in 0..2 {
                    let refused = pool.call(&PID, ()).await.unwrap_err().to_string();
                    assert!(refused.contains("forked"), "{refused}");
                }
                pool.shutdown().await;
                // SAFETY: the child ends without using it again.
                drop(unsafe { std::ptr::read(&*pool) });
                let own = ProcessPool::new(1).unwrap();
                assert_eq!(own.call(&SUM, vec![1, 2]).await.unwrap(), 3);
                assert_ne!(own.call(&PID, ()).await.unwrap(), parents);
                own.shutdown().await;
            });
        })
    };
    assert!(leaves_it_alone(), "beside an idle process");
    assert_eq!(pid(), parents);

    let other = pool.clone();
    let call = runtime.spawn(async move { other.call(&SPIN, ()).await });
    let spins = || children_of(std::process::id()).contains(&(parents, 'R'));
    wait_until("it spins", spins);
    assert!(leaves_it_alone(), "beside a call");
    wait_until("it still spins", spins);
    call.cancel();
    assert!(runtime.run(call).unwrap().unwrap_err().is_cancelled());
    assert_ne!(pid(), parents, "another process has replaced it");
}

/// A forked child that does nothing until it is killed; it has all that its parent has open.
fn fork_idle() -> i32 {
    // SAFETY: the child only waits.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => loop {
            // SAFETY: without a handler, the signal ends the child, if nobody else does.
            unsafe { libc::alarm(60) };
            // SAFETY: it takes nothing.
            unsafe { libc::pause() };
        },
        child => child,
    }
}

/// Kills a process.
fn kill(pid: i32) {
    // SAFETY: it takes any numbers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

fn shutdown_does_not_wait_for_a_fork(make: &Make) {
    run(make, async {
        let pool = ProcessPool::new(1).unwrap();
        pool.call(&PID, ()).await.unwrap();
        let fork = fork_idle();
        pool.shutdown().await;
        kill(fork);
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result.
        assert_eq!(unsafe { libc::waitpid(fork, &mut status, 0) }, fork);
        assert!(libc::WIFSIGNALED(status), "it lived until now");
    });
}

/// Makes calls that run until this process is killed, and leaves a forked child.
fn parent() {
    ringloop::run(async {
        let pool = ProcessPool::new(2).unwrap();
        // Two processes.
        _ = ringloop::gather!(pool.call(&PID, ()), pool.call(&PID, ())).await;
        println!("{}", fork_idle());
        _ = ringloop::gather!(pool.call(&SPIN, ()), pool.call(&SPIN, ())).await;
    });
}

fn parent_that_is_killed_leaves_no_process(_: &Make) {
    use std::io::{BufRead, BufReader};
    let this = std::env::current_exe().unwrap();
    let mut parent =
        Command::new(this).env("PARENT", "1").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let fork: u32 = line.trim().parse().unwrap();
    let id = parent.id();
    wait_until("a call is under way", || children_of(id).iter().any(|(_, state)| *state == 'R'));
    let workers = children_of(id).into_iter().map(|(pid, _)| pid).filter(|pid| *pid != fork);
    let workers: Vec<u32> = workers.collect();
    assert!(!workers.is_empty());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let alive = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") ") && !stat.contains(") Z ")
    };
    wait_until("the workers are gone", || !workers.iter().any(alive));
    assert!(alive(&fork));
    kill(fork.try_into().unwrap());
}
