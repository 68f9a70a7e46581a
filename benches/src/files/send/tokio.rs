//! tokio: `io::copy` from a `File`, a task for each connection.

use std::io::{self, SeekFrom};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use super::REQUEST;
use crate::harness::child::announce;

/// `buffer`: of a reader around the file.
pub fn serve(workers: usize, file: std::fs::File, buffer: Option<usize>) -> io::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let accept = accept(file, buffer);
    runtime.block_on(async { tokio::spawn(accept).await.map_err(io::Error::other)? })
}

async fn accept(file: std::fs::File, buffer: Option<usize>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        // An open file of its own: copies of a descriptor share the position.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        tokio::spawn(answer(client, File::open(path).await?, buffer));
    }
}

async fn answer(mut client: TcpStream, mut file: File, buffer: Option<usize>) -> io::Result<()> {
    client.set_nodelay(true)?;
    if let Some(size) = buffer {
        file.set_max_buf_size(size);
    }
    let mut request = [0; REQUEST];
    loop {
        client.read_exact(&mut request).await?;
        file.seek(SeekFrom::Start(0)).await?;
        match buffer {
            None => tokio::io::copy(&mut file, &mut client).await?,
            Some(size) => {
                let mut reader = BufReader::with_capacity(size, &mut file);
                tokio::io::copy_buf(&mut reader, &mut client).await?
            }
        };
    }
}
