//! ringloop's ways to use a stream, with a task for each connection: *poll* (`futures_io` traits),
//! *lease* (memory of the runtime, nothing is copied), *owned* (a buffer that the read takes and
//! returns).

use std::io;

use ringloop::io::AsyncWriteExt as _;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::time::interval;
use ringloop::{Backend, Builder};

use super::{Setup, hog};
use crate::harness::child::announce;

/// The way in which a server uses its connections.
#[derive(Clone, Copy)]
pub enum Face {
    Poll,
    Lease,
    Owned,
}

pub fn serve(setup: Setup, backend: Backend, face: Face) -> io::Result<()> {
    serve_with(Builder::new().backend(backend), setup, face)
}

/// Leases, as on kernels that cannot fill a buffer in pieces.
pub fn serve_whole(setup: Setup) -> io::Result<()> {
    let builder = Builder::new().backend(Backend::Uring).incremental_buffers(false);
    serve_with(builder, setup, Face::Lease)
}

fn serve_with(builder: Builder, setup: Setup, face: Face) -> io::Result<()> {
    let main = async move { ringloop::spawn(accept(setup, face)).await.map_err(io::Error::other)? };
    builder.workers(setup.workers).run(main).map_err(io::Error::other)?
}

async fn accept(setup: Setup, face: Face) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    if setup.hog {
        drop(ringloop::spawn(hog()));
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match face {
            Face::Poll => drop(ringloop::spawn(echo(stream, setup))),
            Face::Lease => drop(ringloop::spawn(echo_leases(stream, setup.work_us))),
            Face::Owned => drop(ringloop::spawn(echo_owned(stream, setup))),
        }
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

async fn echo_leases(mut stream: TcpStream, work_us: u32) -> io::Result<()> {
    loop {
        let lease = stream.read_lease().await?;
        if lease.is_empty() {
            return Ok(());
        }
        hog::work(work_us);
        stream.write_lease(lease).await?;
    }
}

async fn echo_owned(mut stream: TcpStream, setup: Setup) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(setup.buffer);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        hog::work(setup.work_us);
        let (written, emptied) = stream.write(filled).await;
        written?;
        buffer = emptied;
    }
}

async fn hog() {
    let mut ticks = interval(hog::PERIOD);
    loop {
        ticks.tick().await;
        hog::burn();
    }
}
