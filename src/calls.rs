//! Calls of plain functions, soon or at a time: asyncio's loop verbs.
//!
//! Each call is a task. What a task does not have is an exact answer to a cancel that meets the beginning
//! of the call: for that each call has a [`Claim`], which either the caller or the canceller gets.

use std::{cell::Cell, fmt, panic::Location, sync::Arc, time::Duration};

use crate::{
    error::{ErrorEvent, hook},
    loom::{
        atomic::{AtomicU8, Ordering},
        thread_local,
    },
    runtime::{self, Handle},
    task::Task,
    time::{self, Instant},
    util::panic,
};

thread_local! {
    /// Whether this thread is in a call.
    static CALLING: Cell<bool> = const { Cell::new(false) };
}

impl Handle {
    /// Calls `f` soon on one of the runtime's workers; from any thread.
    ///
    /// It is never called within this call. On one worker, calls and tasks that become ready have their
    /// turns in the order in which they came. A call that is scheduled by a call runs in the worker's
    /// next turn: after all that is ready in this one, and after a look at the reactor and the timers. So
    /// a chain of calls keeps nobody waiting.
    ///
    /// `f` must not block. If it panics, the [error hook](crate::Builder::on_error) hears of that, and
    /// the rest goes on. After the runtime has begun to end, `f` is dropped uncalled.
    ///
    /// asyncio: `loop.call_soon`, and `loop.call_soon_threadsafe`: here there is one for both. There is no
    /// argument list, as closures capture; what has to be awaited is a task for [`spawn`](Self::spawn).
    ///
    /// ```
    /// use ringloop::{Builder, Handle, sync::oneshot};
    ///
    /// Builder::new().workers(1).run(async {
    ///     let (promise, deferred) = oneshot();
    ///     Handle::current().call_soon(|| println!("first"));
    ///     Handle::current().call_soon(move || {
    ///         println!("second");
    ///         promise.set("done").unwrap();
    ///     });
    ///     assert_eq!(deferred.await.unwrap(), "done");
    /// })
    /// .unwrap();
    /// ```
    #[track_caller]
    #[doc(alias = "call_soon_threadsafe")]
    pub fn call_soon<F>(&self, f: F) -> CallHandle
    where
        F: FnOnce() + Send + 'static,
    {
        let (call, claim) = Call::new(f);
        let task = if self.is_chained() {
            self.spawn(async move {
                runtime::next_tick().await;
                call.call();
            })
        } else {
            self.spawn(async move { call.call() })
        };
        CallHandle { claim, task }
    }

    /// Calls `f` once `delay` has passed, counted from now; else as [`call_soon`](Self::call_soon).
    ///
    /// Never early. [`Duration::MAX`] means never.
    ///
    /// asyncio: `loop.call_later`.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ringloop::{Handle, sync::oneshot};
    ///
    /// ringloop::run(async {
    ///     let (promise, deferred) = oneshot();
    ///     let start = Instant::now();
    ///     Handle::current().call_later(Duration::from_millis(5), move || {
    ///         promise.set(start.elapsed()).unwrap();
    ///     });
    ///     assert!(deferred.await.unwrap() >= Duration::from_millis(5));
    /// });
    /// ```
    #[track_caller]
    pub fn call_later<F>(&self, delay: Duration, f: F) -> CallHandle
    where
        F: FnOnce() + Send + 'static,
    {
        self.call_at(Instant::now() + delay, f)
    }

    /// Calls `f` once the time `when` has come; else as [`call_soon`](Self::call_soon).
    ///
    /// Never early; at once, but not within this call, if the time has passed. On one worker, calls at
    /// the same time run in the order in which they were scheduled.
    ///
    /// asyncio: `loop.call_at`. There, calls at the same time run in any order.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::{Handle, sync::oneshot, time::Instant};
    ///
    /// ringloop::run(async {
    ///     let (promise, deferred) = oneshot();
    ///     let when = Instant::now() + Duration::from_millis(5);
    ///     let late = Handle::current().call_at(when, || unreachable!("it is cancelled"));
    ///     Handle::current().call_at(when, move || promise.set(Instant::now()).unwrap());
    ///     assert!(late.cancel());
    ///     assert!(deferred.await.unwrap() >= when);
    /// });
    /// ```
    #[track_caller]
    pub fn call_at<F>(&self, when: Instant, f: F) -> CallHandle
    where
        F: FnOnce() + Send + 'static,
    {
        let (call, claim) = Call::new(f);
        let is_chained = self.is_chained();
        let task = self.spawn(async move {
            if is_chained {
                runtime::next_tick().await;
            }
            time::sleep_until(when).await;
            call.call();
        });
        CallHandle { claim, task }
    }

    /// Whether a call of this runtime is scheduling another.
    fn is_chained(&self) -> bool {
        CALLING.with(Cell::get) && self.is_here()
    }
}

/// A call that was scheduled: made by [`Handle::call_soon`], [`Handle::call_later`] and
/// [`Handle::call_at`].
///
/// Dropping it does not cancel the call.
///
/// asyncio: `asyncio.Handle` and `asyncio.TimerHandle`.
///
/// ```
/// use std::time::Duration;
/// use ringloop::Handle;
///
/// ringloop::run(async {
///     let call = Handle::current().call_later(Duration::from_secs(60), || println!("a minute"));
///     assert!(!call.is_cancelled());
///     assert!(call.cancel());
///     assert!(call.is_cancelled());
/// });
/// ```
#[doc(alias = "TimerHandle")]
pub struct CallHandle {
    claim: Arc<Claim>,
    task: Task<()>,
}

impl CallHandle {
    /// Cancels the call, from any thread. `true`: the function is never called, because of this. `false`: it
    /// has been called, it has begun to run and runs to its end, or it was cancelled before.
    ///
    /// What the function has captured is dropped soon, on a worker.
    ///
    /// asyncio: `Handle.cancel`, which does not say whether it was in time.
    pub fn cancel(&self) -> bool {
        let cancelled = self.claim.cancel();
        if cancelled {
            self.task.abort();
        }
        cancelled
    }

    /// Whether the function will never be called: it was cancelled before it began, or the runtime has
    /// ended before.
    ///
    /// asyncio: `Handle.cancelled`, which is also true of what was cancelled after it ran.
    pub fn is_cancelled(&self) -> bool {
        self.claim.is_cancelled()
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle")
            .field("state", &self.claim)
            .field("task", &self.task.id())
            .finish()
    }
}

/// A function that is called at most once; dropped before, it is cancelled.
struct Call<F> {
    f: Option<F>,
    claim: Arc<Claim>,
    scheduled_at: &'static Location<'static>,
}

impl<F: FnOnce()> Call<F> {
    #[track_caller]
    fn new(f: F) -> (Self, Arc<Claim>) {
        let claim = Arc::new(Claim::new());
        let call = Self { f: Some(f), claim: claim.clone(), scheduled_at: Location::caller() };
        (call, claim)
    }

    /// Calls it on this thread, in the poll of its task.
    fn call(mut self) {
        if !self.claim.begin() {
            return;
        }
        let f = self.f.take().expect("called once");
        CALLING.with(|calling| calling.set(true));
        let called = panic::catch(f);
        CALLING.with(|calling| calling.set(false));
        let Err(payload) = called else { return };
        let message = panic::message(&payload);
        panic::discard(payload);
        if let Some(here) = hook::here() {
            let scheduled_at = self.scheduled_at;
            (here.report)(here.place, &ErrorEvent::CallPanicked { scheduled_at, message });
        }
    }
}

impl<F> Drop for Call<F> {
    fn drop(&mut self) {
        self.claim.cancel();
    }
}

/// The decision over a call, between its start and its cancel: one word, which the first of the two
/// changes for good.
///
/// All is relaxed: nothing but the word is decided here. What the function has captured belongs to the
/// call's task, on which the runtime keeps its order.
pub(crate) struct Claim(AtomicU8);

const PENDING: u8 = 0;
const BEGUN: u8 = 1;
const CANCELLED: u8 = 2;

impl Claim {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(PENDING))
    }

    /// `true`: the caller is to call the function.
    pub(crate) fn begin(&self) -> bool {
        self.take(BEGUN)
    }

    /// `true`: the function is never called.
    pub(crate) fn cancel(&self) -> bool {
        self.take(CANCELLED)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CANCELLED
    }

    fn take(&self, outcome: u8) -> bool {
        self.0.compare_exchange(PENDING, outcome, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.load(Ordering::Relaxed) {
            PENDING => "Pending",
            BEGUN => "Begun",
            _ => "Cancelled",
        })
    }
}
