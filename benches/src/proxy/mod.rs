//! Proxies under load: each connection is passed on to an echo server, both ways.
//!
//! Questions: what does a runtime's `copy_bidirectional` cost for a message and its reply, each
//! read and written once, when they are small (`copy_small`), and when moving the bytes is most of
//! it (`copy_64k`)?
//!
//! tokio's reads 8 KiB at a time, unless it is given other sizes: `tokio-64k` has 64 KiB for each
//! direction, which every connection holds all the time. ringloop's is used as it is. The cases `splice_proxy` of the
//! area `files` are the same; there `ringloop-copies` has a size with which it copies whatever comes.
//!
//! The echo server is a bare epoll loop in a process of its own, on the client's core. *Not shown:*
//! transfers one way, many idle connections, a slow peer; the client's core has two things to do,
//! and is the limit: compare CPU.

mod ringloop;
mod tokio;

use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use ::ringloop::Backend;

use crate::harness::{SERVE, Spec, child};
use crate::{echo, sys};

/// The peer that answers behind all proxies.
const ORIGIN: &str = "origin";

/// How a proxy copies.
#[derive(Clone, Copy)]
enum Sizes {
    /// As the peer does by itself.
    Default,
    /// So many bytes at a time.
    Each(usize),
}

/// Runs the proxy of the peer that `spec` names, for ever; or what answers behind it, on `last_core`.
pub fn serve(spec: &Spec, last_core: usize) -> Result<(), String> {
    if spec.peer == ORIGIN {
        sys::pin_to(last_core);
        return echo::origin().map_err(|error| format!("the origin failed: {error}"));
    }
    let origin = start_origin(spec, last_core)?;
    let served = match spec.peer.as_str() {
        "tokio" => tokio::serve(spec.workers, origin, Sizes::Default),
        "tokio-64k" => tokio::serve(spec.workers, origin, Sizes::Each(64 << 10)),
        "ringloop" => ringloop::serve(spec.workers, origin, Backend::Auto, Sizes::Default),
        "ringloop-epoll" => ringloop::serve(spec.workers, origin, Backend::Epoll, Sizes::Default),
        // Below 64 KiB bytes are never moved by splice(2).
        "ringloop-copies" => {
            ringloop::serve(spec.workers, origin, Backend::Auto, Sizes::Each((64 << 10) - 1))
        }
        other => return Err(format!("proxy has no peer {other:?}")),
    };
    served.map_err(|error: io::Error| format!("the proxy failed: {error}"))
}

/// Starts the echo server, which ends with this process.
fn start_origin(spec: &Spec, last_core: usize) -> Result<SocketAddr, String> {
    let failed = |error: io::Error| format!("the origin does not start: {error}");
    let mut origin = Command::new(std::env::current_exe().map_err(failed)?)
        .arg(SERVE)
        .args(child::encode(&Spec { peer: ORIGIN.into(), ..*spec }))
        .arg(last_core.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let output = origin.stdout.take().expect("the output is a pipe taken once");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(failed)?;
    let port = line.trim().strip_prefix(child::PORT).and_then(|port| port.parse().ok());
    let port = port.ok_or("the origin stopped before it listened")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
