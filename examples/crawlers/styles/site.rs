//! The site: its pages, and a server for them with a thread of its own.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ringloop::{
    Builder, Runtime,
    net::Server,
    streams::{self, StreamReader, StreamWriter},
    sync::Barrier,
    time::sleep,
};

const PAGES: usize = 10;

/// The paths of the pages beside `/`, which leads to all of them.
pub fn pages() -> Vec<String> {
    (0..PAGES).map(|page| format!("/{page}")).collect()
}

/// What a page leads to: each beside `/` to two others and itself, in circles.
fn links_from(path: &str) -> Option<String> {
    if path == "/" {
        return Some(pages().join(" "));
    }
    let page: usize = path.strip_prefix('/')?.parse().ok().filter(|&page| page < PAGES)?;
    Some(format!("/{} /{} /{page}", (page + 1) % PAGES, (page + 3) % PAGES))
}

/// When a page beside `/` is sent.
#[derive(Clone)]
pub enum Pace {
    Latency(Duration),
    /// Once so many are asked for at the same time as the barrier has parties.
    Together(Arc<Barrier>),
}

/// A server, until it is dropped.
pub struct Site {
    addr: SocketAddr,
    most: Arc<AtomicUsize>,
    // In this order: the server first.
    _server: Server,
    _runtime: Runtime,
}

impl Site {
    pub fn start(pace: Pace) -> io::Result<Self> {
        let runtime = Builder::new().workers(1).build().map_err(io::Error::other)?;
        let most = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::new(AtomicUsize::new(0)), most.clone());
        let handler = move |reader, writer| serve(pace.clone(), counts.clone(), reader, writer);
        let server = runtime.handle().block_on(streams::serve("127.0.0.1:0", handler));
        let server = server.map_err(io::Error::other)??;
        Ok(Self { addr: server.local_addrs()[0], most, _server: server, _runtime: runtime })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The most requests that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

async fn serve(
    pace: Pace,
    (now, most): (Arc<AtomicUsize>, Arc<AtomicUsize>),
    mut reader: StreamReader,
    mut writer: StreamWriter,
) -> io::Result<()> {
    loop {
        let head = match reader.read_until(b"\r\n\r\n").await {
            Ok(head) => String::from_utf8_lossy(&head).into_owned(),
            Err(error) if error.is_incomplete() => return writer.close().await,
            Err(error) => return Err(error.into()),
        };
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let path = head.split(' ').nth(1).unwrap_or_default();
        match &pace {
            Pace::Latency(time) => sleep(*time).await,
            Pace::Together(barrier) if path != "/" => drop(barrier.wait().await),
            Pace::Together(_) => {}
        }
        now.fetch_sub(1, Ordering::Relaxed);
        let body = links_from(path);
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let len = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n{body}");
        writer.write_all(answer.as_bytes()).await?;
        if head.contains("connection: close") {
            return writer.close().await;
        }
    }
}
