//! One picture: an area at one number of workers, each case a group of bars of ratios to tokio.

use super::Row;
use super::svg::{LINE, Svg, width, width_of_strong};
use super::units::{bytes, time, workers as count};
use crate::catalogue::{AREAS, BARE, BLOCKING, CASES, Case, PYTHON, Pace, REFERENCE, Unit};

/// The most informative figure of a case.
pub struct Headline {
    pub figure: &'static str,
    pub ratio: &'static str,
    /// A description of the figure, and a short one.
    pub noun: &'static str,
    pub short: &'static str,
    pub show: fn(f64) -> String,
}

/// The headline of a case. Where the time is fixed, by a rate of messages or by the length of a
/// sleep, peers differ in CPU time; beside a hog, in how long the others wait.
pub fn headline(case: &Case) -> Headline {
    let load = case.load.as_ref();
    let open = load.is_some_and(|load| matches!(load.pace, Pace::Open(_)));
    match case.unit {
        _ if load.is_some_and(|load| load.hog) => Headline {
            figure: "p99_ns",
            ratio: "p99_ratio",
            noun: "99th percentile of latency",
            short: "p99",
            show: time,
        },
        _ if open || case.name == "timers_100k" => Headline {
            figure: "cpu_ns_per_op",
            ratio: "cpu_ratio",
            noun: "CPU time per operation",
            short: "cpu/op",
            show: time,
        },
        Unit::Time => Headline {
            figure: "ns_per_op",
            ratio: "ratio",
            noun: "time per operation",
            short: "per op",
            show: time,
        },
        Unit::Bytes => Headline {
            figure: "bytes_per_op",
            ratio: "ratio",
            noun: "memory per operation",
            short: "per op",
            show: bytes,
        },
    }
}

/// The bars of one case.
struct Group<'a> {
    case: &'static Case,
    headline: Headline,
    rows: Vec<&'a Row>,
}

/// A picture to be drawn.
pub struct Chart<'a> {
    area: &'static str,
    workers: usize,
    groups: Vec<Group<'a>>,
}

/// The charts of `rows`, by area, then by number of workers. Rows without a ratio (tokio did not
/// run) and cases that the catalogue no longer has are left out.
pub fn of(rows: &[Row]) -> Vec<Chart<'_>> {
    let mut charts = Vec::new();
    for &area in AREAS {
        for workers in worker_counts(rows, area) {
            let cases = CASES.iter().filter(|case| case.area == area);
            let groups: Vec<Group> = cases
                .map(|case| {
                    let headline = headline(case);
                    let rows = rows.iter().filter(|row| {
                        row.case == case.name
                            && row.workers == workers
                            && row.figure(headline.ratio).is_some()
                    });
                    Group { case, rows: rows.collect(), headline }
                })
                .filter(|group| group.rows.len() > 1)
                .collect();
            if !groups.is_empty() {
                charts.push(Chart { area, workers, groups });
            }
        }
    }
    charts
}

/// The numbers of workers with which an area was measured, fewest first.
pub fn worker_counts(rows: &[Row], area: &str) -> Vec<usize> {
    let mut counts: Vec<usize> =
        rows.iter().filter(|row| row.area == area).map(|row| row.workers).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// Pixels of a bar at the end of the scale.
const SCALE: f64 = 380.0;
const BAR: f64 = 12.0;
const MARGIN: f64 = 12.0;

impl Chart<'_> {
    pub fn area(&self) -> &'static str {
        self.area
    }

    pub fn file_name(&self) -> String {
        format!("{}-{}.svg", self.area, self.workers)
    }

    pub fn title(&self) -> String {
        format!("{}, {}: ratio to {REFERENCE} in the same run", self.area, count(self.workers))
    }

    pub fn draw(&self) -> String {
        let all = || self.groups.iter().flat_map(|group| &group.rows);
        let ratios = self.groups.iter().flat_map(Group::ratios);
        // Beyond twice the reference the number says enough, so a bar stops there.
        let end = ratios.fold(1.2, f64::max).min(2.0);
        let labels = all().map(|row| width(&row.peer)).fold(0.0, f64::max);
        let zero = (MARGIN + labels + 10.0).ceil();
        let at = |ratio: f64| zero + ratio / end * SCALE;

        let mut svg = Svg::default();
        let mut y = MARGIN + 8.0;
        svg.text(MARGIN, y, "strong", &self.title());
        y += LINE;
        let key = "Shorter is better. The dotted line is tokio (or Python, where it stands beside); dashed bars \
             are loops without a runtime.";
        svg.text(MARGIN, y, "muted", key);
        for group in &self.groups {
            y += LINE * 1.6;
            svg.text(MARGIN, y, "strong", group.case.name);
            let beside = MARGIN + width_of_strong(group.case.name) + 8.0;
            let what = format!("{}: {}", group.case.operation, group.headline.noun);
            svg.text(beside, y, "muted", &what);
            y += 6.0;
            let foot = y + (BAR + 3.0) * group.rows.len() as f64;
            svg.line((at(1.0), y - 2.0), (at(1.0), foot), "rule");
            for (row, ratio) in group.rows.iter().zip(group.ratios()) {
                svg.text_before(zero - 6.0, y + BAR - 1.0, "text", &row.peer);
                let length = (at(ratio.min(end)) - zero).max(1.0);
                svg.rectangle(zero, y + 1.0, length, BAR - 1.0, class(&row.peer));
                if ratio > end {
                    let cut = zero + length - 14.0;
                    svg.line((cut, y + BAR + 1.0), (cut + 6.0, y), "cut");
                }
                let value = row.figure(group.headline.figure).map(group.headline.show);
                let value = format!("{ratio:.2}  ({})", value.unwrap_or_default());
                svg.text(zero + length + 6.0, y + BAR - 1.0, "text", &value);
                y += BAR + 3.0;
            }
        }
        if let Some(row) = all().next() {
            y += LINE * 1.6;
            let facts = [row.fact("machine"), row.fact("kernel"), row.fact("toolchain")];
            svg.text(MARGIN, y, "muted", &facts.join(", "));
        }
        svg.finish(&self.title())
    }
}

impl Group<'_> {
    fn ratios(&self) -> impl Iterator<Item = f64> + '_ {
        self.rows.iter().filter_map(|row| row.figure(self.headline.ratio))
    }
}

/// Ours, the reference, the limits (no runtime at all), the rest.
fn class(peer: &str) -> &'static str {
    match peer {
        REFERENCE | PYTHON | BLOCKING => "reference",
        BARE | "epoll" | "uring" | "uring-poll" => "limit",
        _ if peer.contains("ringloop") => "ours",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(peer: &str, ratio: f64) -> Row {
        Row {
            area: "sched".into(),
            case: "yield".into(),
            peer: peer.into(),
            workers: 2,
            figures: BTreeMap::from([("ratio".into(), ratio), ("ns_per_op".into(), ratio * 9.0)]),
            facts: BTreeMap::from([("machine".into(), "a <small> & old one".into())]),
        }
    }

    #[test]
    fn a_chart_shows_each_peer_and_number() {
        let rows = [row("tokio", 1.0), row("ringloop", 0.25), row("slow", 31.0)];
        let charts = of(&rows);
        assert_eq!(charts.len(), 1);
        assert_eq!(charts[0].file_name(), "sched-2.svg");
        let drawn = charts[0].draw();
        for text in ["tokio", "ringloop", "0.25  (2.2 ns)", "31.00", "a &lt;small&gt; &amp; old"] {
            assert!(drawn.contains(text), "{text} is missing:\n{drawn}");
        }
    }

    #[test]
    fn without_the_reference_there_is_no_chart() {
        assert!(of(&[row("tokio", 1.0)]).is_empty());
        let mut alone = row("ringloop", 1.0);
        alone.figures.remove("ratio");
        assert!(of(&[alone]).is_empty());
    }
}
