//! The client's side.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::{
    ClientConfig, RootCertStore, client::UnbufferedClientConnection, pki_types::ServerName,
};

use super::{
    TlsStream,
    engine::Engine,
    errors,
    limits::Limits,
    pem::{Identity, Pem},
    provider,
    session::Session,
};

/// Makes TLS sessions as the client.
///
/// Make one, and keep it: it has the roots that are trusted, and the sessions that can be resumed.
/// Clones share both.
///
/// asyncio: an `SSLContext` of `ssl.create_default_context()`.
///
/// ```no_run
/// use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream, tls::TlsConnector};
///
/// ringloop::run(async {
///     let connector = TlsConnector::new()?;
///     let stream = TcpStream::connect("example.com:443").await?;
///     let mut stream = connector.connect("example.com", stream).await?;
///     stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").await?;
///     let mut page = String::new();
///     stream.read_to_string(&mut page).await?;
///     println!("{page}");
///     stream.close().await
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    limits: Limits,
}

impl TlsConnector {
    /// One that trusts the platform's roots.
    ///
    /// It reads them from files, as OpenSSL does, and blocks for some milliseconds. The environment
    /// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    ///
    /// asyncio: `ssl.create_default_context()`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound): the platform has no roots.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// One with settings of its own.
    ///
    /// asyncio: the methods of `SSLContext`.
    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder {
            platform_roots: true,
            roots: Vec::new(),
            identity: None,
            alpn: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Does the handshake over `stream` with the server of this name or address, which its certificate
    /// must be for. The name is without a port.
    ///
    /// With TLS 1.3, a server that demands a client certificate refuses a wrong one after the
    /// handshake: the first read fails.
    ///
    /// asyncio: `open_connection(.., ssl=context, server_hostname=name)`, and `StreamWriter.start_tls`
    /// for a stream on which plaintext was spoken.
    ///
    /// # Cancel safety
    ///
    /// The stream is closed.
    ///
    /// # Errors
    ///
    /// The certificate is not trusted, has expired, or is for another name; the server closes, does
    /// not speak TLS, or is not ready within the handshake timeout. The text says how to mend it, and
    /// the source is rustls' error.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a runtime.
    pub async fn connect<S>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_with(name, stream, Vec::new()).await
    }

    /// [`connect`](Self::connect) after plaintext was spoken, for STARTTLS: `buffered` is what a buffered
    /// reader has read from the stream and nobody has taken.
    ///
    /// A server says nothing between its answer to STARTTLS and the handshake. So bytes in `buffered` come
    /// from somebody on the way, and are refused.
    ///
    /// # Cancel safety
    ///
    /// The stream is closed.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if `buffered` is not empty, and those of `connect`.
    pub async fn connect_with<S>(
        &self,
        name: &str,
        stream: S,
        buffered: Vec<u8>,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !buffered.is_empty() {
            let shown = buffered[..buffered.len().min(24)].escape_ascii();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} bytes of plaintext are left over before the TLS handshake, they begin with \
                     \"{shown}\": read the server's whole answer first; more than that may have been \
                     injected on the way",
                    buffered.len()
                ),
            ));
        }
        let parsed = ServerName::try_from(name).map_err(|_| bad_name(name))?.to_owned();
        let client = UnbufferedClientConnection::new(self.config.clone(), parsed)
            .map_err(|error| errors::of_connection(errors::Side::Client, Some(name), &error))?;
        let engine = Engine::Client(client);
        let session = Session::new(engine, Some(name.into()), buffered, self.limits.shutdown);
        TlsStream::handshake(stream, session, self.limits.handshake).await
    }

    /// The settings.
    pub fn config(&self) -> &Arc<ClientConfig> {
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

fn bad_name(name: &str) -> io::Error {
    let hint = if name.contains("://") {
        ": give the host alone, without scheme and path"
    } else if name.contains('[') || name.rsplit_once(':').is_some_and(|(_, port)| is_number(port)) {
        ": give the host alone, without port and brackets"
    } else {
        ": give a DNS name or an IP address"
    };
    errors::invalid(format!("{name:?} is no name of a server{hint}"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// All settings are those of rustls. The time limits are the usual ones.
impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config, limits: Limits::default() }
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Settings for a [`TlsConnector`], from [`TlsConnector::builder`].
///
/// ```
/// use ringloop::tls::TlsConnector;
///
/// # fn main() -> std::io::Result<()> {
/// # let key = rcgen::generate_simple_self_signed(["internal.example".to_owned()]).unwrap();
/// # let company_root = key.cert.pem();
/// let connector = TlsConnector::builder()
///     .platform_roots(false)
///     .add_root_pem(company_root)
///     .alpn(["h2", "http/1.1"])
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
#[derive(Debug)]
pub struct TlsConnectorBuilder {
    platform_roots: bool,
    roots: Vec<io::Result<Pem>>,
    identity: Option<io::Result<Identity>>,
    alpn: Vec<Vec<u8>>,
    limits: Limits,
}

impl TlsConnectorBuilder {
    /// Whether the platform's roots are trusted, as they are if nothing is set.
    pub fn platform_roots(mut self, trusted: bool) -> Self {
        self.platform_roots = trusted;
        self
    }

    /// Trusts these certificates as well, in PEM.
    ///
    /// asyncio: `context.load_verify_locations(cadata=pem)`.
    pub fn add_root_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots.push(Ok(Pem::given("the roots", pem)));
        self
    }

    /// Trusts the certificates of a PEM file as well. It is read here, and blocks.
    ///
    /// asyncio: `context.load_verify_locations(cafile=path)`.
    pub fn add_root_file(mut self, path: impl AsRef<Path>) -> Self {
        self.roots.push(Pem::read(path.as_ref()));
        self
    }

    /// The certificate for servers that demand one: its chain, and its key, in PEM.
    ///
    /// asyncio: `context.load_cert_chain`, which takes files.
    pub fn client_certificate_pem(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Self {
        self.identity = Some(Ok(Identity::given(chain, key)));
        self
    }

    /// [`client_certificate_pem`](Self::client_certificate_pem) from two files, which may be the same one. They are
    /// read here, and block.
    ///
    /// asyncio: `context.load_cert_chain(certfile, keyfile)`.
    pub fn client_certificate_files(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Self {
        self.identity = Some(Identity::read(chain.as_ref(), key.as_ref()));
        self
    }

    /// The protocols to offer by ALPN, the best one first.
    ///
    /// asyncio: `context.set_alpn_protocols(list)`.
    pub fn alpn(mut self, protocols: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// See [`TlsConnector::handshake_timeout`].
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.limits.handshake = limit;
        self
    }

    /// See [`TlsConnector::shutdown_timeout`].
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.limits.shutdown = limit;
        self
    }

    /// Makes the connector. It reads the platform's roots, if they are wanted, and blocks.
    ///
    /// # Errors
    ///
    /// There is no root; a file cannot be read; a certificate or a key is missing or broken, or they do
    /// not belong together.
    pub fn build(self) -> io::Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        let mut trouble = None;
        if self.platform_roots {
            let platform = rustls_native_certs::load_native_certs();
            // Some platforms have certificates that are no longer accepted.
            roots.add_parsable_certificates(platform.certs);
            trouble = platform.errors.into_iter().next();
        }
        for pem in self.roots {
            pem?.add_to(&mut roots)?;
        }
        if roots.is_empty() {
            let why = trouble.map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "no root certificates are trusted{why}: install the package ca-certificates, \
                     set SSL_CERT_FILE, or give roots with add_root_pem or add_root_file"
                ),
            ));
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| errors::of_config(error.to_string(), error))?
            .with_root_certificates(roots);
        let mut config = match self.identity.transpose()? {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.parse()?;
                config.with_client_auth_cert(chain, key).map_err(|error| identity.refused(error))?
            }
        };
        config.alpn_protocols = self.alpn;
        Ok(TlsConnector { config: Arc::new(config), limits: self.limits })
    }
}
