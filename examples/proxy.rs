//! A reverse proxy for HTTP: requests go to the upstreams in turn, within limits. It takes a new list of them without
//! losing a request.
//!
//! ```text
//! printf '127.0.0.1:9001\n127.0.0.1:9002\n' > upstreams
//! cargo run --release --features hyper-client --example proxy -- --upstreams upstreams
//! curl http://127.0.0.1:8080/
//! kill -HUP PID      # reads the list again; requests that are under way end as they began
//! ```

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    service::service_fn,
};
use ringloop::{
    compat::hyper::{HttpBuilder, HyperConnector, client_builder},
    net::Server,
    race, signal,
    signal::SignalKind,
    sync::Semaphore,
    time::timeout,
};

use common::{Failure, Options};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

/// Connections of clients at once, of all and of one address.
const CLIENTS: (usize, usize) = (10_000, 1000);
/// Requests under way at once. Others are refused at once: a queue would only make all of them late.
const REQUESTS: usize = 1000;
/// Bytes that the body of a request may have.
const BODY: usize = 16 << 20;
/// How long an upstream may take to accept, and to begin its answer.
const LIMITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How long requests that are under way may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);
/// They are of one connection, and not of the request (RFC 9110, 7.6.1).
const OF_A_CONNECTION: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
type Client = hyper_util::client::legacy::Client<HyperConnector, Limited<Incoming>>;

fn main() -> ExitCode {
    common::exit(
        "proxy",
        "\n    --upstreams PATH             a file with one IP:PORT a line (default: upstreams)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut path = PathBuf::from("upstreams");
    let options = Options::from_command_line(default, |name, value| {
        let is_known = name == "--upstreams";
        if is_known {
            path = value.into();
        }
        Ok(is_known)
    })?;
    options.builder().run(serve(&options, path))?
}

struct Proxy {
    client: Client,
    upstreams: Mutex<Arc<[SocketAddr]>>,
    turn: AtomicUsize,
    room: Semaphore,
}

async fn serve(options: &Options, path: PathBuf) -> Result<(), Failure> {
    let mut reload = signal::signal(SignalKind::hangup())?;
    let stopped = race!(signal::ctrl_c(), signal::terminate());
    let proxy = Arc::new(Proxy {
        client: client_builder().build(HyperConnector::new().connect_timeout(LIMITS.0)),
        upstreams: Mutex::new(read_upstreams(&path).await?),
        turn: AtomicUsize::new(0),
        room: Semaphore::new(REQUESTS),
    });
    let shared = proxy.clone();
    let listeners =
        Server::builder().max_connections(CLIENTS.0).max_connections_per_peer(CLIENTS.1);
    let listeners = listeners.listen(options.addr).await?;
    let server = HttpBuilder::new().serve_with(listeners, move |peer| {
        let proxy = shared.clone();
        let peer = peer.map(|peer| peer.ip());
        service_fn(move |request| forward(proxy.clone(), peer, request))
    })?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    let reloads = async {
        loop {
            reload.recv().await?;
            match read_upstreams(&path).await {
                Ok(list) => {
                    println!("upstreams: {}", list.len());
                    *proxy.upstreams.lock().expect("no holder panics") = list;
                }
                // The old list is better than none.
                Err(error) => eprintln!("proxy: {error}; the old upstreams stay"),
            }
        }
    };
    server.serve_until(race!(stopped, reloads), GRACE).await??;
    println!("requests forwarded: {}", proxy.turn.load(Ordering::Relaxed));
    Ok(())
}

async fn read_upstreams(path: &PathBuf) -> Result<Arc<[SocketAddr]>, Failure> {
    let text = ringloop::fs::read_to_string(path).await?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let parse = |line: &str| line.parse().map_err(|_| format!("{line:?} is not an IP:PORT"));
    let list = lines.map(parse).collect::<Result<Arc<[_]>, _>>()?;
    match list.is_empty() {
        true => {
            Err(format!("{} names no upstream: write one IP:PORT a line", path.display()).into())
        }
        false => Ok(list),
    }
}

async fn forward(
    proxy: Arc<Proxy>,
    peer: Option<IpAddr>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let Ok(_permit) = proxy.room.try_acquire() else {
        return Ok(refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way"));
    };
    let turn = proxy.turn.fetch_add(1, Ordering::Relaxed);
    let upstream = {
        let list = proxy.upstreams.lock().expect("no holder panics");
        list[turn % list.len()]
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("http://{upstream}{path}").parse::<Uri>() else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "no such path can be"));
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    OF_A_CONNECTION.iter().for_each(|name| drop(request.headers_mut().remove(name)));
    if let Some(value) = peer.and_then(|peer| HeaderValue::from_str(&peer.to_string()).ok()) {
        request.headers_mut().append("x-forwarded-for", value);
    }
    let request = request.map(|body| Limited::new(body, BODY));
    Ok(match timeout(LIMITS.1, proxy.client.request(request)).await {
        Ok(Ok(mut response)) => {
            OF_A_CONNECTION.iter().for_each(|name| drop(response.headers_mut().remove(name)));
            *response.version_mut() = Version::default();
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        }
        Ok(Err(error)) => {
            eprintln!("proxy: {upstream}: {error}");
            refuse(StatusCode::BAD_GATEWAY, "the upstream does not answer")
        }
        Err(_elapsed) => refuse(StatusCode::GATEWAY_TIMEOUT, "the upstream takes too long"),
    })
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(why.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
