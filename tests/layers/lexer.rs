//! Rust source as words and signs, each with its lines, without comments and with opaque literals.
//! This is enough of the language to find paths, functions and attributes.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier, a keyword or a number.
    Word,
    /// A string, a character or a lifetime.
    Literal,
    /// One character, or `::`.
    Sign,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// As written.
    pub text: &'a str,
    /// What it is.
    pub kind: Kind,
    /// The line it starts on, counted from 1.
    pub line: usize,
    /// The line it ends on: another one for long strings.
    pub last_line: usize,
}

impl Token<'_> {
    /// Whether it is this word or sign, and not a literal of the same text.
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }
}

/// Splits `source`.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    Lexer::new(source).run().found
}

/// The comments of `source`, as written: the line that each starts on, and its text.
pub fn comments(source: &str) -> Vec<(usize, &str)> {
    Lexer::new(source).run().comments
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    found: Vec<Token<'a>>,
    comments: Vec<(usize, &'a str)>,
}

impl<'a> Lexer<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, at: 0, line: 1, found: Vec::new(), comments: Vec::new() }
    }

    fn run(mut self) -> Self {
        while let Some(first) = self.rest().chars().next() {
            let rest = self.rest();
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if rest.starts_with("//") {
                self.comment(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.comment(block_comment(rest));
            } else if let Some(length) = string(rest) {
                self.take(length, Kind::Literal);
            } else if first == '\'' {
                self.take(quote(rest), Kind::Literal);
            } else if is_word(first) {
                let raw = if rest.starts_with("r#") { 2 } else { 0 };
                let end = rest[raw..].find(|c| !is_word(c)).map_or(rest.len(), |end| raw + end);
                self.take(end, Kind::Word);
            } else if rest.starts_with("::") {
                self.take(2, Kind::Sign);
            } else {
                self.take(first.len_utf8(), Kind::Sign);
            }
        }
        self
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest()[..length].matches('\n').count();
        self.at += length;
    }

    fn comment(&mut self, length: usize) {
        self.comments.push((self.line, &self.rest()[..length]));
        self.skip(length);
    }

    fn take(&mut self, length: usize, kind: Kind) {
        let (text, line) = (&self.rest()[..length], self.line);
        self.skip(length);
        self.found.push(Token { text, kind, line, last_line: self.line });
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at >= rest.len() {
            return at;
        }
    }
}

/// The length of a string literal of any sort, if one starts here.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let after = &rest[prefix..];
    if !matches!(&rest[..prefix], "" | "b" | "c" | "r" | "br" | "cr") {
        return None;
    }
    if rest[..prefix].ends_with('r') {
        let hashes = after.find(|c| c != '#')?;
        let body = after[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body.find(&close).map_or(body.len(), |end| end + close.len());
        return Some(prefix + hashes + 1 + end);
    }
    if rest[..prefix] == *"b" && after.starts_with('\'') {
        return Some(prefix + quote(after));
    }
    let body = after.strip_prefix('"')?;
    Some(prefix + 1 + until_quote(body, '"'))
}

/// The length of a character literal or of a lifetime.
fn quote(rest: &str) -> usize {
    let body = &rest[1..];
    let mut chars = body.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + until_quote(body, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1 + body.find(|c| !is_word(c)).unwrap_or(body.len()),
    }
}

/// The length up to and with the closing quote, past escapes.
fn until_quote(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    body.len()
}

#[test]
fn comments_vanish_and_literals_are_opaque() {
    let source = "a // use b\n/* c /* d */ */ \"crate::e \\\" f\" r#\"g\"h\"# 'i' '\\'' b'j' &'k l::m r#type";
    let texts: Vec<_> = tokens(source)
        .into_iter()
        .filter(|token| token.kind != Kind::Literal)
        .map(|token| token.text)
        .collect();
    assert_eq!(texts, ["a", "&", "l", "::", "m", "r#type"]);
}

#[test]
fn lines_are_counted_through_strings_and_comments() {
    let found = tokens("/*\n\n*/ a \"x\ny\" b\n// z\nc");
    let lines: Vec<_> = found.iter().map(|token| (token.line, token.last_line)).collect();
    assert_eq!(lines, [(3, 3), (3, 4), (4, 4), (6, 6)]);
}

#[test]
fn comments_are_found_with_their_lines() {
    let source = "//! a\nlet b = \"// c\"; // d\n/* e\n */ /// f";
    assert_eq!(comments(source), [(1, "//! a"), (2, "// d"), (3, "/* e\n */"), (4, "/// f")]);
}
