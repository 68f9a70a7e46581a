//! The same tasks with hyper-util's client, whose pool keeps the connections.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use ringloop::compat::hyper::client;

use super::{Found, links_of, tasks::crawl_by};

pub async fn crawl(site: SocketAddr, start: Vec<String>) -> io::Result<Found> {
    let client = client::<Empty<Bytes>>();
    let fetch = move |path: String| {
        let client = client.clone();
        async move {
            let uri = format!("http://{site}{path}").parse().map_err(io::Error::other)?;
            let response = client.get(uri).await.map_err(io::Error::other)?;
            if !response.status().is_success() {
                return Err(io::Error::other(format!("{path}: {}", response.status())));
            }
            let body = response.into_body().collect().await.map_err(io::Error::other)?;
            let text = String::from_utf8(body.to_bytes().into()).map_err(io::Error::other)?;
            Ok(links_of(&text))
        }
    };
    crawl_by(start, fetch).await
}
