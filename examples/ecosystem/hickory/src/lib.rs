//! hickory-resolver on ringloop: its runtime, and a `ringloop::net::Resolver` that has the whole program ask by it.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use hickory_net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use hickory_resolver::Resolver;
use ringloop::{
    net::{Connect, TcpStream, UdpSocket},
    time,
};

/// How long it may take to connect, unless the resolver says.
const CONNECT: Duration = Duration::from_secs(5);

/// The runtime of the task that asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingloopProvider;

impl RuntimeProvider for RingloopProvider {
    type Handle = Tasks;
    type Timer = Timer;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> Tasks {
        Tasks
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Tcp>> + Send>> {
        Box::pin(async move {
            let mut connect = Connect::new().timeout(limit.unwrap_or(CONNECT));
            if let Some(local) = local {
                connect = connect.local_addr(local);
            }
            let stream = connect.connect(server).await?;
            stream.set_nodelay(true)?;
            Ok(Tcp(stream))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Udp>> + Send>> {
        Box::pin(async move { Ok(Udp(UdpSocket::bind(local).await?)) })
    }
}

/// Spawns what hickory has run beside a query.
#[derive(Clone, Copy, Debug)]
pub struct Tasks;

impl Spawn for Tasks {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        ringloop::spawn(future).detach();
    }
}

/// Its limits.
#[derive(Clone, Copy, Debug)]
pub struct Timer;

#[async_trait]
impl Time for Timer {
    async fn delay_for(duration: Duration) {
        time::sleep(duration).await;
    }

    async fn timeout<F: 'static + Future + Send>(
        limit: Duration,
        future: F,
    ) -> io::Result<F::Output> {
        Ok(time::timeout(limit, future).await?)
    }
}

/// A socket for queries.
#[derive(Debug)]
pub struct Udp(UdpSocket);

impl DnsUdpSocket for Udp {
    type Time = Timer;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_recv_from(cx, buf)
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(cx, buf, target)
    }
}

/// A connection for answers that are too large for a datagram.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl DnsTcpStream for Tcp {
    type Time = Timer;
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// Asks by hickory whenever the program connects to a name: `ringloop::Builder::resolver` takes it. The addresses of both
/// families are those that hickory gives, in its order.
pub struct Lookups(Resolver<RingloopProvider>);

impl Lookups {
    /// By a resolver with all its options.
    pub fn new(resolver: Resolver<RingloopProvider>) -> Self {
        Self(resolver)
    }
}

impl ringloop::net::Resolver for Lookups {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let found = self.0.lookup_ip(host).await.map_err(io::Error::other)?;
            Ok(found.iter().collect())
        })
    }
}
