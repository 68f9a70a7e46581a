//! The rule of `docs/seeds.md`: a row for each of the 72 things, and each proof that a row names exists.

use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = "docs/seeds.md";
const ROWS: usize = 72;

/// The rows that no file proves: the text below the table answers them.
const ANSWERED_IN_WORDS: &[usize] = &[14];

/// A file, and the name in it, as `` `tests/a.rs::b` `` or `` `tests/a.rs` ``.
fn proofs(line: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let spans = line.split('`').skip(1).step_by(2);
    let paths = spans.filter(|span| span.contains('/') && !span.contains([' ', '(', '!']));
    paths.map(|span| match span.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (span, None),
    })
}

/// Whether `text` defines a function of that name, or has it as a name in quotes.
fn has(text: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("fn {name}<"), format!("\"{name}\"")]
        .iter()
        .any(|form| text.contains(form))
}

/// The faults of a page, with `read` for the files below the root.
fn faults(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut rows = BTreeSet::new();
    for line in page.lines() {
        let row = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        // Rows only: the text around them is not a proof.
        let Some(row) = row else { continue };
        let below = line.contains("below");
        if proofs(line).next().is_none() && !below && !ANSWERED_IN_WORDS.contains(&row) {
            found.push(format!("row {row} has no proof"));
        }
        if !rows.insert(row) {
            found.push(format!("row {row} is there twice"));
        }
        for (path, name) in proofs(line) {
            match (read(path), name) {
                (None, _) => found.push(format!("there is no {path}")),
                (Some(text), Some(name)) if !has(&text, name) => {
                    found.push(format!("{path} has no {name}"));
                }
                _ => {}
            }
        }
    }
    let missing = (1..=ROWS).filter(|row| !rows.contains(row));
    found.extend(missing.map(|row| format!("row {row} is missing")));
    found
}

#[test]
fn each_row_has_a_proof_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A folder is no proof: its files are.
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let page = read(PAGE).expect("the page");
    let found = faults(&page, read);
    assert!(found.is_empty(), "{PAGE}:\n{}", found.join("\n"));
}

#[test]
fn faults_of_the_page_are_found() {
    let read = |path: &str| (path == "tests/a.rs").then(|| "fn there() {}".to_owned());
    let rows = |from: usize| (from..=ROWS).map(|row| format!("| {row} | `tests/a.rs::there` |\n"));
    let whole: String = rows(1).collect();
    assert!(faults(&whole, read).is_empty());
    let with = |line: &str| faults(&format!("{line}\n{}", rows(2).collect::<String>()), read);
    assert_eq!(with("| 1 | `tests/a.rs::gone` |"), ["tests/a.rs has no gone"]);
    assert_eq!(with("| 1 | `tests/b.rs` |"), ["there is no tests/b.rs"]);
    assert_eq!(with("| 1 | nothing |"), ["row 1 has no proof"]);
    assert_eq!(with("| 1 | below |"), [""; 0]);
    assert_eq!(with("| 2 | `tests/a.rs` |"), ["row 2 is there twice", "row 1 is missing"]);
}
