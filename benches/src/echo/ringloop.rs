//! ringloop's poll face: `futures_io` traits, a task for each connection.

use std::io;

use ringloop::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ringloop::net::{TcpListener, TcpStream};

use super::BUFFER;
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
        drop(ringloop::spawn(echo(stream)));
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
