//! Which runtime this thread belongs to. Nothing else in the crate asks the question.

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

/// Looks at this thread's runtime without taking a reference.
pub(super) fn with<R>(f: impl FnOnce(Option<&Handle>) -> R) -> R {
    let mut f = Some(f);
    let seen = CONTEXT.try_with(|context| f.take().map(|f| f(context.borrow().as_ref())));
    match seen {
        Ok(Some(result)) => result,
        _ => (f.take().expect("not called"))(None),
    }
}
