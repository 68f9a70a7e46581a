//! What ringloop has above its sockets: readers and writers, and protocols.

use std::io;

use ringloop::protocol::{self, Protocol, Transport};
use ringloop::streams::{self, StreamReader, StreamWriter};
use ringloop::{Builder, net::Server};

use super::Setup;
use crate::harness::child::announce;

pub fn serve_streams(setup: Setup) -> io::Result<()> {
    let echo = |mut reader: StreamReader, mut writer: StreamWriter| async move {
        loop {
            let bytes = reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok::<(), io::Error>(());
            }
            writer.write_all(bytes).await?;
            let len = bytes.len();
            reader.consume(len);
        }
    };
    for_ever(setup, async move { streams::serve("127.0.0.1:0", echo).await })
}

struct Echo;

impl Protocol for Echo {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        transport.write(bytes);
    }
}

pub fn serve_protocol(setup: Setup) -> io::Result<()> {
    for_ever(setup, async { protocol::serve("127.0.0.1:0", || Echo).await })
}

/// Runs a server until this process ends.
fn for_ever(
    setup: Setup,
    serve: impl Future<Output = io::Result<Server>> + Send + 'static,
) -> io::Result<()> {
    let main = async {
        let serving = ringloop::spawn(async {
            let server = serve.await?;
            announce(server.local_addrs()[0]);
            server.wait_closed().await;
            Ok(())
        });
        serving.await.map_err(io::Error::other)?
    };
    Builder::new().workers(setup.workers).run(main).map_err(io::Error::other)?
}
