//! The same server of static files as a protocol, without a library for HTTP but a parser. Each connection is called
//! with what came. The bytes of a file go from the system's cache to the socket, and never through this program.
//!
//! ```text
//! cargo run --release --example static_protocol -- --folder .
//! curl -r 0-99 http://127.0.0.1:8080/Cargo.toml
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringloop::{
    fs::File,
    protocol::{self, Protocol, Transport},
    signal, spawn,
    sync::{Event, Queue},
    time::timeout,
};

use common::{Failure, Options};
use site::{Asked, part_of, path_of};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;
#[path = "common/site.rs"]
mod site;

/// The most header lines of a request, and the most bytes of them.
const HEADERS: usize = 64;
const HEAD: usize = 16 << 10;
/// So many requests of one client wait for an answer: then no more are read.
const WAITING: usize = 16;
/// How long a client may be silent.
const IDLE: Duration = Duration::from_secs(60);
/// How long requests that are being answered may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    common::exit(
        "static_protocol",
        "\n    --folder PATH                what to serve (default: .)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut folder = PathBuf::from(".");
    let options = Options::from_command_line(default, |name, value| {
        let is_known = name == "--folder";
        if is_known {
            folder = value.into();
        }
        Ok(is_known)
    })?;
    options.builder().run(serve(&options, folder))?
}

async fn serve(options: &Options, folder: PathBuf) -> Result<(), Failure> {
    let interrupted = signal::ctrl_c();
    let site = Arc::new(Site { folder, requests: AtomicU64::new(0) });
    let shared = site.clone();
    let server = protocol::serve(options.addr, move || Connection::new(shared.clone())).await?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    server.serve_until(interrupted, GRACE).await??;
    println!("requests served: {}", site.requests.load(Ordering::Relaxed));
    Ok(())
}

struct Site {
    folder: PathBuf,
    requests: AtomicU64,
}

/// What a request asks for.
struct Request {
    path: String,
    range: Option<String>,
    with_body: bool,
    is_last: bool,
}

/// A client: its functions are called, and a task of its own answers.
struct Connection {
    site: Arc<Site>,
    unread: Vec<u8>,
    /// `None` is a request that cannot be understood.
    requests: Arc<Queue<Option<Request>>>,
    /// The client takes what is sent.
    has_room: Arc<Event>,
}

impl Connection {
    fn new(site: Arc<Site>) -> Self {
        let has_room = Arc::new(Event::new());
        has_room.set();
        Self { site, unread: Vec::new(), requests: Arc::new(Queue::unbounded()), has_room }
    }
}

impl Protocol for Connection {
    fn connected(&mut self, transport: &Transport) {
        let (transport, site) = (transport.clone(), self.site.clone());
        let (requests, has_room) = (self.requests.clone(), self.has_room.clone());
        spawn(async move {
            // Ends when the connection is lost, or the client is silent.
            while let Ok(Ok(request)) = timeout(IDLE, requests.get()).await {
                let goes_on = match request {
                    Some(request) => answer(&transport, &site.folder, request).await,
                    None => {
                        transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                        Ok(false)
                    }
                };
                match goes_on {
                    Ok(true) => {}
                    Ok(false) => break,
                    // The file cannot be read: the client sees that the rest does not come.
                    Err(_) => return transport.abort(),
                }
                has_room.wait().await;
                if requests.len() < WAITING {
                    transport.resume_reading();
                }
            }
            transport.close();
        })
        .detach();
    }

    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let mut lines = [httparse::EMPTY_HEADER; HEADERS];
            let mut request = httparse::Request::new(&mut lines);
            let parsed = request.parse(&self.unread[start..]);
            let request = match parsed {
                Ok(httparse::Status::Partial) if self.unread.len() - start < HEAD => break,
                Ok(httparse::Status::Complete(len)) => {
                    let request = read_request(&request);
                    start += len;
                    request
                }
                _ => None,
            };
            let is_understood = request.is_some();
            self.site.requests.fetch_add(1, Ordering::Relaxed);
            let _ = self.requests.try_put(request);
            if !is_understood {
                // What follows is not known to be a request.
                transport.pause_reading();
                break;
            }
        }
        self.unread.drain(..start);
        if self.requests.len() >= WAITING {
            transport.pause_reading();
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

fn read_request(request: &httparse::Request<'_, '_>) -> Option<Request> {
    let header = |name: &str| {
        let line = request.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name));
        line.and_then(|line| std::str::from_utf8(line.value).ok())
    };
    let with_body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return None,
    };
    Some(Request {
        path: request.path?.to_owned(),
        range: header("range").map(str::to_owned),
        with_body,
        is_last: header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    })
}

/// Answers one request. `false`: it was the client's last.
async fn answer(transport: &Transport, folder: &Path, request: Request) -> io::Result<bool> {
    let goes_on = !request.is_last;
    let found = async {
        let file = File::open(path_of(folder, &request.path)?).await.ok()?;
        let metadata = file.metadata().await.ok()?;
        metadata.is_file().then_some((file, metadata.len()))
    };
    let Some((file, len)) = found.await else {
        return Ok(
            transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") && goes_on
        );
    };
    let (status, part) = match request.range.map(|range| part_of(&range, len)) {
        None | Some(Asked::Unknown) => ("200 OK".to_owned(), 0..len),
        Some(Asked::Part(part)) => {
            let range = format!("content-range: bytes {}-{}/{len}", part.start, part.end - 1);
            (format!("206 Partial Content\r\n{range}"), part)
        }
        Some(Asked::Behind) => {
            (format!("416 Range Not Satisfiable\r\ncontent-range: bytes */{len}"), 0..0)
        }
    };
    let wanted = part.end - part.start;
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {wanted}\r\naccept-ranges: bytes\r\n\r\n");
    let is_open = transport.write(head.as_bytes());
    if is_open && request.with_body && wanted > 0 {
        transport.send_file(&file, part)?;
    }
    Ok(is_open && goes_on)
}
