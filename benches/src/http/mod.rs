//! HTTP/1.1 over hyper, the same service on each runtime.
//!
//! Question: what does the runtime add under a real protocol library (one read, one parse, one
//! write per request)? `plaintext` answers with constant bytes; `json_1k` makes a body of 1 KiB
//! with serde for each request, into memory of its own. `plaintext_timer` is `plaintext` as it is
//! deployed: with a limit on the time that a head may take, which hyper arms anew for each request.
//! `plaintext_pipelined` is the same with 16 requests at a time. `static_64k` and `static_1m` are servers of files: see
//! `files/mod.rs`.
//!
//! Does not show: routing, request bodies, TLS, a real network. hyper is most of the user
//! time, the kernel's TCP most of all, so ratios are nearer to 1 than in `echo`. `json_1k` adds about
//! two microseconds of serialising and sending that are the same for all.

mod files;
mod json;
mod ringloop;
mod tokio;

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::harness::Spec;
use crate::load::Exchange;

/// Runs the HTTP server of the peer that `spec` names, for ever.
pub fn serve(spec: &Spec) -> Result<(), String> {
    if is_static(spec.case.name) {
        return files::serve(spec);
    }
    let setup = Setup::of(spec.case.name);
    let served = match spec.peer.as_str() {
        "tokio" => tokio::serve(Some(spec.workers), setup),
        "tokio-ct" => tokio::serve(None, setup),
        "ringloop" => ringloop::serve(spec.workers, setup),
        other => return Err(format!("http has no peer {other:?}")),
    };
    served.map_err(|error: io::Error| format!("the server failed: {error}"))
}

/// Whether the server is one of files.
fn is_static(case: &str) -> bool {
    case.starts_with("static_")
}

/// Which parts of a deployed server there are.
#[derive(Clone, Copy, PartialEq)]
enum Setup {
    /// hyper and the runtime, nothing else.
    Bare,
    /// A limit of [`HEAD_TIMEOUT`], and the peer's own support for hyper.
    Deployed,
}

/// hyper's own default, where it has a timer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

impl Setup {
    fn of(case: &str) -> Self {
        match case {
            "plaintext_timer" | "plaintext_pipelined" => Self::Deployed,
            _ => Self::Bare,
        }
    }
}

/// The service that all peers run.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (kind, body) = match request.uri().path() {
        "/plaintext" => ("text/plain", Bytes::from_static(b"Hello, World!")),
        "/json_1k" => ("application/json", Bytes::from(json::kibibyte())),
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// The request and the reply of the client of `case`. The server gets one request first, and its
/// answer is checked closely; from then on answers must be the same, except for the date.
pub fn exchange(case: &str, burst: usize, server: SocketAddr) -> Result<Exchange, String> {
    let path = match case {
        "json_1k" => "/json_1k",
        case if is_static(case) => files::PATH,
        _ => "/plaintext",
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let failed = |what: &str| format!("the first request failed: {what}");
    let reply = ask(server, &request).map_err(|error| failed(&error.to_string()))?;
    let body = body_of(&reply).ok_or_else(|| failed("not an answer of HTTP/1.1"))?;
    let right = match path {
        "/plaintext" => body == b"Hello, World!",
        "/json_1k" => json::is_right(body),
        _ => body == files::contents(case),
    };
    if !right {
        return Err(failed(&format!("it brought {:?}", String::from_utf8_lossy(body))));
    }
    // As in "Sun, 06 Nov 1994 08:49:37 GMT".
    let varying = match find(&reply, b"\r\ndate: ") {
        Some(date) => date + 8..date + 8 + 29,
        None if is_static(case) => 0..0,
        None => return Err(failed("it has no date")),
    };
    let (request, reply) = (request.repeat(burst), reply.repeat(burst));
    let compare_every = if is_static(case) { 16 } else { 1 };
    Ok(Exchange { request, reply, varying, messages: burst, compare_every })
}

/// The answer to one request on a connection of its own, as long as its head says.
fn ask(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while body_of(&answer).is_none() {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => answer.extend_from_slice(&chunk[..len]),
        }
    }
    Ok(answer)
}

/// The body, if the answer is right so far and complete.
fn body_of(answer: &[u8]) -> Option<&[u8]> {
    let head = find(answer, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let len = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let body = &answer[head..];
    let right =
        text.starts_with("HTTP/1.1 200 OK\r\n") && body.len() == len.parse::<usize>().ok()?;
    right.then_some(body)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
