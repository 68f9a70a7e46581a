//! A future and a limit to its time.

use std::{
    error::Error,
    fmt,
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::Instant;
use crate::{runtime::Deadline, util::current};

/// Waits for `future`, but no longer than `duration`, counted from this call.
///
/// The future is polled first, so a value that is ready wins over a time that has
/// passed, and one that is ready at once costs no timer. With [`Duration::ZERO`] the
/// future is polled exactly once, unless its task has done so much in one go that others
/// have to have a turn: then it is polled once more after that. When the time is over the
/// future is not polled any more, and ends when the `Timeout` is dropped: at once, where it
/// is awaited. A future that blocks its thread instead of waiting can not be interrupted.
///
/// asyncio: `asyncio.wait_for(aw, timeout)`. There the inner task is cancelled and may
/// still run and answer; here it is dropped. To let it clean up at its own pace, give
/// it a task of its own and a [`timeout`] to the handle.
///
/// # Cancel safety
///
/// That of the future: the timeout itself has nothing to lose. To keep the future when
/// the time is over, give it as `&mut future`.
///
/// # Errors
///
/// [`Elapsed`] if the time came first.
///
/// # Panics
///
/// When it has to wait outside a runtime.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::{sleep, timeout};
///
/// ringloop::run(async {
///     let quick = timeout(Duration::from_secs(60), async { "done" }).await;
///     assert_eq!(quick, Ok("done"));
///
///     let slow = sleep(Duration::from_secs(60));
///     assert!(timeout(Duration::from_millis(1), slow).await.is_err());
/// });
/// ```
#[doc(alias = "wait_for")]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    let mut timeout = timeout_at(Instant::now() + duration, future);
    // The clock has just been read.
    timeout.asks = duration.is_zero();
    timeout
}

/// Waits for `future`, but no longer than until `deadline`, as [`timeout`] does for a
/// duration.
///
/// asyncio: `asyncio.timeout_at(when)` around an await.
///
/// # Cancel safety
///
/// That of the future.
///
/// # Errors
///
/// [`Elapsed`] if the time came first.
///
/// # Panics
///
/// When it has to wait outside a runtime.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::{Instant, sleep, timeout_at};
///
/// ringloop::run(async {
///     // One limit for two steps.
///     let deadline = Instant::now() + Duration::from_millis(5);
///     let first = timeout_at(deadline, sleep(Duration::from_millis(1))).await;
///     let second = timeout_at(deadline, sleep(Duration::from_secs(60))).await;
///     assert!(first.is_ok());
///     assert_eq!(second.unwrap_err().deadline(), deadline);
/// });
/// ```
#[doc(alias = "wait_for")]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    let deadline = Deadline::new(deadline.as_nanos());
    Timeout { inner: future.into_future(), deadline, asks: true, over: false }
}

pin_project! {
    /// A future with a limit to its time: what [`timeout`] and [`timeout_at`] return.
    #[must_use = "a timeout does nothing unless awaited"]
    pub struct Timeout<F> {
        #[pin]
        inner: F,
        deadline: Deadline,
        // Whether the deadline may have passed before the first poll, for all that is known.
        asks: bool,
        // The deadline has passed, and the future has one turn more.
        over: bool,
    }
}

impl<F> Timeout<F> {
    /// When the time is over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline.at())
    }

    /// The future inside.
    #[must_use]
    pub fn get_ref(&self) -> &F {
        &self.inner
    }

    /// The future inside, by exclusive reference.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.inner
    }

    /// The future, without its limit.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.inner
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.inner.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        if !*this.over {
            ready!(this.deadline.poll_with(cx, *this.asks));
            // Without budget the future could not be ready, whatever is there: it has a turn more.
            // Not two: one that always uses the budget up would never time out.
            *this.over = true;
            ready!(current::poll_budget(cx));
        }
        Poll::Ready(Err(Elapsed { at: this.deadline.at() }))
    }
}

impl<F: fmt::Debug> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("deadline", &self.deadline())
            .field("inner", &self.inner)
            .finish()
    }
}

/// The error of a [`timeout`]: the time came first.
///
/// Converts into an [`io::Error`] of the kind [`TimedOut`](io::ErrorKind::TimedOut), so
/// that `?` takes it where I/O errors go.
///
/// asyncio: `TimeoutError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "TimeoutError")]
pub struct Elapsed {
    pub(super) at: u64,
}

impl Elapsed {
    /// The time that came.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::from_nanos(self.at)
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}
