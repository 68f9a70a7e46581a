//! Futures of one type, in a number that is not known: `gather`, `try_gather`, `race`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, Stream};
use pin_project_lite::pin_project;

use super::combine::{
    Combine, Ending, ErrorOf, HasOutcome, Member, Members, OkOf, OneOfMany, ResultLike,
};

pin_project! {
    /// A future that says which it is.
    pub struct Indexed<F> {
        #[pin]
        member: Member<F>,
        index: usize,
    }
}

impl<F: Future> Future for Indexed<F> {
    type Output = (usize, F::Output);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.member.poll_one(cx).map(|value| (*this.index, value))
    }
}

/// The futures that have not ended. Each is polled only when it was woken.
pub(super) struct Running<F>(FuturesUnordered<Indexed<F>>);

impl<F: Future> Running<F> {
    pub(super) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    pub(super) fn push(&mut self, index: usize, future: F) {
        self.0.push(Indexed { member: Member::new(future), index });
    }

    /// The next that is ready; `None` if none is left.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, F::Output)>> {
        Pin::new(&mut self.0).poll_next(cx)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops them all, if none has anything to clean up.
    pub(super) fn end_quietly(&mut self) -> bool {
        let mut all = true;
        for member in Pin::new(&mut self.0).iter_pin_mut() {
            all &= member.project().member.end_quietly();
        }
        all
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        let mut all = Poll::Ready(());
        for member in Pin::new(&mut self.0).iter_pin_mut() {
            if member.project().member.poll_end(cx, end).is_pending() {
                all = Poll::Pending;
            }
        }
        if all.is_ready() {
            self.0.clear();
        }
        all
    }
}

/// All of them: what [`gather`] runs.
pub struct GatherMany<F: Future> {
    running: Running<F>,
    values: Vec<Option<F::Output>>,
}

impl<F: Future> Unpin for GatherMany<F> {}

impl<F: Future> HasOutcome for GatherMany<F> {
    type Outcome = Vec<F::Output>;
}

impl<F: Future> Members for GatherMany<F> {
    fn poll_members(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome> {
        let this = &mut *self;
        while let Some((index, value)) = std::task::ready!(this.running.poll_next(cx)) {
            this.values[index] = Some(value);
        }
        let values = this.values.drain(..);
        Poll::Ready(values.map(|value| value.expect("each was ready")).collect())
    }

    fn end_quietly(mut self: Pin<&mut Self>) -> bool {
        self.running.end_quietly()
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        self.running.poll_end(cx, end)
    }
}

/// Runs futures of one type at the same time, and waits for all of them: their values, in order.
///
/// As [`gather!`](macro@crate::gather), for a list whose length is not known. They run in the task that
/// awaits, and may borrow from it. For tasks see [`gather_settled`](crate::gather_settled).
///
/// asyncio: `asyncio.gather(*coroutines)`.
///
/// # Cancel safety
///
/// Values of those that were ready are dropped with it.
///
/// ```
/// ringloop::run(async {
///     let squares = ringloop::gather((0..5).map(|n| async move { n * n })).await;
///     assert_eq!(squares, [0, 1, 4, 9, 16]);
/// });
/// ```
#[doc(alias = "join_all", alias = "asyncio.gather")]
#[track_caller]
pub fn gather<I>(futures: I) -> Combine<GatherMany<<I::Item as IntoFuture>::IntoFuture>>
where
    I: IntoIterator<Item: IntoFuture>,
{
    let mut running = Running::new();
    let mut values = Vec::new();
    for future in futures {
        running.push(values.len(), future.into_future());
        values.push(None);
    }
    Combine::new(GatherMany { running, values })
}

/// All of them, or the first error: what [`try_gather`] runs.
pub struct TryGatherMany<F: Future<Output: ResultLike>> {
    running: Running<F>,
    values: Vec<Option<OkOf<F>>>,
}

impl<F: Future<Output: ResultLike>> Unpin for TryGatherMany<F> {}

impl<F: Future<Output: ResultLike>> HasOutcome for TryGatherMany<F> {
    type Outcome = Result<Vec<OkOf<F>>, ErrorOf<F>>;
}

impl<F: Future<Output: ResultLike>> Members for TryGatherMany<F> {
    fn poll_members(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome> {
        let this = &mut *self;
        while let Some((index, value)) = std::task::ready!(this.running.poll_next(cx)) {
            match value.into_result() {
                Ok(value) => this.values[index] = Some(value),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let values = this.values.drain(..);
        Poll::Ready(Ok(values.map(|value| value.expect("each was ready")).collect()))
    }

    fn end_quietly(mut self: Pin<&mut Self>) -> bool {
        self.running.end_quietly()
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        self.running.poll_end(cx, end)
    }
}

/// As [`gather`](crate::gather()), for futures of `Result`s: the first error ends the others and is
/// the result.
///
/// To run tasks so, give their [`join`](crate::Task::join).
///
/// asyncio: `asyncio.gather(*coroutines)` without `return_exceptions`; there the others run on.
///
/// # Cancel safety
///
/// Values of those that were ready are dropped with it.
///
/// ```
/// ringloop::run(async {
///     let halves = |n: u32| async move { if n % 2 == 0 { Ok(n / 2) } else { Err(n) } };
///     assert_eq!(ringloop::try_gather([2, 4].map(halves)).await, Ok(vec![1, 2]));
///     assert_eq!(ringloop::try_gather([2, 3].map(halves)).await, Err(3));
/// });
/// ```
#[doc(alias = "try_join_all")]
#[track_caller]
pub fn try_gather<I>(futures: I) -> Combine<TryGatherMany<<I::Item as IntoFuture>::IntoFuture>>
where
    I: IntoIterator<Item: IntoFuture<Output: ResultLike>>,
{
    let mut running = Running::new();
    let mut values = Vec::new();
    for future in futures {
        running.push(values.len(), future.into_future());
        values.push(None);
    }
    Combine::new(TryGatherMany { running, values })
}

/// The first of them: what [`race`] runs.
pub struct RaceMany<F> {
    running: Running<F>,
}

impl<F> Unpin for RaceMany<F> {}

impl<F: Future> HasOutcome for RaceMany<F> {
    type Outcome = (usize, F::Output);
}

impl<F: Future> Members for RaceMany<F> {
    fn poll_members(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome> {
        self.running.poll_next(cx).map(|first| first.expect("at least one runs"))
    }

    fn end_quietly(mut self: Pin<&mut Self>) -> bool {
        self.running.end_quietly()
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        self.running.poll_end(cx, end)
    }
}

/// There was no future to wait for, so that there would be no end.
///
/// asyncio: the `ValueError` of `asyncio.wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty(pub(super) ());

impl fmt::Display for Empty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing to wait for: give at least one task or future")
    }
}

impl std::error::Error for Empty {}

crate::error::into_io_error!(Empty);

/// Runs futures of one type at the same time; the first that is ready wins: its index and its value.
///
/// The losers are ended, with their cleanup, before it is ready itself. To race tasks, give their
/// [`join`](crate::Task::join): the losers are cancelled and joined. For futures of different types
/// see [`race!`](macro@crate::race).
///
/// asyncio: `asyncio.wait(..., return_when=FIRST_COMPLETED)` and a loop that cancels the rest.
///
/// # Cancel safety
///
/// That of the futures.
///
/// # Errors
///
/// [`Empty`] if there is no future.
///
/// ```
/// ringloop::run(async {
///     let tasks = [3, 1, 2].map(|ms| {
///         ringloop::spawn(async move {
///             ringloop::time::sleep(std::time::Duration::from_millis(ms * 20)).await;
///             ms
///         })
///     });
///     let (index, value) = ringloop::race(tasks.map(ringloop::Task::join)).unwrap().await;
///     assert_eq!((index, value.unwrap()), (1, 1));
/// });
/// ```
#[doc(alias = "select_all")]
#[track_caller]
pub fn race<I>(futures: I) -> Result<Combine<RaceMany<<I::Item as IntoFuture>::IntoFuture>>, Empty>
where
    I: IntoIterator<Item: IntoFuture>,
{
    let mut running = Running::new();
    for (index, future) in futures.into_iter().enumerate() {
        running.push(index, future.into_future());
    }
    if running.is_empty() {
        return Err(Empty(()));
    }
    Ok(Combine::new(RaceMany { running }))
}
