//! The one place that asks for the addresses of a name.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

/// Asks the system, as getaddrinfo(3) does. Blocks.
pub(crate) fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}
