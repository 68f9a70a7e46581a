//! ringloop: `copy_bidirectional`, a task for each connection.

use std::io;
use std::net::SocketAddr;

use ringloop::io::{copy_bidirectional, copy_bidirectional_with_sizes};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{Backend, Builder};

use super::Sizes;
use crate::harness::child::announce;

pub fn serve(workers: usize, origin: SocketAddr, backend: Backend, sizes: Sizes) -> io::Result<()> {
    let main =
        async move { ringloop::spawn(accept(origin, sizes)).await.map_err(io::Error::other)? };
    Builder::new().backend(backend).workers(workers).run(main).map_err(io::Error::other)?
}

async fn accept(origin: SocketAddr, sizes: Sizes) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        drop(ringloop::spawn(pass_on(client, origin, sizes)));
    }
}

async fn pass_on(mut client: TcpStream, origin: SocketAddr, sizes: Sizes) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(origin).await?;
    server.set_nodelay(true)?;
    match sizes {
        Sizes::Default => copy_bidirectional(&mut client, &mut server).await?,
        Sizes::Each(size) => {
            copy_bidirectional_with_sizes(&mut client, &mut server, size, size).await?
        }
    };
    Ok(())
}
