//! redis-rs on ringloop: a connection that many tasks share, over ringloop's stream.

use std::{io, time::Duration};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError,
    aio::MultiplexedConnection,
};
use ringloop::{
    Task,
    net::{TcpStream, ToSocketAddrs},
};

/// How long an answer may take, by [`answer`].
pub const LIMIT: Duration = Duration::from_secs(5);

/// Connects. The task that moves the bytes ends with the last clone of the connection.
///
/// The configuration must have no `response_timeout`, for that takes tokio's timers and panics at the first command
/// without them; 500 ms are its default. [`answer`] is in place of it.
///
/// # Errors
///
/// Those of the connection, and of a server that refuses it.
pub async fn connect(
    addrs: impl ToSocketAddrs,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, Task<()>), RedisError> {
    let stream = TcpStream::connect(addrs).await?;
    stream.set_nodelay(true)?;
    // The protocol of Redis 6 and later, by which messages of channels come on the same connection.
    let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
    let config = config.set_response_timeout(None).set_connection_timeout(None);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, config).await?;
    Ok((connection, ringloop::spawn(driver)))
}

/// The answer to a command, within [`LIMIT`].
///
/// # Errors
///
/// Those of the command; the time is up. Then the answer is lost, and with it what a command such as `BLPOP` has
/// taken.
pub async fn answer<T>(
    command: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    match ringloop::time::timeout(LIMIT, command).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(io::Error::from(elapsed).into()),
    }
}
