//! A wake-up that is kept for a task that comes later.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use pin_project_lite::pin_project;

use super::wait_list::{Status, WaitList, Waiter, Wakers, poll_queued};
use crate::{
    loom::{Mutex, const_fn},
    util::{current, panic, park, wait::WaitKind},
};

/// Wakes tasks that wait for something to have changed elsewhere: one, or all.
///
/// [`notify_one`](Self::notify_one) wakes the task that has waited longest. If no task waits, the
/// notification is kept for the next one: a single notification, however often it is called. So a
/// task that looks for work, finds none and waits misses nothing that came in between.
/// [`notify_waiters`](Self::notify_waiters) wakes all tasks that wait now, and keeps nothing.
///
/// It carries no value. For a flag that stays set there is [`Event`](super::Event), for a change of
/// what a lock guards [`Condition`](super::Condition), for items a [`channel`](fn@super::channel).
///
/// asyncio: has none; the nearest is an `asyncio.Event` that a task clears when it wakes up.
/// tokio: `tokio::sync::Notify`.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use ringloop::sync::Notify;
///
/// ringloop::run(async {
///     let shared = Arc::new((Mutex::new(Vec::new()), Notify::new()));
///     let worker = shared.clone();
///     let task = ringloop::spawn(async move {
///         let (jobs, more) = &*worker;
///         loop {
///             let job = jobs.lock().unwrap().pop();
///             match job {
///                 Some(job) => return job,
///                 None => more.notified().await,
///             }
///         }
///     });
///
///     let (jobs, more) = &*shared;
///     jobs.lock().unwrap().push("a job");
///     more.notify_one();
///     assert_eq!(task.await.unwrap(), "a job");
/// });
/// ```
pub struct Notify {
    state: Mutex<State>,
}

struct State {
    /// A notification that nobody has had. Only while nobody waits.
    kept: bool,
    /// Each notification of everyone ends a round.
    round: u64,
    /// The round in which each came; [`WITH_ALL`] once it was notified with everyone.
    waiters: WaitList<u64>,
}

/// Notified with everyone else: nobody else is to be notified in its place.
const WITH_ALL: u64 = u64::MAX;

impl Notify {
    const_fn! {
        /// Without a notification, and nobody waits.
        #[must_use]
        pub fn new() -> Self {
            let state = State { kept: false, round: 0, waiters: WaitList::new(WaitKind::Notify) };
            Self { state: Mutex::new(state) }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::Notify::new().named("accounts");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.state.lock().waiters.set_name(name.into());
        self
    }

    /// Notifies the task that has waited longest; if no task waits, the next one that does.
    ///
    /// At most one unused notification is kept. The notified task sees all that the caller did
    /// before this call.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Notify;
    ///
    /// ringloop::run(async {
    ///     let notify = Notify::new();
    ///     notify.notify_one();
    ///     notify.notify_one();
    ///     notify.notified().await; // at once; a second one would wait
    /// });
    /// ```
    pub fn notify_one(&self) {
        let mut state = self.state.lock();
        let waker = state.waiters.grant_front();
        state.kept |= waker.is_none();
        drop(state);
        if let Some(waker) = waker {
            panic::contain(|| waker.wake());
        }
    }

    /// Notifies all tasks that wait: every [`Notified`] that was made before, polled or not.
    /// Nothing is kept for others.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Notify;
    ///
    /// ringloop::run(async {
    ///     let notify = Notify::new();
    ///     let (first, second) = (notify.notified(), notify.notified());
    ///     notify.notify_waiters();
    ///     first.await;
    ///     second.await;
    /// });
    /// ```
    #[doc(alias = "notify_all")]
    pub fn notify_waiters(&self) {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        let round = state.round;
        state.round += 1;
        let everyone = |came: &mut u64| {
            let here = *came <= round;
            *came = if here { WITH_ALL } else { *came };
            here
        };
        while state.waiters.grant_while(&mut wakers, everyone) {
            drop(state);
            wakers.wake_all();
            state = self.state.lock();
        }
        drop(state);
        wakers.wake_all();
    }

    /// Waits to be notified; ready at once if a notification was kept.
    ///
    /// It hears of [`notify_waiters`](Self::notify_waiters) from this call on, and is in line for
    /// [`notify_one`](Self::notify_one) once it was polled or [enabled](Notified::enable).
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: it loses its place in line. A notification by `notify_one`
    /// that was given to it, and that it has not returned yet, goes to the next.
    pub fn notified(&self) -> Notified<'_> {
        let round = self.state.lock().round;
        Notified { notify: self, round, had: Had::Nothing, waiter: Waiter::new(0) }
    }

    /// [`notified`](Self::notified) for a plain thread, which sleeps meanwhile.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Notify;
    ///
    /// let notify = Notify::new();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| notify.notify_one());
    ///     notify.blocking_notified();
    /// });
    /// ```
    #[track_caller]
    pub fn blocking_notified(&self) {
        park::block_on(self.notified());
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (kept, waiters) = (state.kept, state.waiters.len());
        drop(state);
        f.debug_struct("Notify").field("kept", &kept).field("waiters", &waiters).finish()
    }
}

/// What a wait has had without being in line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Had {
    /// Nothing yet.
    Nothing,
    /// The one that was kept; the future has not returned it yet.
    One,
    /// One that is not passed on: it came to all tasks, or the future has returned it.
    Own,
}

pin_project! {
    /// A wait for a notification: from [`Notify::notified`].
    #[must_use = "a wait does nothing unless it is awaited"]
    pub struct Notified<'a> {
        notify: &'a Notify,
        // The one in which it was made.
        round: u64,
        had: Had,
        #[pin]
        waiter: Waiter<u64>,
    }

    impl PinnedDrop for Notified<'_> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.waiter.status() == Status::Queued {
                let waker = this.notify.state.lock().waiters.remove(this.waiter.as_mut());
                panic::discard_foreign(waker);
            }
            let one = match this.waiter.status() {
                Status::Granted => *this.waiter.value_mut() != WITH_ALL,
                _ => *this.had == Had::One,
            };
            if one {
                this.notify.notify_one();
            }
        }
    }
}

impl Notified<'_> {
    /// Takes its place in line without being polled. `true`: it is notified already.
    ///
    /// For a task that looks for its work after this, and waits then: each notification from now on
    /// is for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use ringloop::sync::Notify;
    ///
    /// ringloop::run(async {
    ///     let notify = Notify::new();
    ///     let mut notified = pin!(notify.notified());
    ///     assert!(!notified.as_mut().enable());
    ///     notify.notify_one(); // for the one above, and not kept for others
    ///     notified.await;
    /// });
    /// ```
    pub fn enable(self: Pin<&mut Self>) -> bool {
        // In line with the waker of its task, it keeps that.
        if self.waiter.status() == Status::Queued {
            return false;
        }
        // It is polled with a waker of its own before it has to be woken.
        self.is_notified(&Context::from_waker(Waker::noop()))
    }

    /// Whether it is notified; if not, it is in line, with the waker of `cx`.
    fn is_notified(self: Pin<&mut Self>, cx: &Context<'_>) -> bool {
        let mut this = self.project();
        let notify = *this.notify;
        match this.waiter.status() {
            Status::Granted | Status::Refused => return true,
            Status::Queued => {
                let (state, waiter) = (&notify.state, this.waiter.as_mut());
                return poll_queued(state, |state| &mut state.waiters, waiter, cx)
                    != Status::Queued;
            }
            Status::Idle if *this.had != Had::Nothing => return true,
            Status::Idle => {}
        }
        // Clone and drop are foreign code: outside of the lock (S6).
        let waker = cx.waker().clone();
        let mut state = notify.state.lock();
        if state.round != *this.round {
            *this.had = Had::Own;
        } else if mem::take(&mut state.kept) {
            *this.had = Had::One;
        } else {
            *this.waiter.as_mut().value_mut() = state.round;
            state.waiters.push_back(this.waiter, waker);
            return false;
        }
        drop(state);
        panic::discard_foreign(waker);
        true
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.as_mut().is_notified(cx) {
            return Poll::Pending;
        }
        // Dropped meanwhile, it passes on what it has.
        ready!(current::poll_budget(cx));
        let this = self.project();
        this.waiter.reset();
        *this.had = Had::Own;
        Poll::Ready(())
    }
}
