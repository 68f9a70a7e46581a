//! The regions: a catch, which hears of a cancellation, and a mask, which hides from it.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::FusedFuture;
use pin_project_lite::pin_project;

use super::{
    Cancelled,
    frame::{self, Kind},
    node::{Link, Node},
};
use crate::util::rare::Rare;

/// The part of a region that its future keeps.
#[derive(Default)]
pub(crate) struct Region {
    link: Rare<Link>,
}

impl Region {
    /// Polls what is inside a catch. An error: the request was delivered. The caller drops the
    /// inner future, or brings it to its end under [`poll_masked`](Self::poll_masked).
    #[inline(always)]
    pub(crate) fn poll_catch<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Cancelled>> {
        let polled = self.poll_open_catch(cx, poll);
        if let Poll::Ready(Ok(_)) = polled {
            self.end();
        }
        polled
    }

    /// As [`poll_catch`](Self::poll_catch); but once what is inside is ready, the caller [ends](Self::end) the region,
    /// or makes it a [mask](Self::become_mask).
    #[inline(always)]
    pub(crate) fn poll_open_catch<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Cancelled>> {
        match self.enter(Kind::Catch, || poll(cx)) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.suspend(cx).map(Err),
        }
    }

    /// What is inside a catch is pending.
    fn suspend(&mut self, cx: &mut Context<'_>) -> Poll<Cancelled> {
        let Some(link) = self.link.as_ref() else {
            self.link = Rare::new(Link::new(Node::new_catch(cx.waker())));
            return Poll::Pending;
        };
        let node = link.node();
        node.set_waker(cx.waker());
        let Some(delivery) = node.receive() else { return Poll::Pending };
        // A region that appeared inside since hears of it first. A scope that this region has just
        // left, on another thread, may have delivered too late.
        if node.has_below() || !frame::is_around(&delivery.by) {
            node.forget();
            return Poll::Pending;
        }
        self.end();
        Poll::Ready(Cancelled { scope: delivery.by, cause: delivery.cause })
    }

    /// Polls what is inside a mask.
    pub(crate) fn poll_masked<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let polled = self.enter(Kind::Mask, poll);
        match polled {
            Poll::Ready(_) => self.end(),
            Poll::Pending => {
                self.link.get_or_insert_with(|| Link::new(Node::new(Kind::Mask)));
            }
        }
        polled
    }

    /// Polls what is inside. A panic ends the region: its future may be kept, and is not polled again.
    #[inline(always)]
    fn enter<T>(&mut self, kind: Kind, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let ends = EndOnPanic(&mut self.link);
        let polled = frame::enter(ends.0, kind, u64::MAX, poll);
        mem::forget(ends);
        polled
    }

    /// The catch has ended, and what comes now is polled under a mask.
    pub(crate) fn become_mask(&mut self) {
        if self.link.as_ref().is_some_and(|link| !link.become_mask()) {
            self.end_link();
        }
    }

    #[cold]
    fn end_link(&mut self) {
        if let Some(link) = self.link.take() {
            link.end();
        }
    }

    /// The region came to its end in a poll.
    #[inline(always)]
    pub(crate) fn end(&mut self) {
        if self.link.is_some() {
            self.end_link();
        }
    }
}

/// Ends a region whose poll does not come back.
struct EndOnPanic<'a>(&'a mut Rare<Link>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// Runs `future` as a region that hears of a cancellation: then `future` is dropped, and the code
/// around it goes on with [`Cancelled`].
///
/// The request stands. The code after it may do what needs no await, and return; cleanup that awaits
/// belongs under [`uncancellable`], or into [`finally`](crate::finally). A value that is ready
/// when the request comes wins. Where regions are nested, the innermost hears first, and each further
/// one at the next suspension.
///
/// asyncio: `try: await future` / `except CancelledError`. There the request is used up by that;
/// here [`Cancelled::consume`] says so.
///
/// # Cancel safety
///
/// That of `future`. Where the whole is dropped, by a `select!` of another library or by
/// [`abort`](crate::Task::abort), nothing is heard: only destructors run.
///
/// # Errors
///
/// [`Cancelled`] if a scope around it was cancelled first.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{catch_cancel, time::{sleep, timeout}};
///
/// ringloop::run(async {
///     let slow = async {
///         if let Err(gone) = catch_cancel(sleep(Duration::from_secs(60))).await {
///             println!("{gone}"); // cancelled by its timeout
///         }
///     };
///     assert!(timeout(Duration::from_millis(1), slow).await.is_err());
/// });
/// ```
#[doc(alias = "CancelledError")]
pub fn catch_cancel<F: IntoFuture>(future: F) -> CatchCancel<F::IntoFuture> {
    CatchCancel { inner: Some(future.into_future()), region: Region::default() }
}

pin_project! {
    /// A region that hears of a cancellation: what [`catch_cancel`] returns.
    #[must_use = "futures do nothing unless awaited"]
    pub struct CatchCancel<F> {
        // Above the region: what is inside is dropped first.
        #[pin]
        inner: Option<F>,
        region: Region,
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = this.region.poll_catch(cx, |cx| {
            let inner = this.inner.as_mut().as_pin_mut();
            inner.expect("a CatchCancel was polled after it was ready").poll(cx)
        });
        if polled.is_ready() {
            this.inner.set(None);
        }
        polled
    }
}

impl<F: Future> FusedFuture for CatchCancel<F> {
    fn is_terminated(&self) -> bool {
        self.inner.is_none()
    }
}

/// Runs `future` to its end, whatever scopes around it are cancelled meanwhile.
///
/// Scopes that are opened inside work as always. What was asked for outside stands, and is heard at
/// the next suspension after. Only [`abort`](crate::Task::abort) and the deadline of the runtime's
/// shutdown break it: give it a limit of its own, with a timeout inside.
///
/// asyncio: nothing alike; `shield` lets the waiting end and the work go on.
///
/// # Cancel safety
///
/// That of `future`: a `select!` of another library may still drop it.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{time::sleep, uncancellable};
///
/// ringloop::run(async {
///     let task = ringloop::spawn(async {
///         uncancellable(sleep(Duration::from_millis(2))).await;
///         "written"
///     });
///     ringloop::yield_now().await;
///     task.cancel();
///     assert_eq!(task.await.unwrap(), "written");
/// });
/// ```
#[doc(alias = "shield")]
pub fn uncancellable<F: IntoFuture>(future: F) -> Uncancellable<F::IntoFuture> {
    Uncancellable { inner: future.into_future(), region: Region::default() }
}

pin_project! {
    /// A region that hides from cancellation: what [`uncancellable`] returns.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Uncancellable<F> {
        #[pin]
        inner: F,
        region: Region,
    }
}

impl<F: FusedFuture> FusedFuture for Uncancellable<F> {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

impl<F: Future> Future for Uncancellable<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.region.poll_masked(|| this.inner.poll(cx))
    }
}
