//! What debug mode looks for: slow polls, and tasks that take no notice of their cancellation.
//!
//! The polls of a task that is spawned on a runtime in debug mode are timed: its table of functions is
//! another one, so that all other tasks pay nothing. A worker of such a runtime has the limit in its
//! thread's state.

use std::time::Duration;

use super::here;
use crate::{
    error::{ErrorEvent, TaskId, hook::Here},
    util::{clock, current},
};

/// A task whose regions have caught one request so often takes no notice of it.
pub(super) const CATCHES: u32 = 1000;

/// Polls the task that is set as the current one, and reports it if that takes long.
#[cold]
pub(super) fn timed<R>(poll: impl FnOnce() -> R) -> R {
    let limit = current::with(|current| current.slow_poll.get());
    if limit == 0 {
        return poll();
    }
    let begun = clock::machine();
    let polled = poll();
    let took = clock::machine().saturating_sub(begun);
    if took >= limit {
        let took = Duration::from_nanos(took);
        report(here(), |task, name, here| ErrorEvent::SlowPoll {
            task,
            name,
            spawned_at: here.spawned_at,
            took,
        });
    }
    polled
}

/// A task has caught a request [`CATCHES`] times.
#[cold]
pub(super) fn report_ignored(task: Option<Here>) {
    if current::with(|current| current.slow_poll.get()) == 0 {
        return;
    }
    report(task, |task, name, here| ErrorEvent::CancelIgnored {
        task,
        name,
        spawned_at: here.spawned_at,
        catches: CATCHES.into(),
    });
}

fn report(task: Option<Here>, event: impl FnOnce(TaskId, Option<String>, &Here) -> ErrorEvent) {
    let Some(mut here) = task else { return };
    let name = here.name.take().map(|name| name.into_owned());
    let event = event(here.task, name, &here);
    (here.report)(here.place, &event);
}
