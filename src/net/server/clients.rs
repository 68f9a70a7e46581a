//! The connections of a server, and the tasks that accept them.

use std::{collections::HashMap, io, net::IpAddr, pin::pin, sync::Arc};

use crate::{
    loom::Mutex,
    sync::{Notify, OwnedPermit, Semaphore},
    task::{Canceller, Task},
};

#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) connections: Option<usize>,
    pub(crate) per_peer: Option<usize>,
}

pub(crate) struct Clients {
    state: Mutex<State>,
    /// A listener has closed or failed, or the last connection has ended.
    changed: Notify,
    permits: Option<Arc<Semaphore>>,
    per_peer: usize,
}

#[derive(Default)]
struct State {
    /// The number of the next one.
    next: u64,
    running: HashMap<u64, Client>,
    peers: HashMap<IpAddr, usize>,
    refused: u64,
    accepting: Vec<Canceller>,
    /// Listeners that are not closed.
    listening: usize,
    failed: Option<io::Error>,
}

struct Client {
    /// `None` while it is spawned.
    task: Option<Canceller>,
    peer: Option<IpAddr>,
}

impl Clients {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: Notify::new(),
            permits: limits.connections.map(|count| Arc::new(Semaphore::new(count))),
            per_peer: limits.per_peer.unwrap_or(usize::MAX),
        }
    }

    /// Counts a listener as open, until the result is dropped.
    pub(crate) fn listening(self: Arc<Self>) -> Listening {
        self.state.lock().listening += 1;
        Listening(self)
    }

    /// The task of a listener.
    pub(crate) fn accepts(&self, task: Task<()>) {
        self.state.lock().accepting.push(task.canceller());
        task.detach();
    }

    /// Waits until one more connection is allowed.
    pub(crate) async fn permit(&self) -> Option<OwnedPermit> {
        let permits = self.permits.clone()?;
        Some(permits.acquire_owned().await.expect("it is never closed"))
    }

    /// A connection has come. `None`: its peer has too many.
    pub(crate) fn enter(
        self: &Arc<Self>,
        peer: Option<IpAddr>,
        permit: Option<OwnedPermit>,
    ) -> Option<Entry> {
        let mut state = self.state.lock();
        if let Some(peer) = peer.filter(|_| self.per_peer < usize::MAX) {
            let count = state.peers.entry(peer).or_default();
            if *count >= self.per_peer {
                state.refused += 1;
                return None;
            }
            *count += 1;
        }
        let id = state.next;
        state.next += 1;
        state.running.insert(id, Client { task: None, peer });
        Some(Entry { clients: self.clone(), id, _permit: permit })
    }

    /// The task of a connection, if that has not ended yet.
    pub(crate) fn know(&self, id: u64, task: Canceller) {
        if let Some(client) = self.state.lock().running.get_mut(&id) {
            client.task = Some(task);
        }
    }

    /// Calls `f` with the task of each connection.
    pub(crate) fn each(&self, f: impl Fn(&Canceller) -> bool) -> usize {
        // Cancelling drops what tasks own, which may come back here: outside of the lock (S6).
        let tasks: Vec<_> =
            self.state.lock().running.values().filter_map(|client| client.task.clone()).collect();
        tasks.iter().for_each(|task| {
            f(task);
        });
        tasks.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().running.len()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.state.lock().listening > 0
    }

    pub(crate) fn stop_accepting(&self) {
        let tasks = std::mem::take(&mut self.state.lock().accepting);
        for task in tasks {
            task.cancel_with("the server stops to accept");
        }
    }

    /// A listener is unusable.
    pub(crate) fn fail(&self, error: io::Error) {
        self.state.lock().failed.get_or_insert(error);
        self.changed.notify_waiters();
    }

    /// Waits until a listener has failed.
    pub(crate) async fn failed(&self) -> io::Error {
        self.until(|state| state.failed.take()).await
    }

    /// Waits until nobody listens and no connection is left.
    pub(crate) async fn all_gone(&self) {
        self.until(|state| (state.listening == 0 && state.running.is_empty()).then_some(())).await;
    }

    async fn until<T>(&self, mut get: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = get(&mut self.state.lock()) {
                return found;
            }
            changed.await;
        }
    }
}

/// A listener that is open.
pub(crate) struct Listening(Arc<Clients>);

impl Listening {
    pub(crate) fn clients(&self) -> Arc<Clients> {
        self.0.clone()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.state.lock().listening -= 1;
        self.0.changed.notify_waiters();
    }
}

/// A connection, for as long as its task runs.
pub(crate) struct Entry {
    clients: Arc<Clients>,
    id: u64,
    _permit: Option<OwnedPermit>,
}

impl Entry {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.clients.state.lock();
        let client = state.running.remove(&self.id).expect("it was entered, and leaves once");
        if let Some(peer) = client.peer
            && let Some(count) = state.peers.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                state.peers.remove(&peer);
            }
        }
        let is_last = state.running.is_empty();
        drop(state);
        if is_last {
            self.clients.changed.notify_waiters();
        }
    }
}
