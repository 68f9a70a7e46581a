//! The processes that can be asked.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::{
    client::{Client, door_of, name_of, user_of},
    failure::Kind,
    paint::{Align, Colour, Style, Table},
};

/// A process with a door.
#[derive(Debug)]
pub struct Found {
    pub pid: u32,
    pub user: Option<u32>,
    pub name: String,
    /// What it says of itself, or why it says nothing.
    pub hello: Result<Value, (Kind, String)>,
}

/// All processes with a door that this user sees, each asked for at most `timeout`.
pub fn find(timeout: Duration) -> Vec<Found> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let found = pids.into_iter().filter(|&pid| door_of(pid).is_some());
    found
        .map(|pid| {
            let hello = Client::open(pid).and_then(|client| client.ask("hello", timeout));
            let hello = hello.map_err(|failure| (failure.kind, failure.to_string()));
            Found { pid, user: user_of(pid), name: name_of(pid).unwrap_or_default(), hello }
        })
        .filter(|found| {
            // It has ended meanwhile.
            !matches!(found.hello, Err((Kind::NoProcess | Kind::NothingToAsk, _)))
        })
        .collect()
}

pub fn text(found: &[Found], style: Style) -> String {
    if found.is_empty() {
        return "no process that you can see runs ringloop and can be asked\n".to_owned();
    }
    let right = Align::Right;
    let left = Align::Left;
    let head =
        [("PID", right), ("USER", right), ("WORKERS", right), ("TASKS", right), ("PROGRAM", left)];
    let mut table = Table::new(&head);
    for process in found {
        let user = process.user.map_or_else(|| "?".to_owned(), |user| user.to_string());
        let (workers, tasks, note) = match &process.hello {
            Ok(hello) => {
                let workers = hello["workers"].as_array().into_iter().flatten();
                let workers: u64 = workers.filter_map(Value::as_u64).sum();
                (workers.to_string(), hello["tasks"].to_string(), String::new())
            }
            Err((Kind::NotPermitted, _)) => ("-".into(), "-".into(), " (not permitted)".into()),
            Err((Kind::Silent, _)) => ("-".into(), "-".into(), " (silent)".into()),
            Err((_, why)) => ("-".into(), "-".into(), format!(" ({why})")),
        };
        let colour = if note.is_empty() { Colour::Bold } else { Colour::Dim };
        table.row([
            (process.pid.to_string(), Colour::None),
            (user, Colour::None),
            (workers, Colour::None),
            (tasks, Colour::None),
            (format!("{}{note}", process.name), colour),
        ]);
    }
    table.text(style)
}

/// One line for each process.
pub fn json(found: &[Found]) -> String {
    let line = |process: &Found| {
        let (hello, error) = match &process.hello {
            Ok(hello) => (hello.clone(), Value::Null),
            Err((_, why)) => (Value::Null, json!(why)),
        };
        let (pid, user, program) = (process.pid, process.user, &process.name);
        let line =
            json!({ "pid": pid, "user": user, "program": program, "hello": hello, "error": error });
        format!("{line}\n")
    };
    found.iter().map(line).collect()
}
