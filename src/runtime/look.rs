//! What a snapshot reads of a runtime: facts, without words.

use super::{BackendInfo, Handle, Metrics, callbacks};
use crate::{
    scheduler::{Phase, WorkerLook},
    task::TaskInfo,
    util::clock,
};

/// A runtime at one instant, as exact as reading its parts one by one allows.
pub(crate) struct Look {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) backend: BackendInfo,
    pub(crate) phase: Phase,
    /// How long ago it was built, in ns.
    pub(crate) age: u64,
    pub(crate) metrics: Metrics,
    pub(crate) workers: Vec<WorkerLook>,
    pub(crate) tasks: Vec<TaskInfo>,
    /// Tasks beyond those that were asked for.
    pub(crate) left_out: usize,
}

/// The runtimes of this process that have not ended.
pub(crate) fn all() -> Vec<Handle> {
    callbacks::all().into_iter().map(|inner| Handle { inner }).collect()
}

impl Handle {
    /// The runtime's number, unique within the process.
    pub(crate) fn number(&self) -> u64 {
        self.inner.id.number()
    }

    /// Looks at the runtime, and at `most` of its tasks.
    ///
    /// It takes no lock that a worker holds while it polls, or waits.
    pub(crate) fn look(&self, most: usize) -> Look {
        let inner = &*self.inner;
        let ended = inner.last_metrics.lock().is_some();
        // The hub may be another runtime's by now.
        let alive = !ended && inner.is_ours();
        let workers = match alive {
            true => (0..inner.hub.workers()).map(|worker| inner.hub.look_at(worker)).collect(),
            false => Vec::new(),
        };
        let (tasks, left_out) = self.first_tasks(most);
        Look {
            number: inner.id.number(),
            name: inner.name.clone(),
            backend: inner.backend.clone(),
            phase: if alive { inner.hub.phase() } else { Phase::Stopped },
            age: clock::machine().saturating_sub(inner.born),
            metrics: self.metrics(),
            workers,
            tasks,
            left_out,
        }
    }
}
