//! How the models under `tests/models/` are explored.
//!
//! A model is a closure that loom runs once for every order in which its threads may
//! meet, up to a bound on preemptions: 2 with `cargo loom [FILTER]`, 3 with
//! `cargo loom-deep`, else LOOM_MAX_PREEMPTIONS. `LOOM_LOCATION=1` has loom say where the
//! accesses are that it objects to. `cargo loom-mutants` shows that the models notice.
//!
//! Each model runs in a process of its own: one that fails may panic while it unwinds,
//! which aborts the process, or it may leave its system thread in a state in which no other
//! model can run. `LOOM_ALONE=1` has a model run in the test's own process, for a debugger. So does
//! `--test-threads=1`, since a test that runs on the main thread does not know its name.
#![cfg(loom)]

use std::{
    cell::Cell,
    env,
    io::{self, Write},
    panic,
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// Set where a model is to run in the process that asks for it.
const ALONE: &str = "LOOM_ALONE";

/// Preemptions in one execution, unless LOOM_MAX_PREEMPTIONS says otherwise. Most
/// mistakes need one or two.
const PREEMPTIONS: usize = 2;
/// Steps in one execution: a model that needs more does not end.
const BRANCHES: usize = 5_000;
/// Executions of one model. Reaching it is a failure: make the model smaller.
const CAP: usize = 1_000_000;
/// The same with a higher bound from outside, where patience is expected.
const DEEP_CAP: usize = 100_000_000;

/// Runs `model` in every order, and says how many there were. A test calls this once.
///
/// # Panics
///
/// If loom finds a mistake, if `model` panics in any of its threads, even if the code
/// under test contains that panic, and if there are too many orders.
pub fn explore(model: impl Fn() + Send + Sync + 'static) {
    // The test's thread has the test's name.
    match thread::current().name() {
        Some(test) if test != "main" && env::var_os(ALONE).is_none() => explore_apart(test),
        _ => explore_here(model),
    }
}

/// Runs one test of this program in another process, and fails if that does.
fn explore_apart(test: &str) {
    let program = env::current_exe().expect("the program has a path");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture"]).env(ALONE, "1").stdin(Stdio::null());
    let output = command.output().expect("another process of this program");
    let told = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{told}{said}", output.status);
    assert!(said.contains("1 passed"), "no such test: {test}");
    // Not `eprintln`, which would be shown for failures only.
    let _ = write!(io::stderr(), "{told}");
}

fn explore_here(model: impl Fn() + Send + Sync + 'static) {
    static RUNS: Once = Once::new();
    RUNS.call_once(count_panics);

    let mut builder = loom::model::Builder::new();
    let preemptions = *builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.max_branches = BRANCHES;
    let cap = if preemptions > PREEMPTIONS { DEEP_CAP } else { CAP };

    let start = Instant::now();
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    PANICS.set(0);
    builder.check(move || {
        let run = count.fetch_add(1, Ordering::Relaxed);
        assert!(run < cap, "more than {cap} executions: make the model smaller");
        model();
        assert_eq!(PANICS.get(), 0, "a panic was contained: see above");
    });

    let thread = thread::current();
    let name = thread.name().unwrap_or("model");
    // As in `explore_apart`.
    let _ = writeln!(
        io::stderr(),
        "    {name}: {} executions, {preemptions} preemptions, {:.1} s",
        runs.load(Ordering::Relaxed),
        start.elapsed().as_secs_f64(),
    );
}

thread_local! {
    /// Panics on this system thread, of which all threads of one model are coroutines.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// A panic that is meant is raised by `resume_unwind`, which does not come by here.
fn count_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        print(info);
    }));
}
