//! hyper on ringloop: its `TcpStream` implements hyper's I/O itself.

use std::io;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use ringloop::compat::hyper::{HyperTimer, gather_writes};
use ringloop::net::{TcpListener, TcpStream};

use super::{HEAD_TIMEOUT, Setup, answer};
use crate::harness::child::announce;

pub fn serve(workers: usize, setup: Setup) -> io::Result<()> {
    let main = async move { ringloop::spawn(accept(setup)).await.map_err(io::Error::other)? };
    ringloop::Builder::new().workers(workers).run(main).map_err(io::Error::other)?
}

async fn accept(setup: Setup) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        drop(match setup {
            Setup::Bare => ringloop::spawn(serve_bare(stream)),
            Setup::Deployed => ringloop::spawn(serve_deployed(stream)),
        });
    }
}

// An error of a client that ends in the middle is ignored in both.

async fn serve_bare(stream: TcpStream) {
    let _ = http1::Builder::new().serve_connection(stream, service_fn(answer)).await;
}

async fn serve_deployed(stream: TcpStream) {
    let mut http = http1::Builder::new();
    http.timer(HyperTimer).header_read_timeout(HEAD_TIMEOUT);
    let serve = |stream| http.serve_connection(stream, service_fn(answer));
    let _ = gather_writes(stream, serve).await;
}
