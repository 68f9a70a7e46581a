//! An echo server of curio's size: run, spawn, and the calls of sockets.
//!
//! ```python
//! from curio import run, spawn
//! from curio.socket import *
//!
//! async def echo_client(client, addr):
//!     async with client:
//!         while data := await client.recv(1000):
//!             await client.sendall(data)
//!
//! async def echo_server(address):
//!     sock = socket(AF_INET, SOCK_STREAM)
//!     sock.bind(address)
//!     sock.listen(5)
//!     async with sock:
//!         while True:
//!             client, addr = await sock.accept()
//!             await spawn(echo_client, client, addr, daemon=True)
//!
//! run(echo_server, ("", 25000))
//! ```
//!
//! `nc 127.0.0.1 25000` is the client there. Here it is that of `echo_streams`.

use std::io;

use ringloop::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    spawn, spawn_logged,
};

use super::echo_streams::sessions;

async fn echo_client(mut client: TcpStream) -> io::Result<()> {
    let mut buf = [0; 1000];
    loop {
        match client.read(&mut buf[..]).await? {
            0 => return client.close().await,
            len => client.write_all(&buf[..len]).await?,
        }
    }
}

async fn echo_server(listener: TcpListener) -> io::Result<()> {
    loop {
        let (client, _addr) = listener.accept().await?;
        spawn_logged(echo_client(client)).detach();
    }
}

#[ringloop::main]
pub async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let server = spawn(echo_server(listener));
    sessions(addr).await?;
    server.cancel();
    Ok(())
}
