//! The outermost scope: a task. Its request is in its state word, and its node in its extension.

use std::{borrow::Cow, ptr::NonNull, sync::Arc, task::Poll};

use super::{node::Node, scope::Progress};
use crate::{
    error::{CancelCause, Cause, ScopeKind, TaskId},
    task::{debug, extra::Extra, header::Header, here_of, raw, waker},
    util::current,
};

/// What a task keeps for its regions.
#[derive(Default)]
pub(in crate::task) struct Root {
    node: Option<Arc<Node>>,
    progress: Progress,
}

/// What becomes of a cancelled task whose poll was pending.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::task) enum Delivery {
    /// It goes on: it was woken, or something wakes it, or nobody asks any more.
    GoOn,
    /// It ends: its future is to be dropped.
    End,
}

/// The task that is being polled on this thread, with the word of its extras.
fn polled<'a>() -> Option<(&'a Header, &'a Extra)> {
    let task = NonNull::new(current::with(|current| current.task.get()).cast_mut())?;
    let task = task.cast::<Header>();
    // SAFETY: R1: the runner's reference lives until the poll is over, and the references do not
    // leave this module, whose functions return before that.
    Some(unsafe { (task.as_ref(), raw::extra(task)) })
}

/// The node of the task that is being polled.
pub(super) fn node() -> Option<Arc<Node>> {
    let (header, extra) = polled()?;
    let mut root = extra.get_or_make().root.lock();
    Some(root.node.get_or_insert_with(|| Node::of_task(header.id())).clone())
}

/// Whether that is the node of the task that is being polled; `None`: whether no task is.
pub(super) fn has_node(node: Option<&Arc<Node>>) -> bool {
    let Some((header, _)) = polled() else { return node.is_none() };
    // A task has one node, for good.
    node.is_some_and(|node| node.is_of_task(header.id()))
}

/// Whether the task that is being polled was asked to end.
pub(super) fn is_requested() -> bool {
    polled().is_some_and(|(header, _)| header.state.load().is_cancelled())
}

/// Whether the task that is being polled has been woken since its poll began, or wants another turn.
pub(super) fn was_woken() -> bool {
    polled().is_some_and(|(header, _)| {
        current::with(|current| current.yielded.get()) || header.state.load().is_notified()
    })
}

/// Ends the request to the task that is being polled, if it is this one, and if somebody with a handle
/// has made it. What a group, an owner or the runtime asks for stands until the task ends. A request
/// that comes meanwhile is a part of this one, or a new one: see the page of `task/extra.rs`.
pub(super) fn consume(task: TaskId) -> bool {
    let Some((header, extra)) = polled() else { return false };
    if header.id() != task || !extra.consume(&header.state) {
        return false;
    }
    extra.get_or_make().root.lock().progress = Progress::default();
    true
}

/// Asks the task that is being polled to end, if it is this one and nobody asks any more.
pub(super) fn insist(task: TaskId) {
    if let Some((header, _)) = polled()
        && header.id() == task
        && !header.state.load().is_cancelled()
    {
        let (_, push) = header.state.request(false);
        debug_assert!(!push, "it is being polled");
    }
}

/// After a poll that was pending, of a task that was asked to end when it began.
///
/// # Safety
///
/// The caller is the runner, and has a reference (R1).
pub(in crate::task) unsafe fn deliver(task: NonNull<Header>, yielded: bool) -> Delivery {
    // SAFETY: R1, by the caller.
    let (header, extra) = unsafe { (task.as_ref(), raw::extra(task)) };
    let now = header.state.load();
    if !now.is_cancelled() {
        return Delivery::GoOn;
    }
    if now.is_aborted() {
        return Delivery::End;
    }
    let root = extra.get().map(|extension| &extension.root);
    let Some((root, node)) = root.and_then(|root| Some((root, root.lock().node.clone()?))) else {
        let more = header.state.spend_last_turn(yielded);
        return if more { Delivery::GoOn } else { Delivery::End };
    };
    let woken = yielded || now.is_notified();
    // Others wake what they poll: that is not to happen under a lock (S6).
    let mut progress = std::mem::take(&mut root.lock().progress);
    // SAFETY: R1: the runner's reference outlives it.
    let waker = unsafe { waker::borrow(task) };
    let delivered = match progress.is_last_turn(woken) {
        true => progress.deliver(&node, woken, &waker, || cause(extra)),
        false => Poll::Pending,
    };
    if progress.is_found_ignored() {
        debug::report_ignored(Some(here_of(header, extra)));
    }
    root.lock().progress = progress;
    if delivered.is_ready() { Delivery::End } else { Delivery::GoOn }
}

/// Why the task is to end.
fn cause(extra: &Extra) -> Cause {
    let noted = extra.noted().map(|noted| noted.cause);
    noted.unwrap_or_else(|| shutdown(extra.name()))
}

/// The cause of a request that nobody gave one for: the runtime's own.
pub(in crate::task) fn shutdown(name: Option<&Cow<'static, str>>) -> Cause {
    let mut cause = CancelCause::new(ScopeKind::Task, None);
    cause.name = name.cloned();
    cause.reason = Some("its runtime shuts down".into());
    Cause::new(cause)
}
