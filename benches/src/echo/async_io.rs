//! async-executor with async-io: what smol is made of.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use async_io::Async;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

use super::BUFFER;
use crate::harness::child::announce;
use crate::peers::Peer as _;
use crate::peers::async_executor::AsyncIo;

pub fn serve(workers: usize) -> io::Result<()> {
    AsyncIo::run(workers, accept())
}

async fn accept() -> io::Result<()> {
    let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0))?;
    announce(listener.get_ref().local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        AsyncIo::detach(AsyncIo::spawn(echo(Arc::new(stream))));
    }
}

async fn echo(stream: Arc<Async<TcpStream>>) -> io::Result<()> {
    let mut stream = &*stream;
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len]).await?,
        }
    }
}
