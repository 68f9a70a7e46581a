//! The budget of a poll, for authors of futures of their own.
//!
//! A task may complete 128 leaf operations in one poll; then the next one that is ready makes it
//! yield, so that a task whose data is always there does not keep its worker from the others.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::util::current;

/// Spends one unit of the running task's budget; where none is left, it yields first.
///
/// For the author of a future that can be ready many times in a row without suspending: a loop over
/// data that is there already. Every leaf of this crate does it by itself. Outside of tasks it is
/// ready at once.
///
/// asyncio: nothing alike: there a loop that is always ready holds up all others, if it does not
/// `await sleep(0)`.
///
/// # Cancel safety
///
/// Nothing is lost.
///
/// ```
/// use ringloop::task::consume_budget;
///
/// ringloop::run(async {
///     let mut sum = 0;
///     for number in 0..1000_u64 {
///         sum += number;
///         consume_budget().await; // other tasks run in between
///     }
///     assert_eq!(sum, 499_500);
/// });
/// ```
pub async fn consume_budget() {
    poll_fn(|cx| current::poll_budget(cx)).await;
}

/// Polls `future` without the budget: it may complete any number of leaf operations in one poll.
///
/// Other tasks of the worker wait meanwhile. The budget of the code around it is as it was.
///
/// # Cancel safety
///
/// That of `future`.
///
/// ```
/// use ringloop::{sync::Lock, task::unconstrained};
///
/// ringloop::run(async {
///     let lock = Lock::new(0);
///     unconstrained(async {
///         for _ in 0..1000 {
///             *lock.lock().await += 1; // never yields: nobody else has the lock
///         }
///     })
///     .await;
///     assert_eq!(*lock.lock().await, 1000);
/// });
/// ```
pub fn unconstrained<F: Future>(future: F) -> Unconstrained<F> {
    Unconstrained { future }
}

pin_project! {
    /// A future that is polled without the budget: see [`unconstrained`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Unconstrained<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Unconstrained<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.project().future;
        current::with_budget(true, || future.poll(cx))
    }
}

impl<F> fmt::Debug for Unconstrained<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unconstrained").finish_non_exhaustive()
    }
}

/// Spends one unit of the running task's budget at each poll of `future`, for futures of other
/// libraries that do not know it.
///
/// A task that takes from a channel of tokio's or of futures' which is never empty would not yield: each item is
/// ready, and other tasks of the worker wait. With `coop` around each wait they run in between. `future` is
/// not polled when the budget is spent, so that nothing is taken. A stream of items can be wrapped as a whole.
///
/// tokio: `tokio::task::coop::cooperative`.
///
/// # Cancel safety
///
/// That of `future`.
///
/// ```
/// use futures_util::{StreamExt, stream};
/// use ringloop::task::coop;
///
/// ringloop::run(async {
///     let mut ones = coop(stream::repeat(1)).take(1000);
///     let mut sum = 0;
///     while let Some(one) = ones.next().await {
///         sum += one; // other tasks run in between
///     }
///     assert_eq!(sum, 1000);
///     assert_eq!(coop(async { 7 }).await, 7);
/// });
/// ```
pub fn coop<F>(future: F) -> Coop<F> {
    Coop { inner: future }
}

pin_project! {
    /// A future or a stream whose polls spend budget: see [`coop`].
    #[must_use = "futures and streams do nothing unless they are awaited"]
    pub struct Coop<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for Coop<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        ready!(current::poll_budget(cx));
        self.project().inner.poll(cx)
    }
}

impl<S: Stream> Stream for Coop<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        ready!(current::poll_budget(cx));
        self.project().inner.poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl<F> fmt::Debug for Coop<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coop").finish_non_exhaustive()
    }
}
