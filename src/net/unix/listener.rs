//! A Unix socket that accepts connections.

use std::{
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net,
    },
    path::Path,
    task::{Context, Poll},
};

use rustix::net::SocketAddrAny;
use socket2::{SockAddr, SockRef};

use super::{
    UnixStream,
    path::{BoundPath, explain, std_addr},
};
use crate::{
    io::Connection,
    net::{acceptor::Acceptor, faces::in_blocking_mode},
    reactor::Endpoint,
    runtime::operation,
};

/// A Unix socket that accepts connections.
///
/// # Dropping
///
/// A listener that was [bound](Self::bind) to a path removes it when it is dropped, if that is still its own
/// socket: a path that another process has replaced meanwhile stays. It stays also where the socket may
/// live on: if the listener's descriptor was shown (`as_fd`, `as_raw_fd`, [`socket`](Self::socket)), in a
/// process that has been forked since, or after [`keep_path`](Self::keep_path).
///
/// Connections that nobody has accepted see the end.
///
/// asyncio: what `loop.create_unix_server` listens on. There a path that is in use by a socket is
/// removed before it is bound, also that of a server that lives.
///
/// ```
/// use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, net::{UnixListener, UnixStream}};
///
/// ringloop::run(async {
///     let path = std::env::temp_dir().join(format!("ringloop-doc-listener-{}", std::process::id()));
///     let listener = UnixListener::bind(&path).unwrap();
///     let mut client = UnixStream::connect(&path).await.unwrap();
///     client.write_all(b"ping").await.unwrap();
///     client.close().await.unwrap();
///     let (mut stream, _) = listener.accept().await.unwrap();
///     let mut text = String::new();
///     stream.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "ping");
///     drop(listener);
///     assert!(!path.exists());
/// });
/// ```
#[doc(alias = "create_unix_server")]
pub struct UnixListener {
    path: BoundPath,
    acceptor: Acceptor,
}

impl UnixListener {
    /// Listens at a path, which must not exist.
    ///
    /// # Errors
    ///
    /// The path exists, is too long, or its directory does not exist or may not be written to; the text says
    /// which, and what to do.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let (path, acceptor) = BoundPath::bind(path.as_ref(), listen, Acceptor::socket)?;
        Ok(Self { path, acceptor })
    }

    /// Listens at an address, which may be an abstract name: that ends with the socket, and is no file.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind). An address without a name is an error, too.
    pub fn bind_addr(addr: &net::SocketAddr) -> io::Result<Self> {
        let (path, acceptor) = BoundPath::bind_addr(addr, listen, Acceptor::socket)?;
        Ok(Self { path, acceptor })
    }

    /// Leaves the path when the listener is dropped.
    pub fn keep_path(&mut self) {
        self.path.keep();
    }

    /// Takes a listening socket over, and makes it non-blocking, for every user of its open file. Its path
    /// stays when it is dropped.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(listener: net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let acceptor = Acceptor::new(Endpoint::Unix(listener.into()));
        // There may be copies of it.
        acceptor.socket().show();
        Ok(Self { path: BoundPath::NONE, acceptor })
    }

    /// Hands the socket over, in blocking mode, and leaves its path. Connections that were not
    /// returned by [`accept`](Self::accept) wait in it. It works on any executor.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be blocking.
    pub async fn into_std(mut self) -> io::Result<net::UnixListener> {
        self.keep_path();
        in_blocking_mode(self.acceptor.into_endpoint().await?.into_fd())
    }

    /// Waits for a connection. Several tasks may wait at once. Errors of a single connection, and the lack of
    /// descriptors, are dealt with as by [`TcpListener::accept`](crate::net::TcpListener::accept).
    ///
    /// # Cancel safety
    ///
    /// A connection that was not returned is there for the next call.
    ///
    /// # Errors
    ///
    /// The listener is unusable.
    pub async fn accept(&self) -> io::Result<(UnixStream, net::SocketAddr)> {
        self.acceptor.accept().await.and_then(stream)
    }

    /// [`accept`](Self::accept) as a poll function, for code that is written by hand. Of several tasks that wait by
    /// it, the one that polled last is woken; those that wait by `accept` are woken as well.
    ///
    /// tokio: the same.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, net::SocketAddr)>> {
        self.acceptor.poll_accept(cx).map(|accepted| accepted.and_then(stream))
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<net::SocketAddr> {
        self.acceptor.socket().endpoint().local_unix_addr()
    }

    /// The socket, for its options.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

fn listen(addr: &SockAddr) -> io::Result<Acceptor> {
    let endpoint = operation::listen_unix(addr);
    endpoint.map(Acceptor::new).map_err(|error| explain("listen on", addr, error))
}

/// What was accepted, as the user gets it.
fn stream(
    (connection, peer): (Connection, Option<SocketAddrAny>),
) -> io::Result<(UnixStream, net::SocketAddr)> {
    Ok((UnixStream::from(connection), std_addr(peer)?))
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.socket().show()
    }
}

impl AsRawFd for UnixListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.acceptor.fmt(f)
    }
}
