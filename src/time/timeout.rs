//! A future and a limit to its time.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    future::{Future, IntoFuture},
    io, mem,
    panic::Location,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::FusedFuture;
use pin_project_lite::pin_project;

use super::Instant;
use crate::{
    error::{CancelCause, Cause, ScopeKind},
    runtime::Deadline,
    task::Scope,
    util::current,
};

/// Waits for `future`, but no longer than `duration`, counted from this call.
///
/// The future is polled first, so a value that is ready wins over a time that has
/// passed, and one that is ready at once costs no timer. With [`Duration::ZERO`] the
/// future is polled exactly once, unless its task has done so much in one go that others
/// have to have a turn: then it is polled once more after that.
///
/// When the time is over, the request is delivered to regions inside:
/// [`catch_cancel`](crate::catch_cancel), innermost first. What runs under
/// [`uncancellable`](crate::uncancellable) comes to its end. Then the future is dropped, and the
/// `Timeout` is ready: the cleanup is over by then. If the future gives a value although the
/// request was delivered to a region, the result is [`Elapsed`] all the same, unless that region
/// has [consumed](crate::Cancelled::consume) the request. A future that blocks its thread instead
/// of waiting can not be interrupted.
///
/// The kind of handle decides what becomes of a task whose handle is waited for:
///
/// | | when the time is over |
/// |---|---|
/// | `timeout(d, job())` | the job is dropped, after its cleanup |
/// | `timeout(d, spawn(job()))` | the job runs on: the handle only watches |
/// | `timeout(d, spawn(job()).join())` | the job is cancelled, and has ended when `Elapsed` comes |
///
/// asyncio: `asyncio.wait_for(aw, timeout)` and `asyncio.timeout`. There a value that the body
/// returns after the time wins; here it does not.
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
#[track_caller]
#[inline]
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
#[track_caller]
#[inline]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    let deadline = Deadline::new(deadline.as_nanos());
    let scope = Scope::default();
    let made_at = Location::caller();
    let inner = Some(future.into_future());
    Timeout { inner, scope, deadline, asks: true, over: false, name: None, made_at }
}

pin_project! {
    /// A future with a limit to its time: what [`timeout`] and [`timeout_at`] return.
    #[must_use = "a timeout does nothing unless awaited"]
    pub struct Timeout<F> {
        // `None` once the time is over. Above the scope: what is inside is dropped first.
        #[pin]
        inner: Option<F>,
        scope: Scope,
        deadline: Deadline,
        // Whether the deadline may have passed before the first poll, for all that is known.
        asks: bool,
        // The deadline has passed.
        over: bool,
        name: Option<&'static str>,
        made_at: &'static Location<'static>,
    }
}

impl<F> Timeout<F> {
    /// When the time is over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline.at())
    }

    /// Gives the timeout a name, which its [`Elapsed`] and the
    /// [cause](crate::CancelCause::name) of what it cancels tell.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use ringloop::time::timeout;
    ///
    /// ringloop::run(async {
    ///     let never = timeout(Duration::ZERO, std::future::pending::<()>()).named("first byte");
    ///     assert_eq!(never.await.unwrap_err().name(), Some("first byte"));
    /// });
    /// ```
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// The future inside. `None` after the time was over.
    #[must_use]
    pub fn get_ref(&self) -> Option<&F> {
        self.inner.as_ref()
    }

    /// The future inside, by exclusive reference. `None` after the time was over.
    #[must_use]
    pub fn get_mut(&mut self) -> Option<&mut F> {
        self.inner.as_mut()
    }

    /// The future, without its limit. `None` after the time was over.
    #[must_use]
    pub fn into_inner(self) -> Option<F> {
        self.inner
    }
}

impl<F: Future> Timeout<F> {
    /// What is inside is pending.
    fn poll_deadline(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let mut this = self.project();
        if this.scope.is_consumed() && !this.scope.is_asked() {
            return Poll::Pending;
        }
        if !*this.over {
            let first = mem::take(this.asks);
            ready!(this.deadline.poll_with(cx, first));
            *this.over = true;
            // Without budget the future could not be ready, whatever is there: it has a turn more.
            // Else a time that was over from the start gives none.
            if !current::budget_spend() {
                cx.waker().wake_by_ref();
            } else if first {
                this.scope.skip_turn();
            }
        }
        let cause = || {
            let mut cause = CancelCause::new(ScopeKind::Timeout, Some(this.made_at));
            cause.name = this.name.map(Cow::Borrowed);
            Cause::new(cause)
        };
        ready!(this.scope.deliver(cx, cause));
        this.inner.set(None);
        Poll::Ready(Elapsed { at: this.deadline.at(), name: *this.name })
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let at = this.deadline.at();
        let inner = this.inner.as_mut().as_pin_mut();
        let inner = inner.expect("a Timeout was polled after it was ready");
        match this.scope.enter(at, || inner.poll(cx)) {
            Poll::Ready(_) if this.scope.has_delivered() => {
                Poll::Ready(Err(Elapsed { at, name: *this.name }))
            }
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll_deadline(cx).map(Err),
        }
    }
}

impl<F: FusedFuture> FusedFuture for Timeout<F> {
    fn is_terminated(&self) -> bool {
        self.inner.as_ref().is_none_or(F::is_terminated)
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
    at: u64,
    name: Option<&'static str>,
}

impl Elapsed {
    /// Of something without a name.
    pub(super) fn at(deadline: Instant) -> Self {
        Self { at: deadline.as_nanos(), name: None }
    }

    /// The time that came.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::from_nanos(self.at)
    }

    /// The timeout's name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "the deadline of \"{name}\" has elapsed"),
            None => f.write_str("the deadline has elapsed"),
        }
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}
