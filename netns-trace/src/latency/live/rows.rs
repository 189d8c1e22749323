//! The table of segments: two lines for each, the last interval and the whole run.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    draw::put,
    model::{Kind, Model},
    text::{compact, fit, parts, width},
    theme::Theme,
};
use crate::latency::{Segment, time, units::count};

/// Columns of the marker before a name.
const MARKER: usize = 2;
/// Fewest columns of a name.
const NAME: usize = 10;
/// From here on, columns are wide and bear whole words.
const WIDE: usize = 108;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Period,
    Packets,
    Share(usize),
    Unmatched,
    Left,
    Overwritten,
}

/// A column: what it holds, its rank (those of the highest go first where room is short), and
/// heading and width, narrow and wide.
struct Column(What, u8, [&'static str; 2], [usize; 2]);

const COLUMNS: [Column; 9] = [
    Column(What::Period, 3, ["", ""], [4, 5]),
    Column(What::Packets, 1, ["packets", "packets"], [8, 13]),
    Column(What::Share(0), 0, ["p50", "p50"], [8, 10]),
    Column(What::Share(1), 5, ["p90", "p90"], [8, 10]),
    Column(What::Share(2), 2, ["p99", "p99"], [8, 10]),
    Column(What::Share(3), 4, ["max", "max"], [8, 10]),
    Column(What::Unmatched, 7, ["unmat", "unmatched"], [6, 11]),
    Column(What::Left, 6, ["left", "left"], [6, 9]),
    Column(What::Overwritten, 8, ["overw", "overwritten"], [6, 13]),
];

/// The columns that fit, and the columns of the terminal that they leave to the names.
fn fitting(columns: usize) -> (Vec<&'static Column>, usize) {
    let size = usize::from(columns >= WIDE);
    let mut shown: Vec<&Column> = COLUMNS.iter().collect();
    loop {
        let taken: usize = shown.iter().map(|column| column.3[size]).sum();
        if taken + MARKER + NAME <= columns || shown.is_empty() {
            return (shown, columns.saturating_sub(taken));
        }
        let rank = shown.iter().map(|column| column.1).max();
        shown.retain(|column| Some(column.1) != rank);
    }
}

/// Lines that all segments would take.
pub(super) fn lines(model: &Model) -> u16 {
    let count = u16::try_from(model.segments().len()).unwrap_or(u16::MAX / 4);
    1 + 2 * count.min(u16::MAX / 4)
}

/// Draws it; the selected segment is always seen.
pub(super) fn draw(buf: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let segments = model.segments();
    let size = usize::from(usize::from(area.width) >= WIDE);
    let (columns, names) = fitting(usize::from(area.width));
    let visible = (usize::from(area.height).saturating_sub(1) / 2).max(1);
    let first = model
        .selected()
        .saturating_sub(visible / 2)
        .min(segments.len().saturating_sub(visible));
    let shown = first..(first + visible).min(segments.len());
    let heading = if shown.len() < segments.len() {
        let range = format!("{}-{}/{}", first + 1, shown.end, segments.len());
        let long = format!("  segment {range}");
        if width(&long) <= names {
            long
        } else {
            format!("  {range}")
        }
    } else {
        "  segment".to_owned()
    };
    let mut line = pad(&heading, names);
    for Column(_, _, heading, width) in &columns {
        line.push_str(&format!("{:>1$}", heading[size], width[size]));
    }
    put(buf, area, 0, Line::styled(line, theme.heading()));
    for (row, at) in shown.enumerate() {
        let run = &segments[at];
        let last = model.last(at);
        let is_selected = at == model.selected();
        let marker = if is_selected { "▶ " } else { "  " };
        let name = format!("{} {}", run.name, run.direction);
        let room = names.saturating_sub(MARKER);
        let style = if is_selected {
            theme.accent()
        } else {
            Style::new()
        };
        let mut now = vec![
            Span::styled(marker, theme.accent()),
            Span::styled(pad(&name, room), style),
        ];
        let mut all = vec![Span::styled(
            format!("  {}", pad(&between(run, room), room)),
            theme.dim(),
        )];
        let duration = model
            .seen()
            .last
            .as_ref()
            .map_or(0, |last| last.duration_ns);
        let figures = [
            last.map(|last| Figures::new(last, model.kind(), Some(duration))),
            Some(Figures::new(run, model.kind(), None)),
        ];
        for Column(what, _, _, width) in &columns {
            for (figures, line) in figures.iter().zip([&mut now, &mut all]) {
                let (text, is_odd) = match figures {
                    Some(figures) => figures.of(*what, size == 1),
                    None if *what == What::Period => ("now".to_owned(), false),
                    None => ("-".to_owned(), false),
                };
                let style = match (is_odd, line.len() > 1 && line[0].content == marker) {
                    (true, _) => theme.warning(),
                    (false, true) => Style::new(),
                    (false, false) => theme.dim(),
                };
                line.push(Span::styled(format!("{text:>0$}", width[size]), style));
            }
        }
        put(buf, area, 1 + 2 * row, Line::from(now));
        put(buf, area, 2 + 2 * row, Line::from(all));
    }
}

/// From where to where, as far as there is room.
fn between(segment: &Segment, room: usize) -> String {
    let long = format!("{} → {}", segment.from, segment.to);
    if width(&long) <= room {
        return long;
    }
    fit(
        &format!("{}→{}", parts(&segment.from).1, parts(&segment.to).1),
        room,
    )
}

fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    let gap = columns.saturating_sub(width(&text));
    text.extend(std::iter::repeat_n(' ', gap));
    text
}

/// The figures of one line.
struct Figures {
    /// How long the interval took; nothing for the whole run.
    interval_ns: Option<u64>,
    count: u64,
    shares: [Option<u64>; 4],
    counters: [u64; 3],
}

impl Figures {
    fn new(segment: &Segment, kind: Kind, interval_ns: Option<u64>) -> Self {
        let figures = kind.samples(segment).figures();
        Self {
            interval_ns,
            count: figures.count,
            shares: [
                figures.p50_ns,
                figures.p90_ns,
                figures.p99_ns,
                figures.max_ns,
            ],
            counters: [segment.unmatched, segment.left, segment.overwritten],
        }
    }

    /// What a column holds, and whether it should be noticed.
    fn of(&self, what: What, is_wide: bool) -> (String, bool) {
        let number = if is_wide { count } else { compact };
        match what {
            What::Period if self.interval_ns.is_some() => ("now".to_owned(), false),
            What::Period => ("run".to_owned(), false),
            What::Packets => match self.interval_ns {
                None => (number(self.count), false),
                Some(ns) => (rate(self.count, ns, number), false),
            },
            What::Share(at) => {
                let text = self.shares[at].map_or_else(|| "-".to_owned(), |ns| time(ns as f64));
                (text, false)
            }
            What::Unmatched => (number(self.counters[0]), false),
            What::Left => (number(self.counters[1]), false),
            What::Overwritten => (number(self.counters[2]), self.counters[2] > 0),
        }
    }
}

/// Packets per second.
fn rate(packets: u64, ns: u64, number: fn(u64) -> String) -> String {
    let rate = packets as f64 * 1e9 / ns.max(1) as f64;
    if rate > 0.0 && rate < 9.95 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", number(rate.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_give_way_by_rank() {
        let shown = |columns| {
            let (shown, names) = fitting(columns);
            let headings: Vec<&str> = shown.iter().map(|column| column.2[0]).collect();
            (headings.join(" "), names)
        };
        let all = " packets p50 p90 p99 max unmat left overw";
        assert_eq!(shown(80), (all.to_owned(), 18));
        assert_eq!(shown(60), (" packets p50 p90 p99 max".to_owned(), 16));
        assert_eq!(shown(30), ("packets p50".to_owned(), 14));
        assert_eq!(shown(20), ("p50".to_owned(), 12));
        assert_eq!(shown(1), (String::new(), 1));
    }

    #[test]
    fn rates_read_well() {
        assert_eq!(rate(0, 1_000_000_000, compact), "0/s");
        assert_eq!(rate(5, 1_000_000_000, compact), "5.0/s");
        assert_eq!(rate(1, 10_000_000_000, compact), "0.1/s");
        assert_eq!(rate(1234, 1_000_000_000, count), "1 234/s");
        assert_eq!(rate(1, 0, compact), "1000M/s");
    }
}
