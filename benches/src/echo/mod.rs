//! Echo servers under load.
//!
//! Questions, by case; each server is written as its users would, with a task for each connection:
//!
//! - `echo_64x64`, `echo_1000x64`, `echo_64x4096`: what does a runtime add to the kernel's cost of
//!   answering a small message, and how fairly does it treat many connections?
//! - `echo_64x65536`: how well does it move bytes? Every server reads through 64 KiB there.
//!   *Not shown:* transfers one way; a slow reader. The client compares one reply in 16 and lets the
//!   kernel count the bytes of the others, so as not to be the limit.
//! - `echo_pipelined`: 16 requests come in one segment, and their replies go back as one: what does
//!   a runtime add when the kernel's share of a message is a sixteenth? *Not shown:* parsing; a
//!   server that writes each reply by itself. To the kernel it is an exchange of 1 KiB.
//! - `unix_64x64`: the same as `echo_64x64` over Unix sockets, where the kernel's share is less than half.
//! - `streams_64x64`, `protocol_64x64`: what do readers and writers cost above leases, and do protocols cost less?
//! - `echo_hog`: messages at a steady rate while one task of the server burns 20 ms of CPU every
//!   100 ms: how long do the others wait? *Not shown:* several such tasks, or a pool for them. CPU
//!   contains the task's own, which is in the column beside it. With one worker all others wait
//!   for the burst; in bare loops no other thread can take over, with two workers either.
//! - `echo_work`: 200 connections, 20 us of CPU for each message, so that one worker cannot keep up: do
//!   workers share what arrives?
//! - `rate_30k`, `rate_60k`, `rate_120k`: what does it cost to be woken often, and how late are the replies?
//!   Arrivals are a Poisson process, latency counts from when a message was due. Time per operation
//!   is the rate's; latencies of a server that falls behind grow with the window.
//! - `churn`: what does a connection cost from accept to close? *Not shown:* orderly ends (the
//!   client resets, for its ports' sake), TLS, more than one listener. A connection costs the client
//!   somewhat more than the server, so the client is the limit: compare the server's CPU.
//! - `idle_memory`: how much of a server's own memory does a quiet connection hold? *Not shown:* the
//!   kernel's memory (sockets, registrations with epoll or io_uring), which is several times as much,
//!   or what remains after a storm.
//!
//! None shows real networks (loopback has no interrupts, no loss) or many cores. Most of every
//! figure is the kernel's TCP; `epoll`, `uring` and `uring-poll`, bare loops without a runtime, are the
//! limits: the last one of poll functions on a ring, with small messages and one worker.
//! `ringloop-lease-whole` lends memory as on kernels before 6.15, where each arrival takes a whole
//! buffer. `async-io` reads and writes through `&Async<TcpStream>`, as smol's users do.

mod async_io;
mod epoll;
pub mod hog;
mod layers;
mod ringloop;
mod tokio;
pub mod unix;
mod uring;
mod uring_poll;

use std::io;

use ::ringloop::Backend;

use self::ringloop::Face;
use crate::catalogue::Load;
use crate::harness::Spec;

/// The options of a server; the same for all peers.
#[derive(Clone, Copy)]
struct Setup {
    workers: usize,
    /// Bytes of a connection's buffer.
    buffer: usize,
    /// Whether to run [`hog`].
    hog: bool,
    /// CPU to burn for each message, in microseconds.
    work_us: u32,
}

/// Runs a bare echo server on one thread, for ever: what answers behind a proxy.
pub fn origin() -> io::Result<()> {
    epoll::serve(Setup { workers: 1, buffer: 0, hog: false, work_us: 0 })
}

/// Runs the echo server of the peer that `spec` names, for ever.
pub fn serve(spec: &Spec) -> Result<(), String> {
    let &Load { server_buffer, hog, work_us, unix, .. } =
        spec.case.load.as_ref().ok_or("this case has no server")?;
    let setup = Setup { workers: spec.workers, buffer: server_buffer, hog, work_us };
    let served = match spec.peer.as_str() {
        "tokio" if unix => unix::serve_tokio(setup, true),
        "tokio-ct" if unix => unix::serve_tokio(setup, false),
        "ringloop" if unix => unix::serve(setup, Face::Poll),
        "ringloop-lease" if unix => unix::serve(setup, Face::Lease),
        "ringloop-streams" => layers::serve_streams(setup),
        "ringloop-protocol" => layers::serve_protocol(setup),
        "tokio" => tokio::serve(setup, true),
        "tokio-ct" => tokio::serve(setup, false),
        "async-io" => async_io::serve(setup),
        "ringloop" => ringloop::serve(setup, Backend::Auto, Face::Poll),
        "ringloop-lease" => ringloop::serve(setup, Backend::Auto, Face::Lease),
        "ringloop-lease-whole" => ringloop::serve_whole(setup),
        "ringloop-owned" => ringloop::serve(setup, Backend::Auto, Face::Owned),
        "ringloop-epoll" => ringloop::serve(setup, Backend::Epoll, Face::Poll),
        "epoll" => epoll::serve(setup),
        "uring" => uring::serve(setup),
        "uring-poll" => uring_poll::serve(setup),
        other => return Err(format!("echo has no peer {other:?}")),
    };
    served.map_err(|error: io::Error| format!("the server failed: {error}"))
}
