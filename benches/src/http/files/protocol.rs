//! A protocol of ringloop's, with httparse: the bytes of the file never come into the program.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringloop::fs::File;
use ringloop::protocol::{self, Protocol, Transport};
use ringloop::sync::{Event, Queue};

use super::path_of;
use crate::harness::child::announce;

pub fn serve(workers: usize, folder: PathBuf) -> io::Result<()> {
    let folder = Arc::new(folder);
    let main = async move {
        let server =
            protocol::serve("127.0.0.1:0", move || Connection::new(folder.clone())).await?;
        announce(server.local_addrs()[0]);
        std::future::pending().await
    };
    ringloop::Builder::new().workers(workers).run(main).map_err(io::Error::other)?
}

struct Connection {
    folder: Arc<PathBuf>,
    unread: Vec<u8>,
    requests: Arc<Queue<String>>,
    has_room: Arc<Event>,
}

impl Connection {
    fn new(folder: Arc<PathBuf>) -> Self {
        let has_room = Arc::new(Event::new());
        has_room.set();
        Self { folder, unread: Vec::new(), requests: Arc::new(Queue::unbounded()), has_room }
    }
}

impl Protocol for Connection {
    fn connected(&mut self, transport: &Transport) {
        let (transport, folder) = (transport.clone(), self.folder.clone());
        let (requests, has_room) = (self.requests.clone(), self.has_room.clone());
        drop(ringloop::spawn(async move {
            while let Ok(path) = requests.get().await {
                if answer(&transport, &folder, &path).await.is_err() {
                    return transport.abort();
                }
                has_room.wait().await;
            }
        }));
    }

    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        loop {
            let mut lines = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut lines);
            match request.parse(&self.unread) {
                Ok(httparse::Status::Partial) => return,
                Ok(httparse::Status::Complete(len)) => {
                    let path = request.path.unwrap_or_default().to_owned();
                    self.unread.drain(..len);
                    let _ = self.requests.try_put(path);
                }
                Err(_) => return transport.abort(),
            }
        }
    }

    fn lost(&mut self, _: Option<&io::Error>) {
        self.requests.shutdown_now();
        self.has_room.set();
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.has_room.clear();
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.has_room.set();
    }
}

async fn answer(transport: &Transport, folder: &Path, path: &str) -> io::Result<()> {
    let file = File::open(path_of(folder, path)).await?;
    let len = file.metadata().await?.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
    transport.write(head.as_bytes());
    transport.send_file(&file, ..len)
}
