//! A pipeline of child processes, as a shell makes it, with the status of each.
//!
//! ```text
//! cargo run --release --example pipeline -- 'seq 1 1000' 'grep 7' 'wc -l'
//! ```
//!
//! Each argument is a stage, which a shell runs. The first reads this program's input, the last writes its output. The
//! program fails if a stage does, as `set -o pipefail` has it. SIGTERM and Ctrl-C end all stages with what they have
//! started: each is a process group of its own. So a terminal gives its input to none of them; give a file or a pipe.

use std::{io, os::unix::process::ExitStatusExt, process::ExitCode, time::Duration};

use ringloop::{
    process::{Child, Command, ExitStatus, Stdio},
    race, signal,
    signal::SignalKind,
    time::timeout,
    try_gather,
};
use rustix::process::{Pid, Signal, kill_process_group};

use common::Failure;

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

/// How long a stage may take to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let stages: Vec<_> = std::env::args().skip(1).collect();
    if stages.is_empty() {
        eprintln!("pipeline: give at least one command: pipeline 'seq 1 10' 'wc -l'");
        return ExitCode::FAILURE;
    }
    let outcome = ringloop::Builder::new().workers(1).run(run(&stages));
    match outcome.map_err(Failure::from).and_then(|outcome| outcome) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pipeline: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(stages: &[String]) -> Result<(), Failure> {
    // Before the first child, so that no signal comes in between.
    let stopped = race!(signal::ctrl_c(), signal::terminate());
    let mut children = start(stages).await?;
    let ended = {
        let waits = try_gather(children.iter_mut().map(|child| child.wait()));
        let waits = async { waits.await.map(Some) };
        let stopped = async { stopped.await.map(|()| None) };
        race!(waits, stopped).await?
    };
    let Some(statuses) = ended else {
        return stop(&mut children).await;
    };
    let last = statuses.len() - 1;
    let mut failed = Vec::new();
    for (number, (stage, status)) in stages.iter().zip(statuses).enumerate() {
        if !is_fine(status, number == last) {
            failed.push(format!("stage {} ({stage}): {status}", number + 1));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ").into()),
    }
}

/// Starts the stages, each with the output of the one before as its input. A stage that does not start ends the others:
/// they are killed when they are dropped.
async fn start(stages: &[String]) -> io::Result<Vec<Child>> {
    let mut children = Vec::new();
    let mut input = Stdio::inherit();
    for (number, stage) in stages.iter().enumerate() {
        let is_last = number + 1 == stages.len();
        let output = if is_last { Stdio::inherit() } else { Stdio::piped() };
        let mut command = Command::shell(stage);
        let child =
            command.stdin(input).stdout(output).process_group(0).kill_on_drop(true).spawn().await;
        let mut child = child.map_err(|error| {
            io::Error::new(error.kind(), format!("stage {} ({stage}): {error}", number + 1))
        })?;
        input = match child.stdout.take() {
            // The pipe goes to the next child, and this program keeps no end of it.
            Some(output) => output.into_pipe().into_fd().await?.into(),
            None => Stdio::null(),
        };
        children.push(child);
    }
    Ok(children)
}

/// A stage before the last may end by SIGPIPE: the next one wanted no more, as `head` does. A shell gives that signal of its
/// command as a code.
fn is_fine(status: ExitStatus, is_last: bool) -> bool {
    let pipe = SignalKind::pipe().as_raw();
    let ended_by_the_next = || status.signal() == Some(pipe) || status.code() == Some(128 + pipe);
    status.success() || !is_last && ended_by_the_next()
}

/// Asks all stages to end, and kills those that do not.
async fn stop(children: &mut [Child]) -> Result<(), Failure> {
    signal_all(children, Signal::TERM)?;
    let waits = try_gather(children.iter_mut().map(|child| child.wait()));
    if timeout(GRACE, waits).await.is_err() {
        signal_all(children, Signal::KILL)?;
        try_gather(children.iter_mut().map(|child| child.wait())).await?;
    }
    Err("stopped by a signal".into())
}

/// To the whole group of each stage: a shell that is ended alone leaves its commands running.
fn signal_all(children: &mut [Child], signal: Signal) -> io::Result<()> {
    for child in children {
        // The number of one that has ended may be another's by now.
        if child.try_wait()?.is_none()
            && let Some(group) = Pid::from_raw(child.id() as i32)
        {
            kill_process_group(group, signal)?;
        }
    }
    Ok(())
}
