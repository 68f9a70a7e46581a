//! Something that happens, and the tasks that wait for it.

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::wait_list::{Status, WaitList, Waiter, Wakers, poll_queued};
use crate::{
    loom::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        const_fn, raise,
    },
    util::{current, panic, park, wait::WaitKind},
};

/// A flag that tasks wait for.
///
/// [`set`](Self::set) wakes all tasks that wait at that time, also if [`clear`](Self::clear)
/// follows at once. While it is set, nobody waits.
///
/// asyncio: `asyncio.Event`; there `wait` returns `True`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use ringloop::sync::Event;
///
/// ringloop::run(async {
///     let ready = Arc::new(Event::new());
///     let waiting = ready.clone();
///     let task = ringloop::spawn(async move {
///         waiting.wait().await;
///         "it has happened"
///     });
///     ringloop::yield_now().await;
///     assert!(!task.is_finished());
///     ready.set();
///     assert_eq!(task.await.unwrap(), "it has happened");
/// });
/// ```
pub struct Event {
    /// Set with the lock held: a task that finds it clear there is found by the next `set`.
    set: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Each `set` ends a round.
    round: u64,
    /// The round in which each came.
    waiters: WaitList<u64>,
}

impl Event {
    const_fn! {
        /// An event that is not set.
        #[must_use]
        pub fn new() -> Self {
            let state = State { round: 0, waiters: WaitList::new(WaitKind::Event) };
            Self { set: AtomicBool::new(false), state: Mutex::new(state) }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::Event::new().named("accounts");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.state.lock().waiters.set_name(name.into());
        self
    }

    /// Whether it is set.
    #[must_use]
    #[inline]
    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`.
        self.set.load(Ordering::Acquire)
    }

    /// Sets it, and wakes all tasks that wait.
    ///
    /// A task whose [`wait`](Self::wait) returns sees what was done before this call.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Event;
    ///
    /// let event = Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    pub fn set(&self) {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        // Release: pairs with `is_set` and `clear`, also if it was set already; stores of
        // others before it are passed on by way of the lock. And if it was, this helps a `set`
        // that is between two batches.
        raise(&self.set, Ordering::Release);
        let round = state.round;
        state.round += 1;
        while state.waiters.grant_while(&mut wakers, |came| *came <= round) {
            drop(state);
            wakers.wake_all();
            state = self.state.lock();
        }
        drop(state);
        wakers.wake_all();
    }

    /// Takes it back: a task that waits from now on does so until the next [`set`](Self::set).
    ///
    /// What was done before a `set` that it takes back is seen after it. So, to wait for
    /// something that the event only hints at: clear, look, and wait if it is not there yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Event;
    ///
    /// let event = Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    pub fn clear(&self) {
        // An RMW, so that each `set` comes either after it, or before and is what it reads.
        // Acquire: pairs with the Release in `set`. A task that clears, looks whether something has
        // happened and waits if not sees what was done before a `set` that this takes back.
        self.set.swap(false, Ordering::Acquire);
    }

    /// Waits until it is set.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Event;
    ///
    /// ringloop::run(async {
    ///     let event = Event::new();
    ///     event.set();
    ///     event.wait().await; // at once
    /// });
    /// ```
    pub async fn wait(&self) {
        EventWait { event: self, seen: false, waiter: Waiter::new(0) }.await;
    }

    /// [`wait`](Self::wait) for a plain thread, which sleeps meanwhile.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Event;
    ///
    /// let event = Event::new();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| event.set());
    ///     event.blocking_wait();
    /// });
    /// ```
    #[track_caller]
    pub fn blocking_wait(&self) {
        park::block_on(self.wait());
    }

    /// Whether it is set. If not, `waiter` is in line.
    fn is_set_or_wait(&self, mut waiter: Pin<&mut Waiter<u64>>, cx: &Context<'_>) -> bool {
        if self.is_set() {
            return true;
        }
        // Clone and drop are foreign code: outside of the lock (S6).
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        if !self.is_set() {
            *waiter.as_mut().value_mut() = state.round;
            state.waiters.push_back(waiter, waker);
            return false;
        }
        drop(state);
        panic::discard_foreign(waker);
        true
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters = self.state.lock().waiters.len();
        f.debug_struct("Event").field("set", &self.is_set()).field("waiters", &waiters).finish()
    }
}

pin_project! {
    struct EventWait<'a> {
        event: &'a Event,
        // It was found set, and a `clear` changes nothing any more; but the task has to yield.
        seen: bool,
        #[pin]
        waiter: Waiter<u64>,
    }

    impl PinnedDrop for EventWait<'_> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.waiter.status() == Status::Queued {
                // If it was woken meanwhile, it was with all others: there is nothing to
                // pass on.
                let waker = this.event.state.lock().waiters.remove(this.waiter);
                panic::discard_foreign(waker);
            }
        }
    }
}

impl Future for EventWait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.waiter.status() {
            Status::Idle => {
                *this.seen = *this.seen || this.event.is_set_or_wait(this.waiter, cx);
                return if *this.seen { current::poll_budget(cx) } else { Poll::Pending };
            }
            Status::Queued => {
                let (state, waiter) = (&this.event.state, this.waiter.as_mut());
                if poll_queued(state, |state| &mut state.waiters, waiter, cx) == Status::Queued {
                    return Poll::Pending;
                }
            }
            Status::Granted | Status::Refused => {}
        }
        this.waiter.reset();
        Poll::Ready(())
    }
}
