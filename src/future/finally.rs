//! Cleanup that awaits.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    task::{Cancelled, catch_cancel, uncancellable},
    time::timeout,
    util::panic,
};

/// Runs `future`, and then `cleanup`, whatever has become of `future`: a value, a cancellation or a
/// panic, also one in its destructor.
///
/// `cleanup` may await. It is not disturbed by a cancellation, of its task or of any scope around it,
/// but has `limit` only: then it is dropped. Nothing is awaited between the two. A panic of `future`
/// goes on after `cleanup`; one of `cleanup` wins.
///
/// asyncio: `try: await future` / `finally: await cleanup`. There a second cancel interrupts the
/// cleanup, and nothing limits it.
///
/// # Cancel safety
///
/// Where the whole is dropped instead of cancelled, by a `select!` of another library or by
/// [`abort`](crate::Task::abort), `cleanup` does not run: only destructors do.
///
/// # Errors
///
/// [`Cancelled`] if a scope around it was cancelled first. The request stands.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{finally, time::{sleep, timeout}};
///
/// ringloop::run(async {
///     let mut said_goodbye = false;
///     let session = finally(
///         sleep(Duration::from_secs(60)),
///         async {
///             ringloop::yield_now().await; // a farewell to the peer
///             said_goodbye = true;
///         },
///         Duration::from_secs(1),
///     );
///     assert!(timeout(Duration::from_millis(1), session).await.is_err());
///     assert!(said_goodbye);
/// });
/// ```
#[doc(alias = "AsyncExitStack")]
pub async fn finally<F, C>(future: F, cleanup: C, limit: Duration) -> Result<F::Output, Cancelled>
where
    F: IntoFuture,
    C: IntoFuture,
{
    let ended = match panic::catch(|| future.into_future()) {
        Ok(future) => caught(catch_cancel(future)).await,
        Err(payload) => Err(payload),
    };
    // Without a value: what takes longer than it may is dropped.
    _ = uncancellable(timeout(limit, cleanup)).await;
    match ended {
        Ok(ended) => ended,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// The future's value or its panic, in a poll or in its destructor.
pub(super) fn caught<F: Future>(future: F) -> Caught<F> {
    Caught { inner: Some(future) }
}

pin_project! {
    /// What [`caught`] returns.
    pub(super) struct Caught<F> {
        #[pin]
        inner: Option<F>,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, panic::Payload>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.project().inner;
        let polled = panic::catch(|| {
            let inner = inner.as_mut().as_pin_mut();
            inner.expect("a future was polled after it was ready").poll(cx)
        });
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(payload),
        };
        let dropped = panic::catch(|| inner.set(None));
        // The first panic counts.
        Poll::Ready(match (ended, dropped) {
            (ended, Ok(())) => ended,
            (Ok(value), Err(payload)) => {
                panic::discard_foreign(value);
                Err(payload)
            }
            (Err(payload), Err(second)) => {
                panic::discard(second);
                Err(payload)
            }
        })
    }
}
