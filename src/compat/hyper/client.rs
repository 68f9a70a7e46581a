//! Connections for hyper-util's client, which keeps them in a pool.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ::hyper::{
    Uri,
    body::Body,
    http::uri::Scheme,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::client::legacy::{
    Builder, Client,
    connect::{Connected, Connection},
};

use super::{HyperExecutor, HyperTimer};
#[cfg(feature = "tls")]
use crate::tls::{TlsConnector, TlsStream};
use crate::{future::Group, net::TcpStream, time::timeout};

/// A client of hyper-util's, with a pool of connections: `http` only. [`client_builder`] has the settings, and takes a
/// [`HyperConnector`] with TLS.
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, future::ready};
///
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Empty, Full};
/// use hyper::{Request, Response, body::Incoming, service::service_fn};
/// use ringloop::compat::hyper::{client, serve};
///
/// ringloop::run(async {
///     let greet = service_fn(|_: Request<Incoming>| {
///         ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello")))))
///     });
///     let server = serve("127.0.0.1:0", greet).await?;
///
///     let client = client::<Empty<Bytes>>();
///     let uri = format!("http://{}/", server.local_addrs()[0]);
///     let response = client.get(uri.parse()?).await?;
///     assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
pub fn client<B>() -> Client<HyperConnector, B>
where
    B: Body<Data: Send> + Send,
{
    client_builder().build(HyperConnector::new())
}

/// The settings of hyper-util's client, on ringloop's tasks and timers: without a timer its limits do not hold.
///
/// ```text
/// client_builder().build(HyperConnector::new().tls(TlsConnector::new()?))
/// ```
pub fn client_builder() -> Builder {
    with_timers(Client::builder(HyperExecutor))
}

/// The same, with the connections' tasks in a group: they end with it. A client that is cut off so gives an error for each
/// request.
///
/// The group's end waits for the connections in the pool: drop the client before, or cancel the group.
///
/// ```text
/// task_group(async |group| {
///     let client = client_builder_in(&group).http2_only(true).build(HyperConnector::new());
///     ..
/// })
/// ```
pub fn client_builder_in(group: &Group) -> Builder {
    with_timers(Client::builder(HyperExecutor::in_group(group)))
}

fn with_timers(mut builder: Builder) -> Builder {
    builder.timer(HyperTimer).pool_timer(HyperTimer);
    builder
}

/// Connects hyper-util's client: by TCP, as [`TcpStream::connect`] does, and by TLS for `https`. Small writes are
/// sent at once (`TCP_NODELAY`).
///
/// # Errors
///
/// Those of [`TcpStream::connect`] and [`TlsConnector::connect`](crate::tls::TlsConnector::connect); the address has
/// another scheme, or no host; the time is up.
#[derive(Clone, Default)]
pub struct HyperConnector {
    limit: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConnector>,
}

impl HyperConnector {
    /// One for `http`, without a limit in time.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it may take to connect, the handshake of TLS included.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Takes `https` too. The client speaks HTTP/2 if the connector's [ALPN](crate::tls::TlsConnectorBuilder::alpn) names
    /// `h2` and the server takes it.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, connector: TlsConnector) -> Self {
        self.tls = Some(connector);
        self
    }

    async fn connect(self, uri: Uri) -> io::Result<HyperStream> {
        let scheme = uri.scheme().unwrap_or(&Scheme::HTTP);
        let (port, secure) = match scheme.as_str() {
            "http" => (80, false),
            "https" => (443, true),
            other => return Err(invalid(format!("neither http nor https, but {other}: {uri}"))),
        };
        let host = uri.host().ok_or_else(|| invalid(format!("no host in {uri}")))?;
        // An address of IPv6 stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = (host, uri.port_u16().unwrap_or(port));
        if !secure {
            return Ok(HyperStream(Kind::Plain(connect_tcp(address).await?)));
        }
        #[cfg(feature = "tls")]
        if let Some(connector) = &self.tls {
            let stream = connect_tcp(address).await?;
            let stream = connector.connect(host, stream).await?;
            return Ok(HyperStream(Kind::Tls(Box::new(stream))));
        }
        Err(invalid(format!("{uri} needs TLS: give the connector one by `HyperConnector::tls`")))
    }
}

async fn connect_tcp(address: (&str, u16)) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl tower_service::Service<Uri> for HyperConnector {
    type Response = HyperStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<HyperStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        let connect = self.clone().connect(uri);
        Box::pin(async move {
            let Some(limit) = limit else { return connect.await };
            timeout(limit, connect).await.unwrap_or_else(|_| {
                let text = format!("not connected within {limit:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            })
        })
    }
}

impl fmt::Debug for HyperConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperConnector").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A connection that [`HyperConnector`] has made.
#[derive(Debug)]
pub struct HyperStream(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for HyperStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match &self.0 {
            Kind::Plain(_) => connected,
            #[cfg(feature = "tls")]
            Kind::Tls(stream) if stream.alpn_protocol() == Some(b"h2") => connected.negotiated_h2(),
            #[cfg(feature = "tls")]
            Kind::Tls(_) => connected,
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().0 {
            Kind::Plain($stream) => $call,
            #[cfg(feature = "tls")]
            Kind::Tls($stream) => $call,
        }
    };
}

impl Read for HyperStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl Write for HyperStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Write::poll_write(Pin::new(stream), cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Write::poll_write_vectored(Pin::new(stream), cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Write::poll_flush(Pin::new(stream), cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
