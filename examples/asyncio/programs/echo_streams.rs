//! An echo server of streams, and a client with two sessions at once.
//!
//! ```python
//! import asyncio
//!
//! async def echo(reader, writer):
//!     while line := await reader.readline():
//!         writer.write(line)
//!         await writer.drain()
//!     writer.close()
//!     await writer.wait_closed()
//!
//! async def sessions(port):
//!     first = await asyncio.open_connection("127.0.0.1", port)
//!     second = await asyncio.open_connection("127.0.0.1", port)
//!     for number in range(2):
//!         for name, (reader, writer) in ("first", first), ("second", second):
//!             writer.write(f"{name} {number}\n".encode())
//!             await writer.drain()
//!             print((await reader.readline()).decode().strip())
//!     for reader, writer in first, second:
//!         writer.write_eof()
//!         print("left:", len(await reader.read()))
//!         writer.close()
//!
//! async def main():
//!     async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
//!         await sessions(server.sockets[0].getsockname()[1])
//!
//! asyncio.run(main())
//! ```

use std::{io, net::SocketAddr, time::Duration};

use ringloop::streams::{self, StreamReader, StreamWriter};

async fn echo(mut reader: StreamReader, mut writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.read_line().await?;
        if line.is_empty() {
            return writer.close().await;
        }
        writer.write_all(line.as_bytes()).await?;
    }
}

/// Two sessions in turn: the client of each echo server here.
pub async fn sessions(addr: SocketAddr) -> io::Result<()> {
    let mut first = streams::connect(addr).await?;
    let mut second = streams::connect(addr).await?;
    for number in 0..2 {
        for (name, (reader, writer)) in [("first", &mut first), ("second", &mut second)] {
            writer.write_all(format!("{name} {number}\n").as_bytes()).await?;
            println!("{}", reader.read_line().await?.trim_end());
        }
    }
    for (mut reader, writer) in [first, second] {
        writer.close().await?;
        println!("left: {}", reader.read_to_end().await?.len());
    }
    Ok(())
}

pub fn main() -> io::Result<()> {
    ringloop::run(async {
        let server = streams::serve("127.0.0.1:0", echo).await?;
        sessions(server.local_addrs()[0]).await?;
        server.drain(Duration::from_secs(1)).await;
        Ok(())
    })
}
