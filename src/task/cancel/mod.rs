//! Cancellation with cleanup: scopes, the regions that hear of their cancellation, and masks.
//!
//! `task.cancel()`, a timeout that expires and a group that fails are the same thing: a *scope* is
//! cancelled. The request stays until its scope ends or code consumes it. It is delivered where the
//! scope's future suspends: the innermost *region* that asked to hear of it is dropped, and the code
//! around it goes on with an error, so that it may await its cleanup. Then comes the next region
//! outward, and at last the scope's own future.
//!
//! # The tree
//!
//! 1. Three kinds of future take part. A *scope* can be cancelled: a task, a timeout, a group,
//!    `scope()`. A *catch* is a region that hears of it: `catch_cancel`, and `Join`, which waits for
//!    its task. A *mask* hides what is inside from scopes outside: `uncancellable`.
//! 2. Each pushes a [`Frame`](frame::Frame) onto a chain of this thread's stack while it polls its
//!    inner future. So a future knows its surroundings only while it is polled, which is when they
//!    are true: a `join!`, a `select!` or another library's collection may lie between.
//! 3. A catch or a mask that is pending gets a [`Node`](node::Node), and so do the scopes and
//!    regions around it. At each poll a node whose surroundings have changed is linked anew, and
//!    forgets the request that was delivered to it. A scope without regions allocates nothing, and
//!    pays one exchange of a thread-local pointer.
//! 4. Each node has a lock of its own for its children, since a region may be dropped on another
//!    thread. A lock of a parent may be held while that of a child is taken, never the other way.
//!
//! # A request and its delivery
//!
//! 1. Somebody asks on any thread: a flag is set and the scope's future is woken.
//! 2. The scope polls its inner future first. A value that is ready wins.
//! 3. If it is pending, and a scope around it (with no mask between) is asked to end as well, that
//!    one acts, and this one waits.
//! 4. The first time, a task that was woken during this very poll has one more turn: what woke it
//!    may be the value.
//! 5. The request is delivered to the *frontier*: each catch below the scope, not below a mask,
//!    that has no catch and no mask below itself that could act. A catch is woken by its own waker,
//!    so that a library which polls only woken futures polls it.
//! 6. A catch that has the request and is pending drops its inner future and returns `Cancelled`, if
//!    the scope that delivered it is still around it. The request stands: the next suspension begins
//!    again at 2.
//! 7. A catch that has the request and is not polled, while nothing wakes the task, is *skipped*: some
//!    future holds it and does not poll it. It is passed over until it is polled again.
//! 8. While a mask is alive below, the scope waits: with the mask's end it is polled. It is woken if
//!    the mask is dropped, or goes elsewhere: that may happen on another thread. So the scope leaves
//!    its waker with each mask, and then looks whether all of them are still there.
//! 9. When no catch is left to deliver to, the scope drops its inner future and ends.
//!
//! The source: trio's cancel scopes, asyncio's `Task.cancel` and `uncancel`; the rule that a ready
//! value wins and the tree that follows the polls are our own.

mod frame;
mod node;
mod region;
mod root;
mod scope;

pub use self::region::{CatchCancel, Uncancellable, catch_cancel, uncancellable};
pub(super) use self::root::{Delivery, Root, deliver, shutdown};
pub(crate) use self::{frame::is_outer_requested, node::Node, region::Region, scope::Scope};

use std::{error::Error, fmt, sync::Arc, task::Poll};

use crate::error::{CancelCause, Cause};

/// The result of a region to which a cancellation was delivered, with its cause.
///
/// The request stands: the next suspension outside of the region hears of it as well, until the
/// scope ends. [`consume`](Self::consume) ends the request instead.
///
/// asyncio: the `CancelledError` that `try` catches; but there the next `await` works again.
///
/// ```
/// use ringloop::{ScopeKind, catch_cancel};
///
/// ringloop::run(async {
///     let task = ringloop::spawn(async {
///         let gone = catch_cancel(std::future::pending::<()>()).await.unwrap_err();
///         assert_eq!(gone.cause().scope(), ScopeKind::Task);
///         42
///     });
///     ringloop::yield_now().await;
///     task.cancel();
///     assert_eq!(task.await.unwrap(), 42); // a value that is ready wins
/// });
/// ```
#[must_use = "the request stands: return soon, or consume it"]
pub struct Cancelled {
    scope: Arc<Node>,
    cause: Cause,
}

/// Suspends for as long as a scope around the caller is to end: it ends then.
pub(crate) async fn leave_to_outer_scope() {
    std::future::poll_fn(|_| match frame::is_outer_requested() {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await;
}

/// The node of a scope with handles of its own.
pub(crate) fn new_scope() -> Arc<Node> {
    Node::new(frame::Kind::Scope)
}

impl Cancelled {
    pub(crate) fn new(scope: Arc<Node>, cause: Cause) -> Self {
        Self { scope, cause }
    }

    /// Where the cancellation was asked for, and why.
    pub fn cause(&self) -> &CancelCause {
        &self.cause
    }

    pub(crate) fn shared_cause(&self) -> &Cause {
        &self.cause
    }

    /// Asks the scope again, if the request has been consumed: what has ended by it is lost.
    pub(crate) fn insist(&self) {
        self.scope.insist();
    }

    /// Ends the request: the scope goes on as if nobody had asked. Requests of other scopes stand.
    ///
    /// A timeout whose time has come does not come again. A task consumes what was asked by its
    /// handle, and only in its own code. What its group, the scope around its owner or the end of the
    /// runtime asks of it stands. `false`: it stands.
    ///
    /// asyncio: `Task.uncancel`, of which there is one for each `cancel`; here it is one for the
    /// scope, however often it was asked.
    ///
    /// ```
    /// use ringloop::catch_cancel;
    ///
    /// ringloop::run(async {
    ///     let task = ringloop::spawn(async {
    ///         let gone = catch_cancel(std::future::pending::<()>()).await.unwrap_err();
    ///         assert!(gone.consume());
    ///         ringloop::yield_now().await; // not cancelled here
    ///         "went on"
    ///     });
    ///     ringloop::yield_now().await;
    ///     task.cancel();
    ///     assert_eq!(task.await.unwrap(), "went on");
    /// });
    /// ```
    pub fn consume(self) -> bool {
        self.scope.consume()
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancelled({})", self.cause())
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause().fmt(f)
    }
}

impl Error for Cancelled {}

/// For `finally(..).await?` in a function that returns `io::Result`. The kind is
/// [`Other`](std::io::ErrorKind::Other), and the error stays within.
///
/// ```
/// use std::{io, time::Duration};
///
/// ringloop::run(async {
///     let read = async || -> io::Result<u64> {
///         let read = async { Ok::<_, io::Error>(7) };
///         ringloop::finally(read, async {}, Duration::from_secs(1)).await?
///     };
///     assert_eq!(read().await.unwrap(), 7);
/// });
/// ```
impl From<Cancelled> for std::io::Error {
    fn from(cancelled: Cancelled) -> Self {
        Self::other(cancelled)
    }
}
