//! TLS over TCP: what do sessions cost on each runtime?
//!
//! - `tls_64x16k`: 64 sessions, each of which has a message of 16 KiB echoed, one record each way.
//! - `tls_handshake`: a session of TLS 1.3 is made, without resumption, and closed.
//!
//! Both sides run in the peer, so that a figure has the client's part as well: of a handshake that is two thirds. The
//! cryptography is rustls' with *ring* for all. `tokio` uses tokio-rustls; `tokio-rustls-on-ringloop` the same adapter over
//! ringloop's streams. *Not shown:* a real network; many small records.

mod on_ringloop;
mod on_tokio;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::harness::Spec;
use crate::peers::{CurrentThread, MultiThread, Peer, Ringloop};
use crate::sample::Sample;
use crate::sys::Meter;

const SESSIONS: usize = 64;
const MESSAGE: usize = 16 << 10;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    let measured = match (spec.case.name, spec.peer.as_str()) {
        ("tls_64x16k", "tokio") => on::<MultiThread, on_tokio::Echoes>(spec),
        ("tls_64x16k", "tokio-ct") => on::<CurrentThread, on_tokio::Echoes>(spec),
        ("tls_64x16k", "ringloop") => on::<Ringloop, on_ringloop::Echoes>(spec),
        ("tls_64x16k", "tokio-rustls-on-ringloop") => on::<Ringloop, on_ringloop::Adapted>(spec),
        ("tls_handshake", "tokio") => on::<MultiThread, on_tokio::Handshakes>(spec),
        ("tls_handshake", "tokio-ct") => on::<CurrentThread, on_tokio::Handshakes>(spec),
        ("tls_handshake", "ringloop") => on::<Ringloop, on_ringloop::Handshakes>(spec),
        (case, other) => return Err(format!("{case} has no peer {other:?}")),
    };
    measured.map_err(|error: io::Error| format!("TLS failed: {error}"))
}

/// Something to do again and again.
trait Work: Sized + Send + 'static {
    fn new(configs: Configs) -> impl Future<Output = io::Result<Self>> + Send;

    /// Gives the number of operations.
    fn batch(&mut self) -> impl Future<Output = io::Result<u64>> + Send;
}

fn on<P: Peer, W: Work>(spec: &Spec) -> io::Result<Sample> {
    let configs = Configs::new().map_err(io::Error::other)?;
    P::run(spec.workers, measure::<W>(configs, spec.warmup, spec.window))
}

async fn measure<W: Work>(
    configs: Configs,
    warmup: Duration,
    window: Duration,
) -> io::Result<Sample> {
    let mut work = W::new(configs).await?;
    let warm = Instant::now() + warmup;
    while Instant::now() < warm {
        work.batch().await?;
    }
    let meter = Meter::start();
    let mut operations = 0;
    while meter.elapsed() < window {
        operations += work.batch().await?;
    }
    Ok(meter.finish(operations))
}

/// The settings of both sides: the client trusts the server's certificate, and nothing is resumed.
#[derive(Clone)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Configs {
    fn new() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let chain = CertificateDer::from_pem_slice(made.cert.pem().as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes())?;
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(chain.clone())?;
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)?;
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// What the clients send.
fn message() -> Vec<u8> {
    (0..MESSAGE).map(|at| at as u8).collect()
}

fn check(reply: &[u8], message: &[u8]) -> io::Result<()> {
    match reply == message {
        true => Ok(()),
        false => Err(io::Error::other("a reply is not what was sent")),
    }
}
