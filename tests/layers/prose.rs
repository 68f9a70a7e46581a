//! The rule of the prose: plain words, and sentences that can be read in one go.
//!
//! It reads the comments of the source, and the pages. Code in them is not prose.

use super::{lexer::comments, rules::Violation};

/// Words that no sentence of this repository uses, and their replacements.
pub const REFUSED: &[(&str, &str)] = &[
    ("who", NOUN),
    ("whom", NOUN),
    ("whoever", NOUN),
    ("he", NOUN),
    ("his", NOUN),
    ("him", NOUN),
    ("told", "say what happens: woken, counted, recorded, reported"),
    ("loot", "say what it is: tasks, timers, events"),
    ("sees to it", "say which step does what"),
];

const NOUN: &str = "name the thing: the worker that parks, a task that waits";

/// The number of words that a sentence may have in doc comments and pages.
pub const SENTENCE_WORDS: usize = 40;

/// A paragraph, a list item, a heading or a row of a table: its words, each with its line.
struct Paragraph<'a> {
    words: Vec<(usize, &'a str)>,
    /// Whether the length of its sentences counts.
    measured: bool,
}

/// Checks files, given as name (from the repository's root) and text.
pub fn check(files: &[(String, String)]) -> Vec<Violation> {
    files.iter().flat_map(|(name, text)| in_file(name, text)).collect()
}

fn in_file(name: &str, text: &str) -> Vec<Violation> {
    let paragraphs = match name.ends_with(".rs") {
        true => in_comments(text),
        false => markdown(text.lines().enumerate().map(|(at, line)| (at + 1, line)), true),
    };
    let mut found = Vec::new();
    for paragraph in &paragraphs {
        for sentence in paragraph.sentences() {
            let quoted: Vec<_> = sentence.iter().map(|word| word.1).collect();
            let quoted = quoted.join(" ");
            let mut report = |line, text: String| {
                found.push(Violation { file: name.to_owned(), line, text });
            };
            for (line, word, instead) in refused_in(sentence) {
                report(line, format!("`{word}`: {instead}\n    {quoted}"));
            }
            let words = sentence.iter().filter(|word| word.1.contains(char::is_alphanumeric));
            let words = words.count();
            if paragraph.measured && words > SENTENCE_WORDS {
                let text = format!("{words} words, {SENTENCE_WORDS} at most\n    {quoted}");
                report(sentence[0].0, text);
            }
        }
    }
    found
}

impl<'a> Paragraph<'a> {
    /// A sentence ends at a mark that white space and the start of another one follow.
    fn sentences(&self) -> Vec<&[(usize, &'a str)]> {
        let mut found = Vec::new();
        let mut rest = self.words.as_slice();
        let ends = |word: &str| {
            word.trim_end_matches([')', ']', '"', '\'', '*', '_']).ends_with(['.', '!', '?'])
        };
        let starts = |word: &str| {
            word.trim_start_matches(['*', '"', '\'', '_'])
                .starts_with(|first: char| first.is_uppercase() || matches!(first, '`' | '[' | '('))
        };
        while !rest.is_empty() {
            let border = rest.windows(2).position(|pair| ends(pair[0].1) && starts(pair[1].1));
            let (sentence, after) = rest.split_at(border.map_or(rest.len(), |at| at + 1));
            found.push(sentence);
            rest = after;
        }
        found
    }
}

/// The refused words of a sentence, outside of its code: line, word, replacement.
fn refused_in(sentence: &[(usize, &str)]) -> Vec<(usize, &'static str, &'static str)> {
    let mut words = Vec::new();
    let mut code = false;
    for (line, word) in sentence {
        for (part, text) in word.split('`').enumerate() {
            code ^= part > 0;
            if !code {
                let plain = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                let plain = plain.filter(|word| !word.is_empty()).map(str::to_lowercase);
                words.extend(plain.map(|word| (*line, word)));
            }
        }
    }
    let mut found = Vec::new();
    for (refused, instead) in REFUSED {
        let refused_words: Vec<_> = refused.split(' ').collect();
        for window in words.windows(refused_words.len()) {
            if window.iter().map(|word| word.1.as_str()).eq(refused_words.iter().copied()) {
                found.push((window[0].0, *refused, *instead));
            }
        }
    }
    found
}

/// The paragraphs of all comments. Only doc comments are measured.
fn in_comments(source: &str) -> Vec<Paragraph<'_>> {
    let mut found = Vec::new();
    let mut run: Vec<(usize, &str)> = Vec::new();
    let mut run_of = "";
    let comments = comments(source).into_iter().flat_map(|(line, text)| {
        text.lines().enumerate().map(move |(below, text)| (line + below, text))
    });
    for (line, text) in comments {
        let marks = ["///", "//!", "//"];
        let mark = marks.into_iter().find(|mark| text.starts_with(mark)).unwrap_or("");
        if mark != run_of || run.last().is_none_or(|last| last.0 + 1 != line) {
            found.extend(markdown(run.drain(..), run_of.len() == 3));
            run_of = mark;
        }
        let text = &text[mark.len()..];
        run.push((line, text.strip_prefix(' ').unwrap_or(text)));
    }
    found.extend(markdown(run.drain(..), run_of.len() == 3));
    found
}

/// Splits lines into paragraphs, without the code in them.
fn markdown<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
    measured: bool,
) -> Vec<Paragraph<'a>> {
    let mut found: Vec<Paragraph<'a>> = Vec::new();
    // Whether the next line begins a paragraph, and whether an indented line would be code.
    let (mut begins, mut fence, mut code) = (true, false, true);
    for (line, text) in lines {
        let trimmed = text.trim();
        if trimmed.starts_with("```") {
            (fence, begins) = (!fence, true);
            continue;
        }
        if trimmed.is_empty() {
            (begins, code) = (true, true);
            continue;
        }
        if fence || code && text.starts_with("    ") {
            continue;
        }
        code = false;
        let apart = trimmed.starts_with(['#', '|']);
        if begins || apart || is_list_item(trimmed) {
            found.push(Paragraph { words: Vec::new(), measured: measured && !apart });
        }
        begins = apart;
        if let Some(paragraph) = found.last_mut() {
            paragraph.words.extend(trimmed.split_whitespace().map(|word| (line, word)));
        }
    }
    found
}

fn is_list_item(text: &str) -> bool {
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    text.starts_with("* ")
        || text.starts_with("- ")
        || number.len() < text.len() && number.starts_with(". ")
}

/// The lines of the places that the rule finds in one file.
#[cfg(test)]
fn lines(name: &str, text: &str) -> Vec<usize> {
    check(&[(name.to_owned(), text.to_owned())]).iter().map(|found| found.line).collect()
}

#[test]
fn refused_words_are_found_in_comments_and_pages() {
    for (text, line) in [
        ("/// It wakes\n/// who waits.\nfn f() {}", 2),
        ("fn f() {\n    // Whoever asks.\n}", 2),
        ("let a = 1; // He was here.", 1),
        ("//! # Told\n", 1),
        ("/* a\n * for whom */", 2),
        ("/// The worker sees\n/// to it.", 1),
    ] {
        assert_eq!(lines("src/a.rs", text), [line], "{text}");
    }
    assert_eq!(lines("docs/a.md", "# A\n\n| a | told |\n* his\n"), [3, 4]);
    let found = check(&[("src/a.rs".to_owned(), "/// Fine. Who asks?".to_owned())]);
    assert_eq!(found[0].to_string(), format!("src/a.rs:1: `who`: {NOUN}\n    Who asks?"));
}

#[test]
fn plain_words_and_code_pass() {
    for text in [
        "/// The worker that parks wakes a task. The whole thing is retold; the hero rests.",
        "/// `who` is a field, as is `a.told`.",
        "/// ```\n/// // who\n/// ```\nfn f(who: u8) { \"told\"; g(loot) }",
        "const A: &str = \"// who\";",
    ] {
        assert!(lines("src/a.rs", text).is_empty(), "{text}");
    }
    assert!(lines("docs/a.md", "a:\n\n    who\n\n```sh\nwho\n```\n").is_empty());
}

#[test]
fn long_sentences_fail_in_doc_comments_and_pages() {
    let words = |n| "word ".repeat(n);
    let fits = format!("/// {}end.\n/// {}end.", words(39), words(39).replacen('w', "W", 1));
    assert!(lines("src/a.rs", &fits).is_empty());
    let long = format!("/// A start.\n/// Word {}\n/// {}end.", words(20), words(19));
    assert_eq!(lines("src/a.rs", &long), [2]);
    assert_eq!(lines("docs/a.md", &format!("A.\n\n* {}", words(41))), [3]);
    // A full stop inside of a number or a name ends nothing, and a mark does not have to be bare.
    assert_eq!(lines("docs/a.md", &format!("{}1.5 mod.rs {}", words(20), words(19))), [1]);
    assert!(lines("docs/a.md", &format!("*{}end.* **A** {}", words(20), words(30))).is_empty());
    assert!(lines("docs/a.md", &format!("{}end. `a` {}", words(20), words(30))).is_empty());
    // Headings, rows, items and other comments are not joined.
    let (row, item) = (format!("| {}|\n", words(50)), format!("- {}\n1. {}", words(30), words(30)));
    assert!(lines("docs/a.md", &format!("# {}\n{row}{item}", words(50))).is_empty());
    assert!(lines("src/a.rs", &format!("// {}", words(50))).is_empty());
}
