//! hyper on ringloop: its `TcpStream` is hyper's I/O itself.

use std::io;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use ringloop::net::TcpListener;

use super::answer;
use crate::harness::child::announce;

pub fn serve(workers: usize) -> io::Result<()> {
    let main = async { ringloop::spawn(accept()).await.map_err(io::Error::other)? };
    ringloop::Builder::new().workers(workers).run(main).map_err(io::Error::other)?
}

async fn accept() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = async move {
            let service = service_fn(answer);
            // A client that goes away in the middle is not our concern.
            let _ = http1::Builder::new().serve_connection(stream, service).await;
        };
        drop(ringloop::spawn(connection));
    }
}
