//! The receiver of [`ErrorEvent`]s: one hook per runtime, found by a key.
//!
//! A task's panic may be reported long after its runtime is gone, when its handle is dropped. So
//! tasks carry a key, not a reference; an event whose hook is gone goes to standard error. So does
//! one in a forked child of the hook's process: the hook may need what a thread of the parent
//! holds.

use std::{borrow::Cow, fmt, io, os::fd::AsFd, panic::Location, sync::Arc};

use super::{ErrorEvent, TaskId};
use crate::{
    loom::global::Mutex,
    util::{clock, fork::PerProcess, panic},
};

/// What [`Builder::on_error`](crate::Builder::on_error) takes.
pub(crate) type Hook = Arc<dyn Fn(&ErrorEvent) + Send + Sync>;

/// A key that no runtime has: reports go to standard error.
pub(crate) const NOBODY: u16 = !0;

/// A runtime's hook, and the first task that can be its own: keys are used again.
struct Listener {
    key: u16,
    since: TaskId,
    hook: Hook,
    /// When each call began that has not returned.
    calls: Vec<u64>,
}

fn listeners() -> &'static Mutex<Vec<Listener>> {
    static LISTENERS: PerProcess<Mutex<Vec<Listener>>> = PerProcess::new();
    LISTENERS.get(|| Mutex::new(Vec::new()))
}

/// Sets the hook of a runtime that starts, before its first task: that is `since`, or later.
pub(crate) fn set(key: u16, since: TaskId, hook: Hook) {
    listeners().lock().push(Listener { key, since, hook, calls: Vec::new() });
}

/// Forgets it.
pub(crate) fn clear(key: u16) {
    let gone: Vec<_> = listeners().lock().extract_if(.., |listener| listener.key == key).collect();
    // Foreign destructors, so outside of the lock (S6).
    panic::contain(|| drop(gone));
}

/// Reports to the hook of `key`; if the hook panics, both are printed to standard error. Does not
/// panic.
pub(crate) fn report(key: u16, event: &ErrorEvent) {
    let task = event.late_task();
    let mine = |listener: &&mut Listener| {
        listener.key == key && task.is_none_or(|task| task >= listener.since)
    };
    let begun = clock::machine();
    let hook = listeners().lock().iter_mut().find(mine).map(|listener| {
        listener.calls.push(begun);
        listener.hook.clone()
    });
    // Moved in: where it is the last reference, foreign destructors run.
    match hook.map(|hook| panic::catch(move || hook(event))) {
        Some(result) => {
            note_return(key, begun);
            let Err(payload) = result else { return };
            tell_stderr(event);
            say(format_args!("and the error hook panicked: {}", panic::message(&payload)));
            panic::discard(payload);
        }
        None => tell_stderr(event),
    }
}

/// A call of the hook that began then has returned.
fn note_return(key: u16, begun: u64) {
    let mut listeners = listeners().lock();
    // Calls that began at one time are alike.
    let calls = listeners.iter_mut().filter(|listener| listener.key == key);
    for calls in calls.map(|listener| &mut listener.calls) {
        if let Some(mine) = calls.iter().position(|&call| call == begun) {
            calls.swap_remove(mine);
        }
    }
}

/// Whether a call of the hook of `key` that began before `time` has not returned.
pub(crate) fn is_held_since(key: u16, time: u64) -> bool {
    let listeners = listeners().lock();
    let mine = listeners.iter().filter(|listener| listener.key == key);
    mine.flat_map(|listener| &listener.calls).any(|&begun| begun < time)
}

/// Prints an event to standard error, as where there is no hook.
pub(crate) fn tell_stderr(event: &ErrorEvent) {
    say(format_args!("{event}"));
}

/// What is known of the task that is polled on this thread.
#[cfg_attr(not(debug_assertions), allow(dead_code, reason = "for reports of debug builds"))]
pub(crate) struct Here {
    pub(crate) task: TaskId,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) spawned_at: &'static Location<'static>,
    /// Where it belongs, for `report`.
    pub(crate) place: u64,
    /// Reports to the hook of its runtime.
    pub(crate) report: fn(u64, &ErrorEvent),
}

/// The function that answers [`here`]: tasks are unknown at this rank.
static ASK: PerProcess<fn() -> Option<Here>> = PerProcess::new();

/// Says how to find the task that is polled on a thread. The first one stays.
pub(crate) fn introduce(ask: fn() -> Option<Here>) {
    ASK.get(|| ask);
}

/// The task that is polled on this thread.
pub(crate) fn here() -> Option<Here> {
    ASK.peek().and_then(|ask| ask())
}

/// To standard error, if somebody still reads it: `eprintln!` would panic. By a call of our own: a
/// forked child may find the standard lock held.
fn say(text: fmt::Arguments<'_>) {
    let line = format!("ringloop: {text}\n");
    let (mut rest, stderr) = (line.as_bytes(), io::stderr());
    while !rest.is_empty() {
        match rustix::io::write(stderr.as_fd(), rest) {
            Ok(0) => return,
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
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
