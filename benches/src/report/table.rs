//! Tables for people at a terminal.

use std::fmt::Write as _;

use super::units::{bytes, time, workers as count};
use crate::catalogue::{Case, Pace, REFERENCE, Unit};
use crate::harness::{Series, WORTH_A_WARNING, stats};
use crate::sample::Sample;
use stats::Spread;

const COLUMNS: [&str; 12] =
    ["", "per op", "[spread]", "x", "cpu/op", "x", "switches", "peak", "p50", "p99", "x", ""];

/// The table of one case at one number of workers.
pub fn table(case: &Case, workers: usize, series: &[Series]) -> String {
    let mut text = format!("{} {}, {}: {}\n", case.area, case.name, count(workers), case.operation);
    let mut rows = vec![COLUMNS.map(String::from)];
    let reference = series.iter().find(|series| series.peer == REFERENCE);
    rows.extend(series.iter().map(|series| row(case, series, reference)));
    // A column that no row fills is left out, heading and all.
    let filled: Vec<usize> = (0..COLUMNS.len())
        .filter(|&column| rows[1..].iter().any(|row| !row[column].is_empty()))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    for row in &rows {
        let mut line = String::new();
        for &column in &filled {
            let (cell, width) = (&row[column], width(column).unwrap_or(0));
            if column == 0 {
                write!(line, "  {cell:width$}").expect("a String takes any text");
            } else {
                write!(line, "  {cell:>width$}").expect("a String takes any text");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text += &load_generator(case, series).unwrap_or_default();
    let others =
        series.iter().filter_map(|series| stats::of(series, |sample| sample.cores_of_others));
    let others = others.map(|spread| spread.max).fold(0.0, f64::max);
    if others > WORTH_A_WARNING {
        text += &format!("  ! other programs kept {others:.1} cores busy in a round\n");
    }
    text.trim_end().into()
}

/// How near the client of a closed loop was to being the limit, or how late that of an open loop was.
fn load_generator(case: &Case, series: &[Series]) -> Option<String> {
    let medians = |field: fn(&Sample) -> Option<f64>| {
        stats::spread(series.iter().filter_map(|series| Some(stats::of(series, field)?.median)))
    };
    match case.load.as_ref()?.pace {
        Pace::Closed | Pace::Churn => {
            let Spread { min, max, .. } = medians(|sample| sample.client_cores)?;
            let (min, max) = (min * 100.0, max * 100.0);
            Some(format!("  the load generator was busy {min:.0}-{max:.0} % of the time\n"))
        }
        Pace::Open(_) => {
            let late = time(medians(|sample| sample.client_late_ns)?.max);
            Some(format!(
                "  the load generator was up to {late} late (p99), which is in p50 and p99\n"
            ))
        }
        Pace::Idle => None,
    }
}

fn row(case: &Case, series: &Series, reference: Option<&Series>) -> [String; COLUMNS.len()] {
    type Field = fn(&Sample) -> Option<f64>;
    let (show, main): (fn(f64) -> String, Field) = match case.unit {
        Unit::Time => (time, |sample| sample.ns_per_op),
        Unit::Bytes => (bytes, |sample| sample.bytes_per_op),
    };
    let Some(Spread { median, min, max }) = stats::of(series, main) else {
        let mut cells = [const { String::new() }; COLUMNS.len()];
        (cells[0], cells[1]) = (series.peer.into(), "failed".into());
        return cells;
    };
    let cell = |field: Field, show: fn(f64) -> String| {
        stats::of(series, field).map_or(String::new(), |spread| show(spread.median))
    };
    let ratio = |field: Field| {
        reference
            .and_then(|reference| stats::ratio(series, reference, field))
            .map_or(String::new(), |ratio| format!("{ratio:.2}"))
    };
    [
        series.peer.into(),
        show(median),
        format!("[{}-{}]", show(min), show(max)),
        ratio(main),
        cell(|sample| sample.cpu_ns_per_op, time),
        ratio(|sample| sample.cpu_ns_per_op),
        cell(|sample| sample.switches_per_op, |switches| format!("{switches:.4}")),
        cell(|sample| sample.peak_rss_bytes, bytes),
        cell(|sample| sample.p50_ns, time),
        cell(|sample| sample.p99_ns, time),
        ratio(|sample| sample.p99_ns),
        cell(|sample| sample.work_ns_per_op, |work| format!("(work alone {})", time(work))),
    ]
}
