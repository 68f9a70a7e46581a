//! `ps`: a table of tasks.

use std::{cmp::Reverse, fmt::Write, time::Duration};

use super::{
    args::Sort,
    paint::{Align, Colour, Style, Table, count, plain, plural, time},
    snapshot::{Runtime, Snapshot, Task},
};

pub fn text(snapshot: &Snapshot, sort: Sort, style: Style) -> String {
    let mut out = head(snapshot, style);
    for runtime in &snapshot.runtimes {
        let _ = writeln!(out, "\n{}", about(runtime, style));
        let mut tasks: Vec<_> = runtime.tasks.iter().collect();
        order(&mut tasks, sort);
        if !tasks.is_empty() {
            out.push_str(&table(&tasks, style));
        }
        if runtime.left_out > 0 {
            let left_out = count(runtime.left_out);
            let _ = writeln!(out, "and {left_out} more (--limit)");
        }
    }
    out
}

/// The process.
pub fn head(snapshot: &Snapshot, style: Style) -> String {
    let pid = style.paint(Colour::Bold, &format!("process {}", snapshot.pid));
    let (version, runtimes) =
        (plain(&snapshot.version), plural(snapshot.runtimes.len(), "runtime"));
    format!("{pid}, ringloop {version}, {runtimes}\n")
}

/// A runtime, in a line, and a second one if it had to do without io_uring.
pub fn about(runtime: &Runtime, style: Style) -> String {
    let name = style.paint(Colour::Bold, &plain(&runtime.name));
    let workers = plural(runtime.workers.len(), "worker");
    let tasks = plural(runtime.tasks.len() + runtime.left_out as usize, "task");
    let (backend, uptime) = (plain(&runtime.backend), time(runtime.uptime));
    let mut line = format!("{name}: {tasks}, {workers}, {backend}, up {uptime}");
    if runtime.phase != "open" {
        let phase = format!(", {}", plain(&runtime.phase));
        line.push_str(&style.paint(Colour::Yellow, &phase));
    }
    for worker in runtime.workers.iter().filter(|worker| worker.state == "held") {
        let task = worker.task.map_or_else(|| "a task".to_owned(), |task| format!("task {task}"));
        let since = worker.polling_for.map(|since| format!(" for {}", time(since)));
        let since = since.unwrap_or_default();
        let text = format!("worker {} is held by {task}{since}", worker.index);
        line.push('\n');
        line.push_str(&style.paint(Colour::Red, &text));
    }
    if let Some(why) = &runtime.fallback {
        let text = format!("without io_uring: {}", plain(why));
        line.push('\n');
        line.push_str(&style.paint(Colour::Yellow, &text));
    }
    line
}

pub fn order(tasks: &mut [&Task], sort: Sort) {
    let waits = |task: &Task| task.state_for().unwrap_or(Duration::ZERO);
    match sort {
        Sort::Id => tasks.sort_by_key(|task| task.id),
        Sort::Busy => tasks.sort_by_key(|task| (Reverse(task.busy), task.id)),
        Sort::Wait => tasks.sort_by_key(|task| (Reverse(waits(task)), task.id)),
        Sort::Polls => tasks.sort_by_key(|task| (Reverse(task.polls), task.id)),
    }
}

fn table(tasks: &[&Task], style: Style) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new(&[
        ("ID", right),
        ("NAME", left),
        ("STATE", left),
        ("FOR", right),
        ("POLLS", right),
        ("BUSY", right),
        ("WAITS FOR", left),
        ("SPAWNED AT", left),
    ]);
    for task in tasks {
        let since = task.state_for().map_or_else(|| "-".to_owned(), time);
        table.row([
            (task.id.to_string(), Colour::None),
            (task.name.clone().unwrap_or_else(|| "-".to_owned()), Colour::Bold),
            (state(task), colour(task)),
            (since, Colour::None),
            (count(task.polls), Colour::None),
            (time(task.busy), Colour::None),
            (task.waits_for().to_owned(), Colour::Cyan),
            (task.spawned_at.clone(), Colour::Dim),
        ]);
    }
    table.text(style)
}

/// The state in a word or two.
pub fn state(task: &Task) -> String {
    let on = task.worker.map(|worker| format!(" on {worker}")).unwrap_or_default();
    let ends = if task.cancelling { ", cancelled" } else { "" };
    format!("{}{on}{ends}", task.state)
}

fn colour(task: &Task) -> Colour {
    match task.state.as_str() {
        _ if task.cancelling => Colour::Yellow,
        "running" => Colour::Green,
        "ready" => Colour::Yellow,
        _ => Colour::None,
    }
}
