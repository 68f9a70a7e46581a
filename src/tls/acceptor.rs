//! The server's side.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::Ticketer,
    server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier},
};

use super::{
    TlsStream,
    engine::Engine,
    errors::{self, Side},
    limits::Limits,
    pem::{Identity, Pem},
    provider,
    session::Session,
    sni,
};

/// Makes TLS sessions as the server.
///
/// Clones share the certificate, and the key of the tickets by which clients resume their sessions.
///
/// asyncio: an `SSLContext` with `load_cert_chain`.
///
/// ```no_run
/// use ringloop::{io::{AsyncWriteExt, copy}, net::TcpListener, tls::TlsAcceptor};
///
/// ringloop::run(async {
///     let acceptor = TlsAcceptor::from_pem_files("chain.pem", "key.pem")?;
///     let listener = TcpListener::bind("127.0.0.1:8443").await?;
///     loop {
///         let (stream, peer) = listener.accept().await?;
///         let acceptor = acceptor.clone();
///         // The handshake belongs into the task, or a slow client holds up the others.
///         ringloop::spawn_logged(async move {
///             let (reader, mut writer) = acceptor.accept(stream).await?.into_split();
///             copy(reader, &mut writer).await?;
///             writer.close().await
///         }).detach();
///     }
/// #   #[allow(unreachable_code)]
/// #   Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    limits: Limits,
}

impl TlsAcceptor {
    /// One with a chain of certificates, the server's own first, and its key, in PEM.
    ///
    /// # Errors
    ///
    /// Those of [`TlsAcceptorBuilder::build`].
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> io::Result<Self> {
        Self::builder().certificate_pem(chain, key).build()
    }

    /// [`from_pem`](Self::from_pem) from two files, which may be the same one. It reads them, and blocks.
    ///
    /// asyncio: `context.load_cert_chain(certfile, keyfile)`.
    ///
    /// # Errors
    ///
    /// A file cannot be read, and those of [`TlsAcceptorBuilder::build`].
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> io::Result<Self> {
        Self::builder().certificate_files(chain, key).build()
    }

    /// One with settings of its own.
    ///
    /// asyncio: the methods of `SSLContext`.
    pub fn builder() -> TlsAcceptorBuilder {
        TlsAcceptorBuilder {
            identity: None,
            clients: None,
            alpn: Vec::new(),
            resumption: true,
            limits: Limits::default(),
        }
    }

    /// Does the handshake with the client at the other end of `stream`.
    ///
    /// Call it in the connection's own task, not in the one that accepts: a client may take its time.
    ///
    /// asyncio: what `start_server(.., ssl=context)` does before its callback.
    ///
    /// # Cancel safety
    ///
    /// The stream is closed.
    ///
    /// # Errors
    ///
    /// The client closes, does not speak TLS, refuses the certificate, gives none that is demanded, or is
    /// not ready within the handshake timeout. The text says how to mend it, and the source is
    /// rustls' error.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a runtime.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_with(stream, Vec::new()).await
    }

    /// [`accept`](Self::accept) where some of the client's bytes have been read from the stream already:
    /// `buffered` are those that nobody has taken. The handshake begins with them.
    ///
    /// A server that reads a PROXY line, or the line STARTTLS, by a buffered reader may find the
    /// client's first record in the buffer.
    ///
    /// asyncio: `StreamWriter.start_tls` keeps such bytes since 3.13; before, it lost them.
    ///
    /// # Cancel safety
    ///
    /// The stream is closed.
    ///
    /// # Errors
    ///
    /// Those of `accept`. Plaintext in `buffered` is no handshake, and is never read as the client's.
    ///
    /// ```
    /// use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, net::UnixStream, tls::{TlsAcceptor, TlsConnector}};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    /// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let acceptor = TlsAcceptor::from_pem(&chain, &key)?;
    /// let connector = TlsConnector::builder().add_root_pem(&chain).build()?;
    /// ringloop::run(async {
    ///     let (mut client, mut server) = UnixStream::pair()?;
    ///     let serving = ringloop::spawn(async move {
    ///         // A line, and after it what has come along.
    ///         let mut received = Vec::new();
    ///         let end = loop {
    ///             let mut buffer = [0; 4096];
    ///             let n = server.read(&mut buffer[..]).await?;
    ///             received.extend_from_slice(&buffer[..n]);
    ///             if let Some(end) = received.iter().position(|&byte| byte == b'\n') {
    ///                 break end + 1;
    ///             }
    ///         };
    ///         let buffered = received.split_off(end);
    ///         let mut stream = acceptor.accept_with(server, buffered).await?;
    ///         stream.write_all(b"secret").await?;
    ///         stream.close().await
    ///     });
    ///     client.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n").await?;
    ///     let mut stream = connector.connect("localhost", client).await?;
    ///     let mut text = String::new();
    ///     stream.read_to_string(&mut text).await?;
    ///     assert_eq!(text, "secret");
    ///     stream.close().await?;
    ///     serving.await?
    /// })
    /// # }
    /// ```
    pub async fn accept_with<S>(&self, stream: S, buffered: Vec<u8>) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server = UnbufferedServerConnection::new(self.config.clone())
            .map_err(|error| errors::of_connection(Side::Server, None, &error))?;
        let session = Session::new(Engine::Server(server), None, buffered, self.limits.shutdown);
        TlsStream::handshake(stream, session, self.limits.handshake).await
    }

    /// The settings.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// How long a handshake may take: 60 s if nothing is set.
    ///
    /// asyncio: `ssl_handshake_timeout`.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.limits.handshake = limit;
        self
    }

    /// How long [`TlsStream::close`] may take: 30 s if nothing is set.
    ///
    /// asyncio: `ssl_shutdown_timeout`.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.limits.shutdown = limit;
        self
    }
}

/// All settings are those of rustls. The time limits are the usual ones.
impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self { config: sni::watched(Arc::unwrap_or_clone(config)), limits: Limits::default() }
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Whether clients have to give a certificate, where some are trusted.
///
/// asyncio: `ssl.CERT_REQUIRED` and `ssl.CERT_OPTIONAL` of a server's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client without one is refused.
    Demanded,
    /// A client without one is served: look at [`TlsStream::peer_certificates`]. A client with a
    /// certificate that is not trusted is refused.
    Optional,
}

/// Settings for a [`TlsAcceptor`], from [`TlsAcceptor::builder`].
///
/// ```
/// use ringloop::tls::{ClientCertificates, TlsAcceptor};
///
/// # fn main() -> std::io::Result<()> {
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
/// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
/// # let clients_root = &chain;
/// let acceptor = TlsAcceptor::builder()
///     .certificate_pem(&chain, &key)
///     .client_certificates_pem(ClientCertificates::Demanded, clients_root)
///     .alpn(["h2", "http/1.1"])
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
#[derive(Debug)]
pub struct TlsAcceptorBuilder {
    identity: Option<io::Result<Identity>>,
    clients: Option<(ClientCertificates, io::Result<Pem>)>,
    alpn: Vec<Vec<u8>>,
    resumption: bool,
    limits: Limits,
}

impl TlsAcceptorBuilder {
    /// The chain of certificates, the server's own first, and its key, in PEM.
    pub fn certificate_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Ok(Identity::given(chain, key)));
        self
    }

    /// [`certificate_pem`](Self::certificate_pem) from two files, which may be the same one. They are read here, and
    /// block.
    ///
    /// asyncio: `context.load_cert_chain(certfile, keyfile)`.
    pub fn certificate_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity = Some(Identity::read(chain.as_ref(), key.as_ref()));
        self
    }

    /// Asks clients for a certificate that is signed by one of these roots, in PEM. Without this
    /// they are not asked.
    ///
    /// asyncio: `context.verify_mode`, with `context.load_verify_locations(cadata=pem)`.
    pub fn client_certificates_pem(
        mut self,
        wanted: ClientCertificates,
        roots: impl AsRef<[u8]>,
    ) -> Self {
        self.clients = Some((wanted, Ok(Pem::given("the clients' roots", roots))));
        self
    }

    /// [`client_certificates_pem`](Self::client_certificates_pem) with roots of a file, which is read here, and
    /// blocks.
    ///
    /// asyncio: `context.verify_mode`, with `context.load_verify_locations(cafile=path)`.
    pub fn client_certificates_file(
        mut self,
        wanted: ClientCertificates,
        roots: impl AsRef<Path>,
    ) -> Self {
        self.clients = Some((wanted, Pem::read(roots.as_ref())));
        self
    }

    /// The protocols to choose from by ALPN, the best one first. A client that offers none of them is
    /// refused, one that does not use ALPN is served.
    ///
    /// asyncio: `context.set_alpn_protocols(list)`.
    pub fn alpn(mut self, protocols: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// Whether clients may resume their sessions, as they may if nothing is set. They are given
    /// tickets, so that the server keeps nothing for a session that has ended. The key of the
    /// tickets changes every six hours, and is lost with the acceptor.
    ///
    /// asyncio: on; `context.num_tickets = 0` and `ssl.OP_NO_TICKET` for off.
    pub fn resumption(mut self, on: bool) -> Self {
        self.resumption = on;
        self
    }

    /// See [`TlsAcceptor::handshake_timeout`].
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.limits.handshake = limit;
        self
    }

    /// See [`TlsAcceptor::shutdown_timeout`].
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.limits.shutdown = limit;
        self
    }

    /// Makes the acceptor.
    ///
    /// # Errors
    ///
    /// There is no certificate; a file cannot be read; a certificate or a key is missing or broken, or
    /// they do not belong together.
    pub fn build(self) -> io::Result<TlsAcceptor> {
        let Some(identity) = self.identity.transpose()? else {
            return Err(errors::invalid(
                "a server needs a certificate: give one with certificate_pem or certificate_files",
            ));
        };
        let (chain, key) = identity.parse()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| errors::of_config(error.to_string(), error))?;
        let config = match self.clients {
            None => config.with_no_client_auth(),
            Some((wanted, roots)) => {
                let mut store = RootCertStore::empty();
                roots?.add_to(&mut store)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
                let verifier = match wanted {
                    ClientCertificates::Demanded => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| {
                    errors::invalid(format!("the clients' roots are refused: {error}"))
                })?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            config.with_single_cert(chain, key).map_err(|error| identity.refused(error))?;
        config.alpn_protocols = self.alpn;
        if self.resumption {
            config.ticketer = Ticketer::new().map_err(|error| {
                errors::of_config(
                    format!("no key for session tickets could be made: {error}"),
                    error,
                )
            })?;
        } else {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(TlsAcceptor { config: sni::watched(config), limits: self.limits })
    }
}
