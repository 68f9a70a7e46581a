//! A server that answers each request of 64 bytes with a whole file, over TCP.
//!
//! Question: what does it cost to send 64 KiB, or 1 MiB, from the page cache? No protocol is parsed, so that the
//! file is all there is. The file is open from the start: opening is a question of its own.
//!
//! tokio's server copies by `tokio::io::copy` from its `File`, with one handle for each connection, as its
//! documentation has it.
//! `tokio-256k` has a reader with a buffer of 256 KiB around the file. `ringloop` calls `send_file`.

mod ringloop;
mod tokio;

use std::io::Write as _;
use std::path::PathBuf;

use ::ringloop::Backend;

use crate::harness::Spec;
use crate::load::Exchange;

/// The length of a request.
pub const REQUEST: usize = 64;

/// The length of the file.
fn length(case: &str) -> usize {
    if case.ends_with("1m") { 1 << 20 } else { 64 << 10 }
}

/// A request, and the file as its answer.
pub fn exchange(case: &str) -> Exchange {
    let mut exchange = Exchange::echo(length(case), 1);
    exchange.request.truncate(REQUEST);
    exchange
}

/// Runs the server of the peer that `spec` names, for ever.
pub fn serve(spec: &Spec) -> Result<(), String> {
    let file = write_file(spec.case.name).map_err(|error| format!("no file: {error}"))?;
    let served = match spec.peer.as_str() {
        "tokio" => tokio::serve(spec.workers, file, None),
        "tokio-256k" => tokio::serve(spec.workers, file, Some(256 << 10)),
        "ringloop" => ringloop::serve(spec.workers, file, Backend::Auto),
        "ringloop-epoll" => ringloop::serve(spec.workers, file, Backend::Epoll),
        other => return Err(format!("files has no peer {other:?}")),
    };
    served.map_err(|error: std::io::Error| format!("the server failed: {error}"))
}

/// Writes the file in pieces of 64 KiB, which have a part in what it costs, and opens it. It has no name by then.
fn write_file(case: &str) -> std::io::Result<std::fs::File> {
    let path: PathBuf = std::env::temp_dir().join(format!("ringloop-bench-{}", std::process::id()));
    let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    for piece in Exchange::echo(length(case), 1).reply.chunks(64 << 10) {
        file.write_all(piece)?;
    }
    Ok(file)
}
