//! Runs peers in turn and collects their samples.

pub mod child;
mod noise;
pub mod stats;
pub mod without;

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::catalogue::{Case, REFERENCE};
use crate::cli::Options;
use crate::report::{self, Environment, Row};
use crate::sample::Sample;
use crate::{external, sys};
pub use noise::WORTH_A_WARNING;
use noise::{Noise, Patience};

/// Hidden first argument: run a case inside this process.
pub const INSIDE: &str = "__inside";
/// Hidden first argument: be the server of a case.
pub const SERVE: &str = "__serve";
/// Hidden first argument: be the client of a case.
pub const LOAD: &str = "__load";

/// The specification of a child; passed on its command line.
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

/// Runs the selection of `options`, prints it, and saves or draws it if that was asked for.
pub fn run(mut options: Options) -> Result<(), String> {
    sys::raise_descriptor_limit();
    options.external = external::prepare(&options.external);
    options.missing = external::missing(&options.cases);
    let options = &options;
    let environment = Environment::look(options);
    let mut saved = options.save.as_deref().map(create).transpose()?;
    let started = Instant::now();
    let mut progress = Progress::new(options);
    let mut patience = Patience::new(options.patience);
    let mut failures = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    if !options.json {
        println!("{}", environment.heading(options.rounds, REFERENCE));
    }
    for case in &options.cases {
        for &workers in &options.workers {
            let series =
                measure(options, case, workers, &mut progress, &mut patience, &mut failures);
            progress.clear();
            let new = report::rows(case, workers, &series, &environment);
            let lines: String = new.iter().map(|row| row.to_json() + "\n").collect();
            if options.json {
                print!("{lines}");
            } else {
                println!("\n{}", report::table(case, workers, &new));
            }
            // Case by case, so that a run that is interrupted keeps its results.
            if let Some(file) = &mut saved {
                file.write_all(lines.as_bytes()).map_err(|error| error.to_string())?;
            }
            rows.extend(new);
        }
    }
    if let Some(folder) = &options.svg {
        let names = report::draw(&rows, folder)?;
        eprintln!("{}: {}", folder.display(), names.join(" "));
    }
    eprintln!("finished in {:.0} s", started.elapsed().as_secs_f64());
    match failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} runs failed:\n{}", failures.join("\n"))),
    }
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn measure(
    options: &Options,
    case: &'static Case,
    workers: usize,
    progress: &mut Progress,
    patience: &mut Patience,
    failures: &mut Vec<String>,
) -> Vec<Series> {
    let mut series: Vec<Series> = options
        .peers_of(case, workers)
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
            let (warmup, window) = options.durations(case.load.is_some());
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

fn run_once(spec: &Spec) -> Result<Sample, String> {
    let noise = Noise::start();
    let output = match spec.case.load {
        None => finish(start(INSIDE, spec, &[])?)?,
        Some(_) => {
            let mut server = start(SERVE, spec, &[])?;
            let output = drive(&mut server, spec);
            // A server that has ended needs no signal; its client has reported the reason.
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
    let (program, spec) = without::program(spec)?;
    Command::new(program)
        .arg(role)
        .args(child::encode(&spec))
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

/// One line on stderr: the progress, and about how much time is left.
struct Progress {
    done: usize,
    total: usize,
    started: Instant,
    terminal: bool,
}

impl Progress {
    fn new(options: &Options) -> Progress {
        let (servers, others) = options.runs();
        Progress {
            done: 0,
            total: servers + others,
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
