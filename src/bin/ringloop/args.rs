//! What can be said on the command line.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use super::paint::Style;

/// Looks into running services that use ringloop, by their number.
///
/// The service needs no flag and no rebuild, and answers also while all its workers are stuck. It
/// hears what the same user asks, or root.
#[derive(Debug, Parser)]
#[command(name = "ringloop", version, after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Whether to print colours: auto means on a terminal, if NO_COLOR is not set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// How long to wait for an answer, as in 500ms, 5s or 1m
    #[arg(long, global = true, value_parser = duration, default_value = "5s")]
    pub timeout: Duration,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 something went wrong, or something was found (by `doctor`; a cycle by `tree`); 2 wrong usage; \
3 there is no such process; 4 the process has nothing that can be asked; 5 it belongs to another user; \
6 it has not answered in time.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the tasks of a process; without a number, the processes that can be asked
    Ps(Ps),
    /// Show which task waits for which, and which has spawned which; cycles come first
    Tree(Tree),
    /// Show workers and tasks, anew every second: keys q, s, space, arrows
    Top(Top),
    /// Print a line of JSON every second, for logs
    Watch(Watch),
    /// Say what is wrong with a process, and how to mend it
    Doctor(Doctor),
    /// Record what the workers of a process do, for Perfetto (ui.perfetto.dev)
    Trace(Trace),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

#[derive(Debug, clap::Args)]
pub struct Ps {
    /// The number of the process
    pub pid: Option<u32>,
    /// What to sort by
    #[arg(long, value_enum, default_value_t = Sort::Id)]
    pub sort: Sort,
    /// How many tasks of each runtime to ask for
    #[arg(long, default_value_t = LIMIT)]
    pub limit: usize,
}

#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// The number of the process
    pub pid: u32,
    /// How long to look: what lasts less is not found. 5s at most
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub pause: Duration,
}

#[derive(Debug, clap::Args)]
pub struct Trace {
    /// The number of the process
    pub pid: u32,
    /// How long to record: 60s at most
    #[arg(value_parser = duration, default_value = "5s")]
    pub time: Duration,
    /// The file to write; standard output if it is not said
    #[arg(short, long)]
    pub output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Tree {
    /// The number of the process
    pub pid: u32,
    /// How many tasks of each runtime to ask for
    #[arg(long, default_value_t = LIMIT)]
    pub limit: usize,
}

#[derive(Debug, clap::Args)]
pub struct Top {
    /// The number of the process
    pub pid: u32,
    /// How long to wait between two looks
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub interval: Duration,
    /// How many tasks of each runtime to ask for
    #[arg(long, default_value_t = LIMIT)]
    pub limit: usize,
}

#[derive(Debug, clap::Args)]
pub struct Watch {
    /// The number of the process
    pub pid: u32,
    /// How long to wait between two lines
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub interval: Duration,
    /// How many lines to print; without it, until the process ends
    #[arg(long)]
    pub count: Option<u64>,
    /// Print whole snapshots
    #[arg(long)]
    pub full: bool,
    /// How many tasks of each runtime to ask for
    #[arg(long, default_value_t = LIMIT)]
    pub limit: usize,
}

/// How many tasks of each runtime are asked for.
pub const LIMIT: usize = 100_000;

/// Which process to ask, and for how much.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub pid: u32,
    pub limit: usize,
    pub timeout: Duration,
}

/// The order of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By number, which is the order of spawning on one worker
    Id,
    /// Those first that have used the most CPU
    Busy,
    /// Those first that wait, the longest wait first
    Wait,
    /// Those first that were polled most often
    Polls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn style(self) -> Style {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colours = match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => std::io::stdout().is_terminal() && !is_set("NO_COLOR"),
        };
        if colours { Style::Colours } else { Style::Plain }
    }
}

/// A length of time: `500ms`, `5s`, `1.5s`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time: say it as in 500ms, 5s or 2m");
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}
