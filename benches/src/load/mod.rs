//! The client of the server cases: one thread, without a runtime; plain io_uring wherever its speed
//! counts.
//!
//! [`steady`] keeps its connections and drives them in a closed or an open loop, [`churn`] makes new
//! ones all the time, [`idle`] leaves many alone. Each of them
//!
//! - reads the server's CPU time and context switches at both ends of the measured window itself
//!   ([`window`]), so that they cover exactly the operations it counts;
//! - checks what comes back against what must come back;
//! - fails when nothing comes for [`STALL`], when the server closes a connection, when a reply is
//!   missing at the end, or when the server kept resources that it should have freed (see the cases);
//! - takes its connections down by resets: none stays in TIME_WAIT to slow the next peer.
//!
//! For servers of datagrams a connection is a socket that is connected to one of theirs; a datagram that
//! is lost fails the run. Their client goes in lockstep on the server's first core: it sends for all its
//! sockets, and sleeps until the server does. So the server finds all of them waiting, and is never
//! interrupted.
//!
//! It runs on the last core; with fewer cores than workers + 1 it shares that core with a worker,
//! which costs every peer the same. Its own use is in every sample. `client_cores` near 1 means
//! that the client was the limit of a closed loop and its time per operation (the server's CPU per
//! operation is still valid). `client_late_ns` is how late an open loop sent (p99), which is part
//! of all its latencies.

mod buffers;
mod churn;
mod connection;
mod exchange;
mod idle;
mod ring;
mod steady;
mod window;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::catalogue::Pace;
use crate::echo;
use crate::files;
use crate::harness::Spec;
use crate::http;
use crate::sample::Sample;
use crate::udp;
pub use exchange::Exchange;

/// The server to drive.
pub struct Target {
    /// Of a server on a Unix socket, what stands for it: see `echo::unix`.
    pub address: SocketAddr,
    pub unix: bool,
    pub server: u32,
    /// No worker of the server runs on this core: the client may spin, and so is exact.
    pub alone_on_core: bool,
}

/// Without a reply for this long the server is taken to hang.
const STALL: Duration = Duration::from_secs(5);

/// Drives the server as the case of `spec` defines it.
pub fn run(spec: &Spec, target: &Target) -> Result<Sample, String> {
    let load = spec.case.load.as_ref().ok_or("this case has no client")?;
    // The kernel reads from it until this process ends.
    let exchange: &'static Exchange = Box::leak(Box::new(match spec.case.area {
        "http" => http::exchange(spec.case.name, load.burst, target.address)?,
        "files" if spec.case.name.starts_with("send_") => files::send::exchange(spec.case.name),
        _ => Exchange::echo(load.message, load.messages()),
    }));
    match load.pace {
        Pace::Closed | Pace::Lockstep | Pace::Open(_) => steady::run(spec, load, exchange, target),
        Pace::Churn => churn::run(spec, load, exchange, target),
        Pace::Idle => idle::run(spec, load, exchange, target),
    }
}

/// The socket of a client that stays.
fn socket(spec: &Spec, target: &Target) -> Result<OwnedFd, String> {
    match spec.case.area {
        "udp" => datagrams(udp::has_hello(spec.case.name), target)
            .map_err(|error| format!("no socket for datagrams: {error}")),
        _ => connect(target),
    }
}

/// A socket for datagrams to and from the server, or from that one of its sockets which answers a
/// hello.
fn datagrams(hello: bool, target: &Target) -> io::Result<OwnedFd> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut peer = target.address;
    if hello {
        socket.set_read_timeout(Some(STALL))?;
        socket.send_to(udp::HELLO, peer)?;
        peer = socket.recv_from(&mut [0; udp::HELLO.len()])?.1;
    }
    socket.connect(peer)?;
    Ok(socket.into())
}

/// A connection that ends by a reset.
fn connect(target: &Target) -> Result<OwnedFd, String> {
    let connect = || -> io::Result<OwnedFd> {
        if target.unix {
            let address = echo::unix::address(target.address.port())?;
            return Ok(UnixStream::connect_addr(&address)?.into());
        }
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        reset_at_close(&stream)?;
        Ok(stream.into())
    };
    connect().map_err(|error| format!("cannot connect: {error}"))
}

fn reset_at_close(socket: impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}
