//! Explores the models under `tests/models/`.
//!
//! A model is a closure that loom runs once for every order of its threads' accesses, up to a bound
//! on preemptions: 2 with `cargo loom [FILTER]`, 3 with `cargo loom-deep`, else
//! LOOM_MAX_PREEMPTIONS. With `LOOM_LOCATION=1` loom prints the place of an access that it reports.
//! `cargo loom-mutants` shows that the models notice mistakes.
//!
//! Each model runs in a process of its own: one that fails may panic while it unwinds, which aborts
//! the process, or it may leave its system thread in a state in which no other model can run.
//! `LOOM_ALONE=1` makes a model run in the test's own process, for a debugger. So does
//! `--test-threads=1`, since a test that runs on the main thread does not know its name.
#![cfg(loom)]

use std::{
    cell::Cell,
    env,
    io::{self, Write},
    ops::Range,
    panic,
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// The environment variable that makes a model run in the process that starts it.
pub const ALONE: &str = "LOOM_ALONE";

/// Preemptions in one execution, unless LOOM_MAX_PREEMPTIONS says otherwise. Most
/// mistakes need one or two.
const PREEMPTIONS: usize = 2;
/// Steps in one execution: a model that needs more does not end.
const BRANCHES: usize = 5_000;
/// Executions of one model. Reaching it is a failure: make the model smaller.
const CAP: usize = 1_000_000;
/// The same with a higher bound on preemptions, where a long run is expected.
const DEEP_CAP: usize = 100_000_000;

/// Seeds of a generated model, unless LOOM_SEEDS says otherwise.
const SEEDS: u64 = 8;
/// Executions for one seed: after that the next seed is tried, which is no failure.
const SEED_CAP: usize = 5_000;
/// Executions of a model that is not explored to its end, which is no failure either.
const FIRST_CAP: usize = 10_000;
/// The number of executions between two checks of that.
const SEED_STEP: usize = 200;

/// Runs `model` in every order, and prints how many there were. A test calls this once.
///
/// # Panics
///
/// If loom finds a mistake, if `model` panics in any of its threads, even if the code
/// under test contains that panic, and if there are too many orders.
pub fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_with_fewer(0, model);
}

/// The same with `preemptions` fewer, for a model that has too many orders.
///
/// # Panics
///
/// As [`explore`].
pub fn explore_with_fewer(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    apart(|| {
        let name = thread::current().name().unwrap_or("model").to_owned();
        explore_here(&name, preemptions, None, model);
    });
}

/// The same, up to a cap, for a model that has too many orders: orders that differ late come first.
///
/// # Panics
///
/// As [`explore`].
pub fn explore_first(model: impl Fn() + Send + Sync + 'static) {
    apart(|| {
        let name = thread::current().name().unwrap_or("model").to_owned();
        explore_here(&name, 0, Some(FIRST_CAP), model);
    });
}

/// Runs the model that is generated from each of the first seeds, in every order up to a cap. The
/// model depends on the seed alone. `LOOM_SEEDS=1000` sets the number of seeds, and
/// `LOOM_SEEDS=7..8` sets a range of them.
///
/// # Panics
///
/// As [`explore`], with the seed in the message.
pub fn explore_seeds(model: impl Fn(u64) + Copy + Send + Sync + 'static) {
    struct Told(u64);

    impl Drop for Told {
        fn drop(&mut self) {
            if thread::panicking() {
                eprintln!("the seed was {0}: LOOM_SEEDS={0}..{1}", self.0, self.0 + 1);
            }
        }
    }

    apart(|| {
        let name = thread::current().name().unwrap_or("model").to_owned();
        for seed in seeds() {
            let _told = Told(seed);
            explore_here(&format!("{name}, seed {seed}"), 0, Some(SEED_CAP), move || model(seed));
        }
    });
}

fn seeds() -> Range<u64> {
    let number =
        |text: &str| text.parse().expect("LOOM_SEEDS is a number, or two with .. between them");
    match env::var("LOOM_SEEDS") {
        Err(_) => 0..SEEDS,
        Ok(seeds) => match seeds.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(&seeds),
        },
    }
}

/// Numbers that look random, for generated models.
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }

    /// One of `choices`.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Runs a test in a process of its own, unless this is that process.
fn apart(test: impl FnOnce()) {
    // The test's thread has the test's name.
    match thread::current().name() {
        Some(name) if name != "main" && env::var_os(ALONE).is_none() => run_apart(name),
        _ => test(),
    }
}

/// Runs one test of this program in another process, and fails if that does.
fn run_apart(test: &str) {
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

/// Explores with `fewer` preemptions than usual, and up to `limit` executions, if there is one.
fn explore_here(
    name: &str,
    fewer: usize,
    limit: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) {
    static RUNS: Once = Once::new();
    RUNS.call_once(count_panics);

    let mut builder = loom::model::Builder::new();
    let allowed = builder.preemption_bound.unwrap_or(PREEMPTIONS);
    let preemptions = allowed.saturating_sub(fewer);
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = BRANCHES;
    if let Some(limit) = limit {
        builder.max_permutations = Some(limit);
        builder.checkpoint_interval = SEED_STEP;
    }
    let cap = if allowed > PREEMPTIONS { DEEP_CAP } else { CAP };

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

    // As in `run_apart`.
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

/// A panic on purpose is raised by `resume_unwind`, which does not call the hook.
fn count_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        print(info);
    }));
}
