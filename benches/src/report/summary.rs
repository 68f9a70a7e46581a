//! What the page opens with: a row for each area, and the words of the tables.

use std::fmt::Write as _;

use super::Row;
use super::chart::{headline, worker_counts};
use super::units::workers as count;
use crate::catalogue::{AREAS, CASES, Case};

/// The runtime as its users have it by default.
const OURS: &str = "ringloop";

const LEGEND: &str = "
The words of the tables:

- **tokio's**: `tokio` is its multi-thread runtime with as many workers, `tokio-ct` its current-thread runtime.
- **ringloop**: reads by `poll_read` into borrowed memory, on io_uring; `ringloop-epoll`: the same on epoll.
- **lease**: reads by `read_lease`, whose bytes are in memory of the runtime, without a copy; **lease-whole**: the same where the
  kernel gives a whole buffer for each arrival, as before Linux 6.15. **owned**: reads by `read(Vec)`, which gives the buffer back.
- **hog**: one task computes without a pause while the others are served.
- **switches**: how often the kernel put another thread on the core, for an operation.
- **spread**: the least and the greatest of the rounds. **\\***: other programs were busy in a round.
";

pub fn summary(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n## Summary\n\nThe peer `ringloop` against tokio, over the cases of each area: 0.50 is half. Time is the first figure of a \
         case's table; for some it is CPU, latency or memory.\n\n\
         | area | workers | cases | time: median | least | greatest | CPU: median |\n\
         | --- | --- | --: | --: | --: | --: | --: |\n",
    );
    for &area in AREAS {
        for workers in worker_counts(rows, area) {
            text += &line(area, workers, rows).unwrap_or_default();
        }
    }
    text + LEGEND
}

fn line(area: &str, workers: usize, rows: &[Row]) -> Option<String> {
    let mine = |case: &'static Case| {
        let row = rows
            .iter()
            .find(|row| row.case == case.name && row.peer == OURS && row.workers == workers)?;
        Some((case.name, row.figure(headline(case).ratio)?, row.figure("cpu_ratio")))
    };
    let cases = CASES.iter().filter(|case| case.area == area);
    let mut found: Vec<_> = cases.filter_map(mine).collect();
    found.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (least, greatest) = (found.first()?, found.last()?);
    let time = median(found.iter().map(|case| case.1).collect())?;
    let cpu = median(found.iter().filter_map(|case| case.2).collect());
    let mut text = String::new();
    write!(text, "| {area} | {} | {} | {time:.2} ", count(workers), found.len()).ok()?;
    write!(text, "| {:.2} {} | {:.2} {} ", least.1, least.0, greatest.1, greatest.0).ok()?;
    writeln!(text, "| {} |", cpu.map(|cpu| format!("{cpu:.2}")).unwrap_or_default()).ok()?;
    Some(text)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 2] + values[last.div_ceil(2)]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, peer: &str, ratio: f64) -> Row {
        let figures = [("ratio", ratio), ("cpu_ratio", ratio / 2.0)];
        Row {
            area: "sched".into(),
            case: case.into(),
            peer: peer.into(),
            workers: 2,
            figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
            facts: Default::default(),
        }
    }

    #[test]
    fn an_area_has_its_median_and_its_ends() {
        let rows = [
            row("yield", "tokio", 1.0),
            row("yield", "ringloop", 0.4),
            row("chain", "ringloop", 1.2),
            row("chain", "ringloop-named", 9.0),
            row("fanout", "ringloop", 0.6),
            row("spawn_one", "ringloop", 0.2),
        ];
        let text = summary(&rows);
        let line = "| sched | 2 workers | 4 | 0.50 | 0.20 spawn_one | 1.20 chain | 0.25 |\n";
        assert!(text.contains(line), "{text}");
        assert_eq!(text.matches("| sched").count(), 1);
    }
}
