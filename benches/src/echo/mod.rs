//! Echo servers under load.
//!
//! Question: what does a runtime add to the kernel's cost of answering a small message, how fairly
//! does it treat many connections, and what does it cost to be woken often (`rate_30k`)?
//!
//! Does not show: real networks (loopback has no interrupts, no loss), many cores, uploads, or
//! connections that come and go. Most of every figure is the kernel's TCP; `epoll` and `uring`,
//! bare loops without a runtime, are the limits. `async-io` reads and writes through
//! `&Async<TcpStream>`, as smol's users do.

mod async_io;
mod epoll;
mod ringloop;
mod tokio;
mod uring;

use std::io;

use ::ringloop::Backend;

use self::ringloop::Face;

/// What a server's user would choose; the same for all.
const BUFFER: usize = 4096;

/// Runs the echo server of `peer` for ever.
pub fn serve(peer: &str, workers: usize) -> Result<(), String> {
    let served = match peer {
        "tokio" => tokio::serve(Some(workers)),
        "tokio-ct" => tokio::serve(None),
        "async-io" => async_io::serve(workers),
        "ringloop" => ringloop::serve(workers, Backend::Auto, Face::Poll),
        "ringloop-lease" => ringloop::serve(workers, Backend::Auto, Face::Lease),
        "ringloop-owned" => ringloop::serve(workers, Backend::Auto, Face::Owned),
        "ringloop-epoll" => ringloop::serve(workers, Backend::Epoll, Face::Poll),
        "epoll" => epoll::serve(workers),
        "uring" => uring::serve(workers),
        other => return Err(format!("echo has no peer {other:?}")),
    };
    served.map_err(|error: io::Error| format!("the server failed: {error}"))
}
