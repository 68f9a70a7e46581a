//! hyper on tokio, through hyper-util's adapter.

use std::io;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::{HEAD_TIMEOUT, Setup, answer};
use crate::harness::child::announce;

/// Serves on the multi-threaded runtime, or without `workers` on the single-threaded one.
pub fn serve(workers: Option<usize>, setup: Setup) -> io::Result<()> {
    let runtime = match workers {
        Some(workers) => {
            Builder::new_multi_thread().worker_threads(workers).enable_all().build()?
        }
        None => Builder::new_current_thread().enable_all().build()?,
    };
    runtime.block_on(async { tokio::spawn(accept(setup)).await.map_err(io::Error::other)? })
}

async fn accept(setup: Setup) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            if setup == Setup::Deployed {
                http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            }
            // An error of a client that ends in the middle is ignored.
            let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}
