//! A request to end that many may listen to.

use std::{
    borrow::Cow,
    fmt,
    panic::Location,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use crate::{
    error::{CancelCause, Cause, ScopeKind},
    future::scope::{Scope, ScopeFuture},
    loom::Mutex,
    sync::Event,
    task::Cancelled,
};

/// A request to end that any number of tasks and threads may listen to.
///
/// Clones are one token. A [child](Self::child) is cancelled with its parent, but not the other way.
///
/// asyncio: nothing alike; an `asyncio.Event` that every task looks at. tokio: `CancellationToken`.
///
/// ```
/// use ringloop::CancelToken;
///
/// ringloop::run(async {
///     let token = CancelToken::new();
///     let listener = token.clone();
///     let task = ringloop::spawn(async move { listener.cancelled().await });
///     token.cancel_with("going home");
///     let cause = task.await.unwrap();
///     assert_eq!(cause.reason(), Some("going home"));
/// });
/// ```
#[derive(Clone)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    event: Event,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cause: Option<Cause>,
    children: Vec<Weak<Shared>>,
    /// Scopes that run under the token.
    scopes: Vec<Weak<ScopeOf>>,
    /// Length of both lists after which the dead ones are dropped.
    sweep_at: usize,
}

/// A scope under a token, for as long as its future lives.
struct ScopeOf(Scope);

/// Fewer listeners than this are never swept.
const SWEEP: usize = 16;

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// A token that is cancelled with this one, or by itself.
    pub fn child(&self) -> Self {
        let child = Self::new();
        let weak = Arc::downgrade(&child.shared);
        if let Err(cause) = self.shared.add(|state| state.children.push(weak)) {
            child.shared.cancel(cause);
        }
        child
    }

    /// Cancels the token and its children. `true` if it was not before.
    ///
    /// Every task that waits for [`cancelled`](Self::cancelled) is woken, and what
    /// [runs](Self::run) under the token is asked to end.
    #[track_caller]
    pub fn cancel(&self) -> bool {
        let cause = CancelCause::new(ScopeKind::Token, Some(Location::caller()));
        self.shared.cancel(Cause::new(cause))
    }

    /// As [`cancel`](Self::cancel), with a reason.
    #[track_caller]
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        let mut cause = CancelCause::new(ScopeKind::Token, Some(Location::caller()));
        cause.reason = Some(reason.into());
        self.shared.cancel(Cause::new(cause))
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.event.is_set()
    }

    /// Waits until the token is cancelled; gives the cause.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn cancelled(&self) -> CancelCause {
        self.shared.event.wait().await;
        let cause = self.shared.state.lock().cause.clone();
        (*cause.expect("set before the event")).clone()
    }

    /// Runs `future` as a scope that the token cancels.
    ///
    /// # Cancel safety
    ///
    /// That of `future`.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the token was cancelled before `future` had a value.
    ///
    /// ```
    /// use ringloop::{CancelToken, ScopeKind};
    ///
    /// ringloop::run(async {
    ///     let token = CancelToken::new();
    ///     let job = token.run(std::future::pending::<()>());
    ///     token.cancel();
    ///     assert_eq!(job.await.unwrap_err().cause().scope(), ScopeKind::Token);
    /// });
    /// ```
    #[track_caller]
    pub fn run<F: IntoFuture>(&self, future: F) -> Cancellation<F::IntoFuture> {
        let scope = Scope::new(ScopeKind::Token);
        let listed = Arc::new(ScopeOf(scope.clone()));
        let weak = Arc::downgrade(&listed);
        if let Err(cause) = self.shared.add(|state| state.scopes.push(weak)) {
            scope.ask_by(cause);
        }
        Cancellation { inner: ScopeFuture::new(future.into_future(), scope), _listed: listed }
    }
}

impl Shared {
    /// Adds a listener, or says that it comes too late.
    fn add(&self, push: impl FnOnce(&mut State)) -> Result<(), Cause> {
        let mut state = self.state.lock();
        if let Some(cause) = &state.cause {
            return Err(cause.clone());
        }
        if state.children.len() + state.scopes.len() >= state.sweep_at.max(SWEEP) {
            state.children.retain(|child| child.strong_count() > 0);
            state.scopes.retain(|scope| scope.strong_count() > 0);
            state.sweep_at = 2 * (state.children.len() + state.scopes.len());
        }
        push(&mut state);
        Ok(())
    }

    fn cancel(&self, cause: Cause) -> bool {
        // A list instead of recursion: children may be nested as deep as memory goes.
        let mut next = Vec::new();
        let Some(first) = self.cancel_one(&cause, &mut next) else { return false };
        first();
        while let Some(shared) = next.pop() {
            if let Some(wake) = shared.cancel_one(&cause, &mut next) {
                wake();
            }
        }
        true
    }

    /// Cancels this one; its children go to `next`. What is returned wakes the tasks that listen.
    fn cancel_one(&self, cause: &Cause, next: &mut Vec<Arc<Self>>) -> Option<impl FnOnce()> {
        let mut state = self.state.lock();
        if state.cause.is_some() {
            return None;
        }
        state.cause = Some(cause.clone());
        let children = std::mem::take(&mut state.children);
        let scopes = std::mem::take(&mut state.scopes);
        drop(state);
        next.extend(children.iter().filter_map(Weak::upgrade));
        Some(move || {
            self.event.set();
            for scope in scopes.iter().filter_map(Weak::upgrade) {
                scope.0.ask_by(cause.clone());
            }
        })
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

pin_project_lite::pin_project! {
    /// A future under a token: what [`CancelToken::run`] returns.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Cancellation<F> {
        #[pin]
        inner: ScopeFuture<F>,
        _listed: Arc<ScopeOf>,
    }
}

impl<F: Future> Future for Cancellation<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}
