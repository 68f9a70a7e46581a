//! A barrier for a fixed number of tasks.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::wait_list::{Status, WaitList, Waiter, Wakers, poll_queued};
use crate::{
    loom::{Mutex, const_fn},
    util::{current, panic, park, wait::WaitKind},
};

/// Lets tasks wait until a fixed number of them has arrived.
///
/// The last one to arrive completes the round, and all go on. It can be used again at once: a task
/// that arrives while the others still leave belongs to the next round.
///
/// asyncio: `asyncio.Barrier`. There `wait` returns an index that is taken from the count on
/// arrival, so that two get the same after a third was cancelled; here the indexes are given
/// out when the round is complete, in the order of arrival. `async with barrier` is `wait`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use ringloop::sync::Barrier;
///
/// ringloop::run(async {
///     let barrier = Arc::new(Barrier::new(3));
///     let tasks: Vec<_> = (0..3)
///         .map(|_| {
///             let barrier = barrier.clone();
///             ringloop::spawn(async move { barrier.wait().await.unwrap().index })
///         })
///         .collect();
///     let mut indexes = Vec::new();
///     for task in tasks {
///         indexes.push(task.await.unwrap());
///     }
///     indexes.sort();
///     assert_eq!(indexes, [0, 1, 2]);
/// });
/// ```
pub struct Barrier {
    parties: usize,
    state: Mutex<State>,
}

struct State {
    /// How many wait in this round.
    arrived: usize,
    aborted: bool,
    /// First those whose round is over, with what came of it; then those of this round.
    waiters: WaitList<Option<Outcome>>,
}

type Outcome = Result<usize, Broken>;

impl State {
    /// Ends the round for the tasks that wait: gives each its place among them, and empties the
    /// list.
    fn end_round(&mut self, outcome: impl Fn(usize) -> Outcome) {
        let mut index = 0;
        self.waiters.for_each(|slot| {
            if slot.is_none() {
                *slot = Some(outcome(index));
                index += 1;
            }
        });
        debug_assert_eq!(index, self.arrived);
        self.arrived = 0;
    }
}

impl Barrier {
    const_fn! {
        /// A barrier for `parties` tasks.
        ///
        /// # Panics
        ///
        /// With none.
        #[must_use]
        #[track_caller]
        pub fn new(parties: usize) -> Self {
            assert!(parties > 0, "a barrier is for one task at least");
            let state = State { arrived: 0, aborted: false, waiters: WaitList::new(WaitKind::Barrier) };
            Self { parties, state: Mutex::new(state) }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::Barrier::new(2).named("accounts");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.state.lock().waiters.set_name(name.into());
        self
    }

    /// Arrives, and waits for the others of this round.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time. While the round is not complete, that is as if it had
    /// never arrived: the barrier is not broken.
    ///
    /// # Errors
    ///
    /// [`Broken`] after [`abort`](Self::abort), and if the round is ended by
    /// [`reset`](Self::reset).
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Barrier;
    ///
    /// ringloop::run(async {
    ///     let barrier = Barrier::new(1);
    ///     let arrival = barrier.wait().await.unwrap();
    ///     assert!(arrival.leader && arrival.index == 0);
    /// });
    /// ```
    pub async fn wait(&self) -> Result<Arrival, Broken> {
        BarrierWait { barrier: self, waiter: Waiter::new(None) }.await
    }

    /// [`wait`](Self::wait) for a plain thread, which sleeps meanwhile.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_wait(&self) -> Result<Arrival, Broken> {
        park::block_on(self.wait())
    }

    /// Breaks the round for the tasks that wait, if there are any, and begins anew; also after
    /// [`abort`](Self::abort).
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Barrier;
    ///
    /// ringloop::run(async {
    ///     let barrier = Barrier::new(1);
    ///     barrier.abort();
    ///     barrier.reset();
    ///     assert!(barrier.wait().await.is_ok());
    /// });
    /// ```
    pub fn reset(&self) {
        self.break_round(false);
    }

    /// Breaks it for the tasks that wait and for all that come, until it is [reset](Self::reset).
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Barrier;
    ///
    /// ringloop::run(async {
    ///     let barrier = Barrier::new(2);
    ///     barrier.abort();
    ///     assert!(barrier.is_broken());
    ///     assert!(barrier.wait().await.is_err());
    /// });
    /// ```
    pub fn abort(&self) {
        self.break_round(true);
    }

    /// How many make a round.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many wait in this round.
    #[must_use]
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> usize {
        self.state.lock().arrived
    }

    /// Whether it was aborted, and not reset since.
    #[must_use]
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.state.lock().aborted
    }

    fn break_round(&self, abort: bool) {
        {
            let mut state = self.state.lock();
            state.aborted = abort;
            state.end_round(|_| Err(Broken(())));
        }
        self.release();
    }

    /// Releases the tasks whose round is over. Called by the task that ended it.
    fn release(&self) {
        let mut wakers = Wakers::new();
        loop {
            let more = self.state.lock().waiters.grant_while(&mut wakers, |slot| slot.is_some());
            wakers.wake_all();
            if !more {
                return;
            }
        }
    }

    /// Arrives: waits in line, or has its outcome.
    fn arrive(&self, mut waiter: Pin<&mut Waiter<Option<Outcome>>>, cx: &Context<'_>) {
        // Clone and drop are foreign code: outside of the lock (S6).
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        let last = state.arrived + 1 == self.parties;
        if !state.aborted && !last {
            state.arrived += 1;
            state.waiters.push_back(waiter, waker);
            return;
        }
        let aborted = state.aborted;
        if !aborted {
            state.end_round(Ok);
        }
        drop(state);
        panic::discard_foreign(waker);
        let outcome = if aborted { Err(Broken(())) } else { Ok(self.parties - 1) };
        *waiter.as_mut().value_mut() = Some(outcome);
        if !aborted {
            self.release();
        }
    }

    fn arrival(&self, index: usize) -> Arrival {
        Arrival { index, leader: index + 1 == self.parties }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiters, broken) = {
            let state = self.state.lock();
            (state.arrived, state.aborted)
        };
        f.debug_struct("Barrier")
            .field("parties", &self.parties)
            .field("broken", &broken)
            .field("waiters", &waiters)
            .finish()
    }
}

pin_project! {
    struct BarrierWait<'a> {
        barrier: &'a Barrier,
        #[pin]
        waiter: Waiter<Option<Outcome>>,
    }

    impl PinnedDrop for BarrierWait<'_> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.waiter.status() != Status::Queued {
                return;
            }
            let mut state = this.barrier.state.lock();
            let waker = state.waiters.remove(this.waiter.as_mut());
            // Its round goes on without it, unless it is complete.
            if waker.is_some() && this.waiter.value_mut().is_none() {
                state.arrived -= 1;
            }
            drop(state);
            panic::discard_foreign(waker);
        }
    }
}

impl Future for BarrierWait<'_> {
    type Output = Result<Arrival, Broken>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.waiter.status() {
            Status::Idle => {
                if this.waiter.as_mut().value_mut().is_none() {
                    this.barrier.arrive(this.waiter.as_mut(), cx);
                    if this.waiter.status() != Status::Idle {
                        return Poll::Pending;
                    }
                }
                // The round is over: only this task has to yield first, if so.
                ready!(current::poll_budget(cx));
            }
            Status::Queued => {
                let (state, waiter) = (&this.barrier.state, this.waiter.as_mut());
                if poll_queued(state, |state| &mut state.waiters, waiter, cx) == Status::Queued {
                    return Poll::Pending;
                }
            }
            Status::Granted | Status::Refused => {}
        }
        this.waiter.as_mut().reset();
        let outcome =
            this.waiter.value_mut().take().expect("a granted waiter has its round's outcome");
        Poll::Ready(outcome.map(|index| this.barrier.arrival(index)))
    }
}

/// A task's place in a round of a [`Barrier`] that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// From 0, in the order of arrival: no two of a round have the same.
    pub index: usize,
    /// Whether this is the task that came last, and goes on first. Each round has one.
    pub leader: bool,
}

/// The round of a [`Barrier`] was broken by a reset or an abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(());

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken")
    }
}

impl Error for Broken {}

crate::error::into_io_error!(Broken);
