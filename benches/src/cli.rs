//! The command line.

use std::time::Duration;

use crate::catalogue::{AREAS, CASES, Case};

/// What the user asked for.
pub enum Command {
    Run(Options),
    Print(String),
}

/// A selection of cases and how long to look at each.
pub struct Options {
    pub cases: Vec<&'static Case>,
    pub peers: Vec<String>,
    pub workers: Vec<usize>,
    pub rounds: usize,
    pub quick: bool,
    pub json: bool,
    pub window: Option<Duration>,
    /// Time to spend, in all, on waiting for a quiet machine and repeating disturbed runs.
    pub patience: Duration,
}

impl Options {
    /// Whether `peer` was selected; no selection means all.
    pub fn wants_peer(&self, peer: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|name| name == peer)
    }
}

const HELP: &str = "\
ringloop-benches [AREA]... [OPTIONS]

Areas: echo, http, sched, timers (default: all)

  --quick            short windows and 3 rounds; everything in about 3 minutes on 2 cores
  --json             one JSON object a line on stdout instead of tables
  --case NAME[,..]   only these cases
  --peer NAME[,..]   only these peers (ratios need tokio among them)
  --workers N[,M]    worker threads of the peers (default 1,2)
  --rounds N         rounds over which the peers are interleaved (default 5, quick 3)
  --window-ms N      measured window of one run
  --patience N       spend up to N s on waiting while other programs are busy and on repeating
                     the runs that they disturbed (default 0: only warn)
  --list             names of the cases and their peers";

/// Reads the arguments after the program's name.
pub fn parse(arguments: &[String]) -> Result<Command, String> {
    let mut areas: Vec<&str> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut rounds = None;
    let mut options = Options {
        cases: Vec::new(),
        peers: Vec::new(),
        workers: vec![1, 2],
        rounds: 5,
        quick: false,
        json: false,
        window: None,
        patience: Duration::ZERO,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value =
            || rest.next().map(String::as_str).ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(Command::Print(HELP.into())),
            "--list" => return Ok(Command::Print(list())),
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            "--case" => names.extend(split(value()?)),
            "--peer" => options.peers.extend(split(value()?)),
            "--workers" => options.workers = numbers(value()?)?,
            "--rounds" => rounds = Some(number(value()?)?),
            "--window-ms" => {
                options.window = Some(Duration::from_millis(number(value()?)? as u64));
            }
            "--patience" => {
                options.patience = Duration::from_secs(number(value()?)? as u64);
            }
            area if AREAS.contains(&area) => areas.push(area),
            other => return Err(format!("unknown argument {other:?}; try --help")),
        }
    }
    options.rounds = rounds.unwrap_or(if options.quick { 3 } else { 5 });
    for name in &names {
        if !CASES.iter().any(|case| case.name == name) {
            return Err(format!("no case is called {name:?}; try --list"));
        }
    }
    options.cases = CASES
        .iter()
        .filter(|case| areas.is_empty() || areas.contains(&case.area))
        .filter(|case| names.is_empty() || names.iter().any(|name| name == case.name))
        .collect();
    Ok(Command::Run(options))
}

fn list() -> String {
    let mut text = String::new();
    for case in CASES {
        let peers = case.peers.join(" ");
        text += &format!("{:7} {:17} {}; {peers}\n", case.area, case.name, case.operation);
    }
    text.trim_end().into()
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
