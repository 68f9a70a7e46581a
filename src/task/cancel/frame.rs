//! The chain of scopes and regions that are being polled on this thread, innermost first.
//!
//! * F1 `current.frame` is null or points to a frame on this thread's stack, whose `enter` has not
//!   returned; so does each frame's `outer`. A frame is reached only while something inside is polled.

use std::{cell::Cell, ptr, sync::Arc};

use super::{
    node::{Link, Node},
    root,
};
use crate::util::{
    clock,
    current::{self, Current},
};

/// What a node or a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It can be asked to end.
    Scope,
    /// It hears of that.
    Catch,
    /// It hides from it.
    Mask,
}

/// One link of the chain.
pub(super) struct Frame {
    outer: *const Frame,
    kind: Kind,
    /// When a scope ends by itself, in nanoseconds of the clock.
    due: u64,
    link: Cell<Option<Link>>,
}

impl Frame {
    /// The node; the first region that asks makes it.
    fn node(&self) -> Arc<Node> {
        let link = self.link.take().unwrap_or_else(|| {
            // The surroundings of this frame, not of the caller.
            let inner = current::with(|current| current.frame.replace(self.outer.cast()));
            let _back = Back(inner);
            Link::new(Node::new(self.kind))
        });
        let node = link.node().clone();
        self.link.set(Some(link));
        node
    }

    /// Whether this scope is to end.
    fn is_requested(&self) -> bool {
        let link = self.link.take();
        let (asked, consumed) = match &link {
            Some(link) => (link.node().is_asked(), link.node().is_consumed()),
            None => (false, false),
        };
        self.link.set(link);
        asked || (self.due != u64::MAX && !consumed && clock::now() >= self.due)
    }
}

/// Makes a frame the innermost again.
struct Back(*const ());

impl Drop for Back {
    fn drop(&mut self) {
        current::with(|current| current.frame.set(self.0));
    }
}

/// Polls what is inside a scope or a region. Its node, if it has one, is linked to what surrounds
/// it now; one that is made meanwhile is found in `slot` afterwards, also if the poll panics.
#[inline]
pub(super) fn enter<T>(
    slot: &mut Option<Link>,
    kind: Kind,
    due: u64,
    poll: impl FnOnce() -> T,
) -> T {
    struct Pop<'a> {
        current: &'a Current,
        frame: &'a Frame,
        slot: &'a mut Option<Link>,
    }

    impl Drop for Pop<'_> {
        #[inline]
        fn drop(&mut self) {
            self.current.frame.set(self.frame.outer.cast());
            *self.slot = self.frame.link.take();
        }
    }

    if let Some(link) = slot {
        link.follow();
    }
    current::with(|current| {
        let outer = current.frame.get().cast();
        let frame = Frame { outer, kind, due, link: Cell::new(slot.take()) };
        current.frame.set(ptr::from_ref(&frame).cast());
        let _pop = Pop { current, frame: &frame, slot };
        poll()
    })
}

/// The innermost frame.
fn innermost<'a>() -> Option<&'a Frame> {
    let frame = current::with(|current| current.frame.get()).cast::<Frame>();
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
        next = unsafe { frame.outer.as_ref() };
    }
    root::is_requested()
}
