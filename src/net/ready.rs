//! Waiting for either direction of a stream.

use std::io;

use super::{TcpStream, UnixStream};
use crate::io::{Interest, Ready};

impl TcpStream {
    /// Waits until a read, a write, or either of them would not have to wait, and says which.
    ///
    /// Try the operation then, by [`try_read`](Self::try_read) or [`try_write`](Self::try_write).
    ///
    /// asyncio: `loop.add_reader` and `add_writer`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    ///
    /// ```
    /// # use ringloop::{io::Interest, net::{TcpListener, TcpStream}};
    /// # ringloop::run(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// # let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    /// # let (server, _) = listener.accept().await.unwrap();
    /// let ready = server.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
    /// assert!(ready.is_writable() && !ready.is_readable());
    /// client.try_write(b"x").unwrap();
    /// assert!(server.ready(Interest::READABLE).await.unwrap().is_readable());
    /// # });
    /// ```
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.connection().ready(interest).await
    }
}

impl UnixStream {
    /// Waits until a read, a write, or either of them would not have to wait, and says which. See
    /// [`TcpStream::ready`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.connection().ready(interest).await
    }
}
