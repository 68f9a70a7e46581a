//! Waiting until everything else waits.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::scheduler::AllBlocked;

/// Waits until every other task of the runtime waits.
///
/// With one worker this is exact: no task is ready, and nothing that has come from the kernel has yet to
/// be looked at. With several it is exact for what tasks do to each other; that bytes have arrived for a
/// socket of another worker is noticed later, so while any descriptor is registered nothing must have run
/// for 1 ms. A task that waits for a job of [`to_thread`](crate::to_thread), for a timer or for a socket
/// does wait: what comes from there may wake it the next moment. The [mock clock](super::Clock) does not
/// jump as long as somebody waits for this. Several tasks that wait for it go on together.
///
/// asyncio: has none; tests there call `sleep(0)` some times and hope. trio: `wait_all_tasks_blocked`.
///
/// # Cancel safety
///
/// Nothing is lost.
///
/// # Panics
///
/// When awaited outside a runtime.
///
/// ```
/// use std::sync::Arc;
/// use ringloop::{sync::Semaphore, testing};
///
/// ringloop::run(async {
///     let permits = Arc::new(Semaphore::new(2));
///     let tasks: Vec<_> = (0..5)
///         .map(|_| {
///             let permits = permits.clone();
///             ringloop::spawn(async move { permits.acquire().await.map(|permit| permit.forget()) })
///         })
///         .collect();
///     testing::wait_all_blocked().await;
///     // All have run as far as they can.
///     assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 2);
/// });
/// ```
pub fn wait_all_blocked() -> WaitAllBlocked {
    WaitAllBlocked(AllBlocked::default())
}

/// The future of [`wait_all_blocked`].
#[must_use = "futures do nothing unless awaited"]
pub struct WaitAllBlocked(AllBlocked);

impl Future for WaitAllBlocked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for WaitAllBlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitAllBlocked").finish_non_exhaustive()
    }
}
