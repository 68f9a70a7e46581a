//! What comes through the pipe: lines, of which a hostile process may write any.

/// The longest line. A write of so much is one piece for the kernel (`PIPE_BUF`, pipe(7)).
pub(super) const LONGEST: usize = 512;
/// The version of the protocol that this process speaks.
pub(super) const PROTOCOL: u32 = 1;

/// Takes lines out of what is read, and forgets those that are too long.
#[derive(Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.push(&bytes[..end]);
            if !self.is_too_long {
                each(&self.line);
            }
            self.line.clear();
            self.is_too_long = false;
            bytes = &bytes[end + 1..];
        }
        self.push(bytes);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.is_too_long || self.line.len() + bytes.len() > LONGEST {
            self.is_too_long = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }
}

/// A line that asks for something: `ringloop VERSION ID VERB [ARGUMENT ..]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) version: u32,
    /// The number by which the answer is found.
    pub(super) id: u64,
    pub(super) verb: String,
    pub(super) arguments: Vec<String>,
}

impl Request {
    /// `None`: it is no such line, and nobody waits for an answer.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        if words.next() != Some("ringloop") {
            return None;
        }
        let version = words.next()?.parse().ok()?;
        let is_id = |id: &&str| id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
        let id = words.next().filter(is_id)?;
        let id = u64::from_str_radix(id, 16).ok()?;
        let verb = words.next()?.to_owned();
        Some(Self { version, id, verb, arguments: words.map(str::to_owned).collect() })
    }

    /// Whether each poll is to be timed from now on: `dump N exact`.
    pub(super) fn is_exact(&self) -> bool {
        self.verb == "dump" && self.arguments.get(1).is_some_and(|word| word == "exact")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |line| found.push(String::from_utf8_lossy(line).into_owned()));
        }
        found
    }

    #[test]
    fn lines_come_in_any_pieces() {
        assert_eq!(lines(&[b"\none\ntw", b"o", b"\n", b"three"]), ["", "one", "two"]);
    }

    #[test]
    fn line_that_is_too_long_is_forgotten_and_the_next_is_read() {
        let long = vec![b'x'; LONGEST];
        assert_eq!(lines(&[&long, b"\n"]).len(), 1);
        assert_eq!(lines(&[&long, b"x", &long, b"\nnext\n"]), ["next"]);
        assert_eq!(lines(&[&[b'x'; 3 * LONGEST], b"\nnext\n"]), ["next"]);
    }

    #[test]
    fn request_has_a_verb_and_arguments() {
        let found = Request::parse(b"ringloop 1 00000000000000ff dump 10 all");
        let arguments = vec!["10".to_owned(), "all".to_owned()];
        let expected = Request { version: 1, id: 255, verb: "dump".to_owned(), arguments };
        assert_eq!(found, Some(expected));
        let is_exact = |line: &[u8]| Request::parse(line).is_some_and(|request| request.is_exact());
        assert!(is_exact(b"ringloop 1 00000000000000ff dump 10 exact"));
        assert!(!is_exact(b"ringloop 1 00000000000000ff dump 10"));
    }

    #[test]
    fn what_is_no_request_is_none() {
        for line in [
            "",
            "ringloop",
            "ringloop 1 00000000000000ff",
            "ringloop 1 ff dump",
            "ringloop x 00000000000000ff dump",
            "ringloop 1 +000000000000ff0 dump",
            "ringloop 1 zzzzzzzzzzzzzzzz dump",
            "RINGLOOP 1 00000000000000ff dump",
        ] {
            assert_eq!(Request::parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Request::parse(b"ringloop 1 00000000000000ff \xff"), None);
    }
}
