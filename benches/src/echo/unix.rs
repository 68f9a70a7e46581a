//! The same echo over Unix sockets, of tokio and of ringloop.
//!
//! The listener has an abstract name with a number in it, which is the port of a TCP socket that is kept for that: so a
//! number is nobody else's, and is announced as any port.

use std::io;
use std::net;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};

use ringloop::net::{UnixListener, UnixStream};
use ringloop::{Backend, Builder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Setup;
use super::ringloop::Face;
use crate::harness::child::announce;

/// The address of the server that has announced this port.
pub fn address(port: u16) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("ringloop-bench-{port}"))
}

/// Listens, and announces it.
fn listen() -> io::Result<(StdListener, net::TcpListener)> {
    let number = net::TcpListener::bind("127.0.0.1:0")?;
    let listener = StdListener::bind_addr(&address(number.local_addr()?.port())?)?;
    listener.set_nonblocking(true)?;
    announce(number.local_addr()?);
    Ok((listener, number))
}

pub(super) fn serve_tokio(setup: Setup, multi_threaded: bool) -> io::Result<()> {
    super::tokio::runtime(setup, multi_threaded)?.block_on(async {
        let accepting = tokio::spawn(async move {
            let (listener, _number) = listen()?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(echo_tokio(stream, setup.buffer));
            }
        });
        accepting.await.map_err(io::Error::other)?
    })
}

async fn echo_tokio(mut stream: tokio::net::UnixStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len]).await?,
        }
    }
}

pub(super) fn serve(setup: Setup, face: Face) -> io::Result<()> {
    let main = async move { ringloop::spawn(accept(setup, face)).await.map_err(io::Error::other)? };
    let builder = Builder::new().backend(Backend::Auto).workers(setup.workers);
    builder.run(main).map_err(io::Error::other)?
}

async fn accept(setup: Setup, face: Face) -> io::Result<()> {
    let (listener, _number) = listen()?;
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        match face {
            Face::Lease => drop(ringloop::spawn(echo_leases(stream))),
            _ => drop(ringloop::spawn(echo(stream, setup.buffer))),
        }
    }
}

async fn echo(mut stream: UnixStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => ringloop::io::AsyncWriteExt::write_all(&mut stream, &buffer[..len]).await?,
        }
    }
}

async fn echo_leases(mut stream: UnixStream) -> io::Result<()> {
    loop {
        let lease = stream.read_lease().await?;
        if lease.is_empty() {
            return Ok(());
        }
        stream.write_lease(lease).await?;
    }
}
