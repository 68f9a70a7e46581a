//! Pages are fetched by a group of workers: a queue, a limit on connections, timeouts, retries.
//!
//! ```python
//! import asyncio
//!
//! PAGES = {"/": "/a /b /slow", "/a": "/b /c /flaky", "/b": "/ /c", "/c": "/missing",
//!          "/slow": "", "/flaky": "/d", "/d": ""}
//! failures = {"/flaky": 2}
//!
//! async def serve(reader, writer):
//!     path = (await reader.readline()).decode().strip()
//!     if path == "/slow":
//!         await asyncio.sleep(60)
//!     if failures.get(path, 0) > 0:
//!         failures[path] -= 1
//!     else:
//!         writer.write(f"200 {PAGES[path]}\n".encode() if path in PAGES else b"404\n")
//!     writer.close()
//!
//! class NoAnswer(Exception):
//!     pass
//!
//! async def fetch(port, path, limit):
//!     async with limit:
//!         reader, writer = await asyncio.open_connection("127.0.0.1", port)
//!         try:
//!             writer.write(f"{path}\n".encode())
//!             words = (await reader.readline()).decode().split()
//!         finally:
//!             writer.close()
//!     if not words:
//!         raise NoAnswer
//!     return words
//!
//! async def fetch_with_retries(port, path, limit):
//!     for attempt in range(1, 4):
//!         try:
//!             async with asyncio.timeout(0.5):
//!                 status, *links = await fetch(port, path, limit)
//!             return f"status {status} after {attempt}", links
//!         except TimeoutError:
//!             return "too slow", []
//!         except NoAnswer:
//!             await asyncio.sleep(0.01)
//!     return "no answer", []
//!
//! async def work(port, queue, found, limit):
//!     while True:
//!         path = await queue.get()
//!         try:
//!             found[path], links = await fetch_with_retries(port, path, limit)
//!             for link in links:
//!                 if link not in found:
//!                     found[link] = ""
//!                     queue.put_nowait(link)
//!         finally:
//!             queue.task_done()
//!
//! async def main():
//!     server = await asyncio.start_server(serve, "127.0.0.1", 0)
//!     port = server.sockets[0].getsockname()[1]
//!     queue, found, limit = asyncio.Queue(), {"/": ""}, asyncio.Semaphore(2)
//!     queue.put_nowait("/")
//!     async with asyncio.TaskGroup() as group:
//!         workers = [group.create_task(work(port, queue, found, limit)) for _ in range(3)]
//!         await queue.join()
//!         for worker in workers:
//!             worker.cancel()
//!     for path, text in sorted(found.items()):
//!         print(path, text)
//!     print("cancelled:", sum(worker.cancelled() for worker in workers))
//!
//! asyncio.run(main())
//! ```

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ringloop::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    spawn, spawn_logged,
    sync::{Queue, Semaphore},
    task_group,
    time::{sleep, timeout},
};

fn page(path: &str) -> Option<&'static str> {
    Some(match path {
        "/" => "/a /b /slow",
        "/a" => "/b /c /flaky",
        "/b" => "/ /c",
        "/c" => "/missing",
        "/flaky" => "/d",
        "/slow" | "/d" => "",
        _ => return None,
    })
}

/// How often `/flaky` closes the connection without an answer.
static FAILURES: AtomicU32 = AtomicU32::new(2);

async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut path = String::new();
    stream.read_line(&mut path).await?;
    let path = path.trim();
    if path == "/slow" {
        sleep(Duration::from_secs(60)).await;
    }
    let fewer = |left: u32| left.checked_sub(1);
    if path == "/flaky"
        && FAILURES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    {
        return Ok(());
    }
    let answer = page(path).map_or("404\n".into(), |links| format!("200 {links}\n"));
    stream.write_all(answer.as_bytes()).await?;
    stream.close().await
}

async fn listen(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_logged(serve(stream)).detach();
    }
}

/// The status and the links; `None` if the server gives no answer.
async fn fetch(
    port: u16,
    path: &str,
    limit: &Semaphore,
) -> io::Result<Option<(String, Vec<String>)>> {
    let _permit = limit.acquire().await.expect("it is never closed");
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    stream.write_all(format!("{path}\n").as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace().map(str::to_owned);
    Ok(words.next().map(|status| (status, words.collect())))
}

async fn fetch_with_retries(port: u16, path: &str, limit: &Semaphore) -> (String, Vec<String>) {
    for attempt in 1..4 {
        match timeout(Duration::from_millis(500), fetch(port, path, limit)).await {
            Err(_elapsed) => return ("too slow".to_owned(), Vec::new()),
            Ok(Ok(Some((status, links)))) => {
                return (format!("status {status} after {attempt}"), links);
            }
            Ok(Ok(None)) => sleep(Duration::from_millis(10)).await,
            Ok(Err(error)) => return (error.to_string(), Vec::new()),
        }
    }
    ("no answer".to_owned(), Vec::new())
}

/// What the workers share.
struct Crawl {
    port: u16,
    queue: Queue<String>,
    found: Mutex<BTreeMap<String, String>>,
    limit: Semaphore,
}

async fn work(crawl: Arc<Crawl>) {
    // The item is done when it is dropped: at the end of the round, or when the worker is cancelled.
    while let Ok(path) = crawl.queue.get_tracked().await {
        let (text, links) = fetch_with_retries(crawl.port, &path, &crawl.limit).await;
        let mut found = crawl.found.lock().unwrap();
        found.insert(path.clone(), text);
        for link in links {
            if !found.contains_key(&link) {
                found.insert(link.clone(), String::new());
                crawl.queue.try_put(link).expect("it is unbounded");
            }
        }
    }
}

#[ringloop::main]
pub async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    spawn(listen(listener)).detach();
    let (queue, limit) = (Queue::unbounded(), Semaphore::new(2));
    queue.try_put("/".to_owned()).expect("it is unbounded");
    let found = Mutex::new(BTreeMap::from([("/".to_owned(), String::new())]));
    let crawl = Arc::new(Crawl { port, queue, found, limit });
    let workers = task_group(async |group| {
        let workers = [(); 3].map(|()| group.spawn(work(crawl.clone())));
        crawl.queue.join().await;
        for worker in &workers {
            worker.cancel();
        }
        workers
    });
    let mut cancelled = 0;
    for worker in workers.await.expect("no worker panics") {
        cancelled += u32::from(worker.await.is_err_and(|error| error.is_cancelled()));
    }
    for (path, text) in &*crawl.found.lock().unwrap() {
        println!("{path} {text}");
    }
    println!("cancelled: {cancelled}");
    Ok(())
}
