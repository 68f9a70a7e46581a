//! The styles, in the order in which one comes to them, and what they share.

use std::{collections::BTreeSet, io, net::SocketAddr};

pub mod blocking;
pub mod callbacks;
pub mod futures;
pub mod library;
pub mod site;
pub mod tasks;

/// Requests that are under way at once, where there may be several.
pub const WORKERS: usize = 10;

/// The paths that a crawl has come to.
pub type Found = BTreeSet<String>;

/// A way to write it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    /// One page after the other.
    Blocking,
    /// Functions that are called as bytes come.
    Callbacks,
    /// Futures written by hand, polled by a future written by hand.
    Futures,
    /// Tasks that take from a queue.
    Tasks,
    /// The same tasks, with an HTTP client of a library.
    Library,
}

pub const ALL: [Style; 5] =
    [Style::Blocking, Style::Callbacks, Style::Futures, Style::Tasks, Style::Library];

impl Style {
    /// Fetches these pages and all to which they lead, in a runtime of its own.
    pub fn crawl(self, site: SocketAddr, start: Vec<String>) -> io::Result<Found> {
        match self {
            Self::Blocking => blocking::crawl(site, start),
            other => ringloop::run(other.crawl_here(site, start)),
        }
    }

    /// The same as a future, for all styles that wait by one.
    pub async fn crawl_here(self, site: SocketAddr, start: Vec<String>) -> io::Result<Found> {
        match self {
            Self::Blocking => {
                let crawl = ringloop::to_thread(move || blocking::crawl(site, start));
                crawl.await.map_err(io::Error::other)?
            }
            Self::Callbacks => callbacks::crawl(site, start).await,
            Self::Futures => futures::Crawl::new(site, start).await,
            Self::Tasks => tasks::crawl(site, start).await,
            Self::Library => library::crawl(site, start).await,
        }
    }
}

/// A request after which the server closes the connection.
pub fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: site\r\nconnection: close\r\n\r\n").into_bytes()
}

/// The links of a page, from the whole response.
pub fn links(response: &[u8]) -> io::Result<Vec<String>> {
    let text = str::from_utf8(response).map_err(io::Error::other)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(links_of(body)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("no page: {text:?}"))),
    }
}

pub fn links_of(body: &str) -> Vec<String> {
    body.split_whitespace().map(str::to_owned).collect()
}
