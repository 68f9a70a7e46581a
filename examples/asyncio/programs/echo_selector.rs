//! The same without tasks for connections and without streams: one future waits for whatever descriptor is ready.
//!
//! ```python
//! def accept(loop, listener):
//!     connection, _ = listener.accept()
//!     connection.setblocking(False)
//!     loop.add_reader(connection, echo, loop, connection)
//!
//! def echo(loop, connection):
//!     data = connection.recv(1000)
//!     if data:
//!         connection.send(data)
//!     else:
//!         loop.remove_reader(connection)
//!         connection.close()
//!
//! async def main():
//!     loop = asyncio.get_running_loop()
//!     listener = socket.create_server(("127.0.0.1", 0))
//!     listener.setblocking(False)
//!     loop.add_reader(listener, accept, loop, listener)
//!     await sessions(listener.getsockname()[1])
//! ```

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    pin::pin,
};

use futures_util::{FutureExt, StreamExt, select, stream::FuturesUnordered};
use ringloop::{io::AsyncFd, race};

use super::echo_streams::sessions;

type Connection = AsyncFd<TcpStream>;

/// Waits until a connection has something, and sends it back; `None` at the end.
async fn echo(connection: Connection) -> io::Result<Option<Connection>> {
    let mut buffer = [0; 1000];
    let len = connection.read_with(|mut connection| connection.read(&mut buffer)).await?;
    connection.get_ref().write_all(&buffer[..len])?;
    Ok((len > 0).then_some(connection))
}

/// The loop: it has no tasks, and calls a function for each descriptor that is ready.
async fn select(listener: AsyncFd<TcpListener>) -> io::Result<()> {
    let mut watched = FuturesUnordered::new();
    loop {
        let mut accepting = pin!(listener.read_with(TcpListener::accept).fuse());
        select! {
            accepted = accepting => {
                let (connection, _) = accepted?;
                connection.set_nonblocking(true)?;
                watched.push(echo(AsyncFd::new(connection)?));
            }
            echoed = watched.select_next_some() => {
                if let Some(connection) = echoed? {
                    watched.push(echo(connection));
                }
            }
        }
    }
}

pub fn main() -> io::Result<()> {
    ringloop::run(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        race!(select(AsyncFd::new(listener)?), sessions(addr)).await
    })
}
