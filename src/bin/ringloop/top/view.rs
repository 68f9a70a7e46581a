//! What is shown: the last look, what changed since the one before, and the past of some counters.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::super::{
    snapshot::{Snapshot, Task, Worker},
    watch::polls,
};

/// Looks that the sparklines go back.
pub const PAST: usize = 240;

/// The order of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Busy,
    Wait,
    Polls,
    Id,
}

impl Order {
    pub fn next(self) -> Self {
        match self {
            Self::Busy => Self::Wait,
            Self::Wait => Self::Polls,
            Self::Polls => Self::Id,
            Self::Id => Self::Busy,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "CPU",
            Self::Wait => "waiting",
            Self::Polls => "polls",
            Self::Id => "number",
        }
    }
}

/// The past of one counter, the newest last.
#[derive(Debug, Default)]
pub struct Past(VecDeque<u64>);

impl Past {
    fn push(&mut self, value: u64) {
        if self.0.len() == PAST {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest that fit into so many columns.
    pub fn newest(&self, columns: usize) -> Vec<u64> {
        let skip = self.0.len().saturating_sub(columns);
        self.0.iter().skip(skip).copied().collect()
    }

    pub fn last(&self) -> u64 {
        self.0.back().copied().unwrap_or(0)
    }
}

/// What a task or a worker did since the look before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Since {
    /// Per second.
    pub polls: f64,
    /// The part of one core, 1 for all of it.
    pub cpu: f64,
    /// Per second.
    pub parks: f64,
    /// Events and completions, per second.
    pub arrivals: f64,
}

#[derive(Debug)]
pub struct View {
    pub now: Snapshot,
    pub tasks: HashMap<u64, Since>,
    /// By runtime and index.
    pub workers: HashMap<(usize, u64), Since>,
    pub polls: Past,
    pub arrivals: Past,
    pub live: Past,
    pub order: Order,
    /// Rows of the table that are above the window.
    pub above: usize,
    pub is_paused: bool,
    /// What is wrong, until it goes well again.
    pub note: Option<String>,
}

impl View {
    pub fn new(now: Snapshot) -> Self {
        let mut view = Self {
            now: Snapshot::default(),
            tasks: HashMap::new(),
            workers: HashMap::new(),
            polls: Past::default(),
            arrivals: Past::default(),
            live: Past::default(),
            order: Order::Busy,
            above: 0,
            is_paused: false,
            note: None,
        };
        view.live.push(live(&now));
        view.now = now;
        view
    }

    /// A new look.
    pub fn update(&mut self, now: Snapshot) {
        let before = std::mem::replace(&mut self.now, now);
        let seconds = self.now.taken_at.saturating_sub(before.taken_at).as_secs_f64().max(1e-6);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let old = before.by_id();
        let since = |task: &Task| {
            // Of a new task, everything is since then.
            let (polls, busy) =
                old.get(&task.id).map_or((0, Duration::ZERO), |old| (old.polls, old.busy));
            let cpu = task.busy.saturating_sub(busy).as_secs_f64() / seconds;
            (task.id, Since { polls: rate(task.polls, polls), cpu, ..Since::default() })
        };
        self.tasks = self.now.tasks().map(since).collect();
        let old: HashMap<_, _> = workers(&before).collect();
        let since = |(key, worker): ((usize, u64), &Worker)| {
            let none = Worker::default();
            let old = old.get(&key).copied().unwrap_or(&none);
            let since = Since {
                polls: rate(worker.polls, old.polls),
                parks: rate(worker.parks, old.parks),
                arrivals: rate(worker.arrivals, old.arrivals),
                cpu: 0.0,
            };
            (key, since)
        };
        self.workers = workers(&self.now).map(since).collect();
        self.polls.push(rate(polls(&self.now), polls(&before)).round() as u64);
        let arrivals: f64 = self.workers.values().map(|worker| worker.arrivals).sum();
        self.arrivals.push(arrivals.round() as u64);
        self.live.push(live(&self.now));
        self.note = None;
        self.scroll(0);
    }

    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        self.above = 0;
    }

    pub fn scroll(&mut self, rows: isize) {
        let last = self.now.tasks().count().saturating_sub(1);
        self.above = self.above.saturating_add_signed(rows).min(last);
    }

    /// The tasks in order.
    pub fn ordered(&self) -> Vec<(&Task, Since)> {
        let since = |task: &Task| self.tasks.get(&task.id).copied().unwrap_or_default();
        let mut tasks: Vec<_> = self.now.tasks().map(|task| (task, since(task))).collect();
        let waits = |task: &Task| task.state_for().unwrap_or(Duration::ZERO);
        match self.order {
            Order::Busy => tasks.sort_by(|(a, x), (b, y)| {
                y.cpu.total_cmp(&x.cpu).then(b.busy.cmp(&a.busy)).then(a.id.cmp(&b.id))
            }),
            Order::Wait => tasks.sort_by_key(|(task, _)| (Reverse(waits(task)), task.id)),
            Order::Polls => tasks.sort_by(|(a, x), (b, y)| {
                y.polls.total_cmp(&x.polls).then(b.polls.cmp(&a.polls)).then(a.id.cmp(&b.id))
            }),
            Order::Id => tasks.sort_by_key(|(task, _)| task.id),
        }
        tasks
    }
}

fn workers(snapshot: &Snapshot) -> impl Iterator<Item = ((usize, u64), &Worker)> {
    let runtimes = snapshot.runtimes.iter().enumerate();
    runtimes.flat_map(|(at, runtime)| {
        runtime.workers.iter().map(move |worker| ((at, worker.index), worker))
    })
}

fn live(snapshot: &Snapshot) -> u64 {
    let tasks = snapshot.runtimes.iter();
    tasks.map(|runtime| runtime.tasks.len() as u64 + runtime.left_out).sum()
}
