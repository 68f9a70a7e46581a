//! Children: the cost to start a program, to wait for it, and to communicate with it.
//!
//! Questions: what does a runtime add to a start and a wait (`command_true`), and what does a
//! megabyte to a child and back cost (`command_cat_1m`)? `bare` is std, which blocks its thread;
//! for the megabyte it takes a second one. What does a call cost in a pool of processes ([`pool`])?
//!
//! CPU is that of this process and of the children: most of it is theirs, and the kernel's, which
//! makes them.
//!
//! Does not show: many children at a time, and a large process that starts them.

mod pool;

pub use pool::serve as serve_pool;

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use tokio::io::AsyncWriteExt as _;

use crate::catalogue::{BARE, PYTHON};
use crate::external;
use crate::harness::Spec;
use crate::peers::{CurrentThread, MultiThread, Peer, Ringloop};
use crate::sample::Sample;
use crate::sys::Meter;

/// Children between two reads of the clock.
const BATCH: u64 = 8;
const MEGABYTE: usize = 1 << 20;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    let (case, peer) = (spec.case.name, spec.peer.as_str());
    match (case, peer) {
        ("command_true", "ringloop") => on_ringloop(spec, async || {
            let status = ringloop::process::Command::new("/bin/true").status().await;
            assert!(status.expect("it starts").success());
        }),
        ("command_true", "tokio" | "tokio-ct") => on_tokio(spec, async || {
            let status = tokio::process::Command::new("/bin/true").status().await;
            assert!(status.expect("it starts").success());
        }),
        ("command_true", BARE) => Ok(block_on(measure(spec.warmup, spec.window, async || {
            let status = std::process::Command::new("/bin/true").status();
            assert!(status.expect("it starts").success());
        }))),
        ("command_cat_1m", "ringloop") => on_ringloop(spec, async || {
            let mut command = ringloop::process::Command::new("/bin/cat");
            let output = command.communicate(vec![1; MEGABYTE]).await.expect("it starts");
            assert_eq!(output.stdout.len(), MEGABYTE);
        }),
        ("command_cat_1m", "tokio" | "tokio-ct") => on_tokio(spec, tokio_cat),
        ("command_cat_1m", BARE) => {
            Ok(block_on(measure(spec.warmup, spec.window, async || std_cat())))
        }
        ("process_pool_call", "ringloop") => Ok(pool::run(spec)),
        ("process_pool_call", PYTHON) => Err(external::process_pool(spec)),
        _ => Err(format!("process has no case {case:?} with the peer {peer:?}")),
    }
}

/// As in its documentation: the two sides at once, then the wait.
async fn tokio_cat() {
    let mut command = tokio::process::Command::new("/bin/cat");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let bytes = vec![1; MEGABYTE];
    let write = async move { stdin.write_all(&bytes).await };
    let (wrote, output) = tokio::join!(write, child.wait_with_output());
    wrote.expect("it reads");
    assert_eq!(output.expect("it ends").stdout.len(), MEGABYTE);
}

fn std_cat() {
    let mut command = std::process::Command::new("/bin/cat");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writing = std::thread::spawn(move || stdin.write_all(&vec![1; MEGABYTE]));
    let mut back = Vec::new();
    child.stdout.take().expect("it is piped").read_to_end(&mut back).expect("it writes");
    writing.join().expect("it does not panic").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(back.len(), MEGABYTE);
}

fn on_ringloop<F: Future<Output = ()> + Send + 'static>(
    spec: &Spec,
    child: impl FnMut() -> F + Send + 'static,
) -> Result<Sample, String> {
    Ok(Ringloop::run(spec.workers, measure(spec.warmup, spec.window, child)))
}

/// Runs on tokio's single-threaded runtime for peers with that name.
fn on_tokio<F: Future<Output = ()> + Send + 'static>(
    spec: &Spec,
    child: impl FnMut() -> F + Send + 'static,
) -> Result<Sample, String> {
    let body = measure(spec.warmup, spec.window, child);
    Ok(match spec.peer.ends_with("-ct") {
        true => CurrentThread::run(spec.workers, body),
        false => MultiThread::run(spec.workers, body),
    })
}

/// One child after the other.
async fn measure<F: Future<Output = ()>>(
    warmup: Duration,
    window: Duration,
    mut child: impl FnMut() -> F,
) -> Sample {
    let warm = Instant::now() + warmup;
    while Instant::now() < warm {
        child().await;
    }
    let meter = Meter::with_children();
    let mut operations = 0;
    while meter.elapsed() < window {
        for _ in 0..BATCH {
            child().await;
        }
        operations += BATCH;
    }
    meter.finish(operations)
}
