//! Rules about tasks that wait.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    checkup::{Pair, describe, with_wait},
    finding::{Finding, FindingKind, Severity},
    workers::SHOWN,
};
use crate::{
    error::TaskId,
    introspect::{TaskDump, TaskState, WaitKind},
};

/// The tasks that wait for the same thing in both checkups, and were not polled in between.
fn waiting<'a>(pair: &'a Pair<'a>) -> impl Iterator<Item = &'a TaskDump> {
    pair.unchanged(TaskState::Waiting).filter_map(|(then, now)| {
        let key = |task: &TaskDump| task.waiting_on.as_ref().map(|wait| (wait.kind, wait.key));
        (key(then) == key(now)).then_some(now)
    })
}

/// The tasks for which a task waits: the one whose end it awaits, the holder of its lock, and those that
/// its combinator awaits.
fn edges(pair: &Pair<'_>) -> BTreeMap<TaskId, Vec<TaskId>> {
    let waits: HashMap<TaskId, &TaskDump> = waiting(pair).map(|task| (task.id, task)).collect();
    let mut edges: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
    for task in waits.values() {
        let wait = task.waiting_on.as_ref();
        let next = wait.and_then(|wait| wait.task.or(wait.holder));
        if let Some(next) = next {
            edges.entry(task.id).or_default().push(next);
        }
    }
    for task in &pair.after.tasks {
        let Some(awaiter) = task.awaited_by.and_then(|awaiter| waits.get(&awaiter)) else {
            continue;
        };
        // Else the note is of an earlier wait.
        if awaiter.waiting_on.as_ref().is_some_and(|wait| wait.kind == WaitKind::Task) {
            edges.entry(awaiter.id).or_default().push(task.id);
        }
    }
    edges
}

/// Tasks that wait for each other in a circle, or for a lock that they hold.
pub(super) fn cycles(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let edges = edges(pair);
    let mut done = HashSet::new();
    for &start in edges.keys() {
        if let Some(circle) = circle(start, &edges, &done) {
            done.extend(circle.iter().copied());
            found.push(match &circle[..] {
                [task] => futurelock(pair, *task),
                _ => deadlock(pair, circle),
            });
        }
    }
}

/// A way from `start` back to it, over tasks that are in no circle that is known.
fn circle(
    start: TaskId,
    edges: &BTreeMap<TaskId, Vec<TaskId>>,
    done: &HashSet<TaskId>,
) -> Option<Vec<TaskId>> {
    let mut seen = HashSet::new();
    let mut from: HashMap<TaskId, TaskId> = HashMap::new();
    let mut stack = vec![start];
    while let Some(task) = stack.pop() {
        if done.contains(&task) || !seen.insert(task) {
            continue;
        }
        for &next in edges.get(&task).into_iter().flatten() {
            if next == start {
                let mut way = vec![task];
                while let Some(before) = from.get(&way[way.len() - 1]) {
                    way.push(*before);
                }
                way.reverse();
                return Some(way);
            }
            if !seen.contains(&next) {
                from.insert(next, task);
                stack.push(next);
            }
        }
    }
    None
}

fn deadlock(pair: &Pair<'_>, circle: Vec<TaskId>) -> Finding {
    let line = |id: &TaskId| pair.task(*id).map_or_else(|| pair.describe(*id), with_wait);
    Finding {
        severity: Severity::Critical,
        kind: FindingKind::Deadlock,
        what: format!("{} tasks wait for each other in a circle", circle.len()),
        evidence: circle.iter().take(SHOWN).map(line).collect(),
        fix:
            "take the locks in one order in all tasks; do not hold a lock while waiting for a task \
              that takes it; a `timeout` around one of the waits breaks the circle"
                .to_owned(),
        tasks: circle,
    }
}

fn futurelock(pair: &Pair<'_>, task: TaskId) -> Finding {
    let line = pair.task(task).map_or_else(|| pair.describe(task), with_wait);
    let awaits = pair.task(task).and_then(|task| task.waiting_on.as_ref());
    let joins = awaits.is_some_and(|wait| wait.kind == WaitKind::Task);
    Finding {
        severity: Severity::Critical,
        kind: if joins { FindingKind::Deadlock } else { FindingKind::Futurelock },
        what: match joins {
            true => "a task waits for its own end".to_owned(),
            false => "a task waits for a lock that it holds itself: the branch that holds it is \
                      not polled, or is the one that waits"
                .to_owned(),
        },
        evidence: vec![line],
        tasks: vec![task],
        fix: "drop the guard, or the future that has it, before the lock is taken again; poll \
              branches of `race!` to their end, or drop them; give the branch that holds the lock a \
              task of its own"
            .to_owned(),
    }
}

/// Locks that no task holds, and for which tasks wait all the same: each was handed to the future that was the
/// first to wait for it, and that one is not polled.
pub(super) fn handed(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    // Of a task that holds several locks only the last one is known: the holder may be such a one.
    if pair.after.tasks.iter().any(|task| task.holds_more) {
        return;
    }
    let mut locks: BTreeMap<u64, Vec<&TaskDump>> = BTreeMap::new();
    for task in waiting(pair) {
        let Some(wait) = &task.waiting_on else { continue };
        let holds = |task: &TaskDump| task.holds == Some(wait.key);
        if wait.kind == WaitKind::Lock && !pair.after.tasks.iter().any(holds) {
            locks.entry(wait.key).or_default().push(task);
        }
    }
    for tasks in locks.into_values() {
        found.push(Finding {
            severity: Severity::Warning,
            kind: FindingKind::Futurelock,
            what: format!(
                "{} tasks wait for a lock that no task holds: it was handed to a future that is not \
                 polled, or a thread that runs no task holds it",
                tasks.len()
            ),
            evidence: tasks.iter().take(SHOWN).map(|task| with_wait(task)).collect(),
            tasks: tasks.iter().map(|task| task.id).collect(),
            fix: "look in these tasks for a future that waited for the lock and is kept without being \
                  polled, as a branch of `race!` over `&mut future`: drop it, poll it on, or give it a task \
                  of its own"
                .to_owned(),
        });
    }
}

/// Tasks that wait, and have left no waker anywhere.
pub(super) fn leaks(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let gone = |task: &&TaskDump| task.wakers == Some(0);
    let (held, lost): (Vec<_>, Vec<_>) =
        waiting(pair).filter(gone).partition(|task| task.has_handle);
    let finding = |tasks: Vec<&TaskDump>, severity, what: &str, fix: &str| Finding {
        severity,
        kind: FindingKind::Leak,
        what: format!("{} tasks wait, and {what}", tasks.len()),
        evidence: tasks.iter().take(SHOWN).map(|task| with_wait(task)).collect(),
        tasks: tasks.iter().map(|task| task.id).collect(),
        fix: fix.to_owned(),
    };
    if !lost.is_empty() {
        found.push(finding(
            lost,
            Severity::Warning,
            "nothing is left that could wake them",
            "a future that returns `Pending` has to keep the waker that it was polled with; cancel \
             tasks that are not needed any more",
        ));
    }
    if !held.is_empty() {
        found.push(finding(
            held,
            Severity::Info,
            "only their handles can end them",
            "none is needed if that is meant, as with `pending()` in a main that runs until it is \
             cancelled",
        ));
    }
}

/// Tasks that wait for room the whole time, in a queue from which nothing is taken: whatever was waiting for room
/// in it still is.
pub(super) fn full_queues(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    // A task that had no worker meanwhile, or whose worker had no core, may be the one that takes.
    let stood_still = |state| pair.unchanged(state).next().is_some();
    if stood_still(TaskState::Ready) || stood_still(TaskState::Running) {
        return;
    }
    let mut queues: BTreeMap<(WaitKind, u64), Vec<&TaskDump>> = BTreeMap::new();
    for task in waiting(pair) {
        let Some(wait) = &task.waiting_on else { continue };
        if matches!(wait.kind, WaitKind::QueuePut | WaitKind::ChannelSend) {
            queues.entry((wait.kind, wait.key)).or_default().push(task);
        }
    }
    for (queue, tasks) in queues {
        let Some(wait) = &tasks[0].waiting_on else { continue };
        let waited = |task: &&TaskDump| {
            task.waiting_on.as_ref().is_some_and(|wait| (wait.kind, wait.key) == queue)
        };
        if pair.before.tasks.iter().filter(waited).count() > tasks.len() {
            continue;
        }
        let name = wait.name.as_ref().map_or("a queue".to_owned(), |name| format!("`{name}`"));
        found.push(Finding {
            severity: Severity::Warning,
            kind: FindingKind::FullQueue,
            what: format!(
                "{} tasks wait for room in {name}, and nothing was taken from it for {} ms",
                tasks.len(),
                pair.pause.as_millis()
            ),
            evidence: tasks.iter().take(SHOWN).map(|task| with_wait(task)).collect(),
            tasks: tasks.iter().map(|task| task.id).collect(),
            fix: "look for the tasks that take from it: they have ended, wait for something else, or \
                  are too few"
                .to_owned(),
        });
    }
}

/// Tasks that were asked to end before the first checkup.
pub(super) fn cancelled(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    for task in &pair.after.tasks {
        let at = pair.before.tasks.binary_search_by_key(&task.id, |task| task.id);
        let asked = at.is_ok_and(|at| pair.before.tasks[at].cancelling);
        if !(asked && task.cancelling && task.state != TaskState::Done) {
            continue;
        }
        let holds = match (&task.waiting_on, task.state) {
            (Some(wait), _) => format!("it waits: {}", wait.text),
            (None, TaskState::Running) => "a worker polls it".to_owned(),
            (None, TaskState::Ready) => "it waits for its turn".to_owned(),
            (None, _) => "it waits for something that is not known".to_owned(),
        };
        found.push(Finding {
            severity: Severity::Warning,
            kind: FindingKind::StuckCancel,
            what: format!(
                "a task was asked to end at least {} ms ago, and has not",
                pair.pause.as_millis()
            ),
            evidence: vec![describe(task), holds],
            tasks: vec![task.id],
            fix: "look for `uncancellable` and `catch_cancel` in it: put a limit of time around \
                  what they wait for"
                .to_owned(),
        });
    }
}
