//! Which task waits for which, and the cycles in that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    collect,
    snapshot::{Dump, RuntimeDump, TaskDump, TaskState, WaitKind},
    waits::in_words,
};
use crate::{error::TaskId, task::Task};

/// Why one task waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EdgeKind {
    /// It awaits the other's end.
    Join,
    /// It awaits the other's end in a combinator, such as `gather!`.
    Combinator,
    /// It waits for a lock that the other holds.
    Lock,
    /// It waits for the end of a group, of which the other is a member.
    Group,
}

impl EdgeKind {
    /// Its name in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Combinator => "combinator",
            Self::Lock => "lock",
            Self::Group => "group",
        }
    }
}

/// One task waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Edge {
    /// The task that waits.
    pub from: TaskId,
    /// The task for which it waits.
    pub to: TaskId,
    /// Why.
    pub kind: EdgeKind,
}

/// Which tasks wait for which.
///
/// ```
/// use ringloop::introspect;
///
/// ringloop::run(async {
///     let graph = introspect::dump().await_graph();
///     assert!(graph.cycles.is_empty());
/// });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwaitGraph {
    /// In the order of the tasks that wait.
    pub edges: Vec<Edge>,
    /// Tasks that wait for each other, each cycle once and in the order of the tasks' numbers: such tasks wait for ever,
    /// unless one of the waits has another way to end, such as a timeout.
    pub cycles: Vec<Vec<TaskId>>,
}

impl AwaitGraph {
    fn new(mut edges: Vec<Edge>) -> Self {
        edges.sort_unstable();
        edges.dedup();
        let cycles = cycles(&edges);
        Self { edges, cycles }
    }

    /// The tasks for which a task waits directly.
    pub fn awaited_by(&self, task: TaskId) -> impl Iterator<Item = &Edge> {
        let first = self.edges.partition_point(|edge| edge.from < task);
        self.edges[first..].iter().take_while(move |edge| edge.from == task)
    }

    /// The part of it that begins at a task: those for which it waits, and those for which these wait.
    pub fn from_task(&self, task: TaskId) -> AwaitGraph {
        let (mut seen, mut next) = (BTreeSet::from([task]), vec![task]);
        let mut edges = Vec::new();
        while let Some(task) = next.pop() {
            for edge in self.awaited_by(task) {
                edges.push(*edge);
                if seen.insert(edge.to) {
                    next.push(edge.to);
                }
            }
        }
        Self::new(edges)
    }
}

impl Dump {
    /// Which tasks wait for which, with the cycles.
    ///
    /// asyncio: `asyncio.capture_call_graph`, and `python -m asyncio pstree`, which marks cycles as well.
    #[doc(alias = "capture_call_graph")]
    pub fn await_graph(&self) -> AwaitGraph {
        let mut edges = Vec::new();
        let mut members: BTreeMap<u64, Vec<TaskId>> = BTreeMap::new();
        for task in self.tasks() {
            if let Some(group) = task.group {
                members.entry(group).or_default().push(task.id);
            }
        }
        for task in self.tasks() {
            let mut add = |from, to, kind| edges.push(Edge { from, to, kind });
            // A note of a combinator outlasts the wait.
            let waits = |by: &TaskDump| by.state == TaskState::Waiting;
            if let Some(by) = task.awaited_by.and_then(|by| self.task(by)).filter(|by| waits(by)) {
                add(by.id, task.id, EdgeKind::Combinator);
            }
            let Some(wait) = &task.waiting_on else { continue };
            if let Some(joined) = wait.task {
                add(task.id, joined, EdgeKind::Join);
            }
            if let Some(holder) = wait.holder {
                add(task.id, holder, EdgeKind::Lock);
            }
            if wait.kind == WaitKind::Group {
                let members = members.get(&wait.key).into_iter().flatten();
                members.for_each(|member| add(task.id, *member, EdgeKind::Group));
            }
        }
        AwaitGraph::new(edges)
    }

    /// The tasks as a tree for people: below each task those that it spawned, with what each waits for, and then the
    /// [cycles](AwaitGraph::cycles).
    ///
    /// asyncio: `python -m asyncio pstree`. Its tree goes by awaits; here the words behind each task
    /// name those.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let tree = ringloop::introspect::dump().tree();
    ///     assert!(tree.contains("running"));
    /// });
    /// ```
    pub fn tree(&self) -> String {
        let mut out = String::new();
        self.runtimes.iter().for_each(|runtime| tree_of(runtime, &mut out));
        for cycle in self.await_graph().cycles {
            let tasks: Vec<_> = cycle.iter().map(|task| format!("task {task}")).collect();
            let _ = writeln!(out, "cycle: {} wait for each other", tasks.join(", "));
        }
        out
    }
}

fn tree_of(runtime: &RuntimeDump, out: &mut String) {
    let (name, backend) = (&runtime.name, runtime.backend.backend);
    let workers = runtime.workers.len();
    let _ = writeln!(out, "runtime {name:?}: {workers} workers, {backend}");
    let is_here = |id: &TaskId| runtime.tasks.binary_search_by_key(id, |task| task.id).is_ok();
    let mut children: BTreeMap<Option<TaskId>, Vec<&TaskDump>> = BTreeMap::new();
    for task in runtime.tasks.iter().rev() {
        children.entry(task.parent.filter(is_here)).or_default().push(task);
    }
    // Not by recursion: a chain of tasks may be long.
    let below = |parent, depth: usize| {
        children.get(&parent).into_iter().flatten().map(move |task| (depth, *task))
    };
    let mut next: Vec<(usize, &TaskDump)> = below(None, 1).collect();
    while let Some((depth, task)) = next.pop() {
        let _ = writeln!(out, "{}{}", "  ".repeat(depth.min(40)), line(task));
        next.extend(below(Some(task.id), depth + 1));
    }
    if runtime.left_out > 0 {
        let _ = writeln!(out, "  and {} tasks more", runtime.left_out);
    }
}

/// One task of the tree.
fn line(task: &TaskDump) -> String {
    let mut line = format!("task {}", task.id);
    if let Some(name) = &task.name {
        let _ = write!(line, " {name:?}");
    }
    let _ = write!(line, " {}", task.state.as_str());
    if let Some(worker) = task.worker {
        let _ = write!(line, " on worker {worker}");
    }
    if task.cancelling {
        line.push_str(", asked to end");
    }
    if let Some(wait) = &task.waiting_on {
        let _ = write!(line, ": {}", wait.text);
        if let Some(since) = wait.since {
            let _ = write!(line, ", for {}", in_words(since));
        }
    }
    let _ = write!(line, " ({})", task.spawned_at);
    line
}

/// Prints the tree of the tasks of this process to standard error: see [`Dump::tree`].
///
/// asyncio: `asyncio.print_call_graph`.
#[doc(alias = "print_call_graph")]
pub fn print_tree() {
    eprint!("{}", collect::dump().tree());
}

impl<T> Task<T> {
    /// The tasks for which this one waits, directly and through others, with the cycles: see
    /// [`Dump::await_graph`]. It takes a snapshot of all runtimes of the process.
    ///
    /// asyncio: `asyncio.capture_call_graph(task)`.
    ///
    /// ```
    /// use ringloop::{spawn, yield_now};
    ///
    /// ringloop::run(async {
    ///     let inner = spawn(std::future::pending::<()>());
    ///     let (id, ends) = (inner.id(), inner.canceller());
    ///     let outer = spawn(inner);
    ///     while outer.await_graph().edges.is_empty() {
    ///         yield_now().await;
    ///     }
    ///     assert_eq!(outer.await_graph().edges[0].to, id);
    ///     ends.cancel();
    /// });
    /// ```
    #[doc(alias = "capture_call_graph")]
    pub fn await_graph(&self) -> AwaitGraph {
        collect::dump().await_graph().from_task(self.id())
    }
}

/// A task of the search for cycles.
struct Visit {
    index: usize,
    low: usize,
    on_stack: bool,
}

/// The strongly connected parts with a cycle, by Tarjan's algorithm, without recursion.
fn cycles(edges: &[Edge]) -> Vec<Vec<TaskId>> {
    let of = |task: TaskId| {
        let first = edges.partition_point(|edge| edge.from < task);
        edges[first..].iter().take_while(move |edge| edge.from == task).map(|edge| edge.to)
    };
    let mut visits: BTreeMap<TaskId, Visit> = BTreeMap::new();
    let (mut stack, mut found) = (Vec::new(), Vec::new());
    for root in edges.iter().map(|edge| edge.from) {
        let mut path: Vec<(TaskId, Vec<TaskId>)> = Vec::new();
        let mut enter = Some(root).filter(|root| !visits.contains_key(root));
        loop {
            if let Some(task) = enter.take() {
                let index = visits.len();
                visits.insert(task, Visit { index, low: index, on_stack: true });
                stack.push(task);
                path.push((task, of(task).collect()));
            }
            let Some((task, next)) = path.last_mut() else { break };
            let task = *task;
            if let Some(to) = next.pop() {
                match visits.get(&to) {
                    None => enter = Some(to),
                    Some(seen) if seen.on_stack => {
                        let index = seen.index;
                        lower(&mut visits, task, index);
                    }
                    Some(_) => {}
                }
                continue;
            }
            path.pop();
            let (index, low) = (visits[&task].index, visits[&task].low);
            if let Some((parent, _)) = path.last() {
                lower(&mut visits, *parent, low);
            }
            if index == low {
                let at = stack.iter().rposition(|on| *on == task).expect("it was pushed");
                let mut part = stack.split_off(at);
                for task in &part {
                    visits.get_mut(task).expect("it was visited").on_stack = false;
                }
                if part.len() > 1 || of(task).any(|to| to == task) {
                    part.sort_unstable();
                    found.push(part);
                }
            }
        }
    }
    found.sort_unstable();
    found
}

fn lower(visits: &mut BTreeMap<TaskId, Visit>, task: TaskId, low: usize) {
    let visit = visits.get_mut(&task).expect("it was visited");
    visit.low = visit.low.min(low);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u64, u64)]) -> AwaitGraph {
        let edge = |&(from, to)| Edge { from: TaskId(from), to: TaskId(to), kind: EdgeKind::Join };
        AwaitGraph::new(edges.iter().map(edge).collect())
    }

    /// Goal: each cycle is found once, and nothing else; method: graphs by hand, with the answer.
    #[test]
    fn cycles_are_found_once() {
        type Case<'a> = (&'a [(u64, u64)], &'a [&'a [u64]]);
        let cases: &[Case<'_>] = &[
            (&[], &[]),
            (&[(1, 2), (2, 3), (1, 3)], &[]),
            (&[(1, 1)], &[&[1]]),
            (&[(1, 2), (2, 1), (3, 1)], &[&[1, 2]]),
            (&[(5, 4), (4, 3), (3, 5), (3, 9), (9, 8), (8, 9), (1, 5)], &[&[3, 4, 5], &[8, 9]]),
            (&[(1, 2), (2, 3), (3, 1), (2, 1)], &[&[1, 2, 3]]),
        ];
        for (edges, expected) in cases {
            let found = graph(edges).cycles;
            let found: Vec<Vec<u64>> =
                found.iter().map(|cycle| cycle.iter().map(|task| task.0).collect()).collect();
            assert_eq!(found, *expected, "{edges:?}");
        }
        let long: Vec<_> = (0..100_000).map(|n| (n, (n + 1) % 100_000)).collect();
        assert_eq!(graph(&long).cycles[0].len(), 100_000);
    }

    #[test]
    fn a_part_of_the_graph_begins_at_a_task() {
        let whole = graph(&[(1, 2), (2, 3), (4, 3), (3, 2)]);
        let part = whole.from_task(TaskId(1));
        assert_eq!(part.edges.len(), 3);
        assert_eq!(part.cycles, [[TaskId(2), TaskId(3)]]);
        assert!(whole.from_task(TaskId(9)).edges.is_empty());
    }
}
