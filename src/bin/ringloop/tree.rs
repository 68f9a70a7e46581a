//! `tree`: tasks below those that wait for them, or else below those that spawned them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    fmt::Write,
};

use serde_json::{Value, json};

use super::{
    paint::{Colour, Style, plain, time},
    ps::{about, head, state},
    snapshot::{Snapshot, Task},
};

/// Deeper branches are drawn no further to the right.
const DEEPEST: usize = 40;

/// Why a task stands below another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Awaited,
    Spawned,
}

/// Which task waits for which, and which stands below which.
pub struct Forest<'a> {
    tasks: BTreeMap<u64, &'a Task>,
    /// The tasks for which each waits: by name, or since they hold what it wants.
    waits: HashMap<u64, BTreeSet<u64>>,
    children: HashMap<u64, Vec<(u64, Link)>>,
    roots: Vec<u64>,
    /// Each begins with its smallest number.
    pub cycles: BTreeSet<Vec<u64>>,
}

impl<'a> Forest<'a> {
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let tasks: BTreeMap<u64, &Task> = snapshot.tasks().map(|task| (task.id, task)).collect();
        let mut waits: HashMap<u64, BTreeSet<u64>> = HashMap::new();
        // Of each task, the first of those that await it.
        let mut awaiter: HashMap<u64, u64> = HashMap::new();
        let mut await_of = |waiter: u64, of: u64| {
            let first = awaiter.entry(of).or_insert(waiter);
            *first = (*first).min(waiter);
        };
        for (&id, task) in &tasks {
            let mut edge = |from, to| {
                if tasks.contains_key(&from) && tasks.contains_key(&to) {
                    waits.entry(from).or_default().insert(to);
                    return true;
                }
                false
            };
            if let Some(wait) = &task.wait {
                if let Some(of) = wait.task.filter(|of| edge(id, *of)) {
                    await_of(id, of);
                }
                if let Some(holder) = wait.holder {
                    edge(id, holder);
                }
            }
            if let Some(by) = task.awaited_by.filter(|by| edge(*by, id)) {
                await_of(by, id);
            }
        }
        let mut forest = Self {
            cycles: cycles(&tasks, &waits),
            tasks,
            waits,
            children: HashMap::new(),
            roots: Vec::new(),
        };
        forest.arrange(&awaiter);
        forest
    }

    /// Puts each task below another, or makes it a root. Of a circle the smallest is the root.
    fn arrange(&mut self, awaiter: &HashMap<u64, u64>) {
        let above = |id: u64| match awaiter.get(&id) {
            Some(by) => Some((*by, Link::Awaited)),
            None => self.tasks[&id]
                .parent
                .filter(|parent| self.tasks.contains_key(parent))
                .map(|parent| (parent, Link::Spawned)),
        };
        let mut placed: HashMap<u64, bool> = HashMap::new();
        let mut roots = BTreeSet::new();
        for &id in self.tasks.keys() {
            // Upwards, until a root or a task that has been seen.
            let (mut path, mut at) = (Vec::new(), id);
            while !placed.contains_key(&at) {
                placed.insert(at, true);
                path.push(at);
                match above(at) {
                    Some((next, _)) => at = next,
                    None => {
                        roots.insert(at);
                        break;
                    }
                }
            }
            if let Some(begin) =
                path.iter().position(|of| *of == at).filter(|_| above(at).is_some())
            {
                roots.extend(path[begin..].iter().min());
            }
        }
        for &id in self.tasks.keys().filter(|id| !roots.contains(id)) {
            let (parent, link) = above(id).expect("it is no root");
            self.children.entry(parent).or_default().push((id, link));
        }
        self.roots = roots.into_iter().collect();
    }

    pub fn text(&self, snapshot: &Snapshot, style: Style) -> String {
        let mut out = head(snapshot, style);
        for cycle in &self.cycles {
            let names = cycle.iter().chain(cycle.first()).map(|id| plain(&self.tasks[id].label()));
            let names: Vec<_> = names.collect();
            let text = format!("cycle: {}", names.join(" -> "));
            let _ = writeln!(out, "{}", style.paint(Colour::Red, &text));
        }
        let in_cycles: BTreeSet<u64> = self.cycles.iter().flatten().copied().collect();
        for runtime in &snapshot.runtimes {
            let _ = writeln!(out, "\n{}", about(runtime, style));
            let own: BTreeSet<u64> = runtime.tasks.iter().map(|task| task.id).collect();
            for root in self.roots.iter().filter(|root| own.contains(root)) {
                self.branch(*root, &in_cycles, style, &mut out);
            }
            if runtime.left_out > 0 {
                let _ = writeln!(out, "and {} more (--limit)", runtime.left_out);
            }
        }
        out
    }

    /// A root and all below it. Chains of tasks may be long, so that no function calls itself.
    fn branch(&self, root: u64, in_cycles: &BTreeSet<u64>, style: Style, out: &mut String) {
        // What is to be written: the task, its link, whether it is the last of its parent, the prefix.
        let mut rest = vec![(root, None, true, String::new(), 0)];
        while let Some((id, link, is_last, prefix, depth)) = rest.pop() {
            let corner = match (link, is_last) {
                (None, _) => "",
                (_, true) => "└─ ",
                (_, false) => "├─ ",
            };
            let corner = style.paint(Colour::Dim, &format!("{prefix}{corner}"));
            let line = self.line(self.tasks[&id], link, in_cycles.contains(&id), style);
            let _ = writeln!(out, "{corner}{line}");
            let below = match (link, is_last) {
                _ if depth >= DEEPEST => prefix,
                (None, _) => prefix,
                (_, true) => prefix + "   ",
                (_, false) => prefix + "│  ",
            };
            let children = self.children.get(&id).map_or(&[][..], Vec::as_slice);
            for (at, (child, link)) in children.iter().enumerate().rev() {
                let is_last = at + 1 == children.len();
                rest.push((*child, Some(*link), is_last, below.clone(), depth + 1));
            }
        }
    }

    fn line(&self, task: &Task, link: Option<Link>, in_cycle: bool, style: Style) -> String {
        let colour = if in_cycle { Colour::Red } else { Colour::Bold };
        let mut line = style.paint(colour, &plain(&task.label()));
        let parent = task.parent.filter(|parent| self.tasks.contains_key(parent));
        match (link, parent) {
            (Some(Link::Awaited), Some(parent)) if !self.waits_for(parent, task.id) => {
                let _ = write!(line, " (awaited; spawned by task {parent})");
            }
            (Some(Link::Awaited), _) => line.push_str(" (awaited)"),
            (Some(Link::Spawned), _) => line.push_str(" (spawned)"),
            (None, _) => {}
        }
        let _ = write!(line, ": {}", plain(&state(task)));
        if let Some(since) = task.state_for() {
            let _ = write!(line, " {}", time(since));
        }
        let waits = plain(task.waits_for());
        if !waits.is_empty() {
            let _ = write!(line, ", {}", style.paint(Colour::Cyan, &waits));
        }
        line
    }

    fn waits_for(&self, task: u64, of: u64) -> bool {
        self.waits.get(&task).is_some_and(|waits| waits.contains(&of))
    }

    /// All edges, and the cycles.
    pub fn json(&self, snapshot: &Snapshot) -> Value {
        let mut edges = Vec::new();
        for (&id, task) in &self.tasks {
            for of in self.waits.get(&id).into_iter().flatten() {
                let holds = task.wait.as_ref().is_some_and(|wait| wait.holder == Some(*of));
                let kind = if holds { "waits_for_holder" } else { "awaits" };
                edges.push(json!({ "from": id, "to": of, "kind": kind }));
            }
            if let Some(parent) = task.parent.filter(|parent| self.tasks.contains_key(parent)) {
                edges.push(json!({ "from": parent, "to": id, "kind": "spawned" }));
            }
        }
        json!({ "pid": snapshot.pid, "cycles": self.cycles, "edges": edges })
    }
}

/// A cycle for each way back that a search in depth finds: at least one of each knot.
fn cycles(tasks: &BTreeMap<u64, &Task>, waits: &HashMap<u64, BTreeSet<u64>>) -> BTreeSet<Vec<u64>> {
    let mut found = BTreeSet::new();
    let mut is_done: HashMap<u64, bool> = HashMap::new();
    let targets = |id: u64| waits.get(&id).into_iter().flatten().copied();
    for &root in tasks.keys() {
        let mut path: Vec<(u64, Vec<u64>)> = Vec::new();
        if let Entry::Vacant(entry) = is_done.entry(root) {
            entry.insert(false);
            path.push((root, targets(root).collect()));
        }
        while let Some((id, rest)) = path.last_mut() {
            let Some(next) = rest.pop() else {
                is_done.insert(*id, true);
                path.pop();
                continue;
            };
            match is_done.get(&next) {
                None => {
                    is_done.insert(next, false);
                    path.push((next, targets(next).collect()));
                }
                Some(false) => {
                    let begin = path.iter().position(|(id, _)| *id == next).unwrap_or(0);
                    let mut cycle: Vec<u64> = path[begin..].iter().map(|(id, _)| *id).collect();
                    let smallest = cycle.iter().enumerate().min_by_key(|(_, id)| **id);
                    let smallest = smallest.map_or(0, |(at, _)| at);
                    cycle.rotate_left(smallest);
                    found.insert(cycle);
                }
                Some(true) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::snapshot::{Runtime, Wait},
        *,
    };

    fn task(id: u64, waits_for: Option<u64>, parent: Option<u64>) -> Task {
        let wait = waits_for.map(|of| Wait {
            text: format!("end of task {of}"),
            task: Some(of),
            ..Wait::default()
        });
        Task { id, parent, wait, state: "waiting".to_owned(), ..Task::default() }
    }

    fn snapshot(tasks: Vec<Task>) -> Snapshot {
        let uptime = Duration::from_secs(1);
        let runtime = Runtime { tasks, uptime, phase: "open".into(), ..Runtime::default() };
        Snapshot { runtimes: vec![runtime], ..Snapshot::default() }
    }

    /// The lines of the tasks.
    fn lines(snapshot: &Snapshot) -> Vec<String> {
        let text = Forest::of(snapshot).text(snapshot, Style::Plain);
        text.lines().skip(3).map(str::to_owned).collect()
    }

    #[test]
    fn two_tasks_that_await_each_other_are_a_cycle() {
        // Goal: T74; method: both directions, a task outside, and one that awaits itself.
        let tasks = vec![task(3, Some(4), None), task(4, Some(3), None), task(5, Some(3), None)];
        let snapshot = snapshot(tasks);
        let forest = Forest::of(&snapshot);
        assert_eq!(forest.cycles, BTreeSet::from([vec![3, 4]]));
        let text = forest.text(&snapshot, Style::Plain);
        assert!(text.contains("cycle: task 3 -> task 4 -> task 3\n"), "{text}");
        for task in ["task 3", "task 4", "task 5"] {
            assert_eq!(
                text.matches(&format!("{task}:")).count()
                    + text.matches(&format!("{task} (")).count(),
                1,
                "{text}"
            );
        }
        assert_eq!(forest.json(&snapshot)["cycles"], json!([[3, 4]]));
    }

    #[test]
    fn holder_of_a_lock_that_waits_for_the_waiter_is_a_cycle() {
        let mut waiter = task(1, None, None);
        waiter.wait = Some(Wait { holder: Some(2), ..Wait::default() });
        let snapshot = snapshot(vec![waiter, task(2, Some(1), None)]);
        assert_eq!(Forest::of(&snapshot).cycles, BTreeSet::from([vec![1, 2]]));
    }

    #[test]
    fn task_stands_below_its_waiter_and_else_below_its_parent() {
        let tasks = vec![
            task(1, None, None),
            task(2, Some(3), Some(1)),
            task(3, None, Some(1)),
            task(4, None, Some(99)),
        ];
        let lines = lines(&snapshot(tasks));
        assert_eq!(
            lines,
            [
                "task 1: waiting, something unknown to ringloop",
                "└─ task 2 (spawned): waiting, end of task 3",
                "   └─ task 3 (awaited; spawned by task 1): waiting, something unknown to ringloop",
                "task 4: waiting, something unknown to ringloop",
            ]
        );
    }

    #[test]
    fn long_chain_of_tasks_is_no_trouble() {
        const LEN: u64 = 100_000;
        let chain = (1..=LEN).map(|id| task(id, Some(id % LEN + 1), None)).collect();
        let snapshot = snapshot(chain);
        let forest = Forest::of(&snapshot);
        assert_eq!(forest.cycles.first().map(Vec::len), Some(LEN as usize));
        assert_eq!(lines(&snapshot).len() as u64, LEN + 1);
    }
}
