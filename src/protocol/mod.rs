//! Connections as functions that are called: when bytes come, when the peer has ended, when the connection is lost.
//!
//! This is asyncio's other way to write a service, and the one with the least between the program and the kernel: no
//! buffer of the connection's own, and no future that waits. A [`Protocol`] is given the bytes where the runtime has
//! received them. It answers by its [`Transport`], whose methods never wait.
//!
//! ```
//! use ringloop::protocol::{self, Protocol, Transport};
//! # use ringloop::streams;
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn data(&mut self, transport: &Transport, bytes: &[u8]) {
//!         transport.write(bytes);
//!     }
//! }
//!
//! ringloop::run(async {
//!     let server = protocol::serve("127.0.0.1:0", || Echo).await.unwrap();
//! #   let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
//! #   writer.write_all(b"hello\n").await.unwrap();
//! #   assert_eq!(reader.read_line().await.unwrap(), "hello\n");
//! });
//! ```
//!
//! # The order of calls
//!
//! 1. [`connected`](Protocol::connected), once, first.
//! 2. [`data`](Protocol::data), for each arrival, in order. [`pause_writing`](Protocol::pause_writing) and
//!    [`resume_writing`](Protocol::resume_writing) come between them and until the end, in turn.
//! 3. [`eof`](Protocol::eof), at most once: the peer sends no more.
//! 4. [`lost`](Protocol::lost), once, last, whatever has happened: also if another of these functions has panicked,
//!    or the runtime ends. Bytes that came before the end were given to `data` before. Only a protocol of which
//!    [`set_protocol`](Transport::set_protocol) has taken the place is not called again.
//!
//! All of them are called by one task. A function that takes long holds up its own connection, and the worker it
//! runs on; what has to wait goes to a task ([`spawn`](crate::spawn())), which may have a clone of the transport.
//!
//! # asyncio
//!
//! | asyncio | here |
//! |---|---|
//! | `create_connection`, `create_server` | [`connect`], [`serve`], [`serve_on`] |
//! | `Protocol.connection_made`, `data_received`, `eof_received`, `connection_lost` | [`connected`](Protocol::connected), [`data`](Protocol::data), [`eof`](Protocol::eof), [`lost`](Protocol::lost) |
//! | `BufferedProtocol.get_buffer`, `buffer_updated` | [`buffer`](BufferedProtocol::buffer), [`filled`](BufferedProtocol::filled) |
//! | `Transport.write`, `writelines`, `write_eof`, `close`, `abort` | the same of [`Transport`] |
//! | `pause_reading`, `set_write_buffer_limits`, `set_protocol` | the same of [`Transport`] |
//! | `create_datagram_endpoint`, `DatagramProtocol` | [`datagram`], [`DatagramProtocol`] |
//!
//! Functions get the transport as an argument; there is no need to keep it. `pause_writing` is called after the
//! function that has written too much has returned, and not inside of its `write`; a loop that writes asks
//! [`is_writing_paused`](Transport::is_writing_paused). A write after the connection was
//! lost returns `false`, from the first one on. [`set_protocol`](Transport::set_protocol) connects the new protocol, and
//! takes the bytes that the old one has not used.

mod datagrams;
mod driver;
mod transport;

use std::{io, path::Path};

use self::driver::{Buffered, Callbacks, Driver, Plain};
pub use self::{
    datagrams::{DatagramProtocol, DatagramTransport, datagram},
    transport::Transport,
};
pub use crate::net::{Drained, Server, ServerBuilder};
use crate::{
    io::IntoEnds,
    net::{TcpStream, ToSocketAddrs, UnixStream},
    runtime::{self, Handle},
    task::Task,
};

/// What is called as a connection goes on. See the [module](self) for the order.
///
/// asyncio: `Protocol`.
pub trait Protocol: Send + 'static {
    /// The connection is there.
    ///
    /// asyncio: `connection_made`.
    fn connected(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Bytes have come. They are the runtime's, and what is wanted of them later is to be copied.
    ///
    /// asyncio: `data_received`.
    fn data(&mut self, transport: &Transport, bytes: &[u8]);

    /// The peer sends no more. By default the connection is closed then, once everything is sent.
    ///
    /// asyncio: `eof_received`, whose `True` is [`AfterEof::KeepOpen`]. With TLS that works here, too.
    fn eof(&mut self, transport: &Transport) -> AfterEof {
        let _ = transport;
        AfterEof::Close
    }

    /// The connection is gone: `None` if it was closed by either side.
    ///
    /// asyncio: `connection_lost`.
    fn lost(&mut self, error: Option<&io::Error>) {
        let _ = error;
    }

    /// More is on its way than the high mark: the protocol should write no more for now.
    ///
    /// asyncio: `pause_writing`, which is called inside of the `write`.
    fn pause_writing(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// No more is on its way than the low mark.
    fn resume_writing(&mut self, transport: &Transport) {
        let _ = transport;
    }
}

/// A [`Protocol`] that says where bytes are to be received.
///
/// asyncio: `BufferedProtocol`.
///
/// ```
/// use ringloop::protocol::{self, BufferedProtocol, Transport};
/// # use ringloop::streams;
///
/// struct Echo([u8; 512]);
///
/// impl BufferedProtocol for Echo {
///     fn buffer(&mut self) -> &mut [u8] {
///         &mut self.0
///     }
///
///     fn filled(&mut self, transport: &Transport, len: usize) {
///         transport.write(&self.0[..len]);
///     }
/// }
///
/// ringloop::run(async {
///     let server = protocol::serve_buffered("127.0.0.1:0", || Echo([0; 512])).await.unwrap();
/// #   let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
/// #   writer.write_all(b"hello\n").await.unwrap();
/// #   assert_eq!(reader.read_line().await.unwrap(), "hello\n");
/// });
/// ```
pub trait BufferedProtocol: Send + 'static {
    /// The connection is there.
    fn connected(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// The memory for the next bytes. The connection is lost, with an error, if it is empty.
    ///
    /// asyncio: `get_buffer`, which gets a size; here the protocol chooses it.
    fn buffer(&mut self) -> &mut [u8];

    /// So many bytes have come into the front of the buffer, at least one.
    ///
    /// asyncio: `buffer_updated`.
    fn filled(&mut self, transport: &Transport, len: usize);

    /// As [`Protocol::eof`].
    fn eof(&mut self, transport: &Transport) -> AfterEof {
        let _ = transport;
        AfterEof::Close
    }

    /// As [`Protocol::lost`].
    fn lost(&mut self, error: Option<&io::Error>) {
        let _ = error;
    }

    /// As [`Protocol::pause_writing`].
    fn pause_writing(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// As [`Protocol::resume_writing`].
    fn resume_writing(&mut self, transport: &Transport) {
        let _ = transport;
    }
}

/// What becomes of a connection whose peer sends no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterEof {
    /// It is closed, once everything is sent.
    Close,
    /// It stays open for writing.
    KeepOpen,
}

/// Connects by TCP, as [`TcpStream::connect`] does, and starts the task that calls `protocol`. The task gives the
/// protocol back when the connection is lost.
///
/// asyncio: `loop.create_connection`.
///
/// # Cancel safety
///
/// The attempt is given up.
///
/// # Errors
///
/// Those of [`TcpStream::connect`].
///
/// ```
/// use ringloop::protocol::{self, Protocol, Transport};
/// # use ringloop::{net::TcpListener, io::AsyncWriteExt};
///
/// #[derive(Default)]
/// struct Collect(Vec<u8>);
///
/// impl Protocol for Collect {
///     fn data(&mut self, _transport: &Transport, bytes: &[u8]) {
///         self.0.extend_from_slice(bytes);
///     }
/// }
///
/// ringloop::run(async {
/// #   let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
/// #   let addr = listener.local_addr().unwrap();
///     let (_transport, task) = protocol::connect(addr, Collect::default()).await.unwrap();
/// #   listener.accept().await.unwrap().0.write_all(b"all of it").await.unwrap();
///     let collected = task.await.unwrap();
///     assert_eq!(collected.0, b"all of it");
/// });
/// ```
#[doc(alias = "create_connection")]
pub async fn connect<P: Protocol>(
    addrs: impl ToSocketAddrs,
    protocol: P,
) -> io::Result<(Transport, Task<P>)> {
    let stream = TcpStream::connect(addrs).await?;
    stream.set_nodelay(true)?;
    spawn(stream, protocol)
}

/// The same to a Unix socket.
///
/// asyncio: `loop.create_unix_connection`.
///
/// # Errors
///
/// Those of [`UnixStream::connect`].
#[doc(alias = "create_unix_connection")]
pub async fn connect_unix<P: Protocol>(
    path: impl AsRef<Path>,
    protocol: P,
) -> io::Result<(Transport, Task<P>)> {
    spawn(UnixStream::connect(path).await?, protocol)
}

/// Starts the task that calls `protocol` as a stream goes on: of this crate, or any by its [`Ends`](crate::io::Ends).
///
/// asyncio: `loop.connect_accepted_socket`.
///
/// # Errors
///
/// The thread belongs to no runtime.
pub fn spawn<P: Protocol>(stream: impl IntoEnds, protocol: P) -> io::Result<(Transport, Task<P>)> {
    start(stream, Plain(protocol))
}

/// The same for a protocol with its own buffer.
///
/// # Errors
///
/// The thread belongs to no runtime.
pub fn spawn_buffered<P: BufferedProtocol>(
    stream: impl IntoEnds,
    protocol: P,
) -> io::Result<(Transport, Task<P>)> {
    start(stream, Buffered(protocol))
}

fn start<C: Callbacks>(
    stream: impl IntoEnds,
    callbacks: C,
) -> io::Result<(Transport, Task<C::Protocol>)> {
    Handle::try_current().map_err(io::Error::other)?;
    let driver = Driver::new(stream.into_ends(), callbacks);
    Ok((driver.transport().clone(), runtime::spawn(driver)))
}

/// Listens on every address of a name, and has `make` make a protocol for each connection.
///
/// asyncio: `loop.create_server`.
///
/// # Cancel safety
///
/// Nothing is bound.
///
/// # Errors
///
/// Those of [`TcpListener::bind`](crate::net::TcpListener::bind). The thread belongs to no runtime.
#[doc(alias = "create_server")]
#[track_caller]
pub fn serve<P: Protocol>(
    addrs: impl ToSocketAddrs,
    make: impl Fn() -> P + Send + Sync + 'static,
) -> impl Future<Output = io::Result<Server>> {
    let builder = Server::builder();
    async move { serve_on(builder.listen(addrs).await?, make) }
}

/// The same with limits, on Unix sockets, or with listeners of the caller's.
///
/// # Errors
///
/// There is nothing to listen on. The thread belongs to no runtime.
pub fn serve_on<P: Protocol>(
    builder: ServerBuilder,
    make: impl Fn() -> P + Send + Sync + 'static,
) -> io::Result<Server> {
    serve_by(builder, move || Plain(make()))
}

/// As [`serve`], for protocols with their own buffers.
///
/// # Errors
///
/// As [`serve`].
#[track_caller]
pub fn serve_buffered<P: BufferedProtocol>(
    addrs: impl ToSocketAddrs,
    make: impl Fn() -> P + Send + Sync + 'static,
) -> impl Future<Output = io::Result<Server>> {
    let builder = Server::builder();
    async move { serve_by(builder.listen(addrs).await?, move || Buffered(make())) }
}

fn serve_by<C: Callbacks>(
    builder: ServerBuilder,
    make: impl Fn() -> C + Send + Sync + 'static,
) -> io::Result<Server> {
    Server::start(builder, move |accepted| {
        let driver = Driver::new(accepted.into_ends(), make());
        async move {
            driver.await;
        }
    })
}
