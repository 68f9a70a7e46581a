//! hyper on tokio, with a `ReaderStream` over `tokio::fs::File`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::fs::File;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_util::io::ReaderStream;

use super::{PIECE, path_of};
use crate::harness::child::announce;
use crate::http::HEAD_TIMEOUT;

pub fn serve(workers: usize, folder: PathBuf) -> io::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async { tokio::spawn(accept(folder)).await.map_err(io::Error::other)? })
}

async fn accept(folder: PathBuf) -> io::Result<()> {
    let folder = Arc::new(folder);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let folder = folder.clone();
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            let answer = service_fn(|request| answer(folder.clone(), request));
            // An error of a client that ends in the middle is ignored.
            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    folder: Arc<PathBuf>,
    request: Request<Incoming>,
) -> io::Result<Response<impl hyper::body::Body<Data = bytes::Bytes, Error = io::Error>>> {
    let file = File::open(path_of(&folder, request.uri().path())).await?;
    let len = file.metadata().await?.len();
    let pieces = ReaderStream::with_capacity(file, PIECE).map_ok(Frame::data);
    let mut response = Response::new(StreamBody::new(pieces));
    response.headers_mut().insert(CONTENT_LENGTH, len.into());
    Ok(response)
}
