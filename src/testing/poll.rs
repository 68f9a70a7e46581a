//! Polling by hand, and counting polls.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use pin_project_lite::pin_project;

use crate::{
    loom::global::{AtomicU64, Ordering},
    util::current,
};

/// Polls a future once, with a waker that does nothing.
///
/// The future can be polled again, or awaited, afterwards: it then gets the waker of that poll. In a
/// task of a runtime it may use timers and sockets. A future that is not `Unpin` is pinned first, by
/// [`pin!`](std::pin::pin) or `Box::pin`, and passed by reference.
///
/// asyncio: `coroutine.send(None)`, where `StopIteration` means ready.
///
/// ```
/// use std::{pin::pin, task::Poll};
/// use ringloop::{sync::oneshot, testing::poll_once};
///
/// let (promise, deferred) = oneshot::<i32>();
/// let mut future = pin!(deferred);
/// assert!(poll_once(&mut future).is_pending());
/// promise.set(5).unwrap();
/// assert_eq!(poll_once(&mut future), Poll::Ready(Ok(5)));
/// ```
pub fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts how often a future is polled, and how often it is woken.
///
/// asyncio: has none.
///
/// ```
/// use ringloop::testing::counted;
///
/// ringloop::run(async {
///     let (future, counts) = counted(ringloop::yield_now());
///     ringloop::spawn(future).await.unwrap();
///     assert_eq!(counts.polls(), 2);
///     assert_eq!(counts.wakes(), 1);
/// });
/// ```
pub fn counted<F: Future>(future: F) -> (Counted<F>, Counts) {
    let counts = Counts::default();
    (Counted { future, counts: counts.clone(), waker: None }, counts)
}

/// What was counted of a [`Counted`] future. Clones show the same figures; any thread may read them,
/// also when the future is gone.
#[derive(Clone, Default)]
pub struct Counts(Arc<Figures>);

#[derive(Default)]
struct Figures {
    polls: AtomicU64,
    wakes: AtomicU64,
}

impl Counts {
    /// How often it was polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        // Relaxed, here and below: figures that nothing else hangs on.
        self.0.polls.load(Ordering::Relaxed)
    }

    /// How often a waker that it was given has been woken, also before it was polled again.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.0.wakes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts")
            .field("polls", &self.polls())
            .field("wakes", &self.wakes())
            .finish()
    }
}

/// The waker that a [`Counted`] future gets.
struct Counter {
    counts: Counts,
    waker: Waker,
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.counts.0.wakes.fetch_add(1, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }
}

pin_project! {
    /// The future of [`counted`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Counted<F> {
        #[pin]
        future: F,
        counts: Counts,
        // The waker of the last poll, and the counting waker that wakes it: code that compares
        // wakers sees no change.
        waker: Option<(Waker, Waker)>,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.counts.0.polls.fetch_add(1, Ordering::Relaxed);
        let counting = match this.waker {
            Some((waker, counting)) if waker.will_wake(cx.waker()) => counting,
            _ => {
                let waker = cx.waker().clone();
                let counter = Counter { counts: this.counts.clone(), waker: waker.clone() };
                &mut this.waker.insert((waker, Arc::new(counter).into())).1
            }
        };
        this.future.poll(&mut Context::from_waker(counting))
    }
}

impl<F> fmt::Debug for Counted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// Awaits a future, and panics if it has not given way to other tasks.
///
/// A future gives way if it suspends at least once, or if it takes something from the budget that a
/// task has for each poll. Then a loop around it cannot hold the worker, since it suspends when the
/// budget is used up. Everything in this crate that waits does one or the other.
///
/// asyncio: has none; every `await` of a coroutine that never suspends keeps the loop. trio:
/// `assert_checkpoints`.
///
/// # Panics
///
/// If the future is ready and has done neither; outside a task of a runtime, where there is no budget.
///
/// ```
/// use ringloop::{sync::Lock, testing::assert_yields};
///
/// ringloop::run(async {
///     let lock = Lock::new(1);
///     // It is free, and gets locked at once; but not without end.
///     let guard = assert_yields(lock.lock()).await;
///     assert_eq!(*guard, 1);
/// });
/// ```
#[track_caller]
pub fn assert_yields<F: Future>(future: F) -> AssertYields<F> {
    AssertYields { future, expected: true, suspended: false, called_at: Location::caller() }
}

/// Awaits a future, and panics if it gives way to other tasks: the contrary of [`assert_yields`].
///
/// It is for code that must not suspend in between, where an `await` is only there for a trait's sake.
///
/// asyncio: has none. trio: `assert_no_checkpoints`.
///
/// # Panics
///
/// If the future suspends, or takes something from its task's budget; outside a task of a runtime.
///
/// ```
/// use ringloop::testing::assert_no_yields;
///
/// ringloop::run(async {
///     assert_eq!(assert_no_yields(async { 1 + 1 }).await, 2);
/// });
/// ```
#[track_caller]
pub fn assert_no_yields<F: Future>(future: F) -> AssertYields<F> {
    AssertYields { future, expected: false, suspended: false, called_at: Location::caller() }
}

pin_project! {
    /// The future of [`assert_yields`] and [`assert_no_yields`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct AssertYields<F> {
        #[pin]
        future: F,
        expected: bool,
        suspended: bool,
        called_at: &'static Location<'static>,
    }
}

impl<F: Future> Future for AssertYields<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let at = *this.called_at;
        assert!(current::in_task(), "assert_yields at {at} is polled outside a ringloop task");
        let budget = || current::with(|current| current.budget.get());
        let before = budget();
        let polled = this.future.poll(cx);
        let suspended = polled.is_pending() || *this.suspended;
        *this.suspended = suspended;
        match *this.expected {
            true if polled.is_ready() => assert!(
                suspended || budget() < before,
                "the future at {at} was ready at once and took nothing from its task's budget: \
                 a loop around it would keep the worker"
            ),
            false => {
                assert!(!suspended, "the future at {at} was expected not to suspend");
                assert!(
                    budget() == before,
                    "the future at {at} took something from its task's budget: it may suspend"
                );
            }
            true => {}
        }
        polled
    }
}

impl<F> fmt::Debug for AssertYields<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertYields")
            .field("called_at", &format_args!("{}", self.called_at))
            .finish_non_exhaustive()
    }
}
