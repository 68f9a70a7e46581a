//! `docs/benchmarks.md`, written from a saved report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::chart::{self, headline, worker_counts};
use super::columns::{columns, is_disturbed};
use super::summary::summary;
use super::units::workers as count;
use super::{Row, caveats, draw};
use crate::catalogue::{AREAS, CASES, Case};

const TITLE: &str = "\
# Benchmarks

<!-- Written by `ringloop-benches --report FILE --into docs`: edit benches/src/report instead. -->
";

const INTRODUCTION: &str = "
## How it is measured

Each measurement is a process of its own. The peers of a case run one after another, in turn, over
several rounds, so that a slow minute of the machine falls on all of them; a ratio is taken within a
round. Medians over the rounds are shown; behind the first figure and its ratio stand the least and the
greatest. All peers in Rust are built with the same compiler, profile and allocator, and each peer is
written as its own users would write it. `epoll`, `uring`, `uring-poll` (the limit of poll functions on
a ring) and `bare` are no runtimes: they are loops written by hand for one case, the limits.

Servers are driven by a client that belongs to no runtime and checks what comes back. It has the last
core. With as many workers as cores it shares that core with one of them: then latencies are also the
client's, a server that leaves a worker idle has an advantage, and bare loops, which never do, are no limit. The
last column says how busy the client was, or how late it sent what was due (99th percentile), which
latencies contain. monoio, compio, glommio, Go and uvloop are other, smaller programs, which their peak
memory shows; the first three leave it to the kernel which worker gets a connection, so that with 2
workers one may have more than the other.

Read a ratio as \"of tokio's\" (in `process_pool_call`, of Python's; in `crawler`, of the one that blocks): 0.50 is half the time. Nothing here says how fast *your* program
will be; what a case leaves out stands beneath it.
";

/// Writes the page into `folder`, and its pictures into `folder`/benchmarks.
pub fn write(rows: &[Row], folder: &Path) -> Result<(), String> {
    if rows.is_empty() {
        return Err("the report has no rows".into());
    }
    draw(rows, &folder.join("benchmarks"))?;
    let path = folder.join("benchmarks.md");
    fs::write(&path, page(rows)).map_err(|error| format!("{}: {error}", path.display()))
}

fn page(rows: &[Row]) -> String {
    let mut text = String::from(TITLE);
    text += &summary(rows);
    text += INTRODUCTION;
    text += &conditions(rows);
    for &area in AREAS {
        if !rows.iter().any(|row| row.area == area) {
            continue;
        }
        text += &format!("\n## {area}\n");
        for chart in chart::of(rows).iter().filter(|chart| chart.area() == area) {
            text += &format!("\n![{}](benchmarks/{})\n", chart.title(), chart.file_name());
        }
        for case in CASES.iter().filter(|case| case.area == area) {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.case == case.name).collect();
            if !rows.is_empty() {
                text += &section(case, &rows, &worker_counts(rows_of(&rows).as_slice(), area));
            }
        }
    }
    text
}

fn rows_of(rows: &[&Row]) -> Vec<Row> {
    rows.iter().map(|&row| row.clone()).collect()
}

/// Machine, versions, commands: all different ones, since a report may come from several runs.
fn conditions(rows: &[Row]) -> String {
    let mut text = String::from("\n## Conditions\n\n");
    for (name, title) in [
        ("machine", "Machine"),
        ("kernel", "Kernel"),
        ("toolchain", "Toolchain"),
        ("allocator", "Allocator"),
        ("windows", "Measured windows"),
    ] {
        text += &format!("- {title}: {}\n", distinct(rows, name).join("; "));
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.fact("version").is_empty()) {
        let peers = versions.entry(row.fact("version")).or_default();
        if !peers.contains(&row.peer.as_str()) {
            peers.push(&row.peer);
        }
    }
    let versions: Vec<String> = versions
        .iter()
        .map(|(version, peers)| format!("{version} ({})", peers.join(", ")))
        .collect();
    text += &format!("- Versions: {}\n", versions.join("; "));
    text += "\nWith:\n\n```sh\n";
    for command in distinct(rows, "command") {
        text += &format!("{command}\n");
    }
    text += "```\n";
    text
}

fn distinct<'a>(rows: &'a [Row], fact: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for row in rows {
        let value = row.fact(fact);
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

fn section(case: &Case, rows: &[&Row], counts: &[usize]) -> String {
    let mut text = format!("\n### {}\n\nOne operation: {}.\n", case.name, case.operation);
    for &workers in counts {
        let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.workers == workers).collect();
        let rounds = |row: &&Row| row.figure("rounds").unwrap_or(0.0) as usize;
        let rounds = rows.iter().map(rounds).max().unwrap_or(0);
        text += &format!("\n{}, {rounds} rounds:\n\n{}", count(workers), table(case, &rows));
    }
    if counts.len() > 2 {
        text += &format!("\nScaling:\n\n{}", scaling(case, rows, counts));
    }
    text += &format!("\nDoes not show: {}\n", caveats::of(case.name));
    text
}

fn table(case: &Case, rows: &[&Row]) -> String {
    let columns = columns(case, rows);
    let mut text = String::new();
    let mut line = |cells: Vec<String>| {
        writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes any text");
    };
    line(columns.iter().map(|column| column.names.1.into()).collect());
    line((0..columns.len()).map(|column| if column == 0 { "---" } else { "--:" }.into()).collect());
    for row in rows {
        line(columns.iter().map(|column| column.cell(row)).collect());
    }
    if rows.iter().any(|row| is_disturbed(row)) {
        text += "\n\\* Other programs kept more than a tenth of a core busy in a round.\n";
    }
    text
}

/// Peers by numbers of workers.
fn scaling(case: &Case, rows: &[&Row], counts: &[usize]) -> String {
    let headline = headline(case);
    let mut text = String::from("| peer |");
    for &workers in counts {
        text += &format!(" {} |", count(workers));
    }
    text += &format!("\n| --- |{}\n", " --: |".repeat(counts.len()));
    let mut peers: Vec<&str> = Vec::new();
    for row in rows {
        if !peers.contains(&row.peer.as_str()) {
            peers.push(&row.peer);
        }
    }
    for peer in peers {
        let cell = |&workers: &usize| {
            let row = rows.iter().find(|row| row.peer == peer && row.workers == workers);
            let value = row.and_then(|row| row.figure(headline.figure));
            let ratio = row.and_then(|row| row.figure(headline.ratio));
            match (value, ratio) {
                (Some(value), Some(ratio)) if peer != case.reference() => {
                    format!("{} ({ratio:.2})", (headline.show)(value))
                }
                (Some(value), _) => (headline.show)(value),
                (None, _) => String::new(),
            }
        };
        let cells: Vec<String> = counts.iter().map(cell).collect();
        text += &format!("| {peer} | {} |\n", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, workers: usize, ratio: f64) -> Row {
        let figures = [
            ("ratio", ratio),
            ("ns_per_op", 100.0 * ratio),
            ("min", 1.0),
            ("max", 2e9),
            ("rounds", 3.0),
            ("cores_of_others_max", workers as f64 / 20.0),
        ];
        let facts = [("machine", "one"), ("command", "cargo run"), ("version", "tokio 1.0")];
        Row {
            area: "sched".into(),
            case: "yield".into(),
            peer: peer.into(),
            workers,
            figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
            facts: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn the_page_names_machine_command_and_what_is_not_shown() {
        let rows: Vec<Row> = [1, 2, 4]
            .into_iter()
            .flat_map(|workers| [row("tokio", workers, 1.0), row("ringloop", workers, 0.5)])
            .collect();
        let page = page(&rows);
        for text in [
            "| sched | 4 workers | 1 | 0.50 | 0.50 yield | 0.50 yield |  |\n",
            "- **hog**: ",
            "- Machine: one\n",
            "cargo run\n",
            "![sched, 2 workers: ratio to tokio in the same run](benchmarks/sched-2.svg)",
            "\n1 worker, 3 rounds:\n",
            "| ringloop | 50.0 ns | 1.0 ns to 2.00 s | 0.50 |",
            "| ringloop * | 50.0 ns | 1.0 ns to 2.00 s | 0.50 |",
            "Does not show: ",
            "| ringloop | 50.0 ns (0.50) | 50.0 ns (0.50) | 50.0 ns (0.50) |",
        ] {
            assert!(page.contains(text), "{text:?} is missing:\n{page}");
        }
    }
}
