//! What the rules read.

use std::{collections::HashSet, fs, time::Duration};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{
    error::TaskId,
    introspect::{
        Dump, EventKind, ListenerDump, Recording, RuntimeDump, TaskDump, TaskState, collect,
        listeners,
    },
    runtime::{self, Handle},
};

/// The state of the process at one instant: a snapshot, and its limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Checkup {
    /// The snapshot of its runtimes.
    pub dump: Dump,
    /// The limits of the process.
    pub limits: Limits,
    /// How long the machine has been suspended since its start.
    pub suspended: Duration,
    /// The listening TCP sockets of the process, if they could be read.
    pub listeners: Vec<ListenerDump>,
    /// How many connections the kernel has dropped, in this network namespace, because the accept queue of a listener was full.
    pub overflows: Option<u64>,
    /// What was recorded of each runtime, by its [number](RuntimeDump::number), before this was taken.
    pub recordings: Vec<(u64, Recording)>,
}

/// Limits of the process, and how much of each is used. `None`: there is none, or it cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Open descriptors, and how many there may be.
    pub descriptors: Option<(u64, u64)>,
    /// Locked memory in bytes, and how much there may be.
    pub locked: Option<(u64, u64)>,
}

impl Checkup {
    /// Looks at all runtimes of the process. See [`dump`](crate::introspect::dump).
    ///
    /// ```
    /// let checkup = ringloop::introspect::Checkup::take();
    /// let (open, limit) = checkup.limits.descriptors.unwrap();
    /// assert!(open > 0 && open <= limit);
    /// ```
    pub fn take() -> Self {
        Self::of(&runtime::all_runtimes())
    }

    /// The same for some of the runtimes.
    pub(super) fn of(handles: &[Handle]) -> Self {
        Self {
            dump: collect::of(handles, usize::MAX),
            limits: Limits::read(),
            suspended: suspended(),
            listeners: listeners::listeners().unwrap_or_default(),
            overflows: listeners::overflows(),
            recordings: Vec::new(),
        }
    }
}

impl Limits {
    fn read() -> Self {
        let limit = |resource| getrlimit(resource).current;
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        let status = fs::read_to_string("/proc/self/status").ok();
        Self {
            descriptors: open.zip(limit(Resource::Nofile)),
            locked: status.as_deref().and_then(locked).zip(limit(Resource::Memlock)),
        }
    }
}

/// The locked memory in the text of `/proc/PID/status`, in bytes.
fn locked(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// How long the machine has been suspended: only one of the clocks goes on then.
fn suspended() -> Duration {
    let since_start = |clock| {
        let time = clock_gettime(clock);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    // In this order: the time between the two readings does not count.
    let awake = since_start(ClockId::Monotonic);
    since_start(ClockId::Boottime).saturating_sub(awake)
}

/// A runtime in both checkups.
pub(super) struct Pair<'a> {
    pub(super) before: &'a RuntimeDump,
    pub(super) after: &'a RuntimeDump,
    /// The time between.
    pub(super) pause: Duration,
    /// What was recorded between.
    pub(super) recording: Option<Recording>,
    polled: HashSet<TaskId>,
}

/// The runtimes that are in both.
pub(super) fn pairs<'a>(before: &'a Checkup, after: &'a Checkup) -> Vec<Pair<'a>> {
    let pair = |after_it: &'a RuntimeDump| {
        let number = after_it.number;
        let before_it = before.dump.runtimes.iter().find(|runtime| runtime.number == number)?;
        let recording = after.recordings.iter().find(|recorded| recorded.0 == number);
        // The recorder may have been on before.
        let begun = before.dump.taken_at.as_nanos() as u64;
        let recording = recording.map(|recorded| recorded.1.since(begun));
        Some(Pair {
            before: before_it,
            after: after_it,
            pause: after.dump.taken_at.saturating_sub(before.dump.taken_at),
            polled: recording.as_ref().map(polled).unwrap_or_default(),
            recording,
        })
    };
    after.dump.runtimes.iter().filter_map(pair).collect()
}

/// The tasks that were polled, and those that a worker polls.
fn polled(recording: &Recording) -> HashSet<TaskId> {
    let events = recording.tracks.iter().flat_map(|track| &track.events);
    let polled = |kind| match kind {
        EventKind::PollBegin { task, .. } | EventKind::EagerBegin { task, .. } => Some(task),
        _ => None,
    };
    events.filter_map(|event| polled(event.kind)).collect()
}

impl<'a> Pair<'a> {
    /// The tasks that have not been polled between the checkups, and are in one state in both.
    pub(super) fn unchanged(
        &self,
        state: TaskState,
    ) -> impl Iterator<Item = (&'a TaskDump, &'a TaskDump)> {
        let tasks = self.after.tasks.iter().filter(move |task| task.state == state);
        tasks.filter_map(move |task| {
            let at = self.before.tasks.binary_search_by_key(&task.id, |task| task.id).ok()?;
            let then = &self.before.tasks[at];
            let same = then.state == state && then.polls == task.polls;
            (same && !self.polled.contains(&task.id)).then_some((then, task))
        })
    }

    /// A task of the second checkup.
    pub(super) fn task(&self, id: TaskId) -> Option<&'a TaskDump> {
        let at = self.after.tasks.binary_search_by_key(&id, |task| task.id).ok()?;
        Some(&self.after.tasks[at])
    }

    /// A task in words: number, name, and place.
    pub(super) fn describe(&self, id: TaskId) -> String {
        match self.task(id) {
            Some(task) => describe(task),
            None => format!("task {id}"),
        }
    }
}

/// A task in words.
pub(super) fn describe(task: &TaskDump) -> String {
    match &task.name {
        Some(name) => format!("task {} `{name}`, spawned at {}", task.id, task.spawned_at),
        None => format!("task {}, spawned at {}", task.id, task.spawned_at),
    }
}

/// A task, and what it waits for.
pub(super) fn with_wait(task: &TaskDump) -> String {
    match &task.waiting_on {
        Some(wait) => format!("{}, waits: {}", describe(task), wait.text),
        None => describe(task),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_memory_is_read_in_bytes() {
        assert_eq!(locked("Name:\tx\nVmLck:\t      12 kB\nVmPin:\t 7 kB\n"), Some(12 << 10));
        assert_eq!(locked("Name:\tx\n"), None);
    }
}
