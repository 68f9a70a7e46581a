//! Runs peers in turn and collects what they found.

pub mod child;
mod noise;
mod report;
mod stats;

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::catalogue::{Case, SINGLE_THREADED};
use crate::cli::Options;
use crate::sample::Sample;
use crate::sys;
use noise::{Noise, Patience};

/// Hidden first argument: run a case inside this process.
pub const INSIDE: &str = "__inside";
/// Hidden first argument: be the server of a case.
pub const SERVE: &str = "__serve";
/// Hidden first argument: be the client of a case.
pub const LOAD: &str = "__load";

/// What a child needs to know; travels on its command line.
pub struct Spec {
    pub case: &'static Case,
    pub peer: String,
    pub workers: usize,
    pub warmup: Duration,
    pub window: Duration,
    pub quick: bool,
}

/// All rounds of one peer at one case and number of workers.
pub struct Series {
    pub peer: &'static str,
    /// By round; `None` where the run failed.
    pub samples: Vec<Option<Sample>>,
}

/// Runs what `options` select and prints it.
pub fn run(options: &Options) -> Result<(), String> {
    sys::raise_descriptor_limit();
    let started = Instant::now();
    let mut progress = Progress::new(options);
    let mut patience = Patience::new(options.patience);
    let mut failures = Vec::new();
    if !options.json {
        println!("{}", report::heading(options));
    }
    for case in &options.cases {
        for &workers in &options.workers {
            let series =
                measure(options, case, workers, &mut progress, &mut patience, &mut failures);
            progress.clear();
            if options.json {
                print!("{}", report::json(case, workers, &series));
            } else {
                println!("\n{}", report::table(case, workers, &series));
            }
        }
    }
    eprintln!("finished in {:.0} s", started.elapsed().as_secs_f64());
    match failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} runs failed:\n{}", failures.join("\n"))),
    }
}

/// The peers of `case` that the user wants and that can run with `workers`.
fn selected(options: &Options, case: &Case, workers: usize) -> Vec<&'static str> {
    let peers = case.peers.iter().copied();
    peers
        .filter(|peer| options.wants_peer(peer))
        .filter(|peer| workers == 1 || !SINGLE_THREADED.contains(peer))
        .collect()
}

fn measure(
    options: &Options,
    case: &'static Case,
    workers: usize,
    progress: &mut Progress,
    patience: &mut Patience,
    failures: &mut Vec<String>,
) -> Vec<Series> {
    let mut series: Vec<Series> = selected(options, case, workers)
        .into_iter()
        .map(|peer| Series { peer, samples: vec![None; options.rounds] })
        .collect();
    let count = series.len();
    for round in 0..options.rounds {
        // Each round begins with another peer, so that none always follows the same neighbour.
        for turn in 0..count {
            let series = &mut series[(turn + round) % count];
            progress.step(&format!(
                "{} {}, {workers} workers, {}, round {}",
                case.area,
                case.name,
                series.peer,
                round + 1
            ));
            let (warmup, window) = durations(options, case);
            let spec = Spec {
                case,
                peer: series.peer.into(),
                workers,
                warmup,
                window,
                quick: options.quick,
            };
            match patience.insist(|| run_once(&spec)) {
                Ok(sample) => series.samples[round] = Some(sample),
                Err(error) => failures.push(format!(
                    "  {} {} with {workers} workers: {error}",
                    case.name, series.peer
                )),
            }
        }
    }
    series
}

/// Warm-up and measured window of one run. Servers get longer ones: their clients must fall into
/// step first.
fn durations(options: &Options, case: &Case) -> (Duration, Duration) {
    let (warmup, window) = match (case.load.is_some(), options.quick) {
        (true, true) => (250, 450),
        (true, false) => (500, 2000),
        (false, true) => (30, 120),
        (false, false) => (100, 600),
    };
    (Duration::from_millis(warmup), options.window.unwrap_or(Duration::from_millis(window)))
}

fn run_once(spec: &Spec) -> Result<Sample, String> {
    let noise = Noise::start();
    let output = match spec.case.load {
        None => finish(start(INSIDE, spec, &[])?)?,
        Some(_) => {
            let mut server = start(SERVE, spec, &[])?;
            let output = drive(&mut server, spec);
            // A server that is gone already needs no signal; its client has said why.
            let _ = server.kill();
            let _ = server.wait();
            output?
        }
    };
    let sample =
        Sample::decode(&output).ok_or_else(|| format!("no sample in the output {output:?}"))?;
    Ok(Sample { cores_of_others: Some(noise.cores_of_others()), ..sample })
}

/// Waits for the server's port and runs the client against it.
fn drive(server: &mut Child, spec: &Spec) -> Result<String, String> {
    let mut lines = BufReader::new(output_of(server));
    let mut line = String::new();
    lines.read_line(&mut line).map_err(|error| error.to_string())?;
    let port =
        line.trim().strip_prefix(child::PORT).ok_or("the server stopped before it listened")?;
    let client = start(LOAD, spec, &[port, &server.id().to_string()])?;
    finish(client)
}

fn start(role: &str, spec: &Spec, more: &[&str]) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(program)
        .arg(role)
        .args(child::encode(spec))
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start a process: {error}"))
}

fn finish(mut child: Child) -> Result<String, String> {
    let mut output = String::new();
    output_of(&mut child).read_to_string(&mut output).map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(output) } else { Err(status.to_string()) }
}

fn output_of(child: &mut Child) -> ChildStdout {
    child.stdout.take().expect("the output is a pipe taken once")
}

/// One line on stderr: how far, and about how long still.
struct Progress {
    done: usize,
    total: usize,
    started: Instant,
    terminal: bool,
}

impl Progress {
    fn new(options: &Options) -> Progress {
        let runs = options.cases.iter().flat_map(|case| {
            let peers = |&workers: &usize| selected(options, case, workers).len();
            options.workers.iter().map(peers)
        });
        Progress {
            done: 0,
            total: runs.sum::<usize>() * options.rounds,
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn step(&mut self, what: &str) {
        let elapsed = self.started.elapsed().as_secs_f64();
        let left = elapsed / self.done.max(1) as f64 * (self.total - self.done) as f64;
        let left = if self.done == 0 { String::new() } else { format!(", {left:.0} s left") };
        self.done += 1;
        let line = format!("[{}/{}{left}] {what}", self.done, self.total);
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
