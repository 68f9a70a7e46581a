//! monoio: a runtime on each thread, buffers rented to the kernel.

use std::io;

use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt as _};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

fn main() -> io::Result<()> {
    echo_common::run(|listener, buffer| {
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new().build()?;
        runtime.block_on(async move { accept(TcpListener::from_std(listener)?, buffer).await })
    })
}

async fn accept(listener: TcpListener, buffer: usize) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        monoio::spawn(echo(stream, buffer));
    }
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, mut emptied) = stream.write_all(filled).await;
        written?;
        emptied.clear();
        buffer = emptied;
    }
}
