//! The same by a protocol, which is called with the bytes.
//!
//! ```python
//! class Echo(asyncio.Protocol):
//!     def connection_made(self, transport):
//!         self.transport = transport
//!
//!     def data_received(self, data):
//!         self.transport.write(data)
//!
//! async def main():
//!     loop = asyncio.get_running_loop()
//!     async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
//!         await sessions(server.sockets[0].getsockname()[1])
//! ```

use std::{io, time::Duration};

use ringloop::protocol::{self, Protocol, Transport};

use super::echo_streams::sessions;

struct Echo;

impl Protocol for Echo {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        transport.write(bytes);
    }
}

pub fn main() -> io::Result<()> {
    ringloop::run(async {
        let server = protocol::serve("127.0.0.1:0", || Echo).await?;
        sessions(server.local_addrs()[0]).await?;
        server.drain(Duration::from_secs(1)).await;
        Ok(())
    })
}
