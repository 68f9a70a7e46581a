//! What a worker writes for the flight recorder. Each hook that is called often is a branch on a field of
//! the worker while the recorder is off.

use std::panic::Location;

use super::Worker;
use crate::{
    error::TaskId,
    reactor::Reactor,
    record::Kind,
    task::{self, Header},
};

const NOBODY: TaskId = TaskId(0);

/// What a reactor has counted.
pub(super) struct Turned {
    submitted: u64,
    arrivals: u64,
}

impl Turned {
    fn of(reactor: &Reactor) -> Self {
        Self { submitted: reactor.submitted(), arrivals: reactor.home().arrivals() }
    }
}

fn polled() -> Option<TaskId> {
    task::with_polled(|task| task.id())
}

impl Worker {
    /// A turn of a task begins.
    #[inline(always)]
    pub(super) fn note_poll(&self, kind: Kind, task: &Header) {
        if self.pen.is_on() {
            self.pen.note_poll(kind, task.id(), task.spawned_at());
        }
    }

    /// No task is polled any more in this tick.
    #[inline]
    pub(super) fn end_polls(&self) {
        self.block().end_run();
        if self.pen.is_on() {
            self.pen.note_idle();
        }
    }

    #[inline]
    pub(super) fn note_nested_end(&self, task: TaskId) {
        if self.pen.is_on() {
            self.pen.note(Kind::NestedEnd, task, 0, 0);
        }
    }

    /// A task is about to be queued because it was woken on this thread.
    #[inline(always)]
    pub(in crate::scheduler) fn note_wake(&self, task: &Header) {
        if self.pen.is_on() {
            self.pen.note(Kind::Wake, task.id(), 0, polled().unwrap_or(NOBODY).0);
        }
    }

    #[cold]
    pub(super) fn note_spawn(&self, task: (TaskId, Option<&str>), at: &'static Location<'static>) {
        self.pen.note_spawn(task, at, polled());
    }

    #[inline]
    pub(super) fn note_end(&self, task: &Header, panicked: bool) {
        if self.pen.is_on() {
            let kind = if panicked { Kind::Panic } else { Kind::End };
            self.pen.note(kind, task.id(), 0, 0);
        }
    }

    #[inline]
    pub(super) fn note_sleep(&self, kind: Kind) {
        // It may have been turned off while the worker slept.
        self.pen.look(&self.hub.recorder, self.hub.key());
        if self.pen.is_on() {
            self.pen.note(kind, NOBODY, 0, 0);
        }
    }

    #[inline]
    pub(super) fn note_timers(&self, fired: usize) {
        if self.pen.is_on() && fired > 0 {
            self.pen.note(Kind::Timers, NOBODY, 0, fired as u64);
        }
    }

    /// The reactor is about to be turned.
    #[inline]
    pub(super) fn begin_turn(&self, reactor: &Reactor) -> Option<Turned> {
        self.pen.is_on().then(|| Turned::of(reactor))
    }

    /// It was.
    #[inline]
    pub(super) fn end_turn(&self, reactor: &Reactor, before: Option<Turned>) {
        let Some(before) = before else { return };
        let now = Turned::of(reactor);
        let submitted = now.submitted.saturating_sub(before.submitted);
        let completed = now.arrivals.saturating_sub(before.arrivals);
        if submitted + completed > 0 {
            self.pen.note(Kind::Turn, NOBODY, completed, submitted);
        }
    }

    /// Tasks of another worker were taken.
    pub(in crate::scheduler) fn note_taken(&self, kind: Kind, from: usize, tasks: usize) {
        if self.pen.is_on() {
            self.pen.note(kind, NOBODY, from as u64, tasks as u64);
        }
    }
}
