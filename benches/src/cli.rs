//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::{AREAS, CASES, Case, QUICK_SERVERS, SINGLE_THREADED};
use crate::{count, external, sys};

/// The user's command.
pub enum Command {
    Run(Options),
    Print(String),
    /// Counts instructions in place of time.
    Count(count::Options),
    /// Writes the page of the documentation from saved files.
    Report {
        files: Vec<String>,
        folder: PathBuf,
    },
}

/// A selection of cases, and how long to measure each.
pub struct Options {
    pub cases: Vec<&'static Case>,
    pub peers: Vec<String>,
    /// Servers that are other programs.
    pub external: Vec<&'static str>,
    /// Peers that this machine lacks.
    pub missing: Vec<&'static str>,
    pub workers: Vec<usize>,
    pub rounds: usize,
    pub quick: bool,
    pub json: bool,
    /// A file for the JSON lines, in addition to the output.
    pub save: Option<PathBuf>,
    /// The directory of the pictures.
    pub svg: Option<PathBuf>,
    pub window: Option<Duration>,
    /// Time to spend, in all, on waiting for a quiet machine and repeating disturbed runs.
    pub patience: Duration,
}

/// The time that the runs of `--quick` may take in all. It leaves room within some five minutes for
/// work outside of the windows (measuring the hog alone, idle connections, making files) and for batches that
/// outlast theirs; and the cost of a process besides its warm-up and window.
const QUICK: Duration = Duration::from_secs(150);
const START_OF_SERVER: Duration = Duration::from_millis(70);
const START_OF_OTHERS: Duration = Duration::from_millis(25);

impl Options {
    /// The peers of `case` that the user selected and that can run with `workers`. Without a
    /// selection all of them, except in a quick run, which has the most informative servers, tokio in one
    /// form, and no mixtures of two peers.
    pub fn peers_of(&self, case: &Case, workers: usize) -> Vec<&'static str> {
        let wanted = |peer: &&str| match self.peers.as_slice() {
            [] if !self.quick => true,
            [] if case.load.is_some() => QUICK_SERVERS.contains(peer),
            [] => !peer.contains("-on-") && *peer != "tokio-ct",
            peers => peers.iter().any(|name| name == peer),
        };
        let external = self.external.iter().filter(|_| external::serves(case));
        case.peers
            .iter()
            .filter(|peer| wanted(peer))
            .chain(external)
            .filter(|peer| workers == 1 || !SINGLE_THREADED.contains(peer))
            .filter(|peer| !self.missing.contains(peer))
            .copied()
            .collect()
    }

    /// Runs of servers and of other cases, over all rounds.
    pub fn runs(&self) -> (usize, usize) {
        let count = |servers: bool| {
            let cases = self.cases.iter().filter(|case| case.load.is_some() == servers);
            let runs = cases.flat_map(|case| {
                self.workers.iter().map(|&workers| self.peers_of(case, workers).len())
            });
            runs.sum::<usize>() * self.rounds
        };
        (count(true), count(false))
    }

    /// Warm-up and measured window of one run. In a quick run they shrink until everything that is
    /// selected fits.
    pub fn durations(&self, server: bool) -> (Duration, Duration) {
        let (warmup, window) = self.full_durations(server);
        let shrink = if self.quick { self.shrink() } else { 1.0 };
        (warmup.mul_f64(shrink), self.window.unwrap_or(window.mul_f64(shrink)))
    }

    /// Servers get longer ones: their clients need time to reach a steady state.
    fn full_durations(&self, server: bool) -> (Duration, Duration) {
        let (warmup, window) = match (server, self.quick) {
            (true, true) => (200, 450),
            (true, false) => (500, 2000),
            (false, true) => (30, 120),
            (false, false) => (100, 600),
        };
        (Duration::from_millis(warmup), Duration::from_millis(window))
    }

    fn shrink(&self) -> f64 {
        let (servers, others) = self.runs();
        let (servers, others) = (servers as u32, others as u32);
        let length = |server| {
            let (warmup, window) = self.full_durations(server);
            warmup + window
        };
        let starts = START_OF_SERVER * servers + START_OF_OTHERS * others;
        let windows = length(true) * servers + length(false) * others;
        let left = QUICK.saturating_sub(starts).as_secs_f64();
        (left / windows.as_secs_f64().max(1e-9)).clamp(0.15, 1.0)
    }
}

fn help() -> String {
    format!("{USAGE}\n\nAreas: {} (default: all)\n\n{OPTIONS}", AREAS.join(", "))
}

const USAGE: &str = "\
ringloop-benches [AREA]... [OPTIONS]
ringloop-benches count [WORKLOAD]... [--at COMMIT] [--against COMMIT]
ringloop-benches --report FILE[,..] --into DIR";

const OPTIONS: &str =
    "  --quick            short windows, 3 rounds, of the servers tokio, ringloop, ringloop-lease
                     and uring unless --peer says otherwise; everything in 4 minutes on 2 cores
  --json             one JSON object a line on stdout instead of tables
  --save FILE        the same lines into a file
  --svg DIR          draw a picture for each area and number of workers
  --case NAME[,..]   only these cases
  --peer NAME[,..]   only these peers (ratios need tokio among them, or python where it is a peer)
  --with NAME[,..]   also these echo servers from benches/peers, where the machine has what they
                     need: monoio, compio, glommio, go, uvloop
  --workers N[,M]    worker threads of the peers (default 1,2 and on, doubling, up to the cores)
  --rounds N         rounds over which the peers are interleaved (default 5, quick 3)
  --window-ms N      measured window of one run
  --patience N       spend up to N s on waiting while other programs are busy and on repeating
                     the runs that they disturbed (default 0: only warn)
  --list             names of the cases and their peers
  --report FILE      from lines saved by --save or --json, measure nothing and write the page
  --into DIR         DIR/benchmarks.md and the pictures in DIR/benchmarks (default docs)
  count              instructions per operation under callgrind: spawn, wake, yield, steal, lock,
                     permits, echo
  --at COMMIT        with ringloop as it was at a commit, instead of this tree's
  --against COMMIT   and at another, side by side";

/// Reads the arguments after the program's name.
pub fn parse(arguments: &[String]) -> Result<Command, String> {
    match arguments.split_first() {
        Some((first, rest)) if first == "count" => parse_count(rest).map(Command::Count),
        _ => parse_run(arguments),
    }
}

fn parse_count(arguments: &[String]) -> Result<count::Options, String> {
    let mut options = count::Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--at" | "--against" => {
                let commit = rest.next().ok_or_else(|| format!("{argument} needs a commit"))?;
                let which = if argument == "--at" { &mut options.at } else { &mut options.against };
                *which = Some(commit.clone());
            }
            name if !name.starts_with('-') => options.workloads.push(name.into()),
            other => return Err(format!("unknown argument {other:?}; try --help")),
        }
    }
    Ok(options)
}

fn parse_run(arguments: &[String]) -> Result<Command, String> {
    let mut areas: Vec<&str> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut report: Vec<String> = Vec::new();
    let mut folder = PathBuf::from("docs");
    let mut rounds = None;
    let mut workers = None;
    let mut options = Options {
        cases: Vec::new(),
        peers: Vec::new(),
        external: Vec::new(),
        missing: Vec::new(),
        workers: Vec::new(),
        rounds: 5,
        quick: false,
        json: false,
        save: None,
        svg: None,
        window: None,
        patience: Duration::ZERO,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value =
            || rest.next().map(String::as_str).ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(Command::Print(help())),
            "--list" => return Ok(Command::Print(list())),
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            "--save" => options.save = Some(value()?.into()),
            "--svg" => options.svg = Some(value()?.into()),
            "--case" => names.extend(split(value()?)),
            "--peer" => options.peers.extend(split(value()?)),
            "--with" => options.external = external(value()?)?,
            "--workers" => workers = Some(numbers(value()?)?),
            "--rounds" => rounds = Some(number(value()?)?),
            "--window-ms" => {
                options.window = Some(Duration::from_millis(number(value()?)? as u64));
            }
            "--patience" => {
                options.patience = Duration::from_secs(number(value()?)? as u64);
            }
            "--report" => report.extend(split(value()?)),
            "--into" => folder = value()?.into(),
            area if AREAS.contains(&area) => areas.push(area),
            other => return Err(format!("unknown argument {other:?}; try --help")),
        }
    }
    if !report.is_empty() {
        return Ok(Command::Report { files: report, folder });
    }
    options.rounds = rounds.unwrap_or(if options.quick { 3 } else { 5 });
    options.workers = workers.unwrap_or_else(|| worker_counts(sys::cores().len(), options.quick));
    for name in &names {
        if !CASES.iter().any(|case| case.name == name) {
            return Err(format!("no case is called {name:?}; try --list"));
        }
    }
    let external = options.external.as_slice();
    for name in &options.peers {
        let known = CASES.iter().any(|case| case.peers.contains(&name.as_str()));
        if !known && !external.contains(&name.as_str()) {
            return Err(format!("no peer is called {name:?}; try --list"));
        }
    }
    options.cases = CASES
        .iter()
        .filter(|case| areas.is_empty() || areas.contains(&case.area))
        .filter(|case| names.is_empty() || names.iter().any(|name| name == case.name))
        .collect();
    if options.cases.is_empty() {
        return Err("no case is in these areas and has one of these names; try --list".into());
    }
    Ok(Command::Run(options))
}

/// 1 and 2 workers on any machine, then doubled up to the number of cores; a quick run takes only
/// the ends.
fn worker_counts(cores: usize, quick: bool) -> Vec<usize> {
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |count| Some(count * 2))
        .take_while(|&n| n <= cores)
        .collect();
    if counts.len() < 2 {
        counts = vec![1, 2];
    } else if !cores.is_power_of_two() {
        counts.push(cores);
    }
    if quick && counts.len() > 3 {
        counts.drain(2..counts.len() - 1);
    }
    counts
}

fn list() -> String {
    let mut text = String::new();
    for case in CASES {
        let peers = case.peers.join(" ");
        text += &format!("{:7} {:17} {}; {peers}\n", case.area, case.name, case.operation);
    }
    text += &format!("--with  {:17} {}", "the echo cases", external::ALL.join(" "));
    text
}

fn external(list: &str) -> Result<Vec<&'static str>, String> {
    let find = |name: String| {
        let known = external::ALL.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| format!("no server outside is called {name:?}; try --help"))
    };
    split(list).map(find).collect()
}

fn split(list: &str) -> impl Iterator<Item = String> + '_ {
    list.split(',').map(str::to_owned)
}

fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not a positive number")),
        Ok(number) => Ok(number),
    }
}

fn numbers(list: &str) -> Result<Vec<usize>, String> {
    list.split(',').map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.into()).collect();
        match parse(&arguments) {
            Ok(Command::Run(options)) => options,
            _ => panic!("{arguments:?} does not run anything"),
        }
    }

    #[test]
    fn a_peer_that_the_machine_lacks_is_left_out() {
        let mut options = options(&["--case", "process_pool_call"]);
        let case = options.cases[0];
        assert_eq!(options.peers_of(case, 2), ["python", "ringloop"]);
        options.missing = vec!["python"];
        assert_eq!(options.peers_of(case, 2), ["ringloop"]);
    }

    #[test]
    fn workers_double_up_to_the_cores() {
        assert_eq!(worker_counts(1, false), [1, 2]);
        assert_eq!(worker_counts(2, false), [1, 2]);
        assert_eq!(worker_counts(16, false), [1, 2, 4, 8, 16]);
        assert_eq!(worker_counts(12, false), [1, 2, 4, 8, 12]);
        assert_eq!(worker_counts(16, true), [1, 2, 16]);
    }

    #[test]
    fn a_quick_run_of_everything_fits_into_its_time() {
        let options = options(&["--quick", "--workers", "1,2"]);
        let (servers, others) = options.runs();
        let time = |server: bool, start: Duration| {
            let (warmup, window) = options.durations(server);
            warmup + window + start
        };
        let total = time(true, START_OF_SERVER) * servers as u32
            + time(false, START_OF_OTHERS) * others as u32;
        assert!(total <= QUICK + Duration::from_secs(1), "{total:?}");
    }

    #[test]
    fn an_unknown_name_is_refused() {
        for arguments in [["--case", "no"], ["--peer", "no"], ["--with", "no"]] {
            let arguments: Vec<String> = arguments.iter().map(|&text| text.into()).collect();
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
        let nothing = ["http", "--case", "yield"].map(String::from);
        assert!(parse(&nothing).is_err());
    }
}
