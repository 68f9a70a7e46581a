//! A small writer of SVG.
//!
//! Colours are classes, redefined for readers that prefer a dark page. The width of text is
//! estimated generously, because the reader's fonts are not known here: a picture may have some
//! space, but no text is cut off.

use std::fmt::Write as _;

/// Pixels of a line of text and the size of its letters.
pub const LINE: f64 = 17.0;
const LETTERS: f64 = 12.0;

const STYLE: &str = "\
svg{font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;color-scheme:light dark}\
.page{fill:#ffffff}\
.text{fill:#1f2328;stroke:#ffffff;stroke-width:3px;paint-order:stroke}.muted{fill:#59636e}.strong{fill:#1f2328;font-weight:600}\
.ours{fill:#0969da}.reference{fill:#424a53}.other{fill:#8c959f}\
.limit{fill:none;stroke:#8c959f;stroke-dasharray:3 2}.rule{stroke:#424a53;stroke-dasharray:2 3}\
.cut{stroke:#ffffff;stroke-width:2}\
@media(prefers-color-scheme:dark){\
.page{fill:#0d1117}.text,.strong{fill:#e6edf3}.text{stroke:#0d1117}.muted{fill:#9198a1}\
.ours{fill:#4493f8}.reference{fill:#b7bdc8}.other{fill:#656c76}\
.limit{stroke:#7d8590}.rule{stroke:#b7bdc8}.cut{stroke:#0d1117}}";

/// A picture under construction; it grows to hold what is put into it.
#[derive(Default)]
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// Text that begins at `x`, with its base line at `y`.
    pub fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.reach(x + width_of_strong(text), y + 5.0);
        self.put_text(x, y, class, "start", text);
    }

    /// Text that ends at `x`.
    pub fn text_before(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.reach(x, y + 5.0);
        self.put_text(x, y, class, "end", text);
    }

    fn put_text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    pub fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        self.reach(x + width, y + height);
        self.put(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="{class}"/>"#
        ));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.reach(from.0.max(to.0), from.1.max(to.1));
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        ));
    }

    /// The file. `title` is for readers that cannot see the picture.
    pub fn finish(self, title: &str) -> String {
        let (width, height) = (self.width.ceil() + 12.0, self.height.ceil() + 10.0);
        let (title, body) = (escape(title), self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" class=\"page\"/>\n\
             {body}</svg>\n"
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("a String takes any text");
    }

    fn reach(&mut self, x: f64, y: f64) {
        self.width = self.width.max(x);
        self.height = self.height.max(y);
    }
}

/// The greatest width that `text` may take.
pub fn width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTERS * 0.62
}

/// The same for bold letters.
pub fn width_of_strong(text: &str) -> f64 {
    width(text) * 1.15
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
