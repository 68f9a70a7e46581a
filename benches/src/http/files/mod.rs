//! A server of static files: each request opens the file, asks for its length, and sends it from the page cache.
//!
//! Question: what does a whole request for a file cost, with the parsing and the opening that `send_file_64k` leaves out?
//! The folder has one file. Every server answers with the status and the length, no ranges.
//!
//! `tokio` is hyper with the body that tower-http's `ServeDir` makes: a `ReaderStream` of 64 KiB over `tokio::fs::File`.
//! `ringloop` is hyper with `read_at` into recycled buffers of 64 KiB, and `ringloop-protocol` a protocol with httparse and
//! `Transport::send_file`: in short, the examples `static_files` and `static_protocol`.

mod on_hyper;
mod protocol;
mod tokio;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::harness::Spec;
use crate::load::Exchange;

/// The bytes of a piece of a body.
const PIECE: usize = 64 << 10;

/// The path of the only file.
pub const PATH: &str = "/file";

/// The folder of a case, with its file. It stays: a server is killed at its end, and the next one finds it.
fn folder(case: &str) -> std::io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("ringloop-bench-{case}"));
    std::fs::create_dir_all(&folder)?;
    let new = folder.join(format!("new-{}", std::process::id()));
    let mut file = std::fs::File::create(&new)?;
    for piece in contents(case).chunks(PIECE) {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    std::fs::rename(new, folder.join(&PATH[1..]))?;
    Ok(folder)
}

/// The bytes of the file.
pub fn contents(case: &str) -> Vec<u8> {
    let length = if case.ends_with("1m") { 1 << 20 } else { 64 << 10 };
    Exchange::echo(length, 1).reply
}

/// The file for the path of a request.
fn path_of(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches('/'))
}

/// Runs the server of the peer that `spec` names, for ever.
pub fn serve(spec: &Spec) -> Result<(), String> {
    let folder = folder(spec.case.name).map_err(|error| format!("no file: {error}"))?;
    let served = match spec.peer.as_str() {
        "tokio" => tokio::serve(spec.workers, folder),
        "ringloop" => on_hyper::serve(spec.workers, folder),
        "ringloop-protocol" => protocol::serve(spec.workers, folder),
        other => return Err(format!("static files have no peer {other:?}")),
    };
    served.map_err(|error| format!("the server failed: {error}"))
}
