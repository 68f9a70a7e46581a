//! What a server listens on, and its limits.

use std::{fmt, io, panic::Location, path::Path};

use super::{Listener, clients::Limits};
use crate::net::{TcpListener, ToSocketAddrs, UnixListener};

/// What a [`Server`](super::Server) listens on, and its limits, before it starts:
/// [`streams::serve_on`](crate::streams::serve_on) or [`protocol::serve_on`](crate::protocol::serve_on) take it.
///
/// asyncio: the arguments of `start_server` and `create_server`.
///
/// ```
/// use ringloop::{net::Server, streams};
///
/// ringloop::run(async {
///     let builder = Server::builder()
///         .max_connections(1000)
///         .max_connections_per_peer(10)
///         .listen("localhost:0")
///         .await
///         .unwrap();
///     let server = streams::serve_on(builder, |_reader, mut writer| async move {
///         writer.write_all(b"busy, come again\n").await
///     })
///     .unwrap();
///     let (mut reader, _writer) = streams::connect(server.local_addrs()).await.unwrap();
///     assert_eq!(reader.read_line().await.unwrap(), "busy, come again\n");
/// });
/// ```
pub struct ServerBuilder {
    listeners: Vec<Listener>,
    limits: Limits,
    /// Where it was made: reports name the server's tasks by that place.
    made_at: &'static Location<'static>,
}

impl Default for ServerBuilder {
    #[track_caller]
    fn default() -> Self {
        Self { listeners: Vec::new(), limits: Limits::default(), made_at: Location::caller() }
    }
}

impl ServerBuilder {
    /// At most so many connections at once, over all listeners. Others wait until one ends, nearly all of them
    /// in the kernel. There is no limit if it is not set.
    ///
    /// # Panics
    ///
    /// It is 0.
    pub fn max_connections(mut self, count: usize) -> Self {
        assert!(count > 0, "a server with no connections serves nobody");
        self.limits.connections = Some(count);
        self
    }

    /// At most so many connections at once from one IP address. Others are closed as soon as they are accepted, and
    /// counted ([`Server::refused`](super::Server::refused)). There is no limit if it is not set.
    ///
    /// # Panics
    ///
    /// It is 0.
    pub fn max_connections_per_peer(mut self, count: usize) -> Self {
        assert!(count > 0, "a server with no connections serves nobody");
        self.limits.per_peer = Some(count);
        self
    }

    /// Listens on every address of a name, on one port.
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::bind`].
    pub async fn listen(mut self, addrs: impl ToSocketAddrs) -> io::Result<Self> {
        for listener in TcpListener::bind_all(addrs).await? {
            // Connections inherit it. Every message of a server is meant to be sent.
            listener.socket().set_tcp_nodelay(true)?;
            self.listeners.push(Listener::Tcp(listener));
        }
        Ok(self)
    }

    /// Listens on a Unix socket, whose path must not exist.
    ///
    /// # Errors
    ///
    /// Those of [`UnixListener::bind`].
    pub fn listen_unix(self, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(self.unix_listener(UnixListener::bind(path)?))
    }

    /// Accepts from this listener.
    pub fn tcp_listener(mut self, listener: TcpListener) -> Self {
        self.listeners.push(Listener::Tcp(listener));
        self
    }

    /// Accepts from this listener.
    pub fn unix_listener(mut self, listener: UnixListener) -> Self {
        self.listeners.push(Listener::Unix(listener));
        self
    }

    pub(super) fn into_parts(self) -> io::Result<Parts> {
        match self.listeners.is_empty() {
            false => Ok((self.listeners, self.limits, self.made_at)),
            true => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the server has nothing to listen on: call `listen` or `listen_unix`",
            )),
        }
    }
}

pub(super) type Parts = (Vec<Listener>, Limits, &'static Location<'static>);

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("listeners", &self.listeners.len())
            .field("limits", &self.limits)
            .finish()
    }
}
