//! glommio: an executor on each thread, `AsyncRead` and `AsyncWrite` over io_uring.

use std::io;
use std::os::fd::{FromRawFd as _, IntoRawFd as _};

use futures_lite::io::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutor, spawn_local};

fn main() -> io::Result<()> {
    echo_common::run(|listener, buffer| {
        LocalExecutor::default().run(async move {
            // SAFETY: the descriptor is a listening socket whose ownership was given up here.
            accept(unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }, buffer).await
        })
    })
}

async fn accept(listener: TcpListener, buffer: usize) -> io::Result<()> {
    loop {
        let stream = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn_local(echo(stream, buffer)).detach();
    }
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len]).await?,
        }
    }
}
