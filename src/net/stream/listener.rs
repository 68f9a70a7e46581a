//! A socket that accepts connections.

use std::{
    fmt, io,
    net::{self, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    task::{Context, Poll},
};

use rustix::net::SocketAddrAny;

use super::{TcpListenerBuilder, TcpStream};
use crate::{
    io::Connection,
    net::{acceptor::Acceptor, addr::ToSocketAddrs, faces::in_blocking_mode},
    reactor::{Endpoint, not_of_the_internet},
    runtime::WorkerId,
};

/// A TCP socket that accepts connections.
///
/// asyncio: what `loop.create_server` listens on.
///
/// ```
/// use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
///
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
///     let addr = listener.local_addr().unwrap();
///     let client = ringloop::spawn(async move {
///         let mut stream = TcpStream::connect(addr).await.unwrap();
///         stream.write_all(b"ping").await.unwrap();
///     });
///     let (mut stream, _peer) = listener.accept().await.unwrap();
///     let mut text = String::new();
///     stream.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "ping");
///     client.await.unwrap();
/// });
/// ```
pub struct TcpListener {
    acceptor: Acceptor,
}

impl TcpListener {
    /// Options to listen with.
    pub fn builder() -> TcpListenerBuilder {
        TcpListenerBuilder::new()
    }

    /// Listens on the first of the addresses that can be bound. Port 0 takes any free one.
    ///
    /// `SO_REUSEADDR` is set, so that a restarted server gets its port back. On io_uring an address
    /// that is in use is tried for a quarter of a second: after a process was killed, the kernel needs
    /// some of that to cancel what its rings had in flight, and to close its sockets.
    ///
    /// asyncio: `create_server` fails at once.
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// The address is in use, not of this machine, or not permitted; the text says
    /// which, and what to do.
    pub async fn bind(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        Self::builder().bind(addrs).await
    }

    /// Listens on a port that several listeners share (`SO_REUSEPORT`), each of them bound so, by
    /// the same user: the kernel spreads connections over them. One for each worker spreads the
    /// work of accepting; else one is enough.
    ///
    /// asyncio: `reuse_port=True`.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// ```
    /// # use ringloop::net::TcpListener;
    /// # ringloop::run(async {
    /// let first = TcpListener::bind_reuse_port("127.0.0.1:0").await.unwrap();
    /// let second = TcpListener::bind_reuse_port(first.local_addr().unwrap()).await.unwrap();
    /// assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
    /// # });
    /// ```
    pub async fn bind_reuse_port(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        Self::builder().reuse_port(true).bind(addrs).await
    }

    /// Listens on all of the addresses: a listener for each. Where an address has the port 0, it is one
    /// free port for all of them. So `bind_all("localhost:0")` gives a listener at `127.0.0.1` and one at `[::1]` with
    /// the same port, if the machine has both families.
    ///
    /// An IPv6 address takes connections by IPv6 only, if there are IPv4 addresses beside it:
    /// `bind_all(&[v4_any, v6_any])` listens at `0.0.0.0` and at `[::]`. Addresses that come several times are bound
    /// once. The listeners are in the order of the addresses.
    ///
    /// asyncio: how `create_server` binds.
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// One of the addresses cannot be bound; then none is. An address of a name is left out if this machine does not
    /// have it, or its family; it is an error if none is left. The text says which, and what to do.
    ///
    /// ```
    /// use ringloop::net::{TcpListener, TcpStream};
    ///
    /// ringloop::run(async {
    ///     let listeners = TcpListener::bind_all("localhost:0").await.unwrap();
    ///     let ports: Vec<_> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
    ///     assert!(ports.iter().all(|port| *port == ports[0]));
    ///     TcpStream::connect(("localhost", ports[0])).await.unwrap();
    /// });
    /// ```
    pub async fn bind_all(addrs: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
        Self::builder().bind_all(addrs).await
    }

    /// Listens once for each worker of this runtime, on one port that they share (`SO_REUSEPORT`).
    ///
    /// Each listener is for a task of its worker ([`Handle::spawn_on`](crate::Handle::spawn_on)).
    /// The kernel spreads connections over the listeners, by a hash of their addresses, whether a
    /// worker is busy or not. A connection that is then served by tasks of its worker
    /// ([`spawn_local`](crate::spawn_local)) never leaves that worker: no other is woken for it.
    /// That is the cheapest way where there are many short requests on many connections. Where few
    /// connections or long requests would load the workers unevenly, use one listener and
    /// [`spawn`](crate::spawn), which lets other workers help.
    ///
    /// asyncio: a process for each core, with `reuse_port=True`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind). The task belongs to no runtime.
    ///
    /// ```
    /// use ringloop::{Handle, io::AsyncWriteExt, net::{TcpListener, TcpStream}};
    ///
    /// ringloop::run(async {
    ///     let listeners = TcpListener::bind_per_worker("127.0.0.1:0").await.unwrap();
    ///     let addr = listeners[0].1.local_addr().unwrap();
    ///     for (worker, listener) in listeners {
    ///         let accept = async move || {
    ///             while let Ok((mut stream, _)) = listener.accept().await {
    ///                 ringloop::spawn_local(async move { stream.write_all(b"hello").await }).detach();
    ///             }
    ///         };
    ///         Handle::current().spawn_on(worker, accept).detach();
    ///     }
    ///     let mut client = TcpStream::connect(addr).await.unwrap();
    ///     assert_eq!(&*client.read_lease().await.unwrap(), b"hello");
    /// });
    /// ```
    pub async fn bind_per_worker(
        addrs: impl ToSocketAddrs,
    ) -> io::Result<Vec<(WorkerId, TcpListener)>> {
        Self::builder().bind_per_worker(addrs).await
    }

    pub(super) fn new(listener: Endpoint) -> Self {
        Self { acceptor: Acceptor::new(listener) }
    }

    /// Takes a listening socket over, and makes it non-blocking, for every user of its open file.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be non-blocking.
    pub fn from_std(listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = Self::new(Endpoint::Kernel(listener.into()));
        // There may be copies of it.
        listener.acceptor.socket().show();
        Ok(listener)
    }

    /// Hands the socket over, in blocking mode. Connections that were not returned by
    /// [`accept`](Self::accept) wait in it. It works on any executor.
    ///
    /// # Errors
    ///
    /// The descriptor refuses to be blocking.
    pub async fn into_std(self) -> io::Result<net::TcpListener> {
        in_blocking_mode(self.acceptor.into_endpoint().await?.into_fd())
    }

    /// Waits for a connection. Several tasks may wait at once.
    ///
    /// It does not block the thread, even if the listener's open file is shared, and another
    /// process, or a duplicate, has made it blocking; it stays so for them.
    ///
    /// When descriptors run out, accepting pauses until one is freed, and that is reported to the
    /// [error hook](crate::Builder::on_error) once; the connections wait in the kernel. Connections
    /// that are gone before they are accepted are skipped, and those that a firewall or a security
    /// module forbids (EPERM, EACCES); where these come one after the other, accepting pauses in
    /// the same way, for 100 ms at most.
    ///
    /// asyncio: `loop.sock_accept`, which raises each of these errors; its servers log them and go
    /// on. Here no error of a single connection is returned, so a loop may end with the first.
    ///
    /// # Cancel safety
    ///
    /// A connection that was not returned is there for the next call.
    ///
    /// # Errors
    ///
    /// Those of accept(2) that are neither of the above: the listener is unusable.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
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
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use ringloop::net::{TcpListener, TcpStream};
    ///
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ///     let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    ///     let (_stream, peer) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
    ///     assert_eq!(peer, client.local_addr().unwrap());
    /// });
    /// ```
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.acceptor.poll_accept(cx).map(|accepted| accepted.and_then(stream))
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.socket().endpoint().local_addr()
    }

    /// The socket, for its options.
    pub fn socket(&self) -> socket2::SockRef<'_> {
        socket2::SockRef::from(self)
    }
}

/// What was accepted, as the user gets it.
fn stream(
    (connection, peer): (Connection, Option<SocketAddrAny>),
) -> io::Result<(TcpStream, SocketAddr)> {
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((TcpStream::from(connection), peer.ok_or_else(not_of_the_internet)?))
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.socket().show()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.acceptor.fmt(f)
    }
}
