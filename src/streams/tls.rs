//! Readers and writers over TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::{ProtocolVersion, pki_types::CertificateDer};

use super::{Outcome, StreamReader, StreamWriter, connect, has_peer_left, sealed, split};
use crate::{
    io::IntoEnds,
    net::{Server, ServerBuilder, ToSocketAddrs},
    task,
    tls::{TlsAcceptor, TlsConnector, TlsStream},
};

/// What the two sides of a TLS session have agreed on. See [`StreamWriter::tls`].
///
/// asyncio: what `get_extra_info("ssl_object")` knows.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    alpn: Option<Box<[u8]>>,
    certificates: Box<[CertificateDer<'static>]>,
    server_name: Option<Box<str>>,
    version: Option<ProtocolVersion>,
    is_resumed: bool,
}

impl TlsInfo {
    fn of<S: AsyncRead + AsyncWrite + Unpin>(stream: &TlsStream<S>) -> Self {
        Self {
            alpn: stream.alpn_protocol().map(Into::into),
            certificates: stream.peer_certificates().unwrap_or_default().into(),
            server_name: stream.server_name().map(Into::into),
            version: stream.protocol_version(),
            is_resumed: stream.is_resumed(),
        }
    }

    /// The protocol that was chosen by ALPN.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The peer's certificates, its own first; none if it gave none.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The name that the client asked for, at a server (SNI); the server's name, at a client.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The version of TLS.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Whether an earlier session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}

/// Connects by TCP and TLS: to `addrs`, at which a server of this `name` is expected.
///
/// asyncio: `open_connection(host, port, ssl=context, server_hostname=name)`.
///
/// # Cancel safety
///
/// The attempt is given up.
///
/// # Errors
///
/// Those of [`TcpStream::connect`](crate::net::TcpStream::connect) and of [`TlsConnector::connect`].
///
/// ```
/// use ringloop::{streams, tls::{TlsAcceptor, TlsConnector}};
///
/// # fn main() -> std::io::Result<()> {
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
/// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
/// let acceptor = TlsAcceptor::from_pem(&chain, &key)?;
/// let connector = TlsConnector::builder().add_root_pem(&chain).build()?;
/// ringloop::run(async {
///     let server = streams::serve_tls("localhost:0", acceptor, |mut reader, mut writer| async move {
///         let line = reader.read_line().await?;
///         writer.write_all(line.as_bytes()).await?;
///         writer.close().await
///     })
///     .await?;
///     let (mut reader, mut writer) =
///         streams::connect_tls(server.local_addrs(), "localhost", &connector).await?;
///     writer.write_all(b"secret\n").await?;
///     assert_eq!(reader.read_line().await?, "secret\n");
///     assert!(writer.tls().unwrap().protocol_version().is_some());
///     Ok(())
/// })
/// # }
/// ```
pub async fn connect_tls(
    addrs: impl ToSocketAddrs,
    name: &str,
    connector: &TlsConnector,
) -> io::Result<(StreamReader, StreamWriter)> {
    let (reader, writer) = connect(addrs).await?;
    start_tls(reader, writer, name, connector).await
}

/// Goes over to TLS, as its client, on a connection on which plaintext was spoken: STARTTLS.
///
/// asyncio: `writer.start_tls`.
///
/// # Cancel safety
///
/// The connection is closed.
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) if the reader has bytes that were not read: a server says nothing between
/// its answer to STARTTLS and the handshake, so they come from somebody on the way. And those of
/// [`TlsConnector::connect`].
pub async fn start_tls(
    mut reader: StreamReader,
    writer: StreamWriter,
    name: &str,
    connector: &TlsConnector,
) -> io::Result<(StreamReader, StreamWriter)> {
    let buffered = reader.unread.take();
    let addrs = addrs_of(&writer);
    let joined = Joined { reader, writer };
    let stream = connector.connect_with(name, joined, buffered).await?;
    Ok(opened(stream, addrs))
}

/// Goes over to TLS, as its server: STARTTLS, or behind a PROXY line. Bytes that the reader has are the begin of the
/// client's handshake. Plaintext is none, and the handshake fails then; it is never read as if it had come by TLS.
///
/// asyncio: `writer.start_tls` of a server's connection.
///
/// # Cancel safety
///
/// The connection is closed.
///
/// # Errors
///
/// Those of [`TlsAcceptor::accept`].
pub async fn accept_tls(
    mut reader: StreamReader,
    writer: StreamWriter,
    acceptor: &TlsAcceptor,
) -> io::Result<(StreamReader, StreamWriter)> {
    let buffered = reader.unread.take();
    let addrs = addrs_of(&writer);
    let joined = Joined { reader, writer };
    let stream = acceptor.accept_with(joined, buffered).await?;
    Ok(opened(stream, addrs))
}

/// Listens on every address of a name, and calls `handler` with each connection whose handshake has succeeded.
///
/// A handshake that fails is reported to the [error hook](crate::Builder::on_error), unless the peer is gone. It is limited in time by the
/// [acceptor](crate::tls::TlsAcceptor::handshake_timeout).
///
/// asyncio: `start_server(.., ssl=context)`.
///
/// # Cancel safety
///
/// Nothing is bound.
///
/// # Errors
///
/// Those of [`TcpListener::bind`](crate::net::TcpListener::bind). The thread belongs to no runtime.
#[track_caller]
pub fn serve_tls<F, Fut>(
    addrs: impl ToSocketAddrs,
    acceptor: TlsAcceptor,
    handler: F,
) -> impl Future<Output = io::Result<Server>>
where
    F: Fn(StreamReader, StreamWriter) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send + 'static,
{
    let builder = Server::builder();
    async move { serve_tls_on(builder.listen(addrs).await?, acceptor, handler) }
}

/// The same with limits, on Unix sockets, or with listeners of the caller's.
///
/// # Errors
///
/// There is nothing to listen on. The thread belongs to no runtime.
pub fn serve_tls_on<F, Fut>(
    builder: ServerBuilder,
    acceptor: TlsAcceptor,
    handler: F,
) -> io::Result<Server>
where
    F: Fn(StreamReader, StreamWriter) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send + 'static,
{
    let shared = Arc::new((acceptor, handler));
    Server::start(builder, move |accepted| {
        let shared = shared.clone();
        async move {
            let (acceptor, handler) = &*shared;
            let addrs = accepted.addrs();
            match acceptor.accept(accepted).await {
                Ok(stream) => {
                    let (reader, writer) = opened(stream, addrs);
                    sealed::Outcome::report(handler(reader, writer).await);
                }
                // One that went away in the middle is no fault of anybody's.
                Err(error) if has_peer_left(&error) => {}
                Err(error) => {
                    task::report_failure(&format_args!("a TLS handshake has failed: {error}"));
                }
            }
        }
    })
}

type Addrs = Option<(std::net::SocketAddr, std::net::SocketAddr)>;

fn addrs_of(writer: &StreamWriter) -> Addrs {
    Some((writer.peer_addr().ok()?, writer.local_addr().ok()?))
}

fn opened<S>(stream: TlsStream<S>, addrs: Addrs) -> (StreamReader, StreamWriter)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let info = TlsInfo::of(&stream);
    let (reader, mut writer) = split(stream.into_ends());
    writer.layer(addrs, info);
    (reader, writer)
}

/// A reader and a writer as the one stream that they are the ends of.
struct Joined {
    reader: StreamReader,
    writer: StreamWriter,
}

impl AsyncRead for Joined {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Joined {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_close(cx)
    }
}
