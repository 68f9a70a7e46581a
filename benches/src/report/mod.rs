//! The output of a run: tables for people, JSON lines for programs, pictures and a page for the
//! documentation.
//!
//! A run turns each series into a [`Row`], which has the figures and everything that a reader must
//! know beside them (machine, kernel, versions, the command). Tables are printed at once; the page
//! and its pictures are drawn from rows, either of this run or from a file that an earlier one
//! saved.

mod caveats;
mod chart;
mod columns;
mod environment;
mod page;
mod row;
mod summary;
mod svg;
mod table;
mod units;

pub use self::environment::{Environment, locked};
pub use self::page::write as write_page;
pub use self::row::{Row, rows};
pub use self::table::table;

use std::fs;
use std::path::Path;

/// Reads the rows of saved reports. A table of a later file replaces the same one of an earlier
/// file, with all its rows: no table has rows of two runs.
pub fn load(files: &[String]) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for file in files {
        let mut new: Vec<Row> = Vec::new();
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let row = Row::from_json(line)
                .map_err(|error| format!("{file}, line {}: {error}", number + 1))?;
            new.push(row);
        }
        rows.retain(|known| new.iter().all(|row| row.table() != known.table()));
        rows.extend(new);
    }
    Ok(rows)
}

/// Draws one picture for each area and number of workers; returns the names of the files.
pub fn draw(rows: &[Row], folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let mut names = Vec::new();
    for chart in chart::of(rows) {
        let name = chart.file_name();
        fs::write(folder.join(&name), chart.draw()).map_err(failed)?;
        names.push(name);
    }
    Ok(names)
}
