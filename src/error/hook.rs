//! Who hears of [`ErrorEvent`]s: one hook per runtime, found by a key.
//!
//! A task that panics may be found out long after its runtime is gone, by the drop
//! of its handle. So tasks carry a key, not a reference; an event whose hook is gone
//! goes to standard error.

use std::{
    fmt,
    io::{self, Write},
    panic::Location,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;

use super::{ErrorEvent, TaskId};
use crate::util::panic;

/// What [`Builder::on_error`](crate::Builder::on_error) takes.
pub(crate) type Hook = Arc<dyn Fn(&ErrorEvent) + Send + Sync>;

/// A key that no runtime has: standard error hears.
pub(crate) const NOBODY: u16 = !0;

/// A runtime's hook, and the first task that can be its own: keys are used again.
struct Listener {
    key: u16,
    since: TaskId,
    hook: Hook,
}

static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());

/// Sets the hook of a runtime that starts, before its first task: that is `since`, or later.
pub(crate) fn set(key: u16, since: TaskId, hook: Hook) {
    LISTENERS.lock().push(Listener { key, since, hook });
}

/// Forgets it.
pub(crate) fn clear(key: u16) {
    let gone: Vec<_> = LISTENERS.lock().extract_if(.., |listener| listener.key == key).collect();
    // Foreign destructors, so outside of the lock (S6).
    panic::contain(|| drop(gone));
}

/// Tells the hook of `key`; if it panics, standard error hears both. Does not panic.
pub(crate) fn report(key: u16, event: &ErrorEvent) {
    let mine = |listener: &&Listener| match event {
        ErrorEvent::TaskPanicked { task, .. } => listener.key == key && *task >= listener.since,
        _ => listener.key == key,
    };
    let hook = LISTENERS.lock().iter().find(mine).map(|listener| listener.hook.clone());
    // Moved in: where it is the last reference, foreign destructors run.
    match hook.map(|hook| panic::catch(move || hook(event))) {
        Some(Ok(())) => {}
        Some(Err(payload)) => {
            say(format_args!("{event}"));
            say(format_args!("and the error hook panicked: {}", panic::message(&payload)));
            panic::discard(payload);
        }
        None => say(format_args!("{event}")),
    }
}

/// What is known of the task that is polled on this thread.
#[derive(Clone, Copy)]
#[cfg_attr(not(debug_assertions), allow(dead_code, reason = "for reports of debug builds"))]
pub(crate) struct Here {
    pub(crate) task: TaskId,
    pub(crate) spawned_at: &'static Location<'static>,
    /// Where it belongs, for `report`.
    pub(crate) place: u64,
    /// Tells the hook of its runtime.
    pub(crate) report: fn(u64, &ErrorEvent),
}

/// Who can answer [`here`]: tasks are unknown at this rank.
static ASK: OnceLock<fn() -> Option<Here>> = OnceLock::new();

/// Says how to find the task that is polled on a thread. The first one stays.
pub(crate) fn introduce(ask: fn() -> Option<Here>) {
    let _ = ASK.set(ask);
}

/// The task that is polled on this thread.
#[cfg_attr(not(debug_assertions), allow(dead_code, reason = "for reports of debug builds"))]
pub(crate) fn here() -> Option<Here> {
    ASK.get().and_then(|ask| ask())
}

/// To standard error, if somebody still reads it: `eprintln!` would panic.
fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "ringloop: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_that_ends_in_its_own_report_may_panic() {
        // Goal: reports do not panic, whatever becomes of the hook; method: a hook that is forgotten
        // while it hears, so that its last reference, whose destructor panics, is the report's.
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("the destructor of a hook");
            }
        }
        const KEY: u16 = NOBODY - 1;
        let held = Panics;
        let hook = move |_: &ErrorEvent| {
            let _held = &held;
            clear(KEY);
        };
        set(KEY, TaskId(0), Arc::new(hook));
        report(KEY, &ErrorEvent::AcceptPaused { error: io::ErrorKind::OutOfMemory.into() });
    }
}
