//! Futures written by hand: what the compiler makes of an `async` function, and what a task or a combinator does with it.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ringloop::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Found, WORKERS, links, request};

/// A fetch, as far as it has come. Each state has what the next step needs.
enum Fetch {
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>, Vec<u8>),
    /// The rest of the request is still to be sent.
    Sending(TcpStream, Vec<u8>),
    /// So much of the response has come.
    Receiving(TcpStream, Vec<u8>),
}

impl Fetch {
    fn new(site: SocketAddr, path: &str) -> Self {
        Self::Connecting(Box::pin(TcpStream::connect(site)), request(path))
    }
}

impl Future for Fetch {
    type Output = io::Result<Vec<String>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            // `ready!` returns where a step has to wait. That step has kept the waker, and the next poll comes back to it.
            match &mut *self {
                Self::Connecting(connect, request) => {
                    let stream = ready!(connect.as_mut().poll(cx))?;
                    let request = std::mem::take(request);
                    *self = Self::Sending(stream, request);
                }
                Self::Sending(stream, rest) if !rest.is_empty() => {
                    let sent = ready!(Pin::new(stream).poll_write(cx, rest))?;
                    rest.drain(..sent);
                }
                Self::Sending(..) => {
                    let Self::Sending(stream, rest) =
                        std::mem::replace(&mut *self, Self::Connecting(Box::pin(gone()), vec![]))
                    else {
                        unreachable!("it was matched")
                    };
                    *self = Self::Receiving(stream, rest);
                }
                Self::Receiving(stream, response) => {
                    let mut chunk = [0; 1024];
                    match ready!(Pin::new(stream).poll_read(cx, &mut chunk))? {
                        0 => return Poll::Ready(links(response)),
                        len => response.extend_from_slice(&chunk[..len]),
                    }
                }
            }
        }
    }
}

/// Stands where the stream was, for the moment in which it is moved.
async fn gone() -> io::Result<TcpStream> {
    Err(io::ErrorKind::NotConnected.into())
}

/// Polls up to [`WORKERS`] fetches, and begins others as they end.
pub struct Crawl {
    site: SocketAddr,
    queue: VecDeque<String>,
    found: Found,
    running: Vec<Fetch>,
}

impl Crawl {
    pub fn new(site: SocketAddr, start: Vec<String>) -> Self {
        let found = start.iter().cloned().collect();
        Self { site, queue: start.into(), found, running: Vec::new() }
    }
}

impl Future for Crawl {
    type Output = io::Result<Found>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut at = 0;
        loop {
            while this.running.len() < WORKERS
                && let Some(path) = this.queue.pop_front()
            {
                this.running.push(Fetch::new(this.site, &path));
            }
            if this.running.is_empty() {
                return Poll::Ready(Ok(std::mem::take(&mut this.found)));
            }
            // All of them wait, and each has kept the waker: the next event polls this again.
            let Some(fetch) = this.running.get_mut(at) else { return Poll::Pending };
            let Poll::Ready(links) = Pin::new(fetch).poll(cx) else {
                at += 1;
                continue;
            };
            this.running.remove(at);
            for link in links? {
                if this.found.insert(link.clone()) {
                    this.queue.push_back(link);
                }
            }
        }
    }
}
