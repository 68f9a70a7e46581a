//! Listening, with options.

use std::{io, net::SocketAddr, time::Duration};

use rustix::io::Errno;
use socket2::Socket;

use super::TcpListener;
use crate::{
    net::{
        addr::{ToSocketAddrs, bind_hint},
        names::{Found, find},
        options::{TcpOptions, tcp_options},
    },
    reactor::BACKLOG,
    runtime::{Backend, Handle, WorkerId, operation},
    time::sleep,
};

/// Between two tries for an address that is in use; doubled each time, a quarter of a second together.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(128);

/// So many free ports are tried for one that is free in all families.
const PORTS: usize = 32;

/// Options of a [`TcpListener`]: made by [`TcpListener::builder`].
///
/// Those of the connections, from `nodelay` to `user_timeout`, are set once on the listener. The connections that
/// it accepts inherit them from the kernel, without a call for each.
///
/// asyncio: the arguments of `loop.create_server`.
///
/// ```
/// use ringloop::net::{TcpListener, TcpStream};
///
/// ringloop::run(async {
///     let listener = TcpListener::builder().backlog(128).nodelay(true).bind("127.0.0.1:0").await.unwrap();
///     let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
///     let (stream, _) = listener.accept().await.unwrap();
///     assert!(stream.nodelay().unwrap());
/// });
/// ```
#[derive(Debug, Clone)]
#[must_use = "it does nothing until `bind`"]
pub struct TcpListenerBuilder {
    options: TcpOptions,
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
}

tcp_options!(TcpListenerBuilder);

impl TcpListenerBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: TcpOptions::NONE,
            backlog: BACKLOG,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
        }
    }

    /// How many connections the kernel completes before they are accepted. It answers no further ones: their
    /// clients try again, after a second at first. The kernel caps it by `net.core.somaxconn`, which is 4096.
    /// Default: 4096.
    ///
    /// asyncio: 100.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// Whether the port can be bound although connections of an earlier server on it are still ending
    /// (`SO_REUSEADDR`). Default: yes.
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Whether several listeners share the port (`SO_REUSEPORT`): see
    /// [`TcpListener::bind_reuse_port`]. Default: no.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether a listener at an IPv6 address takes connections by IPv6 only (`IPV6_V6ONLY`). One at `[::]` that
    /// does not is a *dual stack*: it takes those by IPv4 as well, whose addresses then are like `::ffff:10.0.0.1`
    /// ([`to_canonical`](std::net::IpAddr::to_canonical) gives the IPv4 address), and no other listener can have the
    /// port at `0.0.0.0`. Default: the system's, `net.ipv6.bindv6only`, which is dual stack;
    /// [`bind_all`](Self::bind_all) takes yes where it binds IPv4 addresses, too.
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = Some(only);
        self
    }

    /// Listens on the first of the addresses that can be bound: see [`TcpListener::bind`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// None of the addresses can be bound: each is in use, not of this machine, or not permitted. Or the system
    /// refuses an option. The text says which, and what to do.
    pub async fn bind(&self, addrs: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut failed = Vec::new();
        for addr in find(addrs).await?.addrs {
            match self.bind_patiently(addr, self.only_v6).await {
                Ok(listener) => return Ok(listener),
                Err(error) => failed.push(explain(addr, error)),
            }
        }
        Err(all(failed))
    }

    /// Listens on all of the addresses: see [`TcpListener::bind_all`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind_all`].
    pub async fn bind_all(&self, addrs: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
        let Found { mut addrs, by_name } = find(addrs).await?;
        let mut seen = Vec::new();
        addrs.retain(|addr| {
            !seen.contains(addr) && {
                seen.push(*addr);
                true
            }
        });
        if addrs.is_empty() {
            return Err(all(Vec::new()));
        }
        let has_v4 = addrs.iter().any(SocketAddr::is_ipv4);
        let only_v6 = self.only_v6.or(has_v4.then_some(true));
        let mut left = PORTS;
        loop {
            left -= 1;
            match self.bind_each(&addrs, only_v6, by_name, left == 0).await? {
                Some(listeners) => return Ok(listeners),
                None => continue,
            }
        }
    }

    /// Binds each of the addresses. `None`: the port that was free at the first of them is not free at another, and
    /// that is not the `last` try.
    async fn bind_each(
        &self,
        addrs: &[SocketAddr],
        only_v6: Option<bool>,
        by_name: bool,
        last: bool,
    ) -> io::Result<Option<Vec<TcpListener>>> {
        let (mut bound, mut failed) = (Vec::new(), Vec::new());
        // The number that the kernel has chosen for those with the port 0.
        let mut chosen = None;
        for &addr in addrs {
            let mut here = addr;
            if let Some(port) = chosen.filter(|_| addr.port() == 0) {
                here.set_port(port);
            }
            let tried = match here == addr {
                true => self.bind_patiently(addr, only_v6).await,
                false => self.bind_one(here, only_v6),
            };
            match tried {
                Ok(listener) => {
                    if addr.port() == 0 {
                        chosen = Some(listener.local_addr()?.port());
                    }
                    bound.push(listener);
                }
                Err(error) if here != addr && !last && error.kind() == io::ErrorKind::AddrInUse => {
                    return Ok(None);
                }
                // A name may have addresses of a family that this machine does not have.
                Err(error) if by_name && is_absent(&error) => failed.push(explain(here, error)),
                Err(error) => return Err(explain(here, error)),
            }
        }
        if bound.is_empty() { Err(all(failed)) } else { Ok(Some(bound)) }
    }

    /// Listens once for each worker of this runtime, on one port: see [`TcpListener::bind_per_worker`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind). The task belongs to no runtime.
    pub async fn bind_per_worker(
        &self,
        addrs: impl ToSocketAddrs,
    ) -> io::Result<Vec<(WorkerId, TcpListener)>> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        let shared = self.clone().reuse_port(true);
        let first = shared.bind(addrs).await?;
        let addr = first.local_addr()?;
        let mut listeners = vec![first];
        while listeners.len() < handle.workers() {
            listeners.push(shared.bind(addr).await?);
        }
        Ok(handle.worker_ids().into_iter().zip(listeners).collect())
    }

    /// [`bind_one`](Self::bind_one) for a process that may succeed one which was just killed: what a
    /// killed process had in its rings keeps its sockets open until the kernel has cancelled it,
    /// some 10 ms after its end.
    async fn bind_patiently(
        &self,
        addr: SocketAddr,
        only_v6: Option<bool>,
    ) -> io::Result<TcpListener> {
        let handle = Handle::try_current().ok();
        let waits = handle.is_some_and(|handle| handle.backend() == Backend::Uring);
        let mut pause = FIRST_PAUSE;
        loop {
            match self.bind_one(addr, only_v6) {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && waits && pause <= LAST_PAUSE =>
                {
                    sleep(pause).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
    }

    fn bind_one(&self, addr: SocketAddr, only_v6: Option<bool>) -> io::Result<TcpListener> {
        let prepare = |socket: &Socket| {
            if self.reuse_address {
                socket.set_reuse_address(true)?;
            }
            if self.reuse_port {
                socket.set_reuse_port(true)?;
            }
            if let Some(only) = only_v6.filter(|_| addr.is_ipv6()) {
                socket.set_only_v6(only)?;
            }
            self.options.set(socket, addr)
        };
        Ok(TcpListener::new(operation::listen(addr, self.backlog, &prepare)?))
    }
}

/// Whether this machine does not have the address, or its family.
fn is_absent(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// Why none could be bound.
fn all(mut failed: Vec<io::Error>) -> io::Error {
    let Some(last) = failed.pop() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no address to bind to");
    };
    if failed.is_empty() {
        return last;
    }
    let texts: Vec<_> = failed.iter().chain([&last]).map(ToString::to_string).collect();
    io::Error::new(last.kind(), texts.join("; "))
}

/// What went wrong with an address, and what to do about it. The kind stays.
fn explain(addr: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}{}", bind_hint(&error)))
}
