//! Rules about the workers' time, and that of the threads for blocking jobs.

use std::{collections::HashMap, time::Duration};

use super::{
    checkup::{Checkup, Pair, describe},
    finding::{Finding, FindingKind, Severity},
};
use crate::{
    error::TaskId,
    introspect::{Event, EventKind, Recording, TaskDump, TaskState, WorkerState},
    runtime::LaneMetrics,
};

/// A task that may run waits for its turn no longer than that in a healthy program.
const LONG: Duration = Duration::from_millis(10);
/// The mean poll of a task that keeps others from their turn.
const LONG_POLL: Duration = Duration::from_millis(1);
/// A checkup that is shorter shows too little.
const LEAST: Duration = Duration::from_millis(50);
/// The names of so many tasks are evidence enough.
pub(super) const SHOWN: usize = 8;

/// Workers that are in the same poll in both checkups.
pub(super) fn held(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    for (then, now) in pair.before.workers.iter().zip(&pair.after.workers) {
        let polls = |state| matches!(state, WorkerState::Polling | WorkerState::Held);
        let same = then.ticks == now.ticks && then.polls == now.polls && then.task == now.task;
        let Some(task) = now.task.filter(|_| same && polls(then.state) && polls(now.state)) else {
            continue;
        };
        if pair.pause < LEAST {
            continue;
        }
        let time = now.polling_for.unwrap_or(pair.pause).max(pair.pause);
        found.push(Finding {
            severity: Severity::Critical,
            kind: FindingKind::HeldWorker,
            what: format!(
                "worker {} has been in one poll for {} ms; {} tasks wait in its queue",
                now.index,
                time.as_millis(),
                now.queued,
            ),
            evidence: vec![
                pair.describe(task),
                format!("thread {}: its stack is in `gdb -p {}`", now.thread, now.thread),
            ],
            tasks: vec![task],
            fix: "run what blocks or computes by `ringloop::to_thread`, or let the task yield now \
                  and then by `ringloop::yield_now`"
                .to_owned(),
        });
    }
}

/// Tasks that could run in both checkups, and were not polled between them.
pub(super) fn starved(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let gone = |recording: &Recording| recording.tracks.iter().any(|track| track.lost > 0);
    if pair.pause < LEAST || pair.recording.as_ref().is_none_or(gone) {
        return;
    }
    let tasks: Vec<_> = pair.unchanged(TaskState::Ready).map(|(_, task)| task).collect();
    if tasks.is_empty() {
        return;
    }
    let line = |task: &&TaskDump| {
        let owner = task.owner.map(|owner| format!(", only worker {owner} may run it"));
        format!("{}{}", describe(task), owner.unwrap_or_default())
    };
    found.push(Finding {
        severity: Severity::Warning,
        kind: FindingKind::Starved,
        what: format!(
            "{} tasks could run, and were not polled for {} ms",
            tasks.len(),
            pair.pause.as_millis()
        ),
        evidence: tasks.iter().take(SHOWN).map(line).collect(),
        tasks: tasks.iter().map(|task| task.id).collect(),
        fix: "look for a worker that is held; give the runtime more workers; spawn tasks that may \
              move by `spawn` instead of `spawn_local`"
            .to_owned(),
    });
}

/// What the workers did, by a recording.
#[derive(Default)]
struct Shares {
    /// The time that the workers had, in ns: each from its first event on.
    time: u64,
    /// The time of each task's polls, in ns, and how many there were.
    busy: HashMap<TaskId, (u64, u64)>,
    /// The longest that a task waited for its turn.
    delay: u64,
    /// That task.
    delayed: Option<TaskId>,
}

impl Shares {
    fn add(&mut self, task: TaskId, time: u64) {
        let (sum, polls) = self.busy.entry(task).or_default();
        *sum += time;
        *polls += 1;
    }
}

fn shares(recording: &Recording) -> Shares {
    let mut shares = Shares::default();
    for track in &recording.tracks {
        let mut polled: Option<(TaskId, u64)> = None;
        let works = |event: &&Event| matches!(event.kind, EventKind::PollBegin { .. });
        if track.events.iter().any(|event| works(&event)) {
            shares.time += recording.end.saturating_sub(track.events[0].at);
        }
        for event in &track.events {
            if !matches!(
                event.kind,
                EventKind::PollBegin { .. } | EventKind::PollsEnd | EventKind::Park
            ) {
                continue;
            }
            if let Some((task, begun)) = polled.take() {
                shares.add(task, event.at.saturating_sub(begun));
            }
            if let EventKind::PollBegin { task, .. } = event.kind {
                polled = Some((task, event.at));
            }
        }
        if let Some((task, begun)) = polled {
            shares.add(task, recording.end.saturating_sub(begun));
        }
    }
    note_delays(recording, &mut shares);
    shares
}

/// The longest time from a wake to the poll that it causes.
fn note_delays(recording: &Recording, shares: &mut Shares) {
    let mut events: Vec<_> = recording.tracks.iter().flat_map(|track| &track.events).collect();
    events.sort_by_key(|event| event.at);
    let mut woken: HashMap<TaskId, u64> = HashMap::new();
    for event in events {
        match event.kind {
            EventKind::Wake { task, .. } => _ = woken.entry(task).or_insert(event.at),
            EventKind::PollBegin { task, .. } => {
                let waited = woken.remove(&task).map_or(0, |at| event.at.saturating_sub(at));
                if waited > shares.delay {
                    (shares.delay, shares.delayed) = (waited, Some(task));
                }
            }
            _ => {}
        }
    }
}

/// A task that has most of the time while others wait.
pub(super) fn unfair(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let Some(recording) = &pair.recording else { return };
    let shares = shares(recording);
    let all: u64 = shares.busy.values().map(|(time, _)| time).sum();
    let workers = pair.after.workers.len() as u64;
    let longest = shares.busy.iter().max_by_key(|(_, (time, _))| *time);
    let Some((&task, &(most, polls))) = longest else { return };
    // A worker without a poll was idle.
    let idle = recording.tracks.iter().take(workers as usize).any(|track| track.events.is_empty());
    let full = !idle && all * 10 >= shares.time * 9;
    let late = Duration::from_nanos(shares.delay) >= LONG && shares.delayed != Some(task);
    // A task with short polls lets others have their turn: they wait for the machine.
    let long = most >= polls * LONG_POLL.as_nanos() as u64;
    if !(full && late && long && most * 2 >= all && pair.pause >= LEAST) {
        return;
    }
    let delayed = shares.delayed.map(|task| pair.describe(task)).unwrap_or_default();
    found.push(Finding {
        severity: Severity::Warning,
        kind: FindingKind::UnfairCpu,
        what: format!(
            "one task has {} % of the workers' time, and others wait up to {} ms for their turn",
            most * 100 / all.max(1),
            shares.delay / 1_000_000,
        ),
        evidence: vec![pair.describe(task), format!("waited longest: {delayed}")],
        tasks: vec![task],
        fix: "have the task do less in each poll (`ringloop::yield_now`), or run it by \
              `ringloop::to_thread`"
            .to_owned(),
    });
}

/// Lanes of a runtime whose threads are all busy in both checkups while jobs wait.
pub(super) fn saturated(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let fix = "give the lane more threads (`Builder::blocking_threads`), or a `ThreadPool` of \
               its own to jobs that take long";
    full_lanes(&pair.before.lanes, &pair.after.lanes, &|| jobs(pair), fix, found);
}

/// The same of the pools that belong to no runtime.
pub(super) fn saturated_pools(before: &Checkup, after: &Checkup, found: &mut Vec<Finding>) {
    let fix = "give the pool more threads (`ThreadPool::builder`), or submit less at once: a \
               `CapacityLimiter` or a `Semaphore` lets the tasks wait instead of the jobs";
    let (then, now) = (&before.dump.process.pools, &after.dump.process.pools);
    full_lanes(then, now, &Vec::new, fix, found);
}

fn full_lanes(
    before: &[LaneMetrics],
    after: &[LaneMetrics],
    evidence: &dyn Fn() -> Vec<String>,
    fix: &str,
    found: &mut Vec<Finding>,
) {
    for now in after {
        let Some(then) = before.iter().find(|lane| lane.name == now.name) else { continue };
        let full = |lane: &LaneMetrics| lane.busy >= lane.limit && lane.queued > 0;
        let waited = now.oldest.unwrap_or_default();
        // Its oldest job has waited since before the first checkup, or nearly so.
        if !(full(then) && full(now) && waited >= LEAST) {
            continue;
        }
        found.push(Finding {
            severity: Severity::Warning,
            kind: FindingKind::SaturatedLane,
            what: format!(
                "all {} threads of the lane `{}` are busy, and {} jobs wait, the oldest for {} ms",
                now.limit,
                now.name,
                now.queued,
                waited.as_millis(),
            ),
            evidence: evidence(),
            tasks: Vec::new(),
            fix: fix.to_owned(),
        });
    }
}

/// The jobs that run, by the recording, and where they were started.
fn jobs(pair: &Pair<'_>) -> Vec<String> {
    let Some(recording) = &pair.recording else { return Vec::new() };
    let mut begun = HashMap::new();
    for event in recording.tracks.iter().flat_map(|track| &track.events) {
        match event.kind {
            EventKind::JobBegin { job, spawned_at, .. } => _ = begun.insert(job, spawned_at),
            EventKind::JobEnd { job, .. } => _ = begun.remove(&job),
            _ => {}
        }
    }
    let mut lines: Vec<_> =
        begun.iter().map(|(job, at)| format!("job {job}, started at {at}")).collect();
    lines.sort();
    lines.truncate(SHOWN);
    lines
}
