//! tokio-postgres on ringloop, without its feature `runtime`: a client over ringloop's stream.

use std::path::Path;

use ringloop::{
    Task,
    net::{TcpStream, ToSocketAddrs, UnixStream},
};
use tokio_postgres::{Client, Config, Error, NoTls};

/// Why there is no client.
pub type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Connects by TCP. The task that moves the bytes ends with the client, and gives the error of the connection.
///
/// # Errors
///
/// Those of the connection, and of a server that refuses it.
pub async fn connect(
    config: &Config,
    addrs: impl ToSocketAddrs,
) -> Result<(Client, Task<Result<(), Error>>), ConnectError> {
    let stream = TcpStream::connect(addrs).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    Ok((client, ringloop::spawn(connection)))
}

/// The same by the Unix socket of a server.
///
/// # Errors
///
/// Those of [`connect`].
pub async fn connect_unix(
    config: &Config,
    path: impl AsRef<Path>,
) -> Result<(Client, Task<Result<(), Error>>), ConnectError> {
    let stream = UnixStream::connect(path).await?;
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    Ok((client, ringloop::spawn(connection)))
}
