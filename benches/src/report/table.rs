//! Tables for people at a terminal.

use std::fmt::Write as _;

use super::columns::{columns, is_disturbed};
use super::{Row, units};
use crate::catalogue::Case;

/// The table of one case at one number of workers.
pub fn table(case: &Case, workers: usize, rows: &[Row]) -> String {
    let count = units::workers(workers);
    let mut text = format!("{} {}, {count}: {}\n", case.area, case.name, case.operation);
    let rows: Vec<&Row> = rows.iter().collect();
    let columns = columns(case, &rows);
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|column| column.names.0.into()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| column.cell(row)).collect()));
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let mut out = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            if column == 0 {
                write!(out, "  {cell:width$}").expect("a String takes any text");
            } else {
                write!(out, "  {cell:>width$}").expect("a String takes any text");
            }
        }
        text += out.trim_end();
        text.push('\n');
    }
    if rows.iter().any(|row| is_disturbed(row)) {
        text += "  * other programs were busy in a round\n";
    }
    text.trim_end().into()
}
