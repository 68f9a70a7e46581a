//! Echo servers that are not part of this program: other runtimes, other languages.
//!
//! They are in `benches/peers`, are built when `--with` asks for them, and follow two rules: the
//! arguments are the number of workers and the size of the buffer, and the first line that they
//! print is `port N`. A server that the machine cannot run is reported in one line and left out.
//! None of them runs unless it is asked for.
//! unless it is asked for.

mod build;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::catalogue::{Case, PYTHON};
use crate::harness::Spec;
use crate::report::locked;

/// All servers, by their names for `--with`.
pub const ALL: &[&str] = &["monoio", "compio", "glommio", "go", "uvloop"];

/// Finds and builds the servers that `--with` named; prints the results and returns those that can
/// run.
pub fn prepare(wanted: &[&'static str]) -> Vec<&'static str> {
    let mut ready = Vec::new();
    for &name in wanted {
        match build::build(name) {
            Ok(()) => {
                eprintln!("{name}: found, {}", version(name).unwrap_or_default());
                ready.push(name);
            }
            Err(reason) => eprintln!("{name}: not found, {reason}"),
        }
    }
    ready
}

/// The peers of these cases that are other programs and that this machine lacks; prints a line for
/// each.
pub fn missing(cases: &[&Case]) -> Vec<&'static str> {
    if !cases.iter().any(|case| case.peers.contains(&PYTHON)) {
        return Vec::new();
    }
    match build::python3() {
        Ok(()) => Vec::new(),
        Err(reason) => {
            eprintln!("{PYTHON}: left out, {reason}");
            vec![PYTHON]
        }
    }
}

/// Becomes Python's pool of processes, which measures itself: returns only on failure.
pub fn process_pool(spec: &Spec) -> String {
    let mut command = Command::new("python3");
    let times = [spec.warmup, spec.window].map(|time| time.as_millis().to_string());
    command.arg(build::sources().join("python/process_pool.py")).args(times);
    // The same process: as in `serve`.
    format!("{PYTHON} does not start: {}", command.exec())
}

/// Whether a case can be served from outside: all cases that send bytes and get them back. A hog is
/// code inside the server, and HTTP needs a library.
pub fn serves(case: &Case) -> bool {
    case.area == "echo" && case.load.as_ref().is_some_and(|load| !load.hog)
}

/// Becomes the server with that name: returns only on failure, and `None` if there is no such name.
pub fn serve(spec: &Spec) -> Option<String> {
    let name = ALL.iter().find(|known| **known == spec.peer)?;
    let buffer = spec.case.load.as_ref().map_or(0, |load| load.server_buffer);
    let mut command = match *name {
        "uvloop" => {
            let mut command = Command::new(build::python());
            command.arg(build::sources().join("uvloop/server.py"));
            command
        }
        compiled => Command::new(build::program(compiled)),
    };
    // The same process, so its number is known to the parent, and its death signal and cores are
    // kept.
    let error = command.args([spec.workers, buffer].map(|number| number.to_string())).exec();
    Some(format!("{name} does not start: {error}"))
}

/// The version of the peer with that name, if it can be asked.
pub fn version(name: &str) -> Option<String> {
    match name {
        "go" => said_by(Command::new("go").arg("version")).map(|text| {
            let number = text.split_whitespace().nth(2).unwrap_or(&text);
            number.trim_start_matches("go").to_owned()
        }),
        "uvloop" => {
            let program = "import sys, uvloop; print(uvloop.__version__, 'on Python', \
                           sys.version.split()[0])";
            said_by(Command::new(build::python()).args(["-c", program]))
        }
        PYTHON => said_by(
            Command::new("python3").args(["-c", "import sys; print(sys.version.split()[0])"]),
        ),
        "monoio" | "compio" | "glommio" => {
            let lock = std::fs::read_to_string(build::sources().join("Cargo.lock")).ok()?;
            locked(&lock, name)
        }
        _ => None,
    }
}

fn said_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The directory of built servers: beside this program.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.parent().map(PathBuf::from).unwrap_or_default().join("peers")
}
