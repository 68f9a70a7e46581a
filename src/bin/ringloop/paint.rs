//! Text for terminals: colours, columns, times, and what foreign text must not do there.

use std::{fmt::Write, time::Duration};

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colours,
}

/// A colour of the terminal's own sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    None,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    pub fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            _ if self == Self::Plain || text.is_empty() => return text.to_owned(),
            Colour::None => return text.to_owned(),
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Foreign text without what a terminal acts on: controls, and marks that turn the direction of writing.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            let _ = write!(plain, "\\u{{{:x}}}", c as u32);
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A time with at most three digits.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let scaled = |value: f64, unit| {
        if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
    };
    match seconds {
        0.0 => "0".to_owned(),
        ..0.999_5e-6 => format!("{} ns", time.as_nanos()),
        ..0.999_5e-3 => scaled(seconds * 1e6, "us"),
        ..0.999_5 => scaled(seconds * 1e3, "ms"),
        ..99.5 => scaled(seconds, "s"),
        ..5970.0 => scaled(seconds / 60.0, "min"),
        ..356_400.0 => scaled(seconds / 3600.0, "h"),
        _ => scaled(seconds / 86_400.0, "days"),
    }
}

/// A count with at most four digits.
pub fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{}k", count / 1000),
        10_000_000..10_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// One noun or more of them.
pub fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table whose columns are as wide as their cells.
pub struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(String, Colour)>>,
}

impl Table {
    pub fn new(head: &[(&'static str, Align)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Foreign text in the cells becomes [`plain`].
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Colour)>) {
        self.rows.push(cells.into_iter().map(|(text, colour)| (plain(&text), colour)).collect());
    }

    pub fn text(&self, style: Style) -> String {
        let wide = |text: &str| text.chars().count();
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| wide(&row[at].0));
            cells.max().unwrap_or(0).max(wide(self.head[at].0))
        };
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = (&str, Colour)>| {
            for (at, (text, colour)) in cells.enumerate() {
                let fill = " ".repeat(widths[at] - wide(text));
                let painted = style.paint(colour, text);
                let is_last = at + 1 == widths.len();
                out.push_str(if at > 0 { "  " } else { "" });
                match self.head[at].1 {
                    Align::Right => _ = write!(out, "{fill}{painted}"),
                    Align::Left if is_last => out.push_str(&painted),
                    Align::Left => _ = write!(out, "{painted}{fill}"),
                }
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        };
        line(&mut self.head.iter().map(|(name, _)| (*name, Colour::Dim)));
        for row in &self.rows {
            line(&mut row.iter().map(|(text, colour)| (text.as_str(), *colour)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_nothing_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n\u{202e}c\u{7f}ü"), r"a\u{1b}[2Jb\u{a}\u{202e}c\u{7f}ü");
    }

    #[test]
    fn times_have_three_digits_at_most() {
        let texts = [0, 1, 999, 1500, 999_700, 12_345_678, 3_000_000_000].map(Duration::from_nanos);
        let texts = texts.map(time);
        assert_eq!(texts, ["0", "1 ns", "999 ns", "1.5 us", "1.0 ms", "12 ms", "3.0 s"]);
        let texts = [100, 6000, 400_000].map(Duration::from_secs).map(time);
        assert_eq!(texts, ["1.7 min", "1.7 h", "4.6 days"]);
    }
}
