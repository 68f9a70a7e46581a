//! Certificates made for the run, and connected pairs of TLS streams.

use std::io;
use std::sync::{Arc, OnceLock};

use futures_util::future::join;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use ringloop::io::{AsyncRead, AsyncWrite};
use ringloop::net::TcpStream;
use ringloop::tls::rustls::{self, ClientConfig, RootCertStore, SupportedProtocolVersion};
use ringloop::tls::{TlsAcceptor, TlsConnector, TlsStream};

/// A chain of certificates and its key, in PEM.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

/// An authority that signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn root(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![purpose];
        // Python's strict checks demand it.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn server(&self, names: &[&str]) -> Identity {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        self.sign(CertificateParams::new(names).unwrap(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a client");
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate of localhost for these years.
    pub fn valid(&self, from: i32, until: i32) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }
}

/// What most tests use.
pub struct Pki {
    pub authority: Authority,
    pub root: String,
    /// The server's, for localhost and 127.0.0.1.
    pub server: Identity,
    pub client: Identity,
}

pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let authority = Authority::new("root of the tests");
        let server = authority.server(&["localhost", "127.0.0.1"]);
        let client = authority.client();
        Pki { root: authority.root(), authority, server, client }
    })
}

/// An acceptor with the server's certificate.
pub fn acceptor() -> TlsAcceptor {
    static ACCEPTOR: OnceLock<TlsAcceptor> = OnceLock::new();
    let made = || acceptor_of(&pki().server);
    ACCEPTOR.get_or_init(made).clone()
}

pub fn acceptor_of(identity: &Identity) -> TlsAcceptor {
    TlsAcceptor::from_pem(&identity.chain, &identity.key).unwrap()
}

/// A connector that trusts the root of the tests, and no other.
pub fn connector() -> TlsConnector {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    let made =
        || TlsConnector::builder().platform_roots(false).add_root_pem(&pki().root).build().unwrap();
    CONNECTOR.get_or_init(made).clone()
}

pub const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// A connector that speaks one version.
pub fn connector_for(version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for der in ringloop_der(&pki().root) {
        roots.add(der).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn ringloop_der(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    let all = rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes());
    all.map(|der| der.unwrap()).collect()
}

/// Both ends of a session over TCP.
pub async fn pair() -> (TlsStream<TcpStream>, TlsStream<TcpStream>) {
    let (near, far) = crate::net_stream::pair().await;
    let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
    (client.unwrap(), server.unwrap())
}

/// Both sides' outcomes of a handshake with localhost.
pub async fn handshake<S>(
    connector: &TlsConnector,
    acceptor: &TlsAcceptor,
    near: S,
    far: S,
) -> (io::Result<TlsStream<S>>, io::Result<TlsStream<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    join(connector.connect("localhost", near), acceptor.accept(far)).await
}

/// The error of rustls below an error.
pub fn cause(error: &io::Error) -> &rustls::Error {
    let source = std::error::Error::source(error).unwrap_or_else(|| panic!("no source: {error}"));
    source.downcast_ref().unwrap_or_else(|| panic!("not rustls': {source}"))
}
