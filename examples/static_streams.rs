//! The same server of static files by streams, without a library for HTTP but a parser: the bytes of a file go from the
//! system's cache to the socket, and never through this program.
//!
//! ```text
//! cargo run --release --example static_streams -- --folder .
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
    signal,
    streams::{self, StreamReader, StreamWriter},
    time::timeout,
};

use common::{Failure, Options};
use site::{Asked, part_of, path_of};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;
#[path = "common/site.rs"]
mod site;

/// The most header lines of a request.
const HEADERS: usize = 64;
/// How long a client may be silent.
const IDLE: Duration = Duration::from_secs(60);
/// How long requests that are being answered may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    common::exit(
        "static_streams",
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
    let requests = Arc::new(AtomicU64::new(0));
    let (folder, count) = (Arc::new(folder), requests.clone());
    let server = streams::serve(options.addr, move |reader, writer| {
        connection(reader, writer, folder.clone(), count.clone())
    });
    let server = server.await?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    server.serve_until(interrupted, GRACE).await??;
    println!("requests served: {}", requests.load(Ordering::Relaxed));
    Ok(())
}

async fn connection(
    mut reader: StreamReader,
    mut writer: StreamWriter,
    folder: Arc<PathBuf>,
    requests: Arc<AtomicU64>,
) -> io::Result<()> {
    loop {
        let head = match timeout(IDLE, reader.read_until(b"\r\n\r\n")).await {
            Ok(Ok(head)) => head,
            // The client has closed the connection between two requests.
            Ok(Err(error)) if error.is_incomplete() && error.partial().is_empty() => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
        };
        requests.fetch_add(1, Ordering::Relaxed);
        let mut lines = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut lines);
        let (Ok(_), Some("GET" | "HEAD"), Some(path)) =
            (request.parse(&head), request.method, request.path)
        else {
            return writer
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        };
        let header = |name: &str| {
            let line = request.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name));
            line.and_then(|line| std::str::from_utf8(line.value).ok())
        };
        let (is_get, is_last) = (
            request.method == Some("GET"),
            header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        );
        answer(&mut writer, &folder, path, header("range"), is_get).await?;
        if is_last {
            return writer.close().await;
        }
    }
}

async fn answer(
    writer: &mut StreamWriter,
    folder: &Path,
    path: &str,
    range: Option<&str>,
    with_body: bool,
) -> io::Result<()> {
    let found = async {
        let file = File::open(path_of(folder, path)?).await.ok()?;
        let metadata = file.metadata().await.ok()?;
        metadata.is_file().then_some((file, metadata.len()))
    };
    let Some((file, len)) = found.await else {
        return writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (status, part) = match range.map(|range| part_of(range, len)) {
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
    writer.write_all(head.as_bytes()).await?;
    if with_body && wanted > 0 && writer.send_file(&file, part).await? < wanted {
        // The client was promised more: only the end of the connection says that it does not come.
        return Err(io::Error::other("the file has become shorter while it was sent"));
    }
    Ok(())
}
