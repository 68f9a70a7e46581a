//! An HTTP/1.1 service with hyper: keep-alive, pipelining, and an end on Ctrl-C that
//! lets requests finish.
//!
//! ```text
//! cargo run --release --features hyper --example http
//! curl http://127.0.0.1:8080/
//! ```

use std::{
    cell::Cell,
    convert::Infallible,
    future::ready,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    process::ExitCode,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use ringloop::{
    compat::hyper::{HyperTimer, gather_writes},
    net::{TcpListener, TcpStream},
    signal, time,
};

use common::{Failure, Options};
use connections::{Connection, Connections};

#[path = "common/mod.rs"]
mod common;
#[path = "common/connections.rs"]
mod connections;

/// How long requests that are being answered may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    common::exit("http", "", run())
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let options = Options::from_command_line(default, |_, _| Ok(false))?;
    options.builder().run(serve(&options))?
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let interrupted = signal::ctrl_c();
    let connections = Connections::default();
    let total = Arc::new(AtomicU64::new(0));
    let (open, count) = (connections.clone(), total.clone());
    let accept = move |listener, stays| accept(listener, stays, open.clone(), count.clone());
    let mut acceptors = common::serve(options, accept).await?;
    println!("try: curl http://{}/", acceptors.addr);

    let outcome = acceptors.wait(interrupted).await;
    acceptors.end().await;
    connections.close();
    // A second Ctrl-C is not patient any more.
    let all_gone = pin!(time::timeout(GRACE, connections.gone()));
    let _ = select(all_gone, signal::ctrl_c()).await;
    let left = connections.len();
    if left > 0 {
        eprintln!("{left} connections did not end by themselves");
    }
    println!("requests served: {}", total.load(Ordering::Relaxed));
    Ok(outcome?)
}

/// Serves until no more can be accepted, and says why.
async fn accept(
    listener: TcpListener,
    stays: bool,
    connections: Connections,
    total: Arc<AtomicU64>,
) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = Served { count: Cell::new(0), total: total.clone() };
                common::spawn_connection(stays, converse(stream, connections.enter(), served));
            }
            // Those that pass are dealt with there: no other will be accepted.
            Err(error) => return error,
        }
    }
}

/// Answers the requests of one connection, until the client or the service wants no more.
async fn converse(stream: TcpStream, mut connection: Connection, served: Served) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("nodelay: {error}");
    }
    let service = service_fn(move |request| {
        served.count.set(served.count.get() + 1);
        ready(Ok::<_, Infallible>(respond(&request)))
    });
    let mut http = http1::Builder::new();
    http.timer(HyperTimer);
    let mut http = pin!(gather_writes(stream, |stream| http.serve_connection(stream, service)));

    // An error means that the client went away, or did not speak HTTP: no news to a server.
    let _ = match select(http.as_mut(), connection.closing()).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), _)) => {
            http.as_mut().get_pin_mut().graceful_shutdown();
            http.await
        }
    };
}

fn respond(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    static JSON: LazyLock<String> = LazyLock::new(json);

    let (status, kind, body) = match request.uri().path() {
        "/" => (StatusCode::OK, "text/plain; charset=utf-8", "Hello, World!"),
        "/json" => (StatusCode::OK, "application/json", JSON.as_str()),
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "no such page\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// About 1 KiB of what services really send.
fn json() -> String {
    let items: Vec<String> = (0..18)
        .map(|id| format!(r#"{{"id":{id},"name":"item number {id}","tags":["async","linux"]}}"#))
        .collect();
    format!(r#"{{"items":[{}]}}"#, items.join(","))
}

/// Counts a connection's requests on its own cache line, and adds them to the total
/// at its end: a total counted per request would move between cores each time.
struct Served {
    count: Cell<u64>,
    total: Arc<AtomicU64>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.total.fetch_add(self.count.get(), Ordering::Relaxed);
    }
}
