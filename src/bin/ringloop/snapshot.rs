//! What a process has answered, as data. Names that this version does not know are skipped, and what is not
//! there counts as nothing.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;

/// A process at one instant.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub pid: u64,
    pub version: String,
    /// By the monotonic clock of its machine.
    pub taken_at: Duration,
    pub runtimes: Vec<Runtime>,
}

#[derive(Debug, Default)]
pub struct Runtime {
    pub name: String,
    pub backend: String,
    /// Why it is not io_uring.
    pub fallback: Option<String>,
    pub phase: String,
    pub uptime: Duration,
    pub left_out: u64,
    pub workers: Vec<Worker>,
    pub lanes: Vec<Lane>,
    pub tasks: Vec<Task>,
}

#[derive(Debug, Default)]
pub struct Worker {
    pub index: u64,
    pub state: String,
    pub task: Option<u64>,
    pub polling_for: Option<Duration>,
    pub queued: u64,
    pub polls: u64,
    pub parks: u64,
    pub steals: u64,
    pub timers: u64,
    pub homes: u64,
    pub in_flight: u64,
    pub arrivals: u64,
}

#[derive(Debug, Default)]
pub struct Lane {
    pub name: String,
    pub limit: u64,
    pub busy: u64,
    pub queued: u64,
    pub oldest: Option<Duration>,
}

#[derive(Debug, Default)]
pub struct Task {
    pub id: u64,
    pub name: Option<String>,
    pub spawned_at: String,
    pub parent: Option<u64>,
    pub state: String,
    pub worker: Option<u64>,
    pub cancelling: bool,
    pub polls: u64,
    pub busy: Duration,
    pub last_ran: Option<Duration>,
    pub awaited_by: Option<u64>,
    pub wait: Option<Wait>,
}

#[derive(Debug, Default)]
pub struct Wait {
    pub text: String,
    pub since: Option<Duration>,
    /// The task that it waits for.
    pub task: Option<u64>,
    /// The task that holds what it waits for.
    pub holder: Option<u64>,
}

impl Snapshot {
    pub fn read(value: &Value) -> Self {
        let process = &value["process"];
        Self {
            pid: number(&process["pid"]),
            version: text(&process["ringloop"]),
            taken_at: time(&value["taken_at_ns"]).unwrap_or_default(),
            runtimes: list(&value["runtimes"], Runtime::read),
        }
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.runtimes.iter().flat_map(|runtime| &runtime.tasks)
    }

    pub fn by_id(&self) -> HashMap<u64, &Task> {
        self.tasks().map(|task| (task.id, task)).collect()
    }
}

impl Runtime {
    fn read(value: &Value) -> Self {
        Self {
            name: text(&value["name"]),
            backend: text(&value["backend"]["name"]),
            fallback: maybe(&value["backend"]["fallback"]),
            phase: text(&value["phase"]),
            uptime: time(&value["uptime_ns"]).unwrap_or_default(),
            left_out: number(&value["left_out"]),
            workers: list(&value["workers"], Worker::read),
            lanes: list(&value["lanes"], Lane::read),
            tasks: list(&value["tasks"], Task::read),
        }
    }
}

impl Worker {
    fn read(value: &Value) -> Self {
        Self {
            index: number(&value["index"]),
            state: text(&value["state"]),
            task: value["task"].as_u64(),
            polling_for: time(&value["polling_for_ns"]),
            queued: number(&value["queued"]),
            polls: number(&value["polls"]),
            parks: number(&value["parks"]),
            steals: number(&value["steals"]),
            timers: number(&value["timers"]),
            homes: number(&value["homes"]),
            in_flight: number(&value["in_flight"]),
            arrivals: number(&value["arrivals"]),
        }
    }
}

impl Lane {
    fn read(value: &Value) -> Self {
        Self {
            name: text(&value["name"]),
            limit: number(&value["limit"]),
            busy: number(&value["busy"]),
            queued: number(&value["queued"]),
            oldest: time(&value["oldest_ns"]),
        }
    }
}

impl Task {
    fn read(value: &Value) -> Self {
        let wait = &value["waiting_on"];
        Self {
            id: number(&value["id"]),
            name: maybe(&value["name"]),
            spawned_at: text(&value["spawned_at"]),
            parent: value["parent"].as_u64(),
            state: text(&value["state"]),
            worker: value["worker"].as_u64(),
            cancelling: value["cancelling"] == true,
            polls: number(&value["polls"]),
            busy: time(&value["busy_ns"]).unwrap_or_default(),
            last_ran: time(&value["last_ran_ns"]),
            awaited_by: value["awaited_by"].as_u64(),
            wait: wait.is_object().then(|| Wait {
                text: text(&wait["text"]),
                since: time(&wait["since_ns"]),
                task: wait["task"].as_u64(),
                holder: wait["holder"].as_u64(),
            }),
        }
    }

    /// The name, or a word for a task that has none.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("task {} `{name}`", self.id),
            None => format!("task {}", self.id),
        }
    }

    /// What it waits for, in words.
    pub fn waits_for(&self) -> &str {
        match &self.wait {
            Some(wait) => &wait.text,
            None if self.state == "waiting" => "something unknown to ringloop",
            None => "",
        }
    }

    /// How long it has been in its state, where that is known.
    pub fn state_for(&self) -> Option<Duration> {
        match &self.wait {
            Some(wait) if wait.since.is_some() => wait.since,
            _ if self.state == "waiting" => self.last_ran,
            _ => None,
        }
    }
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(read).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn maybe(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn time(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_nanos)
}
