//! The program `ringloop`: looks into running services that use the library, by their number.
//!
//! `client.rs` asks, and knows the protocol. `snapshot.rs` reads the answer. Each subcommand has a module: it
//! makes text of a snapshot by a function without effects, which the tests compare with what is expected.

mod args;
mod client;
mod failure;
mod paint;
mod processes;
mod ps;
mod snapshot;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser};

use self::{
    args::{Args, Command, Target},
    client::Client,
    failure::Failure,
    paint::Style,
    snapshot::Snapshot,
};

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        // The reader has seen enough, as `head` does.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringloop: {failure}");
            failure.code()
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let style = args.color.style();
    match &args.command {
        Command::Ps(ps) => {
            let Some(pid) = ps.pid else { return list(args, style) };
            let target = Target { pid, limit: ps.limit, timeout: args.timeout };
            if args.json {
                print(&format!("{}\n", dump(&target)?))?;
            } else {
                print(&ps::text(&snapshot(&target)?, ps.sort, style))?;
            }
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "ringloop", &mut io::stdout());
        }
        Command::Man => clap_mangen::Man::new(Args::command()).render(&mut io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The processes that can be asked.
fn list(args: &Args, style: Style) -> Result<ExitCode, Failure> {
    let found = processes::find(args.timeout.min(Duration::from_secs(1)));
    let text = if args.json { processes::json(&found) } else { processes::text(&found, style) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The snapshot of a process, as it came.
fn dump(target: &Target) -> Result<serde_json::Value, Failure> {
    let client = Client::open(target.pid)?;
    client.ask(&format!("dump {}", target.limit), target.timeout)
}

fn snapshot(target: &Target) -> Result<Snapshot, Failure> {
    Ok(Snapshot::read(&dump(target)?))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
