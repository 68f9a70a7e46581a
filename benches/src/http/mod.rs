//! HTTP/1.1 over hyper, the same service on each runtime.
//!
//! Question: what does the runtime add under a real protocol library (one read, one parse, one
//! write a request)?
//!
//! Does not show: routing, bodies, TLS, pipelining, a real network. hyper is most of the user time,
//! the kernel's TCP most of all, so ratios are nearer to 1 than in `echo`.

mod ringloop;
mod tokio;

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::load::Exchange;

/// Runs the HTTP server of `peer` for ever.
pub fn serve(peer: &str, workers: usize) -> Result<(), String> {
    let served = match peer {
        "tokio" => tokio::serve(Some(workers)),
        "tokio-ct" => tokio::serve(None),
        "ringloop" => ringloop::serve(workers),
        other => return Err(format!("http has no peer {other:?}")),
    };
    served.map_err(|error: io::Error| format!("the server failed: {error}"))
}

/// The service that all peers run.
async fn plaintext(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, World!"))))
}

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Asks the server once to learn how long its answers are: the status line, the headers (the date
/// has a fixed width) and 13 bytes.
pub fn exchange(server: SocketAddr) -> Result<Exchange, String> {
    let ask = || -> io::Result<usize> {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(REQUEST)?;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while !answer.ends_with(b"Hello, World!") {
            match stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => answer.extend_from_slice(&chunk[..len]),
            }
        }
        Ok(answer.len())
    };
    Ok(Exchange {
        request: REQUEST.into(),
        reply_start: b"HTTP/1.1 200 OK\r\n".into(),
        reply_len: ask().map_err(|error| format!("the first request failed: {error}"))?,
    })
}
