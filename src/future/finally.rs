//! Cleanup that awaits.

use std::{pin::pin, time::Duration};

use crate::{
    task::{Cancelled, catch_cancel, uncancellable},
    time::timeout,
    util::panic,
};

/// Runs `future`, and then `cleanup`, whatever has become of `future`: a value, a cancellation or a
/// panic.
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
    let ended = catch_cancel(caught(future.into_future())).await;
    // Without a value: what takes longer than it may is dropped.
    _ = uncancellable(timeout(limit, cleanup)).await;
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(payload)) => std::panic::resume_unwind(payload),
        Err(gone) => Err(gone),
    }
}

/// The future's value or its panic.
pub(super) async fn caught<F: Future>(future: F) -> Result<F::Output, panic::Payload> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match panic::catch(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => std::task::Poll::Ready(Err(payload)),
    })
    .await
}
