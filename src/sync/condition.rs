//! Waiting, with a lock released, until the value that it guards has changed.

use std::{
    borrow::Cow,
    fmt,
    future::{pending, poll_fn},
    mem,
    ops::DerefMut,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    lock::{Lock, LockGuard, OwnedLockGuard},
    wait_list::{Status, WaitList, Waiter, Wakers, poll_queued},
};
use crate::{
    loom::{Mutex, const_fn},
    util::{current, panic, park, wait::WaitKind},
};

/// Lets tasks wait until what a [`Lock`] guards has changed.
///
/// [`wait`](Self::wait) gives up the guard, waits to be notified, and locks again. The task that
/// changes the value notifies while it has the guard. A change and its notification are under one
/// lock, so they cannot come between another task's look at the value and its wait.
///
/// asyncio: `asyncio.Condition`. There the condition holds the lock, and `wait` or `notify` without
/// it raise `RuntimeError`; here they take the guard. All tasks that wait at a time do so with the
/// same lock.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use ringloop::sync::{Condition, Lock};
///
/// ringloop::run(async {
///     let shared = Arc::new((Lock::new(Vec::new()), Condition::new()));
///     let consumer = shared.clone();
///     let task = ringloop::spawn(async move {
///         let (jobs, more) = &*consumer;
///         let mut jobs = more.wait_while(jobs.lock().await, |jobs| jobs.is_empty()).await;
///         jobs.pop()
///     });
///
///     let (jobs, more) = &*shared;
///     let mut guard = jobs.lock().await;
///     guard.push("a job");
///     more.notify_one(&guard);
///     drop(guard);
///     assert_eq!(task.await.unwrap(), Some("a job"));
/// });
/// ```
#[doc(alias = "Condvar")]
pub struct Condition {
    state: Mutex<State>,
}

struct State {
    /// Each notification of everyone ends a round.
    round: u64,
    /// The address of the lock of the tasks that wait.
    lock: usize,
    /// The round in which each came; [`WITH_ALL`] once it was notified.
    waiters: WaitList<u64>,
}

/// Notified with everyone else: no one else is to be notified in its place.
const WITH_ALL: u64 = u64::MAX;

impl Condition {
    const_fn! {
        /// A condition for which nobody waits.
        #[must_use]
        pub fn new() -> Self {
            Self { state: Mutex::new(State { round: 0, lock: 0, waiters: WaitList::new(WaitKind::Condition) }) }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::Condition::new().named("accounts");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.state.lock().waiters.set_name(name.into());
        self
    }

    /// Unlocks, waits to be notified, and locks again.
    ///
    /// Look at the value again afterwards: others may have had the lock in between, and the
    /// notification may have been meant for another task. [`wait_while`](Self::wait_while) does.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time, and leaves the lock to others: the guard went into it,
    /// and does not come back (asyncio: it locks again before it raises `CancelledError`). If
    /// it was notified, another one is in its place, also if it was about to lock again. The
    /// guard is given up when it is first polled.
    ///
    /// # Panics
    ///
    /// If others wait with guards of another lock.
    pub async fn wait<G: ConditionGuard>(&self, guard: G) -> G {
        self.wait_or(guard, pending()).await.0
    }

    /// [`wait`](Self::wait) that gives up when `end` is ready, and locks again then, too. `false`:
    /// it was not notified before that.
    pub(crate) async fn wait_or<G: ConditionGuard>(
        &self,
        guard: G,
        end: impl Future<Output = ()>,
    ) -> (G, bool) {
        let (mut waiting, mut end) = (pin!(Waiting::new(self)), pin!(end));
        let mut held = Held::Guard(guard);
        let notified = poll_fn(|cx| {
            if waiting.as_mut().poll_unlocked(&mut held, cx).is_ready() {
                return Poll::Ready(true);
            }
            // Not before it is in line, as `wait` promises.
            end.as_mut().poll(cx).map(|()| waiting.as_mut().give_up())
        })
        .await;
        let guard = G::lock_again(held.into_lock()).await;
        // Not before: a notification is used up only when the task can look at the value.
        waiting.finish();
        (guard, notified)
    }

    /// [`wait_or`](Self::wait_or) for a plain thread, with a limit to its time.
    #[track_caller]
    pub(crate) fn blocking_wait_or<G: ConditionGuard>(
        &self,
        guard: G,
        limit: Duration,
    ) -> (G, bool) {
        let mut waiting = pin!(Waiting::new(self));
        let mut held = Held::Guard(guard);
        let wait = poll_fn(|cx| waiting.as_mut().poll_unlocked(&mut held, cx));
        let notified = park::block_on_timeout(wait, limit).is_some() || waiting.as_mut().give_up();
        let guard = park::block_on(G::lock_again(held.into_lock()));
        waiting.finish();
        (guard, notified)
    }

    /// Waits until `busy` says no to the value: at once, or after a notification.
    ///
    /// asyncio: `wait_for(predicate)`, which waits until the predicate is true.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::{Condition, Lock};
    ///
    /// ringloop::run(async {
    ///     let (count, fewer) = (Lock::new(0), Condition::new());
    ///     let guard = fewer.wait_while(count.lock().await, |count| *count > 0).await;
    ///     assert_eq!(*guard, 0); // it did not wait
    /// });
    /// ```
    #[doc(alias = "wait_for")]
    pub async fn wait_while<G, T: ?Sized>(
        &self,
        mut guard: G,
        mut busy: impl FnMut(&mut T) -> bool,
    ) -> G
    where
        G: ConditionGuard + DerefMut<Target = T>,
    {
        if !busy(&mut guard) {
            // With the lock held, so that it stays like that.
            poll_fn(|cx| current::poll_budget(cx)).await;
            return guard;
        }
        loop {
            guard = self.wait(guard).await;
            if !busy(&mut guard) {
                return guard;
            }
        }
    }

    /// [`wait`](Self::wait) for a plain thread, which sleeps meanwhile.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up; and as [`wait`](Self::wait).
    #[track_caller]
    pub fn blocking_wait<G: ConditionGuard>(&self, guard: G) -> G {
        park::block_on(self.wait(guard))
    }

    /// [`wait_while`](Self::wait_while) for a plain thread, which sleeps meanwhile.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up; and as [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::{Condition, Lock};
    ///
    /// let (ready, changed) = (Lock::new(false), Condition::new());
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let mut ready = ready.blocking_lock();
    ///         *ready = true;
    ///         changed.notify_all(&ready);
    ///     });
    ///     drop(changed.blocking_wait_while(ready.blocking_lock(), |ready| !*ready));
    /// });
    /// ```
    #[track_caller]
    pub fn blocking_wait_while<G, T: ?Sized>(&self, guard: G, busy: impl FnMut(&mut T) -> bool) -> G
    where
        G: ConditionGuard + DerefMut<Target = T>,
    {
        park::block_on(self.wait_while(guard, busy))
    }

    /// Notifies the task that has waited longest. It goes on when it has locked again, so not
    /// before `guard` is dropped. If nobody waits, nothing happens.
    ///
    /// # Panics
    ///
    /// If other tasks wait with guards of another lock.
    #[doc(alias = "notify")]
    pub fn notify_one<G: ConditionGuard>(&self, guard: &G) {
        self.notify(1, guard);
    }

    /// Notifies the `count` tasks that have waited longest, or as many as there are.
    ///
    /// # Panics
    ///
    /// If other tasks wait with guards of another lock.
    pub fn notify<G: ConditionGuard>(&self, count: usize, guard: &G) {
        self.state.lock().expect_lock(guard.address());
        self.notify_some(count);
    }

    /// Notifies all tasks that wait.
    ///
    /// # Panics
    ///
    /// If other tasks wait with guards of another lock.
    pub fn notify_all<G: ConditionGuard>(&self, guard: &G) {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        state.expect_lock(guard.address());
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

    fn notify_some(&self, mut count: usize) {
        let mut wakers = Wakers::new();
        loop {
            let more = self.state.lock().waiters.grant_while(&mut wakers, |_| {
                let some = count > 0;
                count -= usize::from(some);
                some
            });
            wakers.wake_all();
            if !more {
                return;
            }
        }
    }

    fn join_list(&self, waiting: Pin<&mut Waiting<'_>>, lock: usize, cx: &Context<'_>) {
        let mut waiter = waiting.project().waiter;
        // Cloned outside of the lock (S6).
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        state.expect_lock(lock);
        state.lock = lock;
        *waiter.as_mut().value_mut() = state.round;
        state.waiters.push_back(waiter, waker);
    }
}

impl State {
    /// Panics if other tasks wait with another lock.
    fn expect_lock(&self, lock: usize) {
        assert!(
            self.waiters.is_empty() || self.lock == lock,
            "one condition was used with two locks at a time"
        );
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters = self.state.lock().waiters.len();
        f.debug_struct("Condition").field("waiters", &waiters).finish()
    }
}

pin_project! {
    /// A place in line, and later a notification to use.
    struct Waiting<'a> {
        condition: &'a Condition,
        #[pin]
        waiter: Waiter<u64>,
    }

    impl PinnedDrop for Waiting<'_> {
        fn drop(this: Pin<&mut Self>) {
            this.leave();
        }
    }
}

/// What a wait has of the lock.
enum Held<G: Guard> {
    Guard(G),
    Lock(G::Lock),
    Nothing,
}

impl<G: Guard> Held<G> {
    fn into_lock(self) -> G::Lock {
        match self {
            Self::Lock(lock) => lock,
            _ => unreachable!("it was unlocked by the first poll"),
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(condition: &'a Condition) -> Self {
        Self { condition, waiter: Waiter::new(0) }
    }

    /// Unlocks with the first poll, and waits to be notified with the others.
    fn poll_unlocked<G: ConditionGuard>(
        self: Pin<&mut Self>,
        held: &mut Held<G>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        match mem::replace(held, Held::Nothing) {
            Held::Guard(guard) => {
                // First in line, then unlocked: the next task that locks finds it there.
                self.condition.join_list(self, guard.address(), cx);
                *held = Held::Lock(guard.unlock());
                Poll::Pending
            }
            unlocked => {
                *held = unlocked;
                self.poll_notified(cx)
            }
        }
    }

    /// Leaves the line. `true`: it was notified before.
    fn give_up(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        if this.waiter.status() == Status::Queued {
            let waker = this.condition.state.lock().waiters.remove(this.waiter.as_mut());
            panic::discard_foreign(waker);
        }
        this.waiter.status() == Status::Granted
    }

    fn poll_notified(self: Pin<&mut Self>, cx: &Context<'_>) -> Poll<()> {
        let this = self.project();
        let state = &this.condition.state;
        match poll_queued(state, |state| &mut state.waiters, this.waiter, cx) {
            Status::Queued => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// The notification, if there is one, is used.
    fn finish(self: Pin<&mut Self>) {
        self.project().waiter.reset();
    }

    /// Gives up the place in line, or passes on the notification.
    fn leave(mut self: Pin<&mut Self>) {
        let notified = self.as_mut().give_up();
        let this = self.project();
        if notified && *this.waiter.value_mut() != WITH_ALL {
            this.condition.notify_some(1);
        }
    }
}

/// A guard that a [`Condition`] can give up and take again: [`LockGuard`] and
/// [`OwnedLockGuard`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no guard of a `ringloop::sync::Lock`",
    label = "the guard of another lock",
    note = "a condition waits with `LockGuard` and `OwnedLockGuard`: put the value into a `ringloop::sync::Lock`"
)]
#[expect(private_bounds, reason = "others cannot implement it")]
pub trait ConditionGuard: Guard {}

impl<T: ?Sized> ConditionGuard for LockGuard<'_, T> {}
impl<T: ?Sized> ConditionGuard for OwnedLockGuard<T> {}

trait Guard: Sized {
    /// The way back to the lock.
    type Lock;

    /// Tells locks from each other.
    fn address(&self) -> usize;
    fn unlock(self) -> Self::Lock;
    fn lock_again(lock: Self::Lock) -> impl Future<Output = Self>;
}

impl<'a, T: ?Sized> Guard for LockGuard<'a, T> {
    type Lock = &'a Lock<T>;

    fn address(&self) -> usize {
        (&raw const *LockGuard::lock(self)).addr()
    }

    fn unlock(self) -> &'a Lock<T> {
        LockGuard::lock(&self)
    }

    fn lock_again(lock: &'a Lock<T>) -> impl Future<Output = Self> {
        lock.lock()
    }
}

impl<T: ?Sized> Guard for OwnedLockGuard<T> {
    type Lock = Arc<Lock<T>>;

    fn address(&self) -> usize {
        Arc::as_ptr(OwnedLockGuard::lock(self)).addr()
    }

    fn unlock(self) -> Arc<Lock<T>> {
        OwnedLockGuard::lock(&self).clone()
    }

    fn lock_again(lock: Arc<Lock<T>>) -> impl Future<Output = Self> {
        lock.lock_owned()
    }
}
