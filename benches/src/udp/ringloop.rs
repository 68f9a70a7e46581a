//! ringloop: `recv_from` and `send_to`, a task for each socket.

use std::io;

use ringloop::net::UdpSocket;
use ringloop::{Backend, Builder};

use super::{BUFFER, HELLO, Sockets};
use crate::harness::child::announce;

pub fn serve(sockets: Sockets, workers: usize, backend: Backend) -> io::Result<()> {
    let main = async move {
        let main = ringloop::spawn(async move {
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
    };
    Builder::new().backend(backend).workers(workers).run(main).map_err(io::Error::other)?
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
        drop(ringloop::spawn(echo_connected(socket)));
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
    let first = UdpSocket::bind_reuse_port("127.0.0.1:0").await?;
    let addr = first.local_addr()?;
    let mut tasks = Vec::new();
    for _ in 1..workers {
        tasks.push(ringloop::spawn(echo(UdpSocket::bind_reuse_port(addr).await?)));
    }
    tasks.push(ringloop::spawn(echo(first)));
    announce(addr);
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}
