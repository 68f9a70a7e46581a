//! The handle of the runtime that this thread belongs to. What the thread may do is another
//! question: `util::current` has its role.

use std::cell::RefCell;

use super::Handle;
use crate::error::NoRuntime;

thread_local! {
    static CONTEXT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Makes `handle` this thread's runtime until the value is dropped; what was before
/// comes back then.
pub(super) struct Entered(Option<Handle>);

pub(super) fn enter(handle: Handle) -> Entered {
    Entered(CONTEXT.with(|context| context.replace(Some(handle))))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let outer = self.0.take();
        // Dropped outside of the borrow: a handle may be the last of its runtime.
        let ours = CONTEXT.try_with(|context| context.replace(outer));
        drop(ours);
    }
}

pub(super) fn current() -> Result<Handle, NoRuntime> {
    CONTEXT.try_with(|context| context.borrow().clone()).ok().flatten().ok_or_else(NoRuntime::new)
}
