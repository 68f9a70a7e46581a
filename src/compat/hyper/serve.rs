//! The accept loop for HTTP services: limits in time, and an end in good order.
//!
//! * [`connection`]: one connection, from its first byte to its end;
//! * [`requests`]: a connection's requests, counted.

mod connection;
mod requests;

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use ::hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::{server::conn::auto, service::TowerToHyperService};

use self::connection::{Link, Served};
use super::{HyperExecutor, HyperTimer};
#[cfg(feature = "tls")]
use crate::tls::TlsAcceptor;
use crate::{
    future::CancelToken,
    net::{Drained, Server, ServerBuilder, ToSocketAddrs},
};

pub(super) use self::connection::ServerIo;

/// An error of a service or of a body.
type BoxError = Box<dyn Error + Send + Sync>;

/// How long a connection may be without a request, if nothing else is set.
const IDLE: Duration = Duration::from_secs(60);

const CLOSES: &str = "the server closes";

/// Listens on every address of a name, and serves HTTP/1 and HTTP/2, whichever a client speaks, by a service of hyper's.
///
/// [`serve_tower`] takes one of tower's, such as a router of axum's; [`HttpBuilder`] has the settings.
///
/// # Cancel safety
///
/// Nothing is bound.
///
/// # Errors
///
/// Those of [`TcpListener::bind`](crate::net::TcpListener::bind). The thread belongs to no runtime.
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, future::ready, time::Duration};
///
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::{Request, Response, body::Incoming, service::service_fn};
/// use ringloop::{compat::hyper::serve, streams};
///
/// ringloop::run(async {
///     let greet = service_fn(|_: Request<Incoming>| {
///         ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello")))))
///     });
///     let server = serve("127.0.0.1:0", greet).await?;
///
///     let (mut reader, mut writer) = streams::connect(server.local_addrs()).await?;
///     writer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
///     let response = reader.read_to_end().await?;
///     assert!(response.ends_with(b"hello"));
///     // A service would call `server.serve_until(ringloop::signal::ctrl_c(), limit)`.
///     server.drain(Duration::from_secs(5)).await;
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn serve<S, B>(
    addrs: impl ToSocketAddrs,
    service: S,
) -> impl Future<Output = io::Result<HttpServer>>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let builder = Server::builder();
    async move { HttpBuilder::new().serve_on(builder.listen(addrs).await?, service) }
}

/// The same by a service of tower's: a router of axum's, `Routes` of tonic's.
///
/// ```text
/// let server = serve_tower("0.0.0.0:80", router).await?;
/// server.serve_until(signal::ctrl_c(), Duration::from_secs(10)).await?;
/// ```
///
/// # Cancel safety
///
/// Nothing is bound.
///
/// # Errors
///
/// Those of [`serve`].
#[track_caller]
pub fn serve_tower<S, B>(
    addrs: impl ToSocketAddrs,
    service: S,
) -> impl Future<Output = io::Result<HttpServer>>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    serve(addrs, TowerToHyperService::new(service))
}

/// How HTTP is served: limits in time, TLS, and the settings of hyper.
///
/// What is set if nothing is said: hyper's timer, so that its limit for the head of a request holds (30 s, HTTP/1), and
/// an [`idle_timeout`](Self::idle_timeout) of 60 s. How many connections there may be is for the [`ServerBuilder`] to say.
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, future::ready, time::Duration};
///
/// use bytes::Bytes;
/// use http_body_util::Empty;
/// use hyper::{Request, Response, body::Incoming, service::service_fn};
/// use ringloop::{compat::hyper::HttpBuilder, net::Server, streams};
///
/// ringloop::run(async {
///     let mut http = HttpBuilder::new().idle_timeout(Duration::from_millis(10));
///     http.hyper().http1().header_read_timeout(Duration::from_secs(2));
///     let service = service_fn(|_: Request<Incoming>| {
///         ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
///     });
///     let listen = Server::builder().max_connections(1000).listen("127.0.0.1:0").await?;
///     let server = http.serve_on(listen, service)?;
///
///     // A client that says nothing.
///     let (mut reader, _writer) = streams::connect(server.local_addrs()).await?;
///     assert_eq!(reader.read_to_end().await?, b"");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct HttpBuilder {
    hyper: auto::Builder<HyperExecutor>,
    idle: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Option<TlsAcceptor>,
}

impl HttpBuilder {
    /// The settings that suit most services.
    pub fn new() -> Self {
        let mut hyper = auto::Builder::new(HyperExecutor);
        hyper.http1().timer(HyperTimer);
        hyper.http2().timer(HyperTimer);
        Self {
            hyper,
            idle: Some(IDLE),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// How long a connection may be without a request, before its first one too: then it is closed, in good order if its
    /// peer takes part. `None` is no limit; 60 s if nothing is set. hyper has no limit for a client that connects and says
    /// nothing, nor for an HTTP/2 connection without a request.
    ///
    /// The clock is looked at once in that time, so that a connection with requests is closed between one and two
    /// limits after its last answer. A request lasts until the body of its answer is sent. A connection that was
    /// upgraded (WebSocket) is not limited; the streams of an extended CONNECT do not count as requests.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle = limit.into();
        assert!(self.idle != Some(Duration::ZERO), "nobody can send a request in no time");
        self
    }

    /// Serves by TLS. A client speaks HTTP/2 if the acceptor's [ALPN](crate::tls::TlsAcceptorBuilder::alpn) names `h2`,
    /// before `http/1.1`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, acceptor: TlsAcceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// The settings of hyper-util, and by `http1()` and `http2()` those of hyper.
    pub fn hyper(&mut self) -> &mut auto::Builder<HyperExecutor> {
        &mut self.hyper
    }

    /// Serves what `listeners` accept by a service of hyper's. Each connection has a clone of it.
    ///
    /// # Errors
    ///
    /// There is nothing to listen on. The thread belongs to no runtime.
    pub fn serve_on<S, B>(self, listeners: ServerBuilder, service: S) -> io::Result<HttpServer>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        self.serve_with(listeners, move |_| service.clone())
    }

    /// The same by a service of tower's.
    ///
    /// # Errors
    ///
    /// Those of [`serve_on`](Self::serve_on).
    pub fn serve_tower_on<S, B>(
        self,
        listeners: ServerBuilder,
        service: S,
    ) -> io::Result<HttpServer>
    where
        S: tower_service::Service<Request<Incoming>, Response = Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        self.serve_on(listeners, TowerToHyperService::new(service))
    }

    /// The same by a service that `make` gives for each connection. It gets the address of the peer; there is none on
    /// a Unix socket.
    ///
    /// # Errors
    ///
    /// Those of [`serve_on`](Self::serve_on).
    pub fn serve_with<M, S, B>(self, listeners: ServerBuilder, make: M) -> io::Result<HttpServer>
    where
        M: Fn(Option<SocketAddr>) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let closing = CancelToken::new();
        let http = Arc::new((self, closing.clone()));
        let server = Server::start(listeners, move |accepted| {
            let link = Arc::new(Link::new(accepted));
            let service = make(link.peer());
            let http = http.clone();
            async move {
                let (settings, closing) = &*http;
                Served { settings, closing, link: &link }.by(service).await;
            }
        })?;
        Ok(HttpServer { server, closing })
    }
}

impl Default for HttpBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBuilder").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// A server whose connections speak HTTP.
///
/// A connection that was upgraded (WebSocket) is one of them until its stream is dropped.
///
/// # Dropping
///
/// It accepts no more. The connections that are there go on.
#[must_use = "a server that is dropped accepts no more"]
#[derive(Debug)]
pub struct HttpServer {
    server: Server,
    closing: CancelToken,
}

impl HttpServer {
    /// The addresses that it listens on; Unix sockets are not among them.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.server.local_addrs()
    }

    /// The server itself, which counts connections, and can stop to accept without asking them to end.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Accepts no more, and asks each connection to end: one that waits for a request closes, one that answers a
    /// request says that it is the last one (`Connection: close`, GOAWAY). It does not wait.
    pub fn close(&self) {
        self.server.stop_accepting();
        self.closing.cancel_with(CLOSES);
    }

    /// [Closes](Self::close), and waits until the connections have ended, for `limit` at most. Those that have not, and
    /// those that were upgraded, are cut off then: see [`Server::drain`].
    ///
    /// # Cancel safety
    ///
    /// It is closed. Call it again to wait on.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.close();
        self.server.drain(limit).await
    }

    /// Serves until `until` is ready, and then [drains](Self::drain). Gives what `until` gave.
    ///
    /// # Cancel safety
    ///
    /// The server is dropped: it accepts no more, and its connections go on.
    ///
    /// # Errors
    ///
    /// A listener has failed: accept(2) says that it is unusable. The connections had `limit` to end then, unasked.
    pub async fn serve_until<F: IntoFuture>(
        self,
        until: F,
        limit: Duration,
    ) -> io::Result<F::Output> {
        let Self { server, closing } = self;
        let until = async move {
            let output = until.await;
            closing.cancel_with(CLOSES);
            output
        };
        server.serve_until(until, limit).await
    }
}
