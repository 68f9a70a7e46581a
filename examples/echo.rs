//! A TCP echo service: what it reads it writes back.
//!
//! ```text
//! cargo run --release --example echo
//! nc 127.0.0.1 7000
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ringloop::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    signal,
};

use common::{Failure, Options};

#[path = "common/mod.rs"]
mod common;

const OWN_OPTIONS: &str = "
    --face poll|lease|owned      how sockets are read: into a borrowed buffer, into
                                 memory on loan, or into a buffer that the read takes
                                 and hands back (default: poll)
    --buf BYTES                  buffer of each connection (default: 4096)";

/// How connections are read.
#[derive(Clone, Copy)]
enum Face {
    Poll,
    Lease,
    Owned,
}

fn main() -> ExitCode {
    common::exit("echo", OWN_OPTIONS, run())
}

fn run() -> Result<(), Failure> {
    let (mut buffer_bytes, mut face) = (4096, Face::Poll);
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 7000));
    let options = Options::from_command_line(default, |name, value| {
        match (name, value) {
            ("--face", "poll") => face = Face::Poll,
            ("--face", "lease") => face = Face::Lease,
            ("--face", "owned") => face = Face::Owned,
            ("--face", _) => return Err(format!("--face {value}: say poll, lease or owned").into()),
            ("--buf", "0") => return Err("--buf 0: a read needs at least one byte".into()),
            ("--buf", _) => buffer_bytes = common::parse(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    options.builder().run(serve(&options, face, buffer_bytes))?
}

async fn serve(options: &Options, face: Face, buffer_bytes: usize) -> Result<(), Failure> {
    let interrupted = signal::ctrl_c();
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let accept = move |listener, stays| accept(listener, stays, face, buffer_bytes, count.clone());
    let mut acceptors = common::serve(options, accept).await?;
    println!("try: nc {} {}", acceptors.addr.ip(), acceptors.addr.port());
    let outcome = acceptors.wait(interrupted).await;

    // Connections still open are cancelled when the runtime ends, right after this.
    acceptors.end().await;
    println!("connections served: {}", served.load(Ordering::Relaxed));
    Ok(outcome?)
}

/// Serves until no more can be accepted, and says why.
async fn accept(
    listener: TcpListener,
    stays: bool,
    face: Face,
    buffer_bytes: usize,
    served: Arc<AtomicU64>,
) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                served.fetch_add(1, Ordering::Relaxed);
                match face {
                    Face::Poll => common::spawn_connection(stays, echo(stream, buffer_bytes)),
                    Face::Lease => common::spawn_connection(stays, echo_leases(stream)),
                    Face::Owned => {
                        common::spawn_connection(stays, echo_owned(stream, buffer_bytes));
                    }
                }
            }
            // Those that pass are dealt with there: no other will be accepted.
            Err(error) => return error,
        }
    }
}

async fn echo(mut stream: TcpStream, buffer_bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; buffer_bytes];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn echo_leases(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let lease = stream.read_lease().await?;
        if lease.is_empty() {
            return Ok(());
        }
        stream.write_lease(lease).await?;
    }
}

async fn echo_owned(mut stream: TcpStream, buffer_bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(buffer_bytes);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, emptied) = stream.write(filled).await;
        written?;
        buffer = emptied;
    }
}
