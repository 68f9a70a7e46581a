//! Datagrams: echo servers under load, and bulk.
//!
//! Questions, by case; each server is written as its users would:
//!
//! - `udp_echo_64`: what does a runtime add to the kernel's cost of a datagram there and back, while
//!   64 clients wait for theirs? One socket, one task.
//! - `udp_echo_connected`: the same with a socket that is connected to its one client, of which 64
//!   datagrams wait. (The client says hello at the server's port, and goes on with the socket that
//!   answers. A task serves each such socket.)
//! - `udp_echo_1`: one client, so that the server waits for each datagram: what does the wait cost?
//! - `udp_fan_in`: 160 clients, and a socket for each worker at one port (`SO_REUSEPORT`): do workers
//!   share what arrives? With one worker there is one socket, whose buffer has room for all.
//! - `udp_bulk`: 1200 bytes a datagram, as QUIC sends them, by segments that the kernel cuts (GSO)
//!   and groups that it glues (GRO): what is left of a datagram's cost? See [`bulk`].
//!
//! `bare` is a level-triggered epoll loop without a runtime, the limit.
//!
//! None shows a real network, loss, or datagrams of several sizes.

mod bare;
mod bulk;
mod ringloop;
mod tokio;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use ::ringloop::Backend;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::catalogue::BARE;
use crate::harness::Spec;

pub use bulk::run;

/// Bytes of a server's buffer.
const BUFFER: usize = 2048;

/// What a client sends first to a server with a socket for each client, and gets back.
pub const HELLO: &[u8] = b"hello";

/// The sockets of a server.
#[derive(Clone, Copy, PartialEq)]
enum Sockets {
    One,
    PerClient,
    PerWorker,
}

/// Whether the clients of the case say hello first.
pub fn has_hello(case: &str) -> bool {
    sockets(case) == Sockets::PerClient
}

fn sockets(case: &str) -> Sockets {
    match case {
        "udp_echo_connected" => Sockets::PerClient,
        "udp_fan_in" => Sockets::PerWorker,
        _ => Sockets::One,
    }
}

/// Runs the echo server of the peer that `spec` names, for ever.
pub fn serve(spec: &Spec) -> Result<(), String> {
    let sockets = sockets(spec.case.name);
    let served = match spec.peer.as_str() {
        "tokio" => tokio::serve(sockets, spec.workers, true),
        "tokio-ct" => tokio::serve(sockets, 1, false),
        "ringloop" => ringloop::serve(sockets, spec.workers, Backend::Auto),
        "ringloop-epoll" => ringloop::serve(sockets, spec.workers, Backend::Epoll),
        BARE => bare::serve(sockets),
        other => return Err(format!("udp has no peer {other:?}")),
    };
    served.map_err(|error: io::Error| format!("the server failed: {error}"))
}

/// Non-blocking sockets at one port, which the kernel spreads clients over.
fn at_one_port(count: usize) -> io::Result<Vec<UdpSocket>> {
    let mut addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut all = Vec::new();
    for _ in 0..count {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
        rustix::net::bind(&socket, &addr)?;
        let socket = UdpSocket::from(socket);
        addr = socket.local_addr()?;
        all.push(socket);
    }
    Ok(all)
}
