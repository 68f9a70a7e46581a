//! async-executor with async-io, the parts of smol.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use async_io::{Async, Timer};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};

use super::{Setup, hog};
use crate::harness::child::announce;
use crate::peers::Peer as _;
use crate::peers::async_executor::AsyncIo;

pub fn serve(setup: Setup) -> io::Result<()> {
    AsyncIo::run(setup.workers, accept(setup))
}

async fn accept(setup: Setup) -> io::Result<()> {
    let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0))?;
    announce(listener.get_ref().local_addr()?);
    if setup.hog {
        AsyncIo::detach(AsyncIo::spawn(hog()));
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        AsyncIo::detach(AsyncIo::spawn(echo(Arc::new(stream), setup.buffer)));
    }
}

async fn echo(stream: Arc<Async<TcpStream>>, buffer: usize) -> io::Result<()> {
    let mut stream = &*stream;
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len]).await?,
        }
    }
}

async fn hog() {
    let mut ticks = Timer::interval(hog::PERIOD);
    while ticks.next().await.is_some() {
        hog::burn();
    }
}
