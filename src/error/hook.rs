//! Who hears of [`ErrorEvent`]s: one hook per runtime, found by a key.
//!
//! A task that panics may be found out long after its runtime is gone, by the drop
//! of its handle. So tasks carry a key, not a reference; an event whose hook is gone
//! goes to standard error.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ErrorEvent;
use crate::util::panic;

/// What [`Builder::on_error`](crate::Builder::on_error) takes.
pub(crate) type Hook = Arc<dyn Fn(&ErrorEvent) + Send + Sync>;

/// A key that no runtime has: standard error hears.
pub(crate) const NOBODY: u16 = !0;

static HOOKS: Mutex<Vec<(u16, Hook)>> = Mutex::new(Vec::new());

/// Sets the hook of a runtime that starts.
pub(crate) fn set(key: u16, hook: Hook) {
    HOOKS.lock().push((key, hook));
}

/// Forgets it.
pub(crate) fn clear(key: u16) {
    let mut gone = Vec::new();
    let mut hooks = HOOKS.lock();
    while let Some(at) = hooks.iter().position(|(of, _)| *of == key) {
        gone.push(hooks.swap_remove(at));
    }
    drop(hooks);
    // Foreign destructors, so outside of the lock (S6).
    panic::contain(|| drop(gone));
}

/// Tells the hook of `key`; if it panics, standard error hears both.
pub(crate) fn report(key: u16, event: &ErrorEvent) {
    let hook = HOOKS.lock().iter().find(|(of, _)| *of == key).map(|(_, hook)| hook.clone());
    let told = hook.map(|hook| panic::catch(|| hook(event)));
    match told {
        Some(Ok(())) => {}
        Some(Err(payload)) => {
            eprintln!("ringloop: {event}");
            eprintln!("ringloop: and the error hook panicked: {}", panic::message(&payload));
            panic::discard(payload);
        }
        None => eprintln!("ringloop: {event}"),
    }
}
