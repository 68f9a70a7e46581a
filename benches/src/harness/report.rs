//! Tables for people, JSON lines for programs.

use std::fmt::Write as _;

use super::Series;
use super::noise::WORTH_A_WARNING;
use super::stats::{self, Spread};
use crate::catalogue::{Case, REFERENCE, Unit};
use crate::cli::Options;
use crate::sample::Sample;
use crate::sys;

/// What must stand above any figure: machine, kernel, cores, rounds.
pub fn heading(options: &Options) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .map_or("unknown processor", str::trim);
    format!(
        "{model}, {} cores, Linux {}; {} interleaved rounds; median [least-greatest]; \
         ratios to {REFERENCE} are medians of ratios within a round",
        sys::cores().len(),
        read("/proc/sys/kernel/osrelease").trim(),
        options.rounds,
    )
}

/// The table of one case at one number of workers.
pub fn table(case: &Case, workers: usize, series: &[Series]) -> String {
    let noun = if workers == 1 { "worker" } else { "workers" };
    let mut text = format!("{} {}, {workers} {noun}: {}\n", case.area, case.name, case.operation);
    let mut rows = vec![
        ["", "per op", "[spread]", "x", "cpu/op", "x", "switches", "peak", "p50", "p99", ""]
            .map(String::from),
    ];
    let reference = series.iter().find(|series| series.peer == REFERENCE);
    rows.extend(series.iter().map(|series| row(case, series, reference)));
    // A column that no row fills is left out, heading and all.
    let filled: Vec<usize> = (0..rows[0].len())
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
    let others =
        series.iter().filter_map(|series| stats::of(series, |sample| sample.cores_of_others));
    let others = others.map(|spread| spread.max).fold(0.0, f64::max);
    if others > WORTH_A_WARNING {
        text += &format!("  ! other programs kept {others:.1} cores busy in a round\n");
    }
    text.trim_end().into()
}

fn row(case: &Case, series: &Series, reference: Option<&Series>) -> [String; 11] {
    let (show, main): (fn(f64) -> String, Field) = match case.unit {
        Unit::Time => (time, |sample| sample.ns_per_op),
        Unit::Bytes => (bytes, |sample| sample.bytes_per_op),
    };
    let Some(Spread { median, min, max }) = stats::of(series, main) else {
        let mut cells = [const { String::new() }; 11];
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
        cell(|sample| sample.work_ns_per_op, |work| format!("(work alone {})", time(work))),
    ]
}

type Field = fn(&Sample) -> Option<f64>;

/// One JSON object a line, one line a peer.
pub fn json(case: &Case, workers: usize, series: &[Series]) -> String {
    let reference = series.iter().find(|series| series.peer == REFERENCE);
    let mut text = String::new();
    for series in series {
        // Names of cases and peers are plain words, so nothing needs escaping.
        write!(
            text,
            r#"{{"area":"{}","case":"{}","peer":"{}","workers":{workers},"rounds":{}"#,
            case.area,
            case.name,
            series.peer,
            series.samples.iter().flatten().count(),
        )
        .expect("a String takes any text");
        let mut put = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                write!(text, r#","{name}":{value:.4}"#).expect("a String takes any text");
            }
        };
        for (index, (name, _)) in Sample::default().fields().into_iter().enumerate() {
            let spread = stats::of(series, |sample| sample.fields()[index].1);
            put(name, spread.map(|spread| spread.median));
        }
        let main: Field = match case.unit {
            Unit::Time => |sample| sample.ns_per_op,
            Unit::Bytes => |sample| sample.bytes_per_op,
        };
        let spread = stats::of(series, main);
        put("min", spread.map(|spread| spread.min));
        put("max", spread.map(|spread| spread.max));
        if let Some(reference) = reference {
            put("ratio", stats::ratio(series, reference, main));
            let cpu = stats::ratio(series, reference, |sample| sample.cpu_ns_per_op);
            put("cpu_ratio", cpu);
        }
        text += "}\n";
    }
    text
}

fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        ..1e6 => format!("{:.2} us", ns / 1e3),
        ..1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        ..10_240.0 => format!("{bytes:.0} B"),
        ..10_485_760.0 => format!("{:.0} KiB", bytes / 1024.0),
        _ => format!("{:.0} MiB", bytes / 1_048_576.0),
    }
}
