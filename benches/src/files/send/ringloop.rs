//! ringloop: `send_file`, a task for each connection.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ringloop::io::AsyncReadExt;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{Backend, Builder};

use super::REQUEST;
use crate::harness::child::announce;

pub fn serve(workers: usize, file: File, backend: Backend) -> io::Result<()> {
    let main = async move { ringloop::spawn(accept(file)).await.map_err(io::Error::other)? };
    Builder::new().backend(backend).workers(workers).run(main).map_err(io::Error::other)?
}

async fn accept(file: File) -> io::Result<()> {
    let file = Arc::new(file);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        drop(ringloop::spawn(answer(client, file.clone())));
    }
}

async fn answer(mut client: TcpStream, file: Arc<File>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut request = [0; REQUEST];
    loop {
        client.read_exact(&mut request).await?;
        client.send_file(&*file, ..).await?;
    }
}
