//! tokio: `TcpStream` with `read` and `write_all`, a task for each connection.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::interval;

use super::{Setup, hog};
use crate::harness::child::announce;

/// Serves on the multi-threaded runtime, or else on the single-threaded one.
pub fn serve(setup: Setup, multi_threaded: bool) -> io::Result<()> {
    runtime(setup, multi_threaded)?
        .block_on(async { tokio::spawn(accept(setup)).await.map_err(io::Error::other)? })
}

pub fn runtime(setup: Setup, multi_threaded: bool) -> io::Result<Runtime> {
    if multi_threaded {
        Builder::new_multi_thread().worker_threads(setup.workers).enable_all().build()
    } else {
        Builder::new_current_thread().enable_all().build()
    }
}

async fn accept(setup: Setup) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    if setup.hog {
        tokio::spawn(hog());
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo(stream, setup));
    }
}

async fn echo(mut stream: TcpStream, setup: Setup) -> io::Result<()> {
    let mut buffer = vec![0; setup.buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => {
                hog::work(setup.work_us);
                stream.write_all(&buffer[..len]).await?;
            }
        }
    }
}

async fn hog() {
    let mut ticks = interval(hog::PERIOD);
    loop {
        ticks.tick().await;
        hog::burn();
    }
}
