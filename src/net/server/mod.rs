//! A server: listeners, the tasks of their connections, and an end in good order.

mod builder;
pub(crate) mod clients;

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};

pub use self::builder::ServerBuilder;
use self::clients::{Clients, Entry, Listening};
use super::{TcpListener, TcpStream, UnixListener, UnixStream};
use crate::{
    io::{Ends, IntoEnds},
    runtime, task,
    time::timeout,
};

/// What listens, and the connections that it has accepted, each with a task of its own.
///
/// [`streams::serve`](crate::streams::serve) and [`protocol::serve`](crate::protocol::serve) make one. A handler that
/// panics ends its own connection, and is reported to the [error hook](crate::Builder::on_error).
///
/// asyncio: `Server`.
///
/// # Dropping
///
/// It accepts no more. The connections that are there go on.
///
/// ```
/// use std::time::Duration;
/// use ringloop::streams;
///
/// ringloop::run(async {
///     let server = streams::serve("127.0.0.1:0", |mut reader, mut writer| async move {
///         let line = reader.read_line().await?;
///         writer.write_all(line.as_bytes()).await
///     })
///     .await
///     .unwrap();
///     let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
///     writer.write_all(b"hello\n").await.unwrap();
///     assert_eq!(reader.read_line().await.unwrap(), "hello\n");
///     let drained = server.drain(Duration::from_secs(1)).await;
///     assert_eq!(drained.cancelled, 0);
/// });
/// ```
#[must_use = "a server that is dropped accepts no more"]
pub struct Server {
    clients: Arc<Clients>,
    addrs: Vec<SocketAddr>,
}

/// How [`Server::drain`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// The connections whose handlers had not ended when the time was up. They were cancelled.
    pub cancelled: usize,
    /// Those of them that had not ended when as much time had passed again. They were aborted.
    pub aborted: usize,
}

/// A connection that was accepted.
pub(crate) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What a server listens on.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepted {
    /// The addresses of the peer and of this end, of a TCP connection.
    #[cfg(feature = "tls")]
    pub(crate) fn addrs(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(stream) => Some((stream.peer_addr().ok()?, stream.local_addr().ok()?)),
            Self::Unix(_) => None,
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Accepted::Tcp($stream) => $call,
            Accepted::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_close(cx))
    }
}

impl IntoEnds for Accepted {
    fn into_ends(self) -> Ends {
        match self {
            Self::Tcp(stream) => stream.into_ends(),
            Self::Unix(stream) => stream.into_ends(),
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Accepted, Option<SocketAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Accepted::Tcp(stream), Some(peer))
            }
            Self::Unix(listener) => (Accepted::Unix(listener.accept().await?.0), None),
        })
    }
}

impl Server {
    /// A server with limits, or with listeners of its own. Reports name the tasks of the server by the place of this call.
    #[track_caller]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Starts to accept. `client` makes what the task of a connection runs.
    pub(crate) fn start<F, Fut>(builder: ServerBuilder, client: F) -> io::Result<Self>
    where
        F: Fn(Accepted) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        runtime::Handle::try_current().map_err(io::Error::other)?;
        let (listeners, limits, made_at) = builder.into_parts()?;
        let tcp = listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(listener) => Some(listener.local_addr()),
            Listener::Unix(_) => None,
        });
        let addrs = tcp.collect::<io::Result<Vec<_>>>()?;
        let clients = Arc::new(Clients::new(limits));
        let client = Arc::new(client);
        for listener in listeners {
            let open = Open { listener, listening: clients.clone().listening() };
            let accepting = open.accept_all(client.clone(), made_at);
            clients.accepts(runtime::spawn_from(accepting, made_at));
        }
        Ok(Self { clients, addrs })
    }

    /// The addresses that it listens on; Unix sockets are not among them.
    ///
    /// asyncio: `sockets`.
    #[doc(alias = "sockets")]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// How many connections were closed at once, since their peer had too many
    /// ([`max_connections_per_peer`](ServerBuilder::max_connections_per_peer)).
    pub fn refused(&self) -> u64 {
        self.clients.refused()
    }

    /// Whether it accepts.
    ///
    /// asyncio: `is_serving`.
    pub fn is_serving(&self) -> bool {
        self.clients.is_accepting()
    }

    /// Accepts no more: the listeners close. The connections that are there go on. The kernel resets those that have
    /// come and were not accepted yet.
    ///
    /// asyncio: `close`.
    #[doc(alias = "close")]
    pub fn stop_accepting(&self) {
        self.clients.stop_accepting();
    }

    /// Cancels the tasks of all connections, whose streams close when they end; gives their number.
    ///
    /// asyncio: `abort_clients`.
    pub fn abort_clients(&self) -> usize {
        self.clients.each(|client| client.cancel_with("the server aborts its connections"))
    }

    /// Waits until it accepts no more, and no connection is left. It asks for neither.
    ///
    /// asyncio: `wait_closed`.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    pub async fn wait_closed(&self) {
        self.clients.all_gone().await;
    }

    /// Accepts no more, and waits until the handlers of all connections have ended, for `limit` at most. Handlers that
    /// have not are cancelled then. They have as much time again for their cleanup, and after that they are aborted.
    ///
    /// asyncio: `close`, and `wait_closed` under a timeout.
    ///
    /// # Cancel safety
    ///
    /// It accepts no more. Call it again to wait on.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.stop_accepting();
        let mut drained = Drained { cancelled: 0, aborted: 0 };
        if timeout(limit, self.wait_closed()).await.is_ok() {
            return drained;
        }
        drained.cancelled = self.abort_clients();
        if timeout(limit, self.wait_closed()).await.is_err() {
            drained.aborted = self.clients.each(|client| client.abort());
            self.wait_closed().await;
        }
        drained
    }

    /// Serves until `until` is ready, and then [drains](Self::drain). Gives what `until` gave.
    ///
    /// asyncio: `serve_forever`, whose cancellation closes the server.
    ///
    /// # Cancel safety
    ///
    /// The server is dropped: it accepts no more, and its connections go on.
    ///
    /// # Errors
    ///
    /// A listener has failed: accept(2) says that it is unusable. The server was drained then as well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::{streams, time::sleep};
    ///
    /// ringloop::run(async {
    ///     let echo = |mut reader: streams::StreamReader, mut writer: streams::StreamWriter| async move {
    ///         let all = reader.read_to_end().await?;
    ///         writer.write_all(&all).await
    ///     };
    ///     let server = streams::serve("127.0.0.1:0", echo).await.unwrap();
    ///     // A service would wait for `ringloop::signal::ctrl_c()`.
    ///     let stop = sleep(Duration::from_millis(10));
    ///     server.serve_until(stop, Duration::from_secs(5)).await.unwrap();
    /// });
    /// ```
    #[doc(alias = "serve_forever")]
    pub async fn serve_until<F: IntoFuture>(
        self,
        until: F,
        limit: Duration,
    ) -> io::Result<F::Output> {
        let mut until = pin!(until.into_future());
        let ended = {
            let mut failed = pin!(self.clients.failed());
            poll_fn(|cx| {
                if let Poll::Ready(output) = until.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                failed.as_mut().poll(cx).map(Err)
            })
            .await
        };
        self.drain(limit).await;
        ended
    }
}

/// A listener, and then, when it is closed, the word that it is: fields are dropped in their order. They are one value,
/// so that this holds for a task that is cancelled before it begins, too.
struct Open {
    listener: Listener,
    listening: Listening,
}

impl Open {
    /// The task of a listener.
    async fn accept_all<F, Fut>(self, client: Arc<F>, made_at: &'static Location<'static>)
    where
        F: Fn(Accepted) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let clients = self.listening.clients();
        loop {
            match self.listener.accept().await {
                Ok((accepted, peer)) => {
                    // Not before: a listener without connections would keep it from the others.
                    let permit = clients.permit().await;
                    let peer = peer.map(|peer| peer.ip());
                    let Some(entry) = clients.enter(peer, permit) else { continue };
                    let id = entry.id();
                    let served = Served { accepted, entry };
                    let task = runtime::spawn_from(served.by(client.clone()), made_at);
                    clients.know(id, task.canceller());
                    task.detach();
                }
                Err(error) => {
                    task::report_failure(&format_args!("a server cannot accept: {error}"));
                    clients.fail(error);
                    return;
                }
            }
        }
    }
}

/// A connection, and then, when its stream is closed, its place among the server's: as in [`Open`].
struct Served {
    accepted: Accepted,
    entry: Entry,
}

impl Served {
    async fn by<F, Fut>(self, client: Arc<F>)
    where
        F: Fn(Accepted) -> Fut,
        Fut: Future<Output = ()>,
    {
        let Self { accepted, entry } = self;
        // Dropped behind the future of the client, which is a temporary of what follows.
        let _entry = entry;
        client(accepted).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addrs", &self.addrs)
            .field("connections", &self.connections())
            .field("is_serving", &self.is_serving())
            .finish()
    }
}
