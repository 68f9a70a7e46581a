//! The program `ringloop`: looks into running services that use the library, by their number.
//!
//! `client.rs` asks, and knows the protocol. `snapshot.rs` reads the answer. Each subcommand has a module: it
//! makes text of a snapshot by a function without effects, which the tests compare with what is expected.

mod args;
mod client;
mod doctor;
mod failure;
#[cfg(test)]
mod golden;
mod paint;
mod processes;
mod ps;
mod snapshot;
mod top;
mod tree;
mod watch;

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{CommandFactory, Parser};

use self::{
    args::{Args, Command, Target},
    client::Client,
    failure::{Failure, Kind},
    paint::Style,
    snapshot::Snapshot,
    tree::Forest,
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
            let target = target(pid, ps.limit, args);
            if args.json {
                print(&format!("{}\n", dump(&target)?))?;
            } else {
                print(&ps::text(&snapshot(&target)?, ps.sort, style))?;
            }
        }
        Command::Tree(tree) => {
            let target = target(tree.pid, tree.limit, args);
            let snapshot = snapshot(&target)?;
            let forest = Forest::of(&snapshot);
            if args.json {
                print(&format!("{}\n", forest.json(&snapshot)))?;
            } else {
                print(&forest.text(&snapshot, style))?;
            }
            if !forest.cycles.is_empty() {
                return Ok(ExitCode::from(1));
            }
        }
        Command::Watch(watch) => watch_process(watch, &target(watch.pid, watch.limit, args))?,
        Command::Top(top) => top::run(&target(top.pid, top.limit, args), top.interval)?,
        Command::Doctor(asked) => return examine(asked, args, style),
        Command::Trace(asked) => trace(asked, args)?,
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "ringloop", &mut io::stdout());
        }
        Command::Man => clap_mangen::Man::new(Args::command()).render(&mut io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn target(pid: u32, limit: usize, args: &Args) -> Target {
    Target { pid, limit, timeout: args.timeout }
}

/// A line for each look, until there have been enough of them, or the process has ended.
fn watch_process(args: &args::Watch, target: &Target) -> Result<(), Failure> {
    let client = Client::open(target.pid)?;
    let question = format!("dump {}", target.limit);
    let mut before = None;
    for round in 0.. {
        if args.count.is_some_and(|count| round == count) {
            break;
        }
        if round > 0 {
            thread::sleep(args.interval);
        }
        let dump = match client.ask(&question, target.timeout) {
            Ok(dump) => dump,
            // There was something to watch, and now there is no more.
            Err(failure) if failure.is_of_an_end() && round > 0 => break,
            Err(failure) => return Err(failure),
        };
        let now = Snapshot::read(&dump);
        let line = if args.full { dump } else { watch::line(&now, before.as_ref()) };
        print(&format!("{line}\n"))?;
        before = Some(now);
    }
    Ok(())
}

/// What is wrong with a process. Hints are no reason for an exit code.
fn examine(asked: &args::Doctor, args: &Args, style: Style) -> Result<ExitCode, Failure> {
    let question = format!("doctor {}", asked.pause.as_millis());
    // The answer comes after the pause.
    let found = Client::open(asked.pid)?.ask(&question, args.timeout + asked.pause)?;
    if args.json {
        print(&format!("{found}\n"))?;
    } else {
        print(&doctor::text(&found, style))?;
    }
    Ok(ExitCode::from(u8::from(!doctor::is_healthy(&found))))
}

/// Records a process, and writes the trace.
fn trace(asked: &args::Trace, args: &Args) -> Result<(), Failure> {
    let question = format!("trace {}", asked.time.as_millis());
    let trace = Client::open(asked.pid)?.ask(&question, args.timeout + asked.time)?;
    let text = format!("{trace}\n");
    match &asked.output {
        None => print(&text),
        Some(file) => fs::write(file, text).map_err(|error| {
            let text = format!("cannot write {}: {error}", file.display());
            Failure::new(Kind::Other, text)
        }),
    }
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
