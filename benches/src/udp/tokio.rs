//! tokio: `recv_from` and `send_to`, a task for each socket.

use std::io;

use tokio::net::UdpSocket;
use tokio::runtime::Builder;

use super::{BUFFER, HELLO, Sockets, at_one_port};
use crate::harness::child::announce;

/// Serves on the multi-threaded runtime, or else on the single-threaded one.
pub fn serve(sockets: Sockets, workers: usize, multi_threaded: bool) -> io::Result<()> {
    let runtime = if multi_threaded {
        Builder::new_multi_thread().worker_threads(workers).enable_all().build()?
    } else {
        Builder::new_current_thread().enable_all().build()?
    };
    runtime.block_on(async move {
        let main = tokio::spawn(async move {
            match sockets {
                Sockets::One => {
                    let socket = UdpSocket::bind("127.0.0.1:0").await?;
                    announce(socket.local_addr()?);
                    echo(socket).await
                }
                Sockets::PerClient => door().await,
                Sockets::PerWorker => per_worker(workers).await,
            }
        });
        main.await.map_err(io::Error::other)?
    })
}

async fn echo(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..len], peer).await?;
    }
}

async fn door() -> io::Result<()> {
    let door = UdpSocket::bind("127.0.0.1:0").await?;
    announce(door.local_addr()?);
    loop {
        let (_, peer) = door.recv_from(&mut [0; BUFFER]).await?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(peer).await?;
        socket.send(HELLO).await?;
        tokio::spawn(echo_connected(socket));
    }
}

async fn echo_connected(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = socket.recv(&mut buffer).await?;
        socket.send(&buffer[..len]).await?;
    }
}

async fn per_worker(workers: usize) -> io::Result<()> {
    let mut tasks = Vec::new();
    for socket in at_one_port(workers)? {
        let socket = UdpSocket::from_std(socket)?;
        if tasks.is_empty() {
            announce(socket.local_addr()?);
        }
        tasks.push(tokio::spawn(echo(socket)));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}
