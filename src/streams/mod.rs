//! Connections as pairs of a reader and a writer: lines, messages and numbers of bytes, with limits.
//!
//! This is asyncio's way to write a service, with its words. [`connect`] makes a connection, and [`serve`] calls a
//! function with the two ends of each one that comes. A [`Server`] stops in good order.
//!
//! | asyncio | here |
//! |---|---|
//! | `open_connection`, `open_unix_connection` | [`connect`], [`connect_unix`] |
//! | `start_server`, `start_unix_server` | [`serve`], [`serve_unix`], [`serve_on`] |
//! | the same with `ssl=context` | `connect_tls`, `serve_tls`, `serve_tls_on` (feature `tls`) |
//! | `StreamWriter.start_tls` | `start_tls`, `accept_tls` |
//! | `StreamReader.read(n)`, `read(-1)` | [`read`](StreamReader::read), [`read_to_end`](StreamReader::read_to_end) |
//! | `readexactly`, `readuntil`, `readline` | [`read_exact`](StreamReader::read_exact), [`read_until`](StreamReader::read_until), [`read_line`](StreamReader::read_line) |
//! | `async for line in reader` | [`lines`](StreamReader::lines) |
//! | `write`, then `await drain()` | [`write_all`](StreamWriter::write_all) |
//! | `close`, then `await wait_closed()` | [`close`](StreamWriter::close) |
//! | `Server.close`, `wait_closed`, `abort_clients` | [`drain`](Server::drain), or one by one |
//!
//! Three things differ. Reads lose nothing when they are cancelled. A write waits by itself while too much is on its
//! way. And the task of a connection that fails ends that connection only.
//!
//! For the same with less between the program and the kernel there are [`net`](crate::net), and
//! [`protocol`](crate::protocol), which calls functions with the bytes.

mod error;
mod find;
mod lines;
mod reader;
#[cfg(feature = "tls")]
mod tls;
mod writer;

use std::{any::Any, fmt, io, os::unix, path::Path};

#[cfg(feature = "tls")]
pub use self::tls::{TlsInfo, accept_tls, connect_tls, serve_tls, serve_tls_on, start_tls};
pub use self::{error::ReadError, lines::Lines, reader::StreamReader, writer::StreamWriter};
pub use crate::net::{Drained, Server, ServerBuilder};
use crate::{
    io::{Ends, IntoEnds},
    net::{TcpStream, ToSocketAddrs, UnixStream},
    task,
};

/// Makes a reader and a writer of a stream.
///
/// asyncio: what `open_connection(sock=..)` does with a socket.
pub fn split(stream: impl IntoEnds) -> (StreamReader, StreamWriter) {
    let Ends { source, sink } = stream.into_ends();
    (StreamReader::of(source), StreamWriter::of(sink))
}

/// Connects by TCP, as [`TcpStream::connect`] does. Small writes are sent at once (`TCP_NODELAY`).
///
/// asyncio: `open_connection`.
///
/// # Cancel safety
///
/// The attempt is given up.
///
/// # Errors
///
/// Those of [`TcpStream::connect`].
#[doc(alias = "open_connection")]
pub async fn connect(addrs: impl ToSocketAddrs) -> io::Result<(StreamReader, StreamWriter)> {
    let stream = TcpStream::connect(addrs).await?;
    stream.set_nodelay(true)?;
    Ok(split(stream))
}

/// Connects to a Unix socket.
///
/// asyncio: `open_unix_connection`.
///
/// # Cancel safety
///
/// Nothing has happened.
///
/// # Errors
///
/// Those of [`UnixStream::connect`].
#[doc(alias = "open_unix_connection")]
pub async fn connect_unix(path: impl AsRef<Path>) -> io::Result<(StreamReader, StreamWriter)> {
    Ok(split(UnixStream::connect(path).await?))
}

/// The same to an address, which may be an abstract name.
///
/// # Cancel safety
///
/// Nothing has happened.
///
/// # Errors
///
/// Those of [`UnixStream::connect_addr`].
pub async fn connect_unix_addr(
    addr: &unix::net::SocketAddr,
) -> io::Result<(StreamReader, StreamWriter)> {
    Ok(split(UnixStream::connect_addr(addr).await?))
}

/// What the handler of a connection gives: nothing, or a `Result` whose error goes to the
/// [error hook](crate::Builder::on_error) and ends that connection only.
///
/// An [`io::Error`] or a [`ReadError`] that only says that the peer is gone is not reported: on a public network there is
/// no end to these. It is one of the kinds [`ConnectionReset`](io::ErrorKind::ConnectionReset),
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) and [`BrokenPipe`](io::ErrorKind::BrokenPipe).
///
/// asyncio: its transports do not log these either, its streams do.
#[diagnostic::on_unimplemented(
    message = "a handler of a server gives `()` or a `Result<(), E>`, and this one gives `{Self}`",
    label = "the handler's future gives `{Self}`",
    note = "drop the value: end the handler with `Ok(())`, or with a semicolon; `E` has to be `Display`"
)]
pub trait Outcome: sealed::Outcome {}

mod sealed {
    pub trait Outcome {
        fn report(self);
    }
}

impl Outcome for () {}
impl sealed::Outcome for () {
    fn report(self) {}
}

impl<E: fmt::Display + 'static> Outcome for Result<(), E> {}
impl<E: fmt::Display + 'static> sealed::Outcome for Result<(), E> {
    fn report(self) {
        if let Err(error) = self
            && !is_of_a_peer_that_left(&error)
        {
            task::report_failure(&error);
        }
    }
}

fn is_of_a_peer_that_left(error: &dyn Any) -> bool {
    let error = match error.downcast_ref::<ReadError>() {
        Some(error) => error.as_io(),
        None => error.downcast_ref(),
    };
    error.is_some_and(has_peer_left)
}

/// Whether an error only says that the peer is gone.
pub(crate) fn has_peer_left(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Listens on every address of a name, and calls `handler` with each connection, in a task of its own.
///
/// asyncio: `start_server`.
///
/// # Cancel safety
///
/// Nothing is bound.
///
/// # Errors
///
/// Those of [`TcpListener::bind`](crate::net::TcpListener::bind). The thread belongs to no runtime.
///
/// ```
/// use ringloop::streams;
///
/// ringloop::run(async {
///     let server = streams::serve("localhost:0", |mut reader, mut writer| async move {
///         let mut lines = reader.lines();
///         while let Some(line) = lines.next_line().await? {
///             writer.write_all_vectored(&[line.to_uppercase().as_bytes(), b"\n"]).await?;
///         }
///         writer.close().await
///     })
///     .await
///     .unwrap();
///     let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
///     writer.write_all(b"louder\n").await.unwrap();
///     assert_eq!(reader.read_line().await.unwrap(), "LOUDER\n");
/// });
/// ```
#[doc(alias = "start_server")]
#[track_caller]
pub fn serve<F, Fut>(
    addrs: impl ToSocketAddrs,
    handler: F,
) -> impl Future<Output = io::Result<Server>>
where
    F: Fn(StreamReader, StreamWriter) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send + 'static,
{
    let builder = Server::builder();
    async move { serve_on(builder.listen(addrs).await?, handler) }
}

/// The same on a Unix socket, whose path must not exist.
///
/// asyncio: `start_unix_server`, which removes a socket that is at the path.
///
/// # Errors
///
/// Those of [`UnixListener::bind`](crate::net::UnixListener::bind). The thread belongs to no runtime.
#[doc(alias = "start_unix_server")]
#[track_caller]
pub fn serve_unix<F, Fut>(path: impl AsRef<Path>, handler: F) -> io::Result<Server>
where
    F: Fn(StreamReader, StreamWriter) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send + 'static,
{
    serve_on(Server::builder().listen_unix(path)?, handler)
}

/// The same with limits, or with listeners of the caller's.
///
/// # Errors
///
/// There is nothing to listen on. The thread belongs to no runtime.
pub fn serve_on<F, Fut>(builder: ServerBuilder, handler: F) -> io::Result<Server>
where
    F: Fn(StreamReader, StreamWriter) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send + 'static,
{
    Server::start(builder, move |accepted| {
        let (reader, writer) = split(accepted);
        let client = handler(reader, writer);
        async move { sealed::Outcome::report(client.await) }
    })
}
