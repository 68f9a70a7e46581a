//! The example `store` on tokio: the same table and protocol, and the same steps for a client. `benches/store.sh` compares
//! them by redis-benchmark. Usage: `store_tokio WORKERS`.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

#[path = "../../../examples/common/resp.rs"]
mod resp;

use resp::{Broken, Table, answer, refuse};

/// As in the example.
const CLIENTS: usize = 10_000;
const ANSWERS: usize = 1 << 20;

fn main() -> io::Result<()> {
    let workers = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let workers = workers.ok_or_else(|| io::Error::other("usage: store_tokio WORKERS"))?;
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    // Accepts on a worker, as ringloop's server does.
    runtime.block_on(async { tokio::spawn(serve()).await.map_err(io::Error::other)? })
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    let table = Arc::new(Table::new());
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let table = table.clone();
        tokio::spawn(async move {
            // A client that leaves in the middle is no failure of the server's.
            let _ = client(table, stream).await;
            drop(permit);
        });
    }
}

async fn client(table: Arc<Table>, mut stream: TcpStream) -> io::Result<()> {
    let mut input = Vec::with_capacity(16 << 10);
    let mut answers = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return stream.shutdown().await;
        }
        let result = answer(&table, &input, &mut answers).map(|taken| drop(input.drain(..taken)));
        if let Err(Broken(why)) = result {
            refuse(&mut answers, why);
            stream.write_all(&answers).await?;
            return stream.shutdown().await;
        }
        stream.write_all(&answers).await?;
        answers.clear();
        answers.shrink_to(ANSWERS);
    }
}
