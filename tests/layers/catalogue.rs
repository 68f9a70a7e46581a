//! The rule of the page of error messages: each message on it is in the source, and each message of an error type is on it.

use super::{
    lexer::{Kind, Token, tokens},
    rules::Violation,
};

/// The page.
const PAGE: &str = "docs/errors.md";

/// Files whose errors never leave the crate, or which explain themselves by other crates' words.
const INSIDE: &[&str] = &["src/model", "src/loom", "src/reactor/", "src/tls/errors.rs"];

/// Files of which each text is a message.
const WHOLE: &[&str] = &["src/process/errors.rs"];

/// Checks `page` against the source files, given as name and text.
pub fn check(page: &str, files: &[(String, String)]) -> Vec<Violation> {
    let messages = messages(page);
    let all: Vec<String> = files.iter().flat_map(|(_, text)| literals(&tokens(text))).collect();
    let mut found = Vec::new();
    for (line, message) in &messages {
        let known = all.iter().any(|literal| literal.contains(message.trim_start_matches("..")));
        if !known {
            let text = format!("no such message in the source: {message}");
            found.push(Violation { file: PAGE.to_owned(), line: *line, text });
        }
    }
    for (name, text) in
        files.iter().filter(|file| !INSIDE.iter().any(|inside| file.0.starts_with(inside)))
    {
        for (line, literal) in of_errors(text, WHOLE.contains(&name.as_str())) {
            let has = |message: &str| literal.contains(message) || message.contains(literal.trim());
            if !messages.iter().any(|message| has(&message.1)) {
                let text = format!("{PAGE} does not have this message: {literal}");
                found.push(Violation { file: name.clone(), line, text });
            }
        }
    }
    found
}

/// The messages of the page: the code in the first cell of each row, with its line. What the compiler says is not of the source
/// as a whole, so that `..` at the beginning stands for anything.
fn messages(page: &str) -> Vec<(usize, String)> {
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with("| `"));
    let message = |(line, row): (usize, &str)| {
        let cell = row.trim_start_matches("| ").split(" | ").next().unwrap_or("");
        let inside =
            |mark: &str, end: &str| cell.strip_prefix(mark).and_then(|code| code.strip_suffix(end));
        let code = inside("`` ", " ``").or_else(|| inside("`", "`")).unwrap_or(cell);
        (line + 1, plain(code))
    };
    rows.map(message).collect()
}

/// The literals of `Display` and of the own methods of types that are errors, or all of them, with their lines. One of two
/// words is no message.
fn of_errors(source: &str, whole: bool) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let errors: Vec<_> = impls(&tokens, "Error").into_iter().map(|one| one.0).collect();
    let mut bodies = impls(&tokens, "Display");
    bodies.extend(own_impls(&tokens));
    bodies.retain(|(name, _)| errors.contains(name) || *name == "ErrorEvent");
    let mut bodies: Vec<_> = bodies.into_iter().map(|one| one.1).collect();
    if whole {
        bodies = vec![&tokens];
    }
    // What cannot be reached is no message.
    let literals = bodies.into_iter().flat_map(|body| {
        let reached = |at: usize| at < 3 || !body[at - 3].is("unreachable");
        let found = body.iter().enumerate().filter(move |(at, _)| reached(*at));
        found.map(|one| one.1).filter(|token| token.kind == Kind::Literal)
    });
    let messages = literals.map(|token| (token.line, literal(token)));
    let words = |text: &str| {
        text.split_whitespace().filter(|word| word.contains(char::is_alphabetic)).count()
    };
    messages.filter(|message| words(&message.1) > 2).collect()
}

/// The blocks `impl .. of for Name .. { .. }`: the name and the tokens between the braces.
fn impls<'t, 'a>(tokens: &'t [Token<'a>], of: &str) -> Vec<(&'a str, &'t [Token<'a>])> {
    let starts = tokens.windows(3).enumerate();
    let starts = starts.filter(|(_, words)| words[0].is(of) && words[1].is("for"));
    starts.filter_map(|(at, words)| Some((words[2].text, block(&tokens[at..])?))).collect()
}

/// The blocks `impl Name { .. }`.
fn own_impls<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<(&'a str, &'t [Token<'a>])> {
    let starts = tokens.windows(3).enumerate();
    let starts = starts.filter(|(_, words)| words[0].is("impl") && words[2].is("{"));
    starts.filter_map(|(at, words)| Some((words[1].text, block(&tokens[at..])?))).collect()
}

/// What stands between the first braces.
fn block<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let body = &tokens[tokens.iter().position(|token| token.is("{"))?..];
    let mut depth = 0;
    let close = body.iter().position(|token| {
        depth += i32::from(token.is("{")) - i32::from(token.is("}"));
        depth == 0
    });
    Some(&body[..close.unwrap_or(body.len())])
}

fn literals(tokens: &[Token<'_>]) -> Vec<String> {
    tokens.iter().filter(|token| token.kind == Kind::Literal).map(literal).collect()
}

/// The text of a string in the source as the page has it.
fn literal(token: &Token<'_>) -> String {
    let text = token.text.trim_start_matches(['b', 'r', '#']).trim_end_matches('#');
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or("");
    let mut joined = String::new();
    let mut lines = text.split("\\\n");
    joined.push_str(lines.next().unwrap_or(""));
    lines.for_each(|line| joined.push_str(line.trim_start()));
    plain(&joined.replace("\\\"", "\""))
}

/// With `..` for each place that is filled in.
fn plain(text: &str) -> String {
    let text = text.replace("{{", "{").replace("}}", "}");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        plain.push_str("..");
        rest = after.split_once('}').map_or("", |parts| parts.1);
    }
    (plain + rest).replace("....", "..")
}

#[test]
fn messages_are_compared_both_ways() {
    let source = r#"
        impl Error for A {}
        impl fmt::Display for A {
            fn fmt(&self) { write!(f, "no {what} in \
                the {place:?} is free"); f.write_str("nothing \"at all\" of it") }
        }
        impl A { fn more(&self) -> &str { unreachable!("not to be reached"); "a text that is added" } }
        impl fmt::Display for B { fn fmt(&self) { f.write_str("this is no error") } }
    "#;
    let files = [("src/a.rs".to_owned(), source.to_owned())];
    let whole = "| `no .. in the .. is free` | a |\n| `nothing \"at all\" of it` | b |\n\
                 | `a text that is added` | c |";
    assert!(check(whole, &files).is_empty());
    let found = check("| `no .. in the .. is free` | a |\n| `something else` | b |", &files);
    let found: Vec<_> = found.iter().map(|one| (one.line, one.text.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "no such message in the source: something else"),
            (5, "docs/errors.md does not have this message: nothing \"at all\" of it"),
            (7, "docs/errors.md does not have this message: a text that is added"),
        ]
    );
}
