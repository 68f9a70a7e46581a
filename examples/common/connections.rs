//! The live connections of a service: to tell all of them that it stops, and to
//! wait until they are gone.

use std::{
    collections::HashMap,
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// All of them. Clones are the same set.
#[derive(Clone, Default)]
pub struct Connections(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Written with `state` locked; a copy outside it, because a connection looks
    /// at it in each poll and a lock that all of them share would be felt.
    closing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_key: u64,
    live: HashMap<u64, Option<Waker>>,
    waits_for_all: Option<Waker>,
}

impl Connections {
    /// Adds a connection, until what is returned is dropped.
    pub fn enter(&self) -> Connection {
        let mut state = self.state();
        let key = state.next_key;
        state.next_key += 1;
        state.live.insert(key, None);
        drop(state);
        Connection { all: self.clone(), key, known: None }
    }

    /// Tells every connection to end.
    pub fn close(&self) {
        let mut state = self.state();
        // Pairs with the load in `Connection::poll_closing`.
        self.0.closing.store(true, Ordering::Release);
        let wakers: Vec<_> = state.live.values_mut().filter_map(Option::take).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until no connection is left.
    pub async fn gone(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.live.is_empty() {
                return Poll::Ready(());
            }
            state.waits_for_all = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state().live.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One live connection.
pub struct Connection {
    all: Connections,
    key: u64,
    /// The waker that the set has.
    known: Option<Waker>,
}

impl Connection {
    /// Waits until [`Connections::close`] is called.
    pub fn closing(&mut self) -> impl Future<Output = ()> + Unpin + '_ {
        poll_fn(|cx| self.poll_closing(cx))
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Pairs with the store in `Connections::close`.
        if self.all.0.closing.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let mut state = self.all.state();
        // Again, now that `close` can not come in between.
        if self.all.0.closing.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        state.live.insert(self.key, Some(cx.waker().clone()));
        drop(state);
        self.known = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.all.state();
        let waker = state.live.remove(&self.key);
        let waits = if state.live.is_empty() { mem::take(&mut state.waits_for_all) } else { None };
        drop(state);
        drop(waker);
        if let Some(waits) = waits {
            waits.wake();
        }
    }
}
