//! One value for all tasks that wait.
//!
//! The one end is a [`Promise`] like any other; its [`Deferred`] is kept here with a
//! callback in it:
//!
//! 1. The promise is kept or broken: the callback stores the outcome, takes all wakers
//!    along, and wakes them in the order in which they came to wait.
//! 2. [`SharedFuture::cancel`] stores the outcome itself, and drops the deferred, which tells the
//!    promise. The second of the two finds the outcome decided and does nothing.
//! 3. The last [`SharedFuture`] drops what they share, and the deferred with it.
//!
//! The value is behind an `Arc`, so that it is cloned with no lock held.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::oneshot::{BrokenPromise, Deferred, Promise, oneshot};
use crate::{
    loom::Mutex,
    util::{current, panic, park, wait::WaitKind},
};

/// A future that any number of tasks and threads await: each has a clone, and each gets a
/// clone of the value.
///
/// It is made of a [`Deferred`] by [`Deferred::shared`] or [`From`], or together with its
/// promise by [`SharedFuture::new`]. When the last clone is dropped, the promise is
/// cancelled.
///
/// asyncio: `asyncio.Future`, and `concurrent.futures.Future` and `wrap_future` as well: it
/// is one type, for tasks, for other executors and for threads. In place of
/// `add_done_callback`, spawn a task that awaits a clone.
///
/// # Cancel safety
///
/// A clone that is dropped while it waits takes nothing from the others.
///
/// # Examples
///
/// ```
/// use ringloop::sync::SharedFuture;
///
/// ringloop::run(async {
///     let (promise, future) = SharedFuture::new();
///     let tasks = [future.clone(), future.clone()].map(ringloop::spawn);
///     promise.set("the same for all").unwrap();
///     for task in tasks {
///         assert_eq!(task.await.unwrap(), Ok("the same for all"));
///     }
///     assert_eq!(future.await, Ok("the same for all"));
/// });
/// ```
#[doc(alias = "asyncio.Future")]
#[doc(alias = "wrap_future")]
#[must_use = "dropping the last SharedFuture cancels the promise"]
pub struct SharedFuture<T> {
    shared: Arc<Shared<T>>,
    /// Under which number this clone's waker is kept, if it is.
    ticket: Option<u64>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    outcome: Option<Result<Arc<T>, BrokenPromise>>,
    /// By ticket: in the order of coming.
    waiters: BTreeMap<u64, Waker>,
    next_ticket: u64,
    /// Its drop cancels the promise.
    source: Option<Deferred<T>>,
}

impl<T> Shared<T> {
    /// Stores the outcome and wakes all tasks that wait, unless it is decided.
    fn decide(&self, outcome: Result<Arc<T>, BrokenPromise>) -> bool {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            drop(state);
            drop(outcome);
            return false;
        }
        state.outcome = Some(outcome);
        let waiters = mem::take(&mut state.waiters);
        let source = state.source.take();
        drop(state);
        for waker in waiters.into_values() {
            panic::contain(|| waker.wake());
        }
        drop(source);
        true
    }

    fn outcome(&self) -> Option<Result<Arc<T>, BrokenPromise>> {
        self.state.lock().outcome.clone()
    }
}

impl<T: Clone + Send + Sync + 'static> SharedFuture<T> {
    /// Makes a promise, and the future of it. Each task gets a clone of the value; wrap one that cannot be cloned in an
    /// [`Arc`].
    pub fn new() -> (Promise<T>, Self) {
        let (promise, deferred) = oneshot();
        (promise, deferred.shared())
    }

    fn from_deferred(mut deferred: Deferred<T>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                outcome: None,
                waiters: BTreeMap::new(),
                next_ticket: 0,
                source: None,
            }),
        });
        // Weak: the promise must not keep alive what is to cancel it.
        let theirs: Weak<Shared<T>> = Arc::downgrade(&shared);
        deferred.on_done(move |result| {
            if let Some(shared) = theirs.upgrade() {
                shared.decide(result.map(Arc::new));
            }
        });
        let mut state = shared.state.lock();
        // Not if it is decided already: then the deferred has nothing more to tell.
        if state.outcome.is_none() {
            state.source = Some(deferred);
        }
        drop(state);
        Self { shared, ticket: None }
    }
}

impl<T: Clone + Send + Sync + 'static> Deferred<T> {
    /// Lets any number of others wait for the value, of which each gets a clone.
    pub fn shared(self) -> SharedFuture<T> {
        SharedFuture::from_deferred(self)
    }
}

impl<T: Clone + Send + Sync + 'static> From<Deferred<T>> for SharedFuture<T> {
    fn from(deferred: Deferred<T>) -> Self {
        deferred.shared()
    }
}

impl<T> SharedFuture<T> {
    /// Whether the promise was kept or broken: awaiting it takes no time.
    ///
    /// asyncio: `future.done()`.
    #[doc(alias = "done")]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shared.state.lock().outcome.is_some()
    }

    /// Gives up the value for all: every task that waits gets [`BrokenPromise`], and the promise is
    /// cancelled. `false`: too late, it is done.
    ///
    /// asyncio: `future.cancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::SharedFuture;
    ///
    /// let (promise, future) = SharedFuture::<u32>::new();
    /// assert!(future.cancel());
    /// assert!(promise.is_cancelled());
    /// assert!(future.blocking_wait().is_err());
    /// ```
    pub fn cancel(&self) -> bool {
        self.shared.decide(Err(BrokenPromise::new()))
    }
}

impl<T: Clone> SharedFuture<T> {
    /// The value if it is there: `None` means not yet.
    ///
    /// asyncio: `future.result()`.
    #[doc(alias = "result")]
    #[must_use]
    pub fn try_wait(&self) -> Option<Result<T, BrokenPromise>> {
        self.shared.outcome().map(value)
    }

    /// Waits for the value on this thread.
    ///
    /// concurrent.futures: `future.result()`.
    ///
    /// # Errors
    ///
    /// [`BrokenPromise`], if the promise was dropped or the future cancelled.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would block.
    #[track_caller]
    pub fn blocking_wait(&self) -> Result<T, BrokenPromise> {
        park::block_on(self.clone())
    }

    /// Waits for the value on this thread, at most for `timeout`: `None` means not yet.
    ///
    /// concurrent.futures: `future.result(timeout)`. A `timeout` of zero looks once.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would block.
    #[track_caller]
    pub fn blocking_wait_timeout(&self, timeout: Duration) -> Option<Result<T, BrokenPromise>> {
        park::block_on_timeout(self.clone(), timeout)
    }
}

fn value<T: Clone>(outcome: Result<Arc<T>, BrokenPromise>) -> Result<T, BrokenPromise> {
    outcome.map(|value| T::clone(&value))
}

impl<T: Clone> Future for SharedFuture<T> {
    type Output = Result<T, BrokenPromise>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut new = None;
        let old = loop {
            let mut state = this.shared.state.lock();
            if let Some(outcome) = state.outcome.clone() {
                drop(state);
                panic::discard_foreign(new);
                if !current::budget_spend() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(value(outcome));
            }
            current::waits_for(WaitKind::SharedFuture, Arc::as_ptr(&this.shared).addr() as u64);
            let mine = this.ticket.and_then(|ticket| state.waiters.get(&ticket));
            if mine.is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            match new.take() {
                Some(new) => {
                    let ticket = *this.ticket.get_or_insert(state.next_ticket);
                    state.next_ticket = state.next_ticket.max(ticket + 1);
                    break state.waiters.insert(ticket, new);
                }
                None => {
                    drop(state);
                    new = Some(cx.waker().clone());
                }
            }
        };
        panic::discard_foreign(old);
        Poll::Pending
    }
}

impl<T> Clone for SharedFuture<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), ticket: None }
    }
}

impl<T> Drop for SharedFuture<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.shared.state.lock().waiters.remove(&ticket);
            panic::discard_foreign(waker);
        }
    }
}

impl<T> fmt::Debug for SharedFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        let outcome = match state.outcome {
            None => "pending",
            Some(Ok(_)) => "set",
            Some(Err(_)) => "broken",
        };
        let waiters = state.waiters.len();
        drop(state);
        f.debug_struct("SharedFuture").field("state", &outcome).field("waiters", &waiters).finish()
    }
}
