//! tokio: `TcpStream` with `read` and `write_all`, a task for each connection.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use super::BUFFER;
use crate::harness::child::announce;

/// Serves on the multi-threaded runtime, or without `workers` on the single-threaded one.
pub fn serve(workers: Option<usize>) -> io::Result<()> {
    let runtime = match workers {
        Some(workers) => {
            Builder::new_multi_thread().worker_threads(workers).enable_all().build()?
        }
        None => Builder::new_current_thread().enable_all().build()?,
    };
    runtime.block_on(async { tokio::spawn(accept()).await.map_err(io::Error::other)? })
}

async fn accept() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len]).await?,
        }
    }
}
