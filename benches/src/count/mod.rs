//! Instructions per operation, by callgrind: `count [--at COMMIT] [--against COMMIT]`.
//!
//! Unlike time, they hardly depend on the machine or on what else runs on it. Two counts of one
//! program differ by a few tenths of a per cent, and by one or two per cent where there are threads
//! or a client (`steal`, `echo`). They are instructions in user space only: they do not include the
//! kernel's share, cache misses and waits for other cores, so fewer instructions may still be
//! slower.
//!
//! The workloads are in `src/bin/counted.rs`. With `--against` the same workloads are built once
//! more, with ringloop as it was at that commit; with `--at`, the first ones as well.

mod build;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Names of workloads, what an operation is, and the two numbers of operations.
const WORKLOADS: &[Workload] = &[
    Workload { name: "spawn", operation: "a task spawned, run, joined", counts: (10_000, 40_000) },
    Workload {
        name: "wake",
        operation: "a task woken by another, polled",
        counts: (10_000, 40_000),
    },
    Workload { name: "yield", operation: "a yield among 100 tasks", counts: (10_000, 40_000) },
    Workload { name: "steal", operation: "a task spawned, run elsewhere", counts: (5_000, 45_000) },
    Workload {
        name: "lock",
        operation: "a lock taken among 16 tasks, as in `lock_16`",
        counts: (16_000, 64_000),
    },
    Workload {
        name: "permits",
        operation: "one of 4 permits taken, as in `semaphore_16x4`",
        counts: (16_000, 64_000),
    },
    Workload { name: "echo", operation: "64 bytes read and written", counts: (500, 3_000) },
    Workload { name: "http", operation: "a GET answered by hyper", counts: (500, 3_000) },
    Workload {
        name: "http_timer",
        operation: "... with a limit on its head",
        counts: (500, 3_000),
    },
];

struct Workload {
    name: &'static str,
    operation: &'static str,
    counts: (u64, u64),
}

/// The options of `count`.
#[derive(Default)]
pub struct Options {
    /// The commit to count; without one, this tree.
    pub at: Option<String>,
    /// A commit to compare with.
    pub against: Option<String>,
    /// Names of workloads; all if empty.
    pub workloads: Vec<String>,
}

/// Counts and prints a table.
pub fn run(options: &Options) -> Result<(), String> {
    for name in &options.workloads {
        if !WORKLOADS.iter().any(|workload| workload.name == name) {
            let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            return Err(format!("no workload is called {name:?}; there are {}", names.join(", ")));
        }
    }
    valgrind()?;
    let now = match &options.at {
        None => build::current()?,
        Some(commit) => build::of(commit, "at")?,
    };
    let before =
        options.against.as_deref().map(|commit| build::of(commit, "against")).transpose()?;
    println!("instructions in user space per operation, under callgrind, on epoll");
    let names = (options.at.as_deref().unwrap_or("now"), options.against.as_deref().unwrap_or(""));
    println!("{}", line("", names.0, names.1, "", "tokio"));
    let wanted = |workload: &&Workload| {
        options.workloads.is_empty() || options.workloads.iter().any(|name| name == workload.name)
    };
    for workload in WORKLOADS.iter().filter(wanted) {
        let ours = per_operation(&now, "ringloop", workload)?;
        let theirs = per_operation(&now, "tokio", workload)?;
        let (mut old, mut change) = (String::new(), String::new());
        if let Some(before) = &before {
            let found = per_operation(before, "ringloop", workload)?;
            old = format!("{found:.1}");
            change = format!("{:+.1} %", (ours / found - 1.0) * 100.0);
        }
        let ours = format!("{ours:.1}");
        println!(
            "{}  {}",
            line(workload.name, &ours, &old, &change, &format!("{theirs:.1}")),
            workload.operation
        );
    }
    Ok(())
}

fn line(name: &str, now: &str, before: &str, change: &str, tokio: &str) -> String {
    format!("  {name:8} {now:>12.12} {before:>12.12} {change:>9} {tokio:>10}")
}

fn valgrind() -> Result<(), String> {
    let version = Command::new("valgrind").arg("--version").output();
    version.map(drop).map_err(|error| format!("counting needs valgrind: {error}"))
}

/// The difference of two runs over the difference of their operations: this removes the cost of
/// start and end.
fn per_operation(program: &Path, peer: &str, workload: &Workload) -> Result<f64, String> {
    let (few, many) = workload.counts;
    let count = |operations| instructions(program, peer, workload, operations);
    Ok((count(many)? as f64 - count(few)? as f64) / (many - few) as f64)
}

fn instructions(
    program: &Path,
    peer: &str,
    workload: &Workload,
    operations: u64,
) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", workload.name);
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--fair-sched=yes"])
        .arg(program)
        .args([peer, workload.name, &operations.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(request) = request_of(workload.name) {
        let talked = talk(&mut child, &request, operations);
        if talked.is_err() {
            // It would wait for a client for ever.
            let _ = child.kill();
        }
        talked.map_err(failed)?;
    }
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("stderr is a pipe taken once");
    stderr.read_to_string(&mut said).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, number)| number.trim().parse().ok()) {
        Some(number) if status.success() => Ok(number),
        _ => Err(format!("{peer} {} failed, {status}:\n{said}", workload.name)),
    }
}

/// The request of a workload's client, if it has one.
fn request_of(workload: &str) -> Option<Vec<u8>> {
    match workload {
        "echo" => Some(vec![7; 64]),
        "http" | "http_timer" => Some(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        _ => None,
    }
}

/// The client: one message at a time on one connection, so that the server goes to sleep before
/// each message. A message is answered in one segment.
fn talk(server: &mut Child, message: &[u8], messages: u64) -> std::io::Result<()> {
    let mut lines = BufReader::new(server.stdout.take().expect("stdout is a pipe taken once"));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let port = line.trim().strip_prefix("port ").and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| std::io::Error::other("the server did not say its port"))?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    let mut reply = [0; 1024];
    for _ in 0..messages {
        stream.write_all(message)?;
        if stream.read(&mut reply)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
