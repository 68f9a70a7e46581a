//! Tasks that take paths from a queue. Its join is ready when all that was put was fetched, also on a graph with circles.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ringloop::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Queue,
    try_task_group,
};

use super::{Found, WORKERS, links, request};

pub async fn crawl(site: SocketAddr, start: Vec<String>) -> io::Result<Found> {
    crawl_by(start, move |path| fetch(site, path)).await
}

async fn fetch(site: SocketAddr, path: String) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(site).await?;
    stream.write_all(&request(&path)[..]).await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    links(&response)
}

/// What the tasks share.
struct Crawl<F> {
    queue: Queue<String>,
    found: Mutex<Found>,
    fetch: F,
}

/// Crawls with any way to fetch the links of a path.
pub async fn crawl_by<F, Fut>(start: Vec<String>, fetch: F) -> io::Result<Found>
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Vec<String>>> + Send + 'static,
{
    let found = start.iter().cloned().collect();
    let crawl = Arc::new(Crawl { queue: Queue::unbounded(), found: Mutex::new(found), fetch });
    for path in start {
        crawl.queue.try_put(path).expect("it is unbounded");
    }
    let shared = crawl.clone();
    let group = try_task_group(async move |group| {
        for _ in 0..WORKERS {
            group.spawn(work(shared.clone())).detach();
        }
        // If a task fails, the group cancels this and the others.
        shared.queue.join().await;
        shared.queue.shutdown();
        Ok(())
    });
    group.await.map_err(io::Error::other)?;
    Ok(std::mem::take(&mut *crawl.found.lock().expect("no holder panics")))
}

async fn work<F, Fut>(crawl: Arc<Crawl<F>>) -> io::Result<()>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = io::Result<Vec<String>>>,
{
    // A path is done when it is dropped: at the end of the round.
    while let Ok(path) = crawl.queue.get_tracked().await {
        for link in (crawl.fetch)(path.clone()).await? {
            if crawl.found.lock().expect("no holder panics").insert(link.clone()) {
                crawl.queue.try_put(link).expect("it is unbounded");
            }
        }
    }
    Ok(())
}
