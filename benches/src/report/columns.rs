//! The columns of a case's table, at a terminal and in the page.

use super::Row;
use super::chart::headline;
use super::units::{bytes, time};
use crate::catalogue::{BLOCKING, Case, PYTHON};
use crate::harness::WORTH_A_WARNING;

/// One column; the first has no name at a terminal.
pub struct Column {
    /// Its name at a terminal and in the page.
    pub names: (&'static str, &'static str),
    show: Box<dyn Fn(&Row) -> String>,
}

impl Column {
    pub fn cell(&self, row: &Row) -> String {
        (self.show)(row)
    }
}

/// The columns of `case` for which some of `rows` have values.
pub fn columns(case: &Case, rows: &[&Row]) -> Vec<Column> {
    let headline = headline(case);
    let reference = match case.reference() {
        PYTHON => "of Python's",
        BLOCKING => "of blocking",
        _ => "of tokio's",
    };
    // The headline's figure is not repeated.
    let unless_headline = |name: &'static str, columns: Vec<Column>| {
        if headline.figure == name { Vec::new() } else { columns }
    };
    let mut columns = vec![
        column("", "peer", peer),
        figure(headline.short, headline.noun, headline.figure, headline.show),
        spread(("min", "max"), headline.show),
        figure("x", reference, headline.ratio, ratio),
        spread(("ratio_min", "ratio_max"), ratio),
    ];
    columns.extend(unless_headline(
        "cpu_ns_per_op",
        vec![
            figure("cpu/op", "CPU", "cpu_ns_per_op", time),
            figure("x", reference, "cpu_ratio", ratio),
        ],
    ));
    columns.push(figure("switches", "switches", "switches_per_op", |n| format!("{n:.4}")));
    columns.push(figure("peak", "peak memory", "peak_rss_bytes", bytes));
    columns.push(figure("p50", "median latency", "p50_ns", time));
    columns.extend(unless_headline(
        "p99_ns",
        vec![
            figure("p99", "99th percentile", "p99_ns", time),
            figure("x", reference, "p99_ratio", ratio),
        ],
    ));
    columns.push(figure("work", "work alone", "work_ns_per_op", time));
    columns.push(column("client", "client", client));
    columns.retain(|column| rows.iter().any(|row| !column.cell(row).is_empty()));
    columns
}

/// Whether other programs were busy in a round of this row.
pub fn is_disturbed(row: &Row) -> bool {
    row.figure("cores_of_others_max").is_some_and(|cores| cores > WORTH_A_WARNING)
}

fn column(
    short: &'static str,
    long: &'static str,
    show: impl Fn(&Row) -> String + 'static,
) -> Column {
    Column { names: (short, long), show: Box::new(show) }
}

fn figure(
    short: &'static str,
    long: &'static str,
    name: &'static str,
    show: fn(f64) -> String,
) -> Column {
    column(short, long, move |row| row.figure(name).map_or(String::new(), show))
}

fn spread((least, most): (&'static str, &'static str), show: fn(f64) -> String) -> Column {
    column("spread", "spread", move |row| {
        let ends = row.figure(least).zip(row.figure(most));
        let ends = ends.map(|(min, max)| (show(min), show(max)));
        ends.filter(|(min, max)| min != max)
            .map_or(String::new(), |(min, max)| format!("{min} to {max}"))
    })
}

fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn peer(row: &Row) -> String {
    let mut text = row.peer.clone();
    if is_disturbed(row) {
        text += " *";
    }
    match row.figure("failed") {
        Some(failed) if failed > 0.0 => text + &format!(" ({failed:.0} rounds failed)"),
        _ => text,
    }
}

/// How much of its core the load generator used, or how late it was.
fn client(row: &Row) -> String {
    match (row.figure("client_late_ns"), row.figure("client_cores")) {
        (Some(late), _) => format!("{} late", time(late)),
        (None, Some(cores)) => format!("{:.0} % busy", cores * 100.0),
        (None, None) => String::new(),
    }
}
