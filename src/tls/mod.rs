//! TLS 1.2 and 1.3 over any stream (feature `tls`), by rustls.
//!
//! A [`TlsConnector`] makes sessions as the client, a [`TlsAcceptor`] as the server. Each takes a stream
//! that is connected and gives a [`TlsStream`] over it: a TCP stream, a Unix socket, a pipe of your
//! own, or another TLS stream. What it is read and written by are the traits of [`futures_io`](crate::io),
//! with the features `tokio` and `hyper` theirs as well.
//!
//! A server that echoes, and a client:
//!
//! ```
//! use std::io;
//!
//! use ringloop::{
//!     io::{AsyncReadExt, AsyncWriteExt},
//!     net::{TcpListener, TcpStream},
//!     tls::{TlsAcceptor, TlsConnector, TlsStream},
//! };
//!
//! async fn echo(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
//!     let mut buffer = [0; 4096];
//!     loop {
//!         let n = stream.read(&mut buffer).await?;
//!         if n == 0 {
//!             return stream.close().await; // after the client's close_notify, ours
//!         }
//!         stream.write_all(&buffer[..n]).await?;
//!         stream.flush().await?;
//!     }
//! }
//!
//! # fn main() -> io::Result<()> {
//! # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
//! # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
//! # let root = &chain;
//! // In PEM, as `from_pem_files` reads them: the server's certificate, and its key.
//! let acceptor = TlsAcceptor::from_pem(&chain, &key)?;
//! // `TlsConnector::new` trusts the platform's roots; this one trusts one more.
//! let connector = TlsConnector::builder().add_root_pem(root).build()?;
//!
//! ringloop::run(async move {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let addr = listener.local_addr()?;
//!     let server = ringloop::spawn(async move {
//!         let (stream, _) = listener.accept().await?;
//!         echo(acceptor.accept(stream).await?).await
//!     });
//!
//!     let stream = TcpStream::connect(addr).await?;
//!     let mut stream = connector.connect("localhost", stream).await?;
//!     stream.write_all(b"hello").await?;
//!     stream.flush().await?;
//!     let mut answer = [0; 5];
//!     stream.read_exact(&mut answer).await?;
//!     assert_eq!(&answer, b"hello");
//!     stream.close().await?;
//!     server.await?
//! })
//! # }
//! ```
//!
//! | asyncio | here |
//! |---|---|
//! | `ssl.create_default_context()` | [`TlsConnector::new`] |
//! | `context.load_verify_locations(cafile)` | [`TlsConnectorBuilder::add_root_file`] |
//! | `context.load_cert_chain(cert, key)` | [`TlsAcceptor::from_pem_files`], [`TlsConnectorBuilder::client_certificate_files`] |
//! | `context.verify_mode = CERT_REQUIRED` of a server | [`TlsAcceptorBuilder::client_certificates_file`] |
//! | `context.set_alpn_protocols(list)` | `alpn` of both builders |
//! | `open_connection(host, port, ssl=context)` | [`streams::connect_tls`](crate::streams::connect_tls); or [`TcpStream::connect`](crate::net::TcpStream::connect), then [`TlsConnector::connect`] |
//! | `start_server(callback, ssl=context)` | [`streams::serve_tls`](crate::streams::serve_tls); or [`TlsAcceptor::accept`] in the connection's task |
//! | `server_hostname=name` | the name given to `connect` |
//! | `ssl_handshake_timeout`, `ssl_shutdown_timeout` | `handshake_timeout`, `shutdown_timeout`: 60 s and 30 s as well |
//! | `StreamWriter.start_tls`, `loop.start_tls` | [`streams::start_tls`](crate::streams::start_tls), [`accept_tls`](crate::streams::accept_tls); or [`connect_with`](TlsConnector::connect_with) and [`accept_with`](TlsAcceptor::accept_with) for bytes that were read already |
//! | `get_extra_info("ssl_object")` | methods of [`TlsStream`], as in the next rows |
//! | `.selected_alpn_protocol()`, `.version()`, `.cipher()` | [`alpn_protocol`](TlsStream::alpn_protocol), [`protocol_version`](TlsStream::protocol_version), [`cipher_suite`](TlsStream::cipher_suite) |
//! | `.getpeercert(binary_form=True)` | [`peer_certificates`](TlsStream::peer_certificates) |
//! | `.server_hostname`, `.session_reused` | [`server_name`](TlsStream::server_name), [`is_resumed`](TlsStream::is_resumed) |
//! | `writer.close()`, `await writer.wait_closed()` | [`TlsStream::close`] |
//! | `writer.write_eof()`, which fails with TLS | `close` of the half that writes: the other side may still send |
//!
//! The cryptography is that of *ring*, whatever provider the rest of the program has. For settings that
//! are not here, make a configuration of rustls, which is [`rustls`], and turn it into a connector or
//! acceptor by `from`.

mod acceptor;
mod connector;
mod engine;
mod errors;
mod halves;
mod limits;
mod pem;
mod scratch;
mod session;
mod sni;
mod stream;
mod waiting;

use std::sync::Arc;

pub use rustls;
use rustls::crypto::{CryptoProvider, ring};

pub use self::{
    acceptor::{ClientCertificates, TlsAcceptor, TlsAcceptorBuilder},
    connector::{TlsConnector, TlsConnectorBuilder},
    halves::{ReuniteError, TlsReadHalf, TlsWriteHalf},
    stream::TlsStream,
};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
