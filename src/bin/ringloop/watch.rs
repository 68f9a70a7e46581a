//! `watch`: a line of JSON for each look, for logs.

use std::time::Duration;

use serde_json::{Value, json};

use super::snapshot::{Snapshot, Task};

/// What there is to say of a look, and of what has changed since the one before.
pub fn line(now: &Snapshot, before: Option<&Snapshot>) -> Value {
    let states = |state: &str| now.tasks().filter(|task| task.state == state).count();
    let rate = before.and_then(|before| {
        let seconds = now.taken_at.saturating_sub(before.taken_at).as_secs_f64();
        let polls = polls(now).saturating_sub(polls(before)) as f64;
        (seconds > 0.0).then(|| (polls / seconds).round() as u64)
    });
    let workers = now.runtimes.iter().flat_map(|runtime| &runtime.workers);
    let held = workers.filter(|worker| worker.state == "held").map(|worker| {
        let since = worker.polling_for.map(seconds);
        json!({ "worker": worker.index, "task": worker.task, "for_s": since })
    });
    let lanes = now.runtimes.iter().flat_map(|runtime| &runtime.lanes).map(|lane| {
        let oldest = lane.oldest.map(seconds);
        json!({ "name": lane.name, "busy": lane.busy, "queued": lane.queued, "oldest_s": oldest })
    });
    json!({
        "at_s": seconds(now.taken_at),
        "pid": now.pid,
        "tasks": now.runtimes.iter().map(|runtime| runtime.tasks.len() as u64 + runtime.left_out).sum::<u64>(),
        "running": states("running"),
        "ready": states("ready"),
        "waiting": states("waiting"),
        "cancelling": now.tasks().filter(|task| task.cancelling).count(),
        "polls_per_s": rate,
        "held": held.collect::<Vec<_>>(),
        "longest_wait": longest_wait(now),
        "lanes": lanes.collect::<Vec<_>>(),
    })
}

/// Of those that wait for something known.
fn longest_wait(now: &Snapshot) -> Value {
    let waits = now.tasks().filter_map(|task| Some((task.wait.as_ref()?.since?, task)));
    let longest = waits.max_by_key(|(since, task)| (*since, std::cmp::Reverse(task.id)));
    longest.map_or(Value::Null, |(since, task): (Duration, &Task)| {
        let (id, name, on) = (task.id, &task.name, task.waits_for());
        json!({ "task": id, "name": name, "for_s": seconds(since), "on": on })
    })
}

pub fn polls(snapshot: &Snapshot) -> u64 {
    let workers = snapshot.runtimes.iter().flat_map(|runtime| &runtime.workers);
    workers.map(|worker| worker.polls).sum()
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
