//! An HTTPS service. Without a certificate of yours it makes one for localhost when it starts.
//!
//! ```text
//! cargo run --release --features hyper,tls --example tls -- --save-cert cert.pem
//! curl --cacert cert.pem https://localhost:8443/
//! ```

use std::{
    convert::Infallible,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use ringloop::{
    compat::hyper::HyperTimer,
    net::{TcpListener, TcpStream},
    signal,
    tls::TlsAcceptor,
};

use common::{Failure, Options};

#[path = "common/mod.rs"]
mod common;

const OWN_OPTIONS: &str = "
    --cert FILE                  the chain of certificates, in PEM; with --key
    --key FILE                   its private key, in PEM
    --save-cert FILE             where to write the certificate that is made for localhost
                                 if none is given";

fn main() -> ExitCode {
    common::exit("tls", OWN_OPTIONS, run())
}

/// The files that the options name.
#[derive(Default)]
struct Files {
    cert: Option<String>,
    key: Option<String>,
    save: Option<String>,
}

fn run() -> Result<(), Failure> {
    let mut files = Files::default();
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443));
    let options = Options::from_command_line(default, |name, value| {
        let file = match name {
            "--cert" => &mut files.cert,
            "--key" => &mut files.key,
            "--save-cert" => &mut files.save,
            _ => return Ok(false),
        };
        *file = Some(value.to_owned());
        Ok(true)
    })?;
    let builder = TlsAcceptor::builder().alpn(["http/1.1"]);
    let builder = match &files {
        Files { cert: Some(cert), key: Some(key), save: None } => {
            builder.certificate_files(cert, key)
        }
        Files { cert: None, key: None, save } => {
            let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names)?;
            if let Some(path) = save {
                fs::write(path, made.cert.pem()).map_err(|error| format!("{path}: {error}"))?;
            }
            builder.certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        }
        _ => return Err("give both of --cert and --key, or none, and then --save-cert".into()),
    };
    let acceptor = builder.build()?;
    options.builder().run(serve(&options, acceptor))?
}

async fn serve(options: &Options, acceptor: TlsAcceptor) -> Result<(), Failure> {
    let interrupted = signal::ctrl_c();
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let accept = move |listener, stays| accept(listener, stays, acceptor.clone(), count.clone());
    let mut acceptors = common::serve(options, accept).await?;
    println!("try: curl --insecure https://localhost:{}/", acceptors.addr.port());
    let outcome = acceptors.wait(interrupted).await;

    // Connections still open are cancelled when the runtime ends, right after this.
    acceptors.end().await;
    println!("requests served: {}", served.load(Ordering::Relaxed));
    Ok(outcome?)
}

/// Serves until no more can be accepted, and says why.
async fn accept(
    listener: TcpListener,
    stays: bool,
    acceptor: TlsAcceptor,
    served: Arc<AtomicU64>,
) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = converse(stream, acceptor.clone(), served.clone());
                common::spawn_connection(stays, async move {
                    if let Err(error) = connection.await {
                        println!("{peer}: {error}");
                    }
                });
            }
            // Those that pass are dealt with there: no other will be accepted.
            Err(error) => return error,
        }
    }
}

/// The handshake is here, and not where connections are accepted: a client may be slow with it.
async fn converse(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    served: Arc<AtomicU64>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let version = format!("{:?}", stream.protocol_version().ok_or("no handshake")?);
    let service = service_fn(move |request: Request<Incoming>| {
        served.fetch_add(1, Ordering::Relaxed);
        let body = format!("Hello, {} over {version}!\n", request.uri().path());
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))))
    });
    http1::Builder::new().timer(HyperTimer).serve_connection(stream, service).await?;
    Ok(())
}
