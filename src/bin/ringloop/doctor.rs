//! `ringloop doctor`: what is wrong, how it shows, and what to do.

use std::fmt::Write;

use serde_json::Value;

use super::paint::{Colour, Style, plain};

/// Whether nothing was found but hints.
pub fn is_healthy(found: &Value) -> bool {
    findings(found).iter().all(|finding| finding["severity"] == "info")
}

fn findings(found: &Value) -> &[Value] {
    found["findings"].as_array().map_or(&[], Vec::as_slice)
}

/// The findings, for people.
pub fn text(found: &Value, style: Style) -> String {
    let mut out = String::new();
    for finding in findings(found) {
        let word = |name: &str| plain(finding[name].as_str().unwrap_or("?"));
        let severity = word("severity");
        let colour = match severity.as_str() {
            "critical" => Colour::Red,
            "warning" => Colour::Yellow,
            _ => Colour::Dim,
        };
        let kind = style.paint(Colour::Dim, &format!("[{}]", word("kind")));
        let what = style.paint(Colour::Bold, &word("what"));
        let _ = writeln!(out, "{}: {what} {kind}", style.paint(colour, &severity));
        for line in finding["evidence"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "    {}", plain(line.as_str().unwrap_or("?")));
        }
        let _ = writeln!(out, "    {} {}\n", style.paint(Colour::Green, "fix:"), word("fix"));
    }
    if is_healthy(found) {
        let _ = writeln!(out, "{}", style.paint(Colour::Green, "healthy: nothing is wrong"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = r#"{"findings":[
        {"severity":"critical","kind":"deadlock","what":"2 tasks wait for each other in a circle",
         "evidence":["task 1 `a`, spawned at src/a.rs:1:2, waits: join of task 2","task 2"],
         "tasks":[1,2],"fix":"take the locks in one order"},
        {"severity":"info","kind":"fallback","what":"runtime runs on epoll","evidence":[],
         "tasks":[],"fix":"allow \u001b[31mio_uring"}]}"#;

    #[test]
    fn findings_are_text() {
        let found: Value = serde_json::from_str(FOUND).unwrap();
        assert!(!is_healthy(&found));
        let expected = [
            "critical: 2 tasks wait for each other in a circle [deadlock]",
            "    task 1 `a`, spawned at src/a.rs:1:2, waits: join of task 2",
            "    task 2",
            "    fix: take the locks in one order",
            "",
            "info: runtime runs on epoll [fallback]",
            "    fix: allow \\u{1b}[31mio_uring",
        ];
        assert_eq!(text(&found, Style::Plain).trim_end(), expected.join("\n"));
        assert!(text(&found, Style::Colours).contains("\x1b[31mcritical\x1b[0m"));
    }

    #[test]
    fn hints_alone_are_healthy() {
        let found = serde_json::json!({"findings": [{"severity": "info"}]});
        assert!(is_healthy(&found));
        assert!(text(&found, Style::Plain).ends_with("healthy: nothing is wrong\n"));
    }
}
