//! Parts of an SVG: text, lines and shapes at given places, and the style they share.

use std::fmt::Write as _;

/// Colours and sizes of text, for light and dark. Colours stand here literally, since not every
/// viewer of SVG files knows variables.
pub(super) const STYLE: &str = include_str!("picture.css");

/// Text for HTML and XML, in which no character is markup, and none changes how others are read or
/// is forbidden there.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            // What turns the direction of text, and what is no character.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            c if u32::from(c) & 0xfffe == 0xfffe => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Text of at most so many characters: what is too long loses its middle.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let tail = kept / 2;
    let head = chars[..kept - tail].iter();
    head.chain(&['…'])
        .chain(&chars[chars.len() - tail..])
        .collect()
}

/// A drawing of a certain size.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    body: String,
}

impl Picture {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    /// Adds markup; what it holds must be escaped already.
    fn put(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        self.body.write_fmt(markup).unwrap_or_default();
        self.body.push('\n');
    }

    /// Text whose class also tells where it is anchored.
    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{text}</text>"#
        ));
    }

    /// As [`Picture::text`], shortened to so many characters; all of it is told on hovering.
    pub(super) fn label(&mut self, (x, y): (f64, f64), class: &str, text: &str, most: usize) {
        let (short, whole) = (escape(&shorten(text, most)), escape(text));
        let title = if short == whole {
            String::new()
        } else {
            format!("<title>{whole}</title>")
        };
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{title}{short}</text>"#
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((a, b), (c, d)) = (from, to);
        self.put(format_args!(
            r#"<line x1="{a:.1}" y1="{b:.1}" x2="{c:.1}" y2="{d:.1}" class="{class}"/>"#
        ));
    }

    /// A line with a head at its end, which runs along an axis.
    pub(super) fn arrow(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        const HEAD: f64 = 7.0;
        let ((a, b), (c, d)) = (from, to);
        let (dx, dy) = ((c - a).signum_or_zero(), (d - b).signum_or_zero());
        let back = (c - dx * HEAD, d - dy * HEAD);
        self.line(from, back, class);
        let (wide_x, wide_y) = (dy * HEAD * 0.55, dx * HEAD * 0.55);
        self.put(format_args!(
            r#"<path d="M{c:.1} {d:.1}L{:.1} {:.1}L{:.1} {:.1}Z" class="{class} head"/>"#,
            back.0 + wide_x,
            back.1 + wide_y,
            back.0 - wide_x,
            back.1 - wide_y
        ));
    }

    pub(super) fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), r: f64, class: &str) {
        self.put(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="{r:.1}" class="{class}"/>"#
        ));
    }

    /// A line through points; closed and filled where the class says so.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let mut d = String::new();
        for (n, (x, y)) in points.iter().enumerate() {
            let letter = if n == 0 { 'M' } else { 'L' };
            d.push_str(&format!("{letter}{x:.1} {y:.1}"));
        }
        self.put(format_args!(r#"<path d="{d}" class="{class}"/>"#));
    }

    /// Puts another picture into this one.
    pub(super) fn place(&mut self, (x, y): (f64, f64), other: &Self) {
        self.put(format_args!(
            "<g transform=\"translate({x:.1} {y:.1})\">\n{}</g>",
            other.body
        ));
    }

    /// As an element of a page, as wide as its place allows, magnified so much at most.
    pub(super) fn inline(&self, label: &str, scale: f64) -> String {
        format!(
            "<svg viewBox=\"0 0 {:.0} {:.0}\" style=\"max-width:{:.0}px\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.width,
            self.height,
            self.width * scale,
            escape(label),
            self.body
        )
    }

    /// As a file of its own.
    pub(super) fn document(&self, title: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
             width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\">\n<title>{}</title>\n\
             <style>\n{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" class=\"page\"/>\n{}</svg>\n",
            escape(title),
            self.body,
            w = self.width,
            h = self.height,
        )
    }
}

trait SignumOrZero {
    fn signum_or_zero(self) -> f64;
}

impl SignumOrZero for f64 {
    fn signum_or_zero(self) -> f64 {
        if self == 0.0 { 0.0 } else { self.signum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("<script>\"&'\u{1b}\u{202e}\u{ffff}ä"),
            "&lt;script&gt;&quot;&amp;&#39;\u{fffd}\u{fffd}\u{fffd}ä"
        );
    }

    #[test]
    fn long_text_loses_its_middle() {
        assert_eq!(shorten("eth0", 4), "eth0");
        assert_eq!(shorten("abcdefgh", 5), "ab…gh");
        assert_eq!(shorten("äöüäöüäöü", 4), "äö…ü");
        assert_eq!(shorten("abc", 1), "…");
        assert_eq!(shorten("abc", 0), "…");
    }
}
