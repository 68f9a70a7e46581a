//! A server of static files with hyper: ranges, and bodies that are read into recycled buffers.
//!
//! ```text
//! cargo run --release --features hyper-util --example static_files -- --folder .
//! curl http://127.0.0.1:8080/Cargo.toml
//! curl -r 0-99 http://127.0.0.1:8080/Cargo.toml
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, RANGE},
    service::service_fn,
};
use ringloop::{compat::hyper::HttpBuilder, fs::File, net::Server, signal};

use common::{Failure, Options};
use site::{Asked, part_of, path_of};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;
#[path = "common/site.rs"]
mod site;

/// The bytes of a piece of a body.
const PIECE: usize = 64 << 10;
/// Buffers that are kept for later.
const KEPT: usize = 64;
/// How long requests that are being answered may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);

type Body = UnsyncBoxBody<Bytes, io::Error>;

fn main() -> ExitCode {
    common::exit(
        "static_files",
        "\n    --folder PATH                what to serve (default: .)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut folder = PathBuf::from(".");
    let options = Options::from_command_line(default, |name, value| {
        let is_known = name == "--folder";
        if is_known {
            folder = value.into();
        }
        Ok(is_known)
    })?;
    options.builder().run(serve(&options, folder))?
}

async fn serve(options: &Options, folder: PathBuf) -> Result<(), Failure> {
    let interrupted = signal::ctrl_c();
    let site = Arc::new(Site { folder, buffers: Buffers::default(), requests: AtomicU64::new(0) });
    let shared = site.clone();
    let service = service_fn(move |request| answer(shared.clone(), request));
    let listeners = Server::builder().listen(options.addr).await?;
    let server = HttpBuilder::new().serve_on(listeners, service)?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    server.serve_until(interrupted, GRACE).await??;
    println!("requests served: {}", site.requests.load(Ordering::Relaxed));
    Ok(())
}

struct Site {
    folder: PathBuf,
    buffers: Buffers,
    requests: AtomicU64,
}

async fn answer(site: Arc<Site>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    site.requests.fetch_add(1, Ordering::Relaxed);
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Some(path) = path_of(&site.folder, request.uri().path()) else {
        return Ok(status(StatusCode::NOT_FOUND));
    };
    let file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(status(StatusCode::FORBIDDEN));
        }
        Err(_) => return Ok(status(StatusCode::NOT_FOUND)),
    };
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    let len = metadata.len();
    let wanted = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let mut response = Response::builder().header(ACCEPT_RANGES, "bytes");
    let part = match wanted.map(|range| part_of(range, len)) {
        // What is no range is ignored, as RFC 9110 wants it.
        None | Some(Asked::Unknown) => 0..len,
        Some(Asked::Part(part)) => {
            let range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
            part
        }
        Some(Asked::Behind) => {
            let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
            let range = format!("bytes */{len}").parse().expect("a header");
            response.headers_mut().insert(CONTENT_RANGE, range);
            return Ok(response);
        }
    };
    let response = response.header(CONTENT_LENGTH, part.end - part.start);
    let body = match *request.method() {
        Method::HEAD => empty(),
        _ => {
            let pieces = pieces(site, file, part).map(|piece| piece.map(Frame::data));
            BodyExt::boxed_unsync(StreamBody::new(pieces))
        }
    };
    Ok(response.body(body).expect("its headers are valid"))
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// The bytes of a part of a file.
fn pieces(site: Arc<Site>, file: File, part: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((site, file, part), async |(site, file, part)| {
        if part.is_empty() {
            return Ok(None);
        }
        let mut buffer = site.buffers.take();
        let (result, bytes) = file.read_at(buffer.take_bytes(), part.start).await;
        buffer.bytes = bytes;
        let read = result?;
        if read == 0 {
            let text = "the file has become shorter while it was read";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let wanted = read.min((part.end - part.start) as usize);
        let piece = Bytes::from_owner(buffer).slice(..wanted);
        Ok(Some((piece, (site, file, part.start + wanted as u64..part.end))))
    })
}

/// Buffers that wait to be used again.
#[derive(Default, Clone)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn take(&self) -> Buffer {
        let bytes = self.0.lock().expect("no panic").pop();
        Buffer { bytes: bytes.unwrap_or_else(|| Vec::with_capacity(PIECE)), home: self.clone() }
    }
}

/// A buffer that goes back when the last part of it was sent.
struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffer {
    fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = self.take_bytes();
        let mut kept = self.home.0.lock().expect("no panic");
        if kept.len() < KEPT && bytes.capacity() > 0 {
            kept.push(bytes);
        }
    }
}
