//! One value, from the task that promises it to the task that waits.
//!
//! A lock around three fields is all there is: the outcome, the task that waits for it, and the
//! task that waits until nobody waits for the outcome. Each of the two ends changes the outcome
//! once, under the lock, and takes the waker that this concerns:
//!
//! 1. [`Promise::set`] and its drop find `Pending` and leave `Set` or `Broken`; the task that waits
//!    is woken, or the callback called, once the lock is free.
//! 2. A [`Deferred`] finds `Pending` and leaves a waker; or it finds the outcome and leaves
//!    `Taken`. Dropped before, it leaves `Taken` as well, and wakes the promise's waiter.
//!
//! Wakers, values and callbacks are foreign code: they are cloned, dropped and called with
//! the lock free (a clone is made before it is taken, and the outcome looked at again).

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    ptr,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::FusedFuture;

use crate::{
    loom::Mutex,
    util::{current, panic, park, wait::WaitKind},
};

/// Makes a promise of one value, and the future of it.
///
/// Either end works in a task, on another executor and on a plain thread. That the value
/// is set twice cannot be written: [`Promise::set`] takes the promise along.
///
/// asyncio: `loop.create_future()`, taken apart into the end that has `set_result` and the end that
/// is awaited; an error is a value of type `Result`. For more than one task that awaits there is
/// [`SharedFuture`](super::SharedFuture).
///
/// # Examples
///
/// ```
/// use ringloop::sync::oneshot;
///
/// ringloop::run(async {
///     let (promise, deferred) = oneshot();
///     ringloop::spawn(async move { promise.set(6 * 7) }).detach();
///     assert_eq!(deferred.await, Ok(42));
/// });
/// ```
#[doc(alias = "create_future")]
#[doc(alias = "asyncio.Future")]
#[doc(alias = "concurrent.futures.Future")]
pub fn oneshot<T>() -> (Promise<T>, Deferred<T>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State {
            outcome: Outcome::Pending,
            waiter: Waiter::Nobody,
            promise: None,
        }),
    });
    (Promise { slot: Some(slot.clone()) }, Deferred { slot })
}

struct Slot<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    outcome: Outcome<T>,
    /// The task or the callback that waits for the value.
    waiter: Waiter<T>,
    /// The task that waits until nobody waits for the value any more.
    promise: Option<Waker>,
}

enum Outcome<T> {
    Pending,
    Set(T),
    /// The promise was dropped.
    Broken,
    /// The deferred has it, or is gone.
    Taken,
}

type Callback<T> = Box<dyn FnOnce(Result<T, BrokenPromise>) + Send>;

enum Waiter<T> {
    Nobody,
    Task(Waker),
    Callback(Callback<T>),
}

impl<T> Outcome<T> {
    /// Takes what there is, if it is decided.
    fn take(&mut self) -> Option<Result<T, BrokenPromise>> {
        match mem::replace(self, Self::Taken) {
            Self::Pending => {
                *self = Self::Pending;
                None
            }
            Self::Set(value) => Some(Ok(value)),
            Self::Broken => Some(Err(BrokenPromise(()))),
            Self::Taken => panic!("a Deferred was polled after it gave its value"),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Set(_) => "set",
            Self::Broken => "broken",
            Self::Taken => "taken",
        }
    }
}

impl<T> Slot<T> {
    /// Decides the outcome, and wakes the task that waits. Gives the value back if nobody can take
    /// it.
    fn decide(&self, result: Result<T, BrokenPromise>) -> Result<(), Option<T>> {
        let mut state = self.state.lock();
        if !matches!(state.outcome, Outcome::Pending) {
            drop(state);
            return Err(result.ok());
        }
        let promise = state.promise.take();
        let waiter = mem::replace(&mut state.waiter, Waiter::Nobody);
        match waiter {
            Waiter::Callback(callback) => {
                state.outcome = Outcome::Taken;
                drop(state);
                panic::contain(|| callback(result));
            }
            Waiter::Nobody | Waiter::Task(_) => {
                state.outcome = match result {
                    Ok(value) => Outcome::Set(value),
                    Err(BrokenPromise(())) => Outcome::Broken,
                };
                drop(state);
                if let Waiter::Task(waker) = waiter {
                    panic::contain(|| waker.wake());
                }
            }
        }
        panic::discard_foreign(promise);
        Ok(())
    }

    /// Takes the outcome, or leaves the waker for it.
    fn poll(&self, cx: &Context<'_>) -> Poll<Result<T, BrokenPromise>> {
        let mut new = None;
        let old = loop {
            let mut state = self.state.lock();
            if !matches!(state.outcome, Outcome::Pending) {
                if !current::budget_spend() {
                    drop(state);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let result = state.outcome.take();
                let old = mem::replace(&mut state.waiter, Waiter::Nobody);
                drop(state);
                panic::discard_foreign((old, new));
                return result.map_or(Poll::Pending, Poll::Ready);
            }
            current::waits_for(WaitKind::Oneshot, ptr::from_ref(self).addr() as u64);
            if matches!(&state.waiter, Waiter::Task(waker) if waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            match new.take() {
                Some(new) => break mem::replace(&mut state.waiter, Waiter::Task(new)),
                None => {
                    drop(state);
                    new = Some(cx.waker().clone());
                }
            }
        };
        panic::discard_foreign(old);
        Poll::Pending
    }

    /// Ready once nobody waits for the value; else leaves the waker for that.
    fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut new = None;
        let old = loop {
            let mut state = self.state.lock();
            if !matches!(state.outcome, Outcome::Pending) {
                drop(state);
                panic::discard_foreign(new);
                return current::poll_budget(cx);
            }
            current::waits_for(WaitKind::Oneshot, ptr::from_ref(self).addr() as u64);
            if state.promise.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            match new.take() {
                Some(new) => break state.promise.replace(new),
                None => {
                    drop(state);
                    new = Some(cx.waker().clone());
                }
            }
        };
        panic::discard_foreign(old);
        Poll::Pending
    }

    /// Nobody waits any more.
    fn cancel(&self) {
        let mut state = self.state.lock();
        let outcome = mem::replace(&mut state.outcome, Outcome::Taken);
        let waiter = mem::replace(&mut state.waiter, Waiter::Nobody);
        let promise = state.promise.take();
        drop(state);
        if let Some(waker) = promise {
            panic::contain(|| waker.wake());
        }
        panic::discard_foreign(waiter);
        // The value's destructor is the caller's own: its panic is not contained.
        drop(outcome);
    }
}

/// The end of a [`oneshot`] that gives the value.
///
/// Dropped without a value it breaks the promise: the [`Deferred`] says so. asyncio: a future that
/// is cancelled, or worse, forgotten; there a task that awaits it waits for ever.
#[must_use = "dropping a Promise breaks it"]
pub struct Promise<T> {
    /// Absent once it is kept.
    slot: Option<Arc<Slot<T>>>,
}

impl<T> Promise<T> {
    fn slot(&self) -> &Slot<T> {
        self.slot.as_ref().expect("there until it is kept, which consumes the promise")
    }

    /// Gives the value, and wakes the task that waits for it.
    ///
    /// `Ok` means that a task could still take the value, not that one has taken it.
    ///
    /// asyncio: `future.set_result(value)`. Here a second call cannot be written.
    ///
    /// # Errors
    ///
    /// The value, if nobody waits for it any more.
    #[doc(alias = "set_result")]
    #[doc(alias = "send")]
    pub fn set(mut self, value: T) -> Result<(), T> {
        let slot = self.slot.take().expect("there until it is kept, which consumes the promise");
        slot.decide(Ok(value)).map_err(|value| value.expect("it was given one"))
    }

    /// Whether nobody waits for the value any more: there is no need to make it.
    ///
    /// asyncio: `future.cancelled()`, asked by the task that would set it.
    #[doc(alias = "cancelled")]
    #[doc(alias = "is_closed")]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        !matches!(self.slot().state.lock().outcome, Outcome::Pending)
    }

    /// Waits until nobody waits for the value any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost; it may be awaited again.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::oneshot;
    ///
    /// ringloop::run(async {
    ///     let (mut promise, deferred) = oneshot::<u32>();
    ///     drop(deferred);
    ///     promise.cancelled().await;
    ///     assert_eq!(promise.set(1), Err(1));
    /// });
    /// ```
    #[doc(alias = "closed")]
    pub fn cancelled(&mut self) -> impl Future<Output = ()> + use<'_, T> {
        poll_fn(|cx| self.slot().poll_cancelled(cx))
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // Refused if the other end is gone: nobody to tell.
            let _ = slot.decide(Err(BrokenPromise(())));
        }
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waited = !self.is_cancelled();
        f.debug_struct("Promise").field("cancelled", &!waited).finish_non_exhaustive()
    }
}

/// The end of a [`oneshot`] that waits for the value: a future of it.
///
/// It is [`Unpin`], so that it may be awaited by `&mut`, in a `select` for one, and kept.
///
/// # Cancel safety
///
/// Nothing is lost when it is awaited by `&mut`. Dropping the `Deferred` itself cancels the
/// promise, and drops the value if it was there.
///
/// # Panics
///
/// When polled after it gave the value.
#[must_use = "dropping a Deferred cancels the promise"]
pub struct Deferred<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Deferred<T> {
    /// Whether the promise was kept or broken: awaiting it takes no time.
    ///
    /// asyncio: `future.done()`.
    #[doc(alias = "done")]
    #[must_use]
    pub fn is_done(&self) -> bool {
        !matches!(self.slot.state.lock().outcome, Outcome::Pending)
    }

    /// Takes the value if it is there: `None` means not yet.
    ///
    /// # Panics
    ///
    /// After the value was taken.
    #[doc(alias = "result")]
    pub fn try_wait(&mut self) -> Option<Result<T, BrokenPromise>> {
        let mut state = self.slot.state.lock();
        assert!(
            !matches!(state.outcome, Outcome::Taken),
            "a Deferred was asked after it gave its value"
        );
        state.outcome.take()
    }

    /// Waits for the value on this thread.
    ///
    /// concurrent.futures: `future.result()`.
    ///
    /// # Errors
    ///
    /// [`BrokenPromise`], if the promise was dropped.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would block; and after the value was taken.
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, deferred) = ringloop::sync::oneshot();
    /// std::thread::spawn(move || promise.set("from a thread"));
    /// assert_eq!(deferred.blocking_wait(), Ok("from a thread"));
    /// ```
    #[track_caller]
    pub fn blocking_wait(self) -> Result<T, BrokenPromise> {
        park::block_on(self)
    }

    /// Waits for the value on this thread, at most for `timeout`: `None` means not yet.
    ///
    /// concurrent.futures: `future.result(timeout)`. A `timeout` of zero looks once.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would block; and after the value was taken.
    #[track_caller]
    pub fn blocking_wait_timeout(&mut self, timeout: Duration) -> Option<Result<T, BrokenPromise>> {
        park::block_on_timeout(self, timeout)
    }

    /// Has `waker` woken when this is dropped before the promise is kept or broken: the thread that
    /// would keep it need not ask.
    pub(crate) fn on_cancel(&self, waker: Waker) {
        let mut state = self.slot.state.lock();
        let unused = match state.outcome {
            Outcome::Pending => state.promise.replace(waker),
            _ => Some(waker),
        };
        drop(state);
        panic::discard_foreign(unused);
    }

    /// Has `f` called with the outcome in place of waiting for it, by the thread that sets
    /// or drops the promise; at once if that has happened.
    ///
    /// It is for bridges to code outside of the runtime, and should do little: pass the value on,
    /// or wake. Its panic is printed and goes no further. Dropping what this returns still cancels:
    /// then `f` is dropped uncalled.
    pub(super) fn on_done(&mut self, f: impl FnOnce(Result<T, BrokenPromise>) + Send + 'static) {
        let callback: Callback<T> = Box::new(f);
        let mut state = self.slot.state.lock();
        match state.outcome.take() {
            None => {
                let old = mem::replace(&mut state.waiter, Waiter::Callback(callback));
                drop(state);
                panic::discard_foreign(old);
            }
            Some(result) => {
                drop(state);
                callback(result);
            }
        }
    }
}

impl<T> Future for Deferred<T> {
    type Output = Result<T, BrokenPromise>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.poll(cx)
    }
}

impl<T> FusedFuture for Deferred<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.slot.state.lock().outcome, Outcome::Taken)
    }
}

impl<T> Drop for Deferred<T> {
    fn drop(&mut self) {
        self.slot.cancel();
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.slot.state.lock();
        let (outcome, waiters) =
            (state.outcome.name(), usize::from(!matches!(state.waiter, Waiter::Nobody)));
        drop(state);
        f.debug_struct("Deferred").field("state", &outcome).field("waiters", &waiters).finish()
    }
}

/// The [`Promise`] was dropped without a value, or its future cancelled.
///
/// asyncio: `CancelledError`, raised by a future that was cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BrokenPromise(());

impl BrokenPromise {
    pub(super) fn new() -> Self {
        Self(())
    }
}

impl fmt::Debug for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokenPromise")
    }
}

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the promise was dropped without a value")
    }
}

impl Error for BrokenPromise {}

crate::error::into_io_error!(BrokenPromise);
