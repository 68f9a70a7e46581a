//! The chain of scopes and regions that are being polled on this thread, innermost first.
//!
//! * F1 `current.frame` is null or points to a frame on this thread's stack, whose `enter` has not
//!   returned; so does each frame's `outer`. A frame is reached only while something inside is polled.
//!   So its `link` lives: `enter` borrows it.

use std::{cell::Cell, ptr, sync::Arc};

use super::{
    node::{Link, Node},
    root,
};
use crate::util::{
    clock,
    current::{self, Current},
    rare::Rare,
};

/// What a node or a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// It can be asked to end.
    Scope,
    /// The request is delivered to it.
    Catch,
    /// It hides what is inside from the request.
    Mask,
}

/// One link of the chain.
pub(super) struct Frame<'a> {
    outer: *const (),
    kind: Kind,
    /// When a scope ends by itself, in nanoseconds of the clock.
    due: u64,
    /// Where the scope or region keeps its node.
    link: &'a Cell<Rare<Link>>,
}

impl Frame<'_> {
    /// The node; the first region that asks makes it.
    fn node(&self) -> Arc<Node> {
        let mut slot = self.link.take();
        let link = slot.get_or_insert_with(|| {
            // The surroundings of this frame, not of the caller.
            current::with(|current| {
                let _back = Back { current, frame: current.frame.replace(self.outer) };
                Link::new(Node::new(self.kind))
            })
        });
        let node = link.node().clone();
        self.link.set(slot);
        node
    }

    /// Looks at the node, if there is one.
    fn look<R>(&self, f: impl FnOnce(Option<&Arc<Node>>) -> R) -> R {
        let link = self.link.take();
        let seen = f(link.as_ref().map(Link::node));
        self.link.set(link);
        seen
    }

    /// Whether this scope is to end.
    fn is_requested(&self) -> bool {
        let (asked, consumed) = self.look(|node| match node {
            Some(node) => (node.is_asked(), node.is_consumed()),
            None => (false, false),
        });
        asked || (self.due != u64::MAX && !consumed && clock::now() >= self.due)
    }
}

/// Makes a frame the innermost again.
struct Back<'a> {
    current: &'a Current,
    frame: *const (),
}

impl Drop for Back<'_> {
    #[inline]
    fn drop(&mut self) {
        self.current.frame.set(self.frame);
    }
}

/// Polls what is inside a scope or a region. Its node, if it has one, is linked to what surrounds
/// it now; one that is made meanwhile is found in `slot` afterwards, also if the poll panics.
#[inline(always)]
pub(super) fn enter<T>(slot: &mut Rare<Link>, kind: Kind, due: u64, poll: impl FnOnce() -> T) -> T {
    if let Some(link) = slot.as_mut() {
        link.follow();
    }
    current::with(|current| {
        let outer = current.frame.get();
        let frame = Frame { outer, kind, due, link: Cell::from_mut(slot) };
        current.frame.set(ptr::from_ref(&frame).cast());
        let _back = Back { current, frame: outer };
        poll()
    })
}

/// The innermost frame.
fn innermost<'a>() -> Option<&'a Frame<'a>> {
    let frame = current::with(|current| current.frame.get()).cast::<Frame<'a>>();
    // SAFETY: F1; the reference does not leave this module, whose functions return before `enter`.
    unsafe { frame.as_ref() }
}

/// The node of what surrounds the caller: the innermost frame, or the task.
pub(super) fn surrounding() -> Option<Arc<Node>> {
    match innermost() {
        Some(frame) => Some(frame.node()),
        None => root::node(),
    }
}

/// Whether that node is what surrounds the caller, or nothing is, and it is `None`.
pub(super) fn is_surrounding(node: Option<&Arc<Node>>) -> bool {
    match (innermost(), node) {
        (Some(frame), Some(node)) => {
            frame.look(|own| own.is_some_and(|own| Arc::ptr_eq(own, node)))
        }
        (Some(_), None) => false,
        (None, node) => root::has_node(node),
    }
}

/// Whether a scope around the caller, with no mask between, is to end.
pub(crate) fn is_outer_requested() -> bool {
    let mut next = innermost();
    while let Some(frame) = next {
        match frame.kind {
            Kind::Mask => return false,
            Kind::Scope if frame.is_requested() => return true,
            Kind::Scope | Kind::Catch => {}
        }
        // SAFETY: F1.
        next = unsafe { frame.outer.cast::<Frame<'_>>().as_ref() };
    }
    root::is_requested()
}

/// Whether `scope` is around the caller, with no mask between.
pub(super) fn is_around(scope: &Arc<Node>) -> bool {
    let mut next = innermost();
    while let Some(frame) = next {
        if frame.kind == Kind::Mask {
            return false;
        }
        if frame.look(|node| node.is_some_and(|node| Arc::ptr_eq(node, scope))) {
            return true;
        }
        // SAFETY: F1.
        next = unsafe { frame.outer.cast::<Frame<'_>>().as_ref() };
    }
    root::node().is_some_and(|node| Arc::ptr_eq(&node, scope))
}
