//! How a worker writes.

use std::{
    cell::{Cell, RefCell},
    panic::Location,
    sync::Arc,
};

use super::{
    event::{Kind, word_of},
    recorder::{self, Rings, Switch},
    ticks,
};
use crate::{error::TaskId, util::threads};

/// A worker's own part.
pub(crate) struct Pen {
    /// Its index among the workers.
    worker: usize,
    /// The recording that it writes to; 0: none.
    epoch: Cell<u32>,
    /// A poll was noted, and no end of the tick's polls.
    polls: Cell<bool>,
    rings: RefCell<Option<Arc<Rings>>>,
}

impl Pen {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, epoch: Cell::new(0), polls: Cell::new(false), rings: RefCell::new(None) }
    }

    /// Whether there is something to write to: what each hook costs while the recorder is off.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.epoch.get() != 0
    }

    /// Looks at the switch: once in a tick.
    #[inline]
    pub(crate) fn look(&self, switch: &Switch, key: u16) {
        let epoch = switch.epoch();
        if epoch != self.epoch.get() {
            self.turn_to(epoch, key);
        }
    }

    #[cold]
    fn turn_to(&self, epoch: u32, key: u16) {
        let rings = if epoch == 0 { None } else { recorder::rings(key) };
        self.epoch.set(if rings.is_some() { epoch } else { 0 });
        self.polls.set(false);
        drop(self.rings.replace(rings));
    }

    /// Writes an event.
    #[inline(never)]
    pub(crate) fn note(&self, kind: Kind, task: TaskId, word: u64, more: u64) {
        let rings = self.rings.borrow();
        if let Some(ring) = rings.as_ref().and_then(|rings| rings.workers.get(self.worker)) {
            ring.push(kind.words(ticks::now(), task.0, word, more));
        }
    }

    /// A turn of a task begins.
    #[inline]
    pub(crate) fn note_poll(&self, kind: Kind, task: TaskId, at: &'static Location<'static>) {
        self.polls.set(true);
        self.note(kind, task, word_of(at), 0);
    }

    /// No task is polled now.
    pub(crate) fn note_idle(&self) {
        if self.polls.replace(false) {
            self.note(Kind::Idle, TaskId(0), 0, 0);
        }
    }

    /// A task was spawned by another, or by none.
    pub(crate) fn note_spawn(
        &self,
        (task, name): (TaskId, Option<&str>),
        at: &'static Location<'static>,
        parent: Option<TaskId>,
    ) {
        if let (Some(name), Some(rings)) = (name, &*self.rings.borrow()) {
            rings.add_name(task, name);
        }
        self.note(Kind::Spawn, task, word_of(at), parent.map_or(0, |parent| parent.0));
    }
}

/// Notes a spawn on a thread that is no worker of that runtime.
#[cold]
pub(crate) fn spawned_elsewhere(
    key: u16,
    (task, name): (TaskId, Option<&str>),
    at: &'static Location<'static>,
) {
    if let (Some(name), Some(rings)) = (name, recorder::rings(key)) {
        rings.add_name(task, name);
    }
    recorder::note_elsewhere(key, Kind::Spawn, [task.0, word_of(at), 0]);
}

/// Runs a blocking job of that runtime, and notes its beginning and its end.
#[inline]
pub(crate) fn job<R>(
    key: u16,
    (job, at): (TaskId, &'static Location<'static>),
    run: impl FnOnce() -> R,
) -> R {
    if !recorder::is_any_on() {
        return run();
    }
    let thread = u64::from(threads::id());
    recorder::note_elsewhere(key, Kind::Job, [job.0, word_of(at), thread]);
    let result = run();
    recorder::note_elsewhere(key, Kind::JobEnd, [job.0, 0, thread]);
    result
}
