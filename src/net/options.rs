//! Options of TCP sockets that are set before they connect or listen.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Socket, TcpKeepalive};

/// How the kernel finds out that the other end of a silent connection is gone: it sends probes, which that
/// end's kernel answers.
///
/// What is not set is the system's: the sysctls `net.ipv4.tcp_keepalive_time` (2 hours by default),
/// `tcp_keepalive_intvl` (75 s) and `tcp_keepalive_probes` (9). Times are in whole seconds, and are rounded up.
///
/// asyncio: `create_server(keep_alive=True)`, without its times.
///
/// ```
/// use std::time::Duration;
/// use ringloop::net::{Keepalive, TcpListener};
///
/// // The end of a peer is found after 60 + 3 * 10 seconds of silence.
/// let keepalive = Keepalive::new()
///     .time(Duration::from_secs(60))
///     .interval(Duration::from_secs(10))
///     .count(3);
/// let builder = TcpListener::builder().keepalive(keepalive);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "it is for Connect::keepalive and TcpListenerBuilder::keepalive"]
pub struct Keepalive {
    time: Option<Duration>,
    interval: Option<Duration>,
    count: Option<u32>,
}

impl Keepalive {
    /// Probes at the system's times.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long nothing comes before the first probe is sent (`TCP_KEEPIDLE`): 1 to 32767 seconds.
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// The time between two probes (`TCP_KEEPINTVL`): 1 to 32767 seconds.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// After how many probes without an answer the connection fails (`TCP_KEEPCNT`): 1 to 127.
    pub fn count(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    fn set(self, socket: &Socket) -> io::Result<()> {
        let mut probes = TcpKeepalive::new();
        if let Some(time) = self.time {
            probes = probes.with_time(in_seconds(time));
        }
        if let Some(interval) = self.interval {
            probes = probes.with_interval(in_seconds(interval));
        }
        if let Some(count) = self.count {
            probes = probes.with_retries(count);
        }
        socket.set_tcp_keepalive(&probes)
    }
}

fn in_seconds(time: Duration) -> Duration {
    let rounded = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs().saturating_add(rounded))
}

/// The options that a connecting and a listening socket have in common; a connection that is accepted inherits
/// them all.
#[derive(Debug, Clone)]
pub(super) struct TcpOptions {
    pub(super) nodelay: Option<bool>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) send_buffer: Option<usize>,
    pub(super) recv_buffer: Option<usize>,
    pub(super) ttl: Option<u32>,
    pub(super) user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// The system's defaults.
    pub(super) const NONE: Self = Self {
        nodelay: None,
        keepalive: None,
        send_buffer: None,
        recv_buffer: None,
        ttl: None,
        user_timeout: None,
    };

    /// Sets what was chosen on a socket that has not connected yet, nor listens.
    pub(super) fn set(&self, socket: &Socket, addr: SocketAddr) -> io::Result<()> {
        if let Some(nodelay) = self.nodelay {
            socket.set_tcp_nodelay(nodelay).map_err(|e| refused("nodelay", &nodelay, "", e))?;
        }
        if let Some(keepalive) = self.keepalive {
            let range = "times of 1 to 32767 seconds, and 1 to 127 probes";
            keepalive.set(socket).map_err(|e| refused("keepalive", &keepalive, range, e))?;
        }
        if let Some(size) = self.send_buffer {
            let set = socket.set_send_buffer_size(size);
            set.map_err(|e| refused("send_buffer_size", &size, "", e))?;
        }
        if let Some(size) = self.recv_buffer {
            let set = socket.set_recv_buffer_size(size);
            set.map_err(|e| refused("recv_buffer_size", &size, "", e))?;
        }
        if let Some(ttl) = self.ttl {
            let set = match addr {
                SocketAddr::V4(_) => socket.set_ttl_v4(ttl),
                SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl),
            };
            set.map_err(|e| refused("ttl", &ttl, "1 to 255", e))?;
        }
        if let Some(timeout) = self.user_timeout {
            let set = socket.set_tcp_user_timeout(Some(timeout));
            set.map_err(|e| refused("user_timeout", &timeout, "", e))?;
        }
        Ok(())
    }
}

/// The system's error, with the option and what it may be.
#[cold]
fn refused(option: &str, value: &dyn std::fmt::Debug, range: &str, error: io::Error) -> io::Error {
    let range = if range.is_empty() { String::new() } else { format!(": it takes {range}") };
    io::Error::new(error.kind(), format!("the option {option} of {value:?} ({error}){range}"))
}

/// The methods by which a builder, with a field `options`, sets them.
macro_rules! tcp_options {
    ($builder:ident) => {
        impl $builder {
            /// Whether small writes are sent at once, without waiting for more (`TCP_NODELAY`). Default: no.
            ///
            /// asyncio: it sets that on every connection.
            pub fn nodelay(mut self, nodelay: bool) -> Self {
                self.options.nodelay = Some(nodelay);
                self
            }

            /// Probes on silent connections (`SO_KEEPALIVE`). Default: none.
            pub fn keepalive(mut self, keepalive: $crate::net::Keepalive) -> Self {
                self.options.keepalive = Some(keepalive);
                self
            }

            /// The size of the kernel's send buffer, in bytes (`SO_SNDBUF`). The kernel doubles it, for its own
            /// needs, and caps it by `net.core.wmem_max`. Default: the kernel finds it out as it goes.
            pub fn send_buffer_size(mut self, bytes: usize) -> Self {
                self.options.send_buffer = Some(bytes);
                self
            }

            /// The size of the kernel's receive buffer, in bytes (`SO_RCVBUF`). It is set in time to limit the
            /// window that the other side is offered. The kernel doubles it, for its own needs, and caps it by
            /// `net.core.rmem_max`. Default: the kernel finds it out as it goes.
            pub fn recv_buffer_size(mut self, bytes: usize) -> Self {
                self.options.recv_buffer = Some(bytes);
                self
            }

            /// How many routers a packet passes at most: 1 to 255 (`IP_TTL`, `IPV6_UNICAST_HOPS`). Default: the
            /// system's, mostly 64.
            pub fn ttl(mut self, ttl: u32) -> Self {
                self.options.ttl = Some(ttl);
                self
            }

            /// How long bytes that were sent may be without an acknowledgement before the connection fails, in
            /// milliseconds (`TCP_USER_TIMEOUT`). Zero: the system's time, some 15 minutes, which is the default.
            pub fn user_timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.options.user_timeout = Some(timeout);
                self
            }
        }
    };
}

pub(super) use tcp_options;
