//! Functions that are called as bytes come: each fetch is a protocol, and the end of one begins the next.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ringloop::{
    protocol::{self, Protocol, Transport},
    spawn,
    sync::{Promise, oneshot},
};

use super::{Found, WORKERS, links, request};

/// What the callbacks share.
struct Crawl {
    site: SocketAddr,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<String>,
    found: Found,
    running: usize,
    /// Gone once it was kept.
    end: Option<Promise<io::Result<Found>>>,
}

impl Crawl {
    /// Begins as many fetches as may run, or ends.
    fn go_on(self: &Arc<Self>) {
        let mut state = self.state.lock().expect("no holder panics");
        while state.running < WORKERS
            && state.end.is_some()
            && let Some(path) = state.queue.pop_front()
        {
            state.running += 1;
            let (crawl, site) = (self.clone(), self.site);
            let fetch = Fetch { crawl: self.clone(), path, response: Vec::new() };
            let connect = async move {
                if let Err(error) = protocol::connect(site, fetch).await {
                    crawl.fetched(Err(error));
                }
            };
            spawn(connect).detach();
        }
        if state.running == 0 {
            let found = std::mem::take(&mut state.found);
            finish(&mut state, Ok(found));
        }
    }

    fn fetched(self: &Arc<Self>, links: io::Result<Vec<String>>) {
        let mut state = self.state.lock().expect("no holder panics");
        state.running -= 1;
        match links {
            Ok(links) => {
                for link in links {
                    if state.found.insert(link.clone()) {
                        state.queue.push_back(link);
                    }
                }
            }
            Err(error) => finish(&mut state, Err(error)),
        }
        drop(state);
        self.go_on();
    }
}

/// The first outcome counts.
fn finish(state: &mut State, outcome: io::Result<Found>) {
    if let Some(end) = state.end.take() {
        // A caller that is gone does not want it.
        let _ = end.set(outcome);
    }
}

struct Fetch {
    crawl: Arc<Crawl>,
    path: String,
    response: Vec<u8>,
}

impl Protocol for Fetch {
    fn connected(&mut self, transport: &Transport) {
        transport.write(&request(&self.path));
    }

    fn data(&mut self, _: &Transport, bytes: &[u8]) {
        self.response.extend_from_slice(bytes);
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        let links = match error {
            None => links(&self.response),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        self.crawl.fetched(links);
    }
}

pub async fn crawl(site: SocketAddr, start: Vec<String>) -> io::Result<Found> {
    let (end, ended) = oneshot();
    let found = start.iter().cloned().collect();
    let state = State { queue: start.into(), found, running: 0, end: Some(end) };
    Arc::new(Crawl { site, state: Mutex::new(state) }).go_on();
    ended.await.map_err(io::Error::other)?
}
