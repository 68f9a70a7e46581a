//! compio: a runtime on each thread, buffers lent to the kernel.

use std::io;

use compio::buf::BufResult;
use compio::io::{AsyncRead as _, AsyncWriteExt as _};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;

fn main() -> io::Result<()> {
    echo_common::run(|listener, buffer| {
        Runtime::new()?
            .block_on(async move { accept(TcpListener::from_std(listener)?, buffer).await })
    })
}

async fn accept(listener: TcpListener, buffer: usize) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        compio::runtime::spawn(echo(stream, buffer)).detach();
    }
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer);
    loop {
        let BufResult(read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let BufResult(written, mut emptied) = stream.write_all(filled).await;
        written?;
        emptied.clear();
        buffer = emptied;
    }
}
