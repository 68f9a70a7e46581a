//! Finds and builds the servers of `benches/peers`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folder;

/// The directory of the servers' sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// The program of a server that is compiled.
pub fn program(name: &str) -> PathBuf {
    match name {
        "go" => folder().join("echo-go"),
        name => folder().join("release").join(format!("echo-{name}")),
    }
}

/// The Python that has uvloop: the machine's, or one that was installed beside the other servers.
pub fn python() -> PathBuf {
    let own = folder().join("python/bin/python");
    if own.exists() { own } else { "python3".into() }
}

/// Whether the machine has a Python with pools of processes; the error gives the reason if not.
pub fn python3() -> Result<(), String> {
    run(Command::new("python3").args(["-c", "import concurrent.futures.process"]))
}

/// Builds the server with that name; the error gives the reason in a few words.
pub fn build(name: &str) -> Result<(), String> {
    match name {
        "go" => go(),
        "uvloop" => uvloop(),
        name => cargo(name),
    }
}

fn cargo(name: &str) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("{name}: building");
    run(Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--package"])
        .arg(format!("echo-{name}"))
        .arg("--target-dir")
        .arg(folder())
        .current_dir(sources()))
}

fn go() -> Result<(), String> {
    run(Command::new("go").arg("version"))?;
    let program = program("go");
    run(Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(program)
        .arg("main.go")
        .current_dir(sources().join("go")))
}

fn uvloop() -> Result<(), String> {
    let imports = || run(Command::new(python()).args(["-c", "import uvloop"]));
    if imports().is_ok() {
        return Ok(());
    }
    let own = folder().join("python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&own))?;
    eprintln!("uvloop: installing into {}", own.display());
    let requirements = sources().join("uvloop/requirements.txt");
    let install = run(Command::new(own.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements));
    if install.is_err() {
        // An incomplete environment would hide the machine's own Python from the next run.
        let _ = std::fs::remove_dir_all(&own);
    }
    install.and_then(|()| imports())
}

/// Runs to the end without output; on failure returns the last line of the output.
fn run(command: &mut Command) -> Result<(), String> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let program = program.to_string_lossy();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(format!("{program} failed: {}", last.trim()))
}
