//! Connecting, with options.

mod error;
mod race;

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    time::Duration,
};

use socket2::Socket;

pub use self::error::{ConnectError, FailedAttempt};
use self::race::Race;
use super::{
    TcpStream,
    addr::ToSocketAddrs,
    names::find,
    options::{TcpOptions, tcp_options},
};
use crate::{
    io::{AsyncWriteExt, Connection},
    reactor::bind_without_port,
    time::{Instant, timeout_at},
};

/// Between the beginnings of two attempts (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Options of a TCP connection, and the way to it: [`TcpStream::connect`] with choices.
///
/// A name may have several addresses, of both families, and some of them may not answer. They are tried in the way of
/// *happy eyeballs* (RFC 8305). The families take turns, the one of the first address first. An attempt that has no
/// answer after 250 ms ([`attempt_delay`](Self::attempt_delay)) goes on while the next begins; one that fails lets the
/// next begin at once. The first connection is taken, and all other attempts are closed.
///
/// It can be used any number of times, and shared.
///
/// asyncio: the arguments of `loop.create_connection`, where happy eyeballs are off by default.
///
/// ```
/// use std::time::Duration;
/// use ringloop::net::{Connect, Keepalive, TcpListener};
///
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
///     let connect = Connect::new()
///         .timeout(Duration::from_secs(5))
///         .nodelay(true)
///         .keepalive(Keepalive::new().time(Duration::from_secs(60)));
///     let stream = connect.connect(listener.local_addr().unwrap()).await.unwrap();
///     assert!(stream.nodelay().unwrap());
/// });
/// ```
#[doc(alias = "create_connection", alias = "happy_eyeballs", alias = "TcpSocket")]
#[derive(Debug, Clone)]
#[must_use = "it does nothing until `connect`"]
pub struct Connect {
    options: TcpOptions,
    local_addr: Option<SocketAddr>,
    attempt_delay: Duration,
    attempt_timeout: Option<Duration>,
    timeout: Option<Duration>,
    fast_open: bool,
}

tcp_options!(Connect);

impl Default for Connect {
    fn default() -> Self {
        Self::new()
    }
}

impl Connect {
    /// The defaults: see each option.
    pub const fn new() -> Self {
        Self {
            options: TcpOptions::NONE,
            local_addr: None,
            attempt_delay: ATTEMPT_DELAY,
            attempt_timeout: None,
            timeout: None,
            fast_open: false,
        }
    }

    /// How long an attempt has no answer before the next begins beside it. [`Duration::MAX`]: the addresses are tried
    /// one after the other. [`Duration::ZERO`]: all at once. Default: 250 ms.
    ///
    /// asyncio: `happy_eyeballs_delay`, `None` by default.
    #[doc(alias = "happy_eyeballs_delay")]
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay;
        self
    }

    /// How long one attempt may take. Default: as long as the kernel tries, some two minutes
    /// (`net.ipv4.tcp_syn_retries`).
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// How long everything may take: the look-up of the name, all attempts, and sending the data of
    /// [`connect_with`](Self::connect_with). Default: no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The address of this end. With the port 0, the kernel chooses a port for each connection, which may be in use by
    /// connections to other addresses. Only addresses of the same family are connected to. Default: the kernel
    /// chooses.
    ///
    /// asyncio: `local_addr`.
    pub fn local_addr(mut self, addr: SocketAddr) -> Self {
        self.local_addr = Some(addr);
        self
    }

    /// Whether [`connect_with`](Self::connect_with) sends its data along with the first packet (TCP Fast Open), which
    /// saves the time of one round trip. It has no effect on [`connect`](Self::connect). Default: no.
    ///
    /// The first connection to a server gets a cookie, and those after it use that. Where the system (`net.ipv4.tcp_fastopen`)
    /// or the server does not have it, the data is sent once the connection is there.
    ///
    /// With it, the server may get the data **twice**, as of two connections: if the network doubles a packet (RFC
    /// 7413, section 2.1), and if another attempt wins after one has sent it. So it is for requests that may be
    /// repeated.
    pub fn fast_open(mut self, fast_open: bool) -> Self {
        self.fast_open = fast_open;
        self
    }

    /// Connects to the first of the addresses that answers.
    ///
    /// # Cancel safety
    ///
    /// All attempts under way are given up and closed.
    ///
    /// # Errors
    ///
    /// No address has answered: [`ConnectError::attempts`] has why for each. Or the name was not found, or the
    /// time of [`timeout`](Self::timeout) was over. It converts to an [`io::Error`], with `?` for one.
    ///
    /// ```
    /// use ringloop::net::Connect;
    ///
    /// ringloop::run(async {
    ///     let nobody: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
    ///     let error = Connect::new().connect(nobody).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    ///     assert_eq!(error.attempts()[0].addr, nobody);
    /// });
    /// ```
    pub async fn connect(&self, addrs: impl ToSocketAddrs) -> Result<TcpStream, ConnectError> {
        self.connect_by(self.deadline(), addrs, &[]).await.map(|(connection, _)| connection.into())
    }

    /// Connects, and sends `data`, all of it. What has it that [`connect`](Self::connect) and a write do not:
    /// [`fast_open`](Self::fast_open).
    ///
    /// # Cancel safety
    ///
    /// The connection is closed; a part of the data may have been sent.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect). The connection has failed while the data was sent: then
    /// [`ConnectError::attempts`] is empty.
    ///
    /// ```
    /// use ringloop::net::{Connect, TcpListener};
    ///
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ///     let connect = Connect::new().fast_open(true);
    ///     let _client = connect.connect_with(listener.local_addr().unwrap(), b"hello").await.unwrap();
    ///     let (mut server, _) = listener.accept().await.unwrap();
    ///     assert_eq!(&*server.read_lease().await.unwrap(), b"hello");
    /// });
    /// ```
    pub async fn connect_with(
        &self,
        addrs: impl ToSocketAddrs,
        data: &[u8],
    ) -> Result<TcpStream, ConnectError> {
        let deadline = self.deadline();
        let first = if self.fast_open { data } else { &[] };
        let (connection, sent) = self.connect_by(deadline, addrs, first).await?;
        let mut stream = TcpStream::from(connection);
        self.in_time(deadline, pin!(stream.write_all(&data[sent..]))).await?;
        Ok(stream)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// The connection, and how much of `first` the kernel has.
    async fn connect_by(
        &self,
        deadline: Option<Instant>,
        addrs: impl ToSocketAddrs,
        first: &[u8],
    ) -> Result<(Connection, usize), ConnectError> {
        let addrs = interleaved(self.in_time(deadline, pin!(find(addrs))).await?.addrs);
        if addrs.is_empty() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to");
            return Err(ConnectError::without_attempt(error));
        }
        Race::new(self, addrs, deadline, first).await
    }

    /// Waits for what is no attempt.
    async fn in_time<T>(
        &self,
        deadline: Option<Instant>,
        // Not by value: it would take its room several times.
        future: Pin<&mut impl Future<Output = io::Result<T>>>,
    ) -> Result<T, ConnectError> {
        let result = match (self.timeout, deadline) {
            (Some(timeout), Some(deadline)) => match timeout_at(deadline, future).await {
                Ok(result) => result,
                Err(_) => return Err(ConnectError::timed_out(timeout, Vec::new())),
            },
            _ => future.await,
        };
        result.map_err(ConnectError::without_attempt)
    }

    /// Sets the options of a socket that is to connect to `addr`.
    fn prepare(&self, socket: &Socket, addr: SocketAddr) -> io::Result<()> {
        self.options.set(socket, addr)?;
        let Some(local) = self.local_addr else { return Ok(()) };
        let bound = match local.port() {
            0 => bind_without_port(socket, local),
            _ => socket.bind(&local.into()),
        };
        bound.map_err(|error| error::explain_local(local, error))
    }
}

/// The addresses of both families in turn, and each family's in their order.
fn interleaved(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addrs.first().map(SocketAddr::is_ipv4) else { return addrs };
    if addrs.iter().all(|addr| addr.is_ipv4() == first) {
        return addrs;
    }
    let of = |family: bool| addrs.iter().copied().filter(move |addr| addr.is_ipv4() == family);
    let (mut ones, mut others) = (of(first), of(!first));
    let mut order = Vec::with_capacity(addrs.len());
    while order.len() < addrs.len() {
        order.extend(ones.next());
        order.extend(others.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addrs = |text: &str| -> Vec<SocketAddr> {
            let addr = |one: &str| match one.parse::<u8>() {
                Ok(number) => SocketAddr::from(([127, 0, 0, number], 1)),
                Err(_) => SocketAddr::new(one.parse().unwrap(), 1),
            };
            text.split_whitespace().map(addr).collect()
        };
        for (given, order) in [
            ("", ""),
            ("1 2 3", "1 2 3"),
            ("1 ::2 ::3", "1 ::2 ::3"),
            ("1 2 ::3 ::4", "1 ::3 2 ::4"),
            ("::1 ::2 ::3 4 5", "::1 4 ::2 5 ::3"),
            ("::1 2 3 4", "::1 2 3 4"),
        ] {
            assert_eq!(interleaved(addrs(given)), addrs(order), "{given}");
        }
    }
}
