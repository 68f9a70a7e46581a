//! How the models under `tests/models/` are explored.
//!
//! A model is a closure that loom runs once for every order in which its threads may
//! meet, up to a bound on preemptions: 2 with `cargo loom [FILTER]`, 3 with
//! `cargo loom-deep`, else LOOM_MAX_PREEMPTIONS. `LOOM_LOCATION=1` has loom say where the
//! accesses are that it objects to. `cargo loom-mutants` shows that the models notice.
#![cfg(loom)]

use std::{
    cell::Cell,
    io::{self, Write},
    panic,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Preemptions in one execution, unless LOOM_MAX_PREEMPTIONS says otherwise. Most
/// mistakes need one or two.
const PREEMPTIONS: usize = 2;
/// Steps in one execution: a model that needs more does not end.
const BRANCHES: usize = 5_000;
/// Executions of one model. Reaching it is a failure: make the model smaller.
const CAP: usize = 1_000_000;
/// The same with a higher bound from outside, where patience is expected.
const DEEP_CAP: usize = 100_000_000;

/// Runs `model` in every order, and says how many there were.
///
/// # Panics
///
/// If loom finds a mistake, if `model` panics in any of its threads, even if the code
/// under test contains that panic, and if there are too many orders.
pub fn explore(model: impl Fn() + Send + Sync + 'static) {
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

    let thread = std::thread::current();
    let name = thread.name().unwrap_or("model");
    // Not `println`, which would be shown for failures only.
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
