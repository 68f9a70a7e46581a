//! A part of a task that can be cancelled by itself.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    error::{CancelCause, Cause, ScopeKind},
    loom::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    runtime::Deadline,
    task::{self, Cancelled, Node},
    time::Instant,
};

/// What the handles of a scope and its future share.
struct Shared {
    node: Arc<Node>,
    /// In nanoseconds of the clock; `u64::MAX`: none.
    deadline: AtomicU64,
    expired: AtomicBool,
    ended: AtomicBool,
    /// The cause of the first request, until that has been consumed.
    cause: Mutex<Option<Cause>>,
    kind: ScopeKind,
    name: Mutex<Option<Cow<'static, str>>>,
    made_at: &'static Location<'static>,
}

/// A handle of a part of a task that can be cancelled by itself: see [`scope`].
///
/// Any thread may use it, and any clone of it. Dropping it does nothing.
///
/// asyncio: the object that `async with asyncio.timeout()` gives; trio's `CancelScope`.
#[derive(Clone)]
pub struct Scope {
    shared: Arc<Shared>,
}

/// The scope has ended, so that there is nothing to cancel or to reschedule.
///
/// asyncio: the `RuntimeError` of a `Timeout` that has been left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeEnded(());

impl fmt::Display for ScopeEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scope has ended: reschedule it while its future is awaited")
    }
}

impl Error for ScopeEnded {}

impl Scope {
    #[track_caller]
    pub(super) fn new(kind: ScopeKind) -> Self {
        Self {
            shared: Arc::new(Shared {
                node: task::new_scope(),
                deadline: AtomicU64::new(u64::MAX),
                expired: AtomicBool::new(false),
                ended: AtomicBool::new(false),
                cause: Mutex::new(None),
                kind,
                name: Mutex::new(None),
                made_at: Location::caller(),
            }),
        }
    }

    /// Asks the scope to end. `true` if it was running and nobody had asked yet.
    ///
    /// Regions inside hear of it first: see [`catch_cancel`](crate::catch_cancel).
    ///
    /// ```
    /// use ringloop::scope;
    ///
    /// ringloop::run(async {
    ///     let ended = scope(async |s| {
    ///         s.cancel();
    ///         std::future::pending::<()>().await
    ///     });
    ///     assert!(ended.await.is_err());
    /// });
    /// ```
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.ask(self.new_cause(Some(Location::caller())))
    }

    /// As [`cancel`](Self::cancel), with a reason, which [`Cancelled::cause`] tells.
    #[track_caller]
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        let mut cause = self.new_cause(Some(Location::caller()));
        cause.reason = Some(reason.into());
        self.ask(cause)
    }

    pub(super) fn new_cause(&self, location: Option<&'static Location<'static>>) -> CancelCause {
        let mut cause = CancelCause::new(self.shared.kind, location);
        cause.name.clone_from(&self.shared.name.lock());
        cause
    }

    pub(super) fn set_name(&self, name: Cow<'static, str>) {
        *self.shared.name.lock() = Some(name);
    }

    fn ask(&self, cause: CancelCause) -> bool {
        self.ask_by(Cause::new(cause))
    }

    pub(super) fn ask_by(&self, cause: Cause) -> bool {
        let runs = !self.has_ended();
        let mut noted = self.shared.cause.lock();
        // Under the lock: a thread that finds the request finds its cause.
        let first = self.shared.node.ask();
        if first {
            *noted = Some(cause);
        }
        drop(noted);
        self.shared.node.wake();
        first && runs
    }

    /// The time has come. A cause that somebody has given stays until it has been consumed.
    fn note(&self, cause: Cause) {
        let mut noted = self.shared.cause.lock();
        if !self.is_cancelled() {
            *noted = Some(cause);
        }
    }

    /// Whether somebody asked the scope to end, and nobody has consumed that.
    pub fn is_cancelled(&self) -> bool {
        self.shared.node.is_asked()
    }

    /// Whether its deadline came before its end.
    ///
    /// asyncio: `Timeout.expired`.
    pub fn expired(&self) -> bool {
        // Acquire: pairs with the store in `poll`.
        self.shared.expired.load(Ordering::Acquire)
    }

    fn has_ended(&self) -> bool {
        // Acquire: pairs with the store in `end`.
        self.shared.ended.load(Ordering::Acquire)
    }

    /// When the scope is cancelled by itself; at first never.
    ///
    /// asyncio: `Timeout.when`.
    pub fn deadline(&self) -> Option<Instant> {
        // Relaxed: a value by itself.
        let at = self.shared.deadline.load(Ordering::Relaxed);
        (at != u64::MAX).then(|| Instant::from_nanos(at))
    }

    /// Sets the time at which the scope is cancelled by itself. `None`: never; a time that has passed:
    /// at the next suspension.
    ///
    /// asyncio: `Timeout.reschedule`.
    ///
    /// # Errors
    ///
    /// [`ScopeEnded`] if its future is ready, or was dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::{scope, time::Instant};
    ///
    /// ringloop::run(async {
    ///     let mut handle = None;
    ///     let ended = scope(async |s| {
    ///         s.reschedule(Some(Instant::now() + Duration::from_millis(1))).unwrap();
    ///         handle = Some(s);
    ///         std::future::pending::<()>().await
    ///     });
    ///     assert!(ended.await.is_err());
    ///     let handle = handle.unwrap();
    ///     assert!(handle.expired());
    ///     assert!(handle.reschedule(None).is_err());
    /// });
    /// ```
    pub fn reschedule(&self, at: Option<Instant>) -> Result<(), ScopeEnded> {
        if self.has_ended() {
            return Err(ScopeEnded(()));
        }
        // Relaxed: the wake publishes it.
        self.shared.deadline.store(at.map_or(u64::MAX, Instant::as_nanos), Ordering::Relaxed);
        self.shared.node.renew();
        self.shared.node.wake();
        Ok(())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("kind", &self.shared.kind)
            .field("name", &*self.shared.name.lock())
            .field("cancelled", &self.is_cancelled())
            .field("deadline", &self.deadline())
            .field("ended", &self.has_ended())
            .finish()
    }
}

/// Runs a future as a part of this task that can be cancelled by itself.
///
/// `body` gets a handle, which cancels the scope from wherever it is, and may give it a deadline.
///
/// asyncio: `asyncio.timeout(None)`, whose object can be rescheduled; to cancel a part of a task needs
/// a task of its own there. trio: `CancelScope`.
///
/// # Cancel safety
///
/// That of the future.
///
/// # Errors
///
/// [`Cancelled`] if the scope was cancelled and its future had no value by then.
///
/// ```
/// use ringloop::{ScopeKind, scope};
///
/// ringloop::run(async {
///     let gone = scope(async |s| {
///         ringloop::spawn(async move { s.cancel_with("enough") }).detach();
///         std::future::pending::<u32>().await
///     });
///     let gone = gone.await.unwrap_err();
///     assert_eq!(gone.cause().scope(), ScopeKind::Scope);
///     assert_eq!(gone.cause().reason(), Some("enough"));
/// });
/// ```
#[doc(alias = "CancelScope")]
#[track_caller]
pub fn scope<F, Fut>(body: F) -> ScopeFuture<Fut>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future,
{
    let handle = Scope::new(ScopeKind::Scope);
    let inner = body(handle.clone());
    ScopeFuture::new(inner, handle)
}

pin_project! {
    /// A future that can be cancelled by itself: what [`scope`] returns.
    #[must_use = "futures do nothing unless awaited"]
    pub struct ScopeFuture<F> {
        // Above the scope: what is inside is dropped first.
        #[pin]
        inner: Option<F>,
        scope: task::Scope,
        deadline: Deadline,
        handle: Scope,
    }

    impl<F> PinnedDrop for ScopeFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            this.project().handle.end();
        }
    }
}

impl Scope {
    fn end(&self) {
        // Release: pairs with `has_ended`.
        self.shared.ended.store(true, Ordering::Release);
    }
}

impl<F> ScopeFuture<F> {
    pub(super) fn new(inner: F, handle: Scope) -> Self {
        let scope = task::Scope::with_node(handle.shared.node.clone());
        Self { inner: Some(inner), scope, deadline: Deadline::new(u64::MAX), handle }
    }

    /// Gives the scope a name, which its [cause](CancelCause::name) tells.
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.handle.set_name(name.into());
        self
    }
}

impl<F: Future> Future for ScopeFuture<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let shared = &*this.handle.shared;
        // Relaxed: `reschedule` wakes this future after its store, and the wake publishes it.
        let at = shared.deadline.load(Ordering::Relaxed);
        let inner = this.inner.as_mut().as_pin_mut();
        let inner = inner.expect("a ScopeFuture was polled after it was ready");
        if let Poll::Ready(value) = this.scope.enter(at, || inner.poll(cx)) {
            this.handle.end();
            return Poll::Ready(Ok(value));
        }
        // Before the request is looked for: a request that comes later finds the waker.
        shared.node.set_waker(cx.waker());
        if !shared.node.is_asked() {
            // Relaxed: as above; a store after `set_waker` brings another poll.
            let at = shared.deadline.load(Ordering::Relaxed);
            if at == u64::MAX || shared.node.is_consumed() {
                this.scope.reset();
                return Poll::Pending;
            }
            if this.deadline.at() != at {
                this.deadline.reset(at);
            }
            if this.deadline.poll_with(cx, true).is_pending() {
                this.scope.reset();
                return Poll::Pending;
            }
            // Release: pairs with `expired`.
            shared.expired.store(true, Ordering::Release);
            this.handle.note(Cause::new(this.handle.new_cause(Some(shared.made_at))));
        }
        let cause = || shared.cause.lock().clone().expect("noted with the request");
        ready!(this.scope.deliver(cx, cause));
        this.inner.set(None);
        this.handle.end();
        Poll::Ready(Err(Cancelled::new(shared.node.clone(), cause())))
    }
}
