//! Running foreign code (polls, destructors, wakers) so that its panic stays its own (S8).

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a panic carried.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// Runs `f`; a panic becomes its payload.
///
/// The caller promises not to look at what `f` may have left half-done, other
/// than to drop it.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Runs `f`; a panic is dropped, after the panic hook has printed it.
#[inline]
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch(f) {
        discard(payload);
    }
}

/// Drops a foreign value, such as the waker of the task that waited before. A panic of its
/// destructor does not reach the task that runs now.
#[inline]
pub(crate) fn discard_foreign<T>(foreign: T) {
    contain(|| drop(foreign));
}

/// Drops a payload whose own destructor may panic again, and so on: the second
/// one is leaked, since there is no end to them.
pub(crate) fn discard(payload: Payload) {
    if let Err(second) = catch(|| drop(payload)) {
        std::mem::forget(second);
    }
}

/// The text of a panic, as the standard hook would print it.
pub(crate) fn message(payload: &Payload) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "Box<dyn Any>".to_owned()
    }
}
