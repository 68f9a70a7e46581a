//! hyper on ringloop, with `read_at` into buffers that are used again.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use futures_util::{Stream, TryStreamExt as _};
use http_body_util::StreamBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ringloop::compat::hyper::{HyperTimer, gather_writes};
use ringloop::fs::File;
use ringloop::net::{TcpListener, TcpStream};

use super::{PIECE, path_of};
use crate::harness::child::announce;
use crate::http::HEAD_TIMEOUT;

/// Buffers that are kept for later.
const KEPT: usize = 64;

struct Site {
    folder: PathBuf,
    buffers: Mutex<Vec<Vec<u8>>>,
}

pub fn serve(workers: usize, folder: PathBuf) -> io::Result<()> {
    let site = Arc::new(Site { folder, buffers: Mutex::default() });
    let main = async move { ringloop::spawn(accept(site)).await.map_err(io::Error::other)? };
    ringloop::Builder::new().workers(workers).run(main).map_err(io::Error::other)?
}

async fn accept(site: Arc<Site>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        drop(ringloop::spawn(connection(stream, site.clone())));
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    let mut http = http1::Builder::new();
    http.timer(HyperTimer).header_read_timeout(HEAD_TIMEOUT);
    let answer = service_fn(|request| answer(site.clone(), request));
    // An error of a client that ends in the middle is ignored.
    let _ = gather_writes(stream, |stream| http.serve_connection(stream, answer)).await;
}

async fn answer(
    site: Arc<Site>,
    request: Request<Incoming>,
) -> io::Result<Response<impl Body<Data = Bytes, Error = io::Error>>> {
    let file = File::open(path_of(&site.folder, request.uri().path())).await?;
    let len = file.metadata().await?.len();
    let pieces = Box::pin(pieces(site, file, len).map_ok(Frame::data));
    let mut response = Response::new(StreamBody::new(pieces));
    response.headers_mut().insert(CONTENT_LENGTH, len.into());
    Ok(response)
}

fn pieces(site: Arc<Site>, file: File, len: u64) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((site, file, 0), move |(site, file, at)| async move {
        if at == len {
            return Ok(None);
        }
        let buffer = site.buffers.lock().expect("no panic").pop();
        let buffer = buffer.unwrap_or_else(|| Vec::with_capacity(PIECE));
        let (read, bytes) = file.read_at(buffer, at).await;
        let (read, buffer) = (read?, Buffer { bytes, site: site.clone() });
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((Bytes::from_owner(buffer), (site, file, at + read as u64))))
    })
}

/// A buffer that goes back when the last part of it was sent.
struct Buffer {
    bytes: Vec<u8>,
    site: Arc<Site>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.site.buffers.lock().expect("no panic");
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}
