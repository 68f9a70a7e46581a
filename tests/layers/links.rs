//! The rule of the pages' links: each leads to a file that is there, or to a heading of it.
//!
//! Links to other hosts are not followed. Names in brackets without a target are rustdoc's, which checks them
//! by itself.

use super::rules::Violation;

/// Checks the pages, given as name (from the root) and text. `exists` says whether there is a file or folder of a name.
pub fn check(pages: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, text) in pages {
        for (line, target) in targets(text) {
            // Names in Rust are rustdoc's.
            if ["://", "::"].iter().any(|mark| target.contains(mark)) {
                continue;
            }
            let (file, heading) = target
                .split_once('#')
                .map_or((target, None), |(file, heading)| (file, Some(heading)));
            let path = if file.is_empty() { name.clone() } else { resolve(name, file) };
            let missing = match (exists(&path), heading) {
                (false, _) => true,
                (true, None) => false,
                (true, Some(heading)) => {
                    let page = pages.iter().find(|page| page.0 == path);
                    page.is_none_or(|page| !headings(&page.1).iter().any(|known| known == heading))
                }
            };
            if missing {
                let text = format!("the link {target:?} leads nowhere");
                found.push(Violation { file: name.clone(), line, text });
            }
        }
    }
    found
}

/// Checks that each page in `docs/` is a chapter of the book, and that the API documentation has each chapter for readers.
pub fn chapters(names: &[String], summary: &str, library: &str) -> Vec<Violation> {
    // What the source says to its readers is no chapter of the API documentation.
    let inside = ["docs/architecture.md", "docs/decisions.md", "docs/benchmarks.md"];
    let mut found = Vec::new();
    let mut missing = |file: &str, text: String| {
        found.push(Violation { file: file.to_owned(), line: 1, text });
    };
    for name in names.iter().filter(|name| *name != "docs/SUMMARY.md") {
        let page = &name["docs/".len()..];
        if !targets(summary).iter().any(|target| target.1 == page) {
            missing("docs/SUMMARY.md", format!("{name} is not a chapter"));
        }
        if !inside.contains(&name.as_str()) && !library.contains(&format!("{page}\"")) {
            missing("src/lib.rs", format!("{name} is no module of `guide`"));
        }
    }
    found
}

/// The targets of links, `[..](target)` and `[..]: target`, each with its line. Code has none.
fn targets(page: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fence = false;
    for (line, text) in page.lines().enumerate() {
        fence ^= text.trim_start().starts_with("```");
        if fence {
            continue;
        }
        // Of what stands between backticks, every second part is code.
        for (part, plain) in text.split('`').enumerate().filter(|(part, _)| part % 2 == 0) {
            let begin = if part > 0 && plain.starts_with("](") { Some(0) } else { None };
            let places = plain.match_indices("](").map(|place| place.0).chain(begin);
            let mut seen = None;
            for place in places.filter(|place| seen.replace(*place) != Some(*place)) {
                let rest = &plain[place + 2..];
                let target = rest.split([')', ' ']).next().unwrap_or("");
                if !found.contains(&(line + 1, target)) {
                    found.push((line + 1, target));
                }
            }
        }
        if let Some((label, target)) = text.split_once("]: ")
            && label.starts_with('[')
            && !target.contains(' ')
        {
            found.push((line + 1, target));
        }
    }
    found
}

/// `file` as the page `name` means it, from the root.
fn resolve(name: &str, file: &str) -> String {
    let mut parts: Vec<_> = name.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The headings of a page as links name them.
fn headings(page: &str) -> Vec<String> {
    let heading = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    page.lines().filter(|line| line.starts_with('#')).map(heading).collect()
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let page = "# A\n[a](b.md) [`b`](gone.md)\n`[x](code.md)`\n```\n[y](code.md)\n```\n[c]: ../gone.md\n\
                [d](https://a.b/c) [e](#a) [f](#nothing) [g](b.md#its-part) [h](b.md#no)";
    let pages = [
        ("docs/a.md".to_owned(), page.to_owned()),
        ("docs/b.md".to_owned(), "## Its part!".to_owned()),
    ];
    let found = check(&pages, |name| ["docs/a.md", "docs/b.md"].contains(&name));
    let found: Vec<_> = found.iter().map(|one| (one.line, one.text.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "the link \"gone.md\" leads nowhere"),
            (7, "the link \"../gone.md\" leads nowhere"),
            (8, "the link \"#nothing\" leads nowhere"),
            (8, "the link \"b.md#no\" leads nowhere"),
        ]
    );
}

#[test]
fn pages_that_are_no_chapters_are_found() {
    let names = ["a", "b", "SUMMARY", "decisions"].map(|name| format!("docs/{name}.md"));
    let found = chapters(&names, "- [A](a.md)\n- [D](decisions.md)", "\"a.md\"");
    let found: Vec<_> = found.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(found, ["docs/b.md is not a chapter", "docs/b.md is no module of `guide`"]);
}
