//! The map: columns are intervals, rows are times on a logarithmic scale, brightness is how many
//! packets there were.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    draw::put,
    history::{History, cell_start},
    model::{Kind, Model},
    text::{compact, fit, width},
    theme::Theme,
};
use crate::latency::time;

/// Columns of the scale.
const SCALE: usize = 9;
/// A mark on the axis for each so many columns.
const MARK: usize = 20;

/// Counts by row, the shortest time first, and column, the oldest first.
#[derive(Debug, PartialEq, Eq)]
struct Grid {
    /// The cell at which the lowest row starts.
    lowest: u32,
    /// Cells in each row.
    per_row: u32,
    columns: usize,
    counts: Vec<u64>,
}

impl Grid {
    /// The last intervals of a segment, as many as there are columns; nothing without packets.
    fn new(
        history: &History,
        segment: usize,
        kind: Kind,
        columns: usize,
        rows: usize,
    ) -> Option<Self> {
        let count = history.len().min(columns);
        if rows == 0 || count == 0 {
            return None;
        }
        let (mut low, mut high) = (u32::MAX, 0);
        for (_, cell, _) in history.met(segment, kind, count) {
            (low, high) = (low.min(cell), high.max(cell));
        }
        if low > high {
            return None;
        }
        let span = high - low + 1;
        let per_row = span.div_ceil(rows as u32);
        // What is met stands in the middle.
        let spare = rows as u32 - span.div_ceil(per_row);
        let lowest = low.saturating_sub(spare / 2 * per_row);
        let mut counts = vec![0; rows * count];
        for (column, cell, met) in history.met(segment, kind, count) {
            let row = ((cell - lowest) / per_row) as usize;
            if let Some(sum) = counts.get_mut(row * count + column) {
                *sum += met;
            }
        }
        Some(Self {
            lowest,
            per_row,
            columns: count,
            counts,
        })
    }

    fn at(&self, row: usize, column: usize) -> u64 {
        let at = row * self.columns + column;
        self.counts.get(at).copied().unwrap_or(0)
    }

    /// The time at which a row starts.
    fn start(&self, row: usize) -> f64 {
        cell_start(self.lowest + row as u32 * self.per_row)
    }

    fn most(&self) -> u64 {
        self.counts.iter().copied().max().unwrap_or(0)
    }
}

/// Draws title, map and axis.
pub(super) fn draw(buf: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let lines = usize::from(area.height).saturating_sub(2);
    let columns = usize::from(area.width).saturating_sub(SCALE);
    let history = &model.seen().history;
    let per_line = theme.rows_per_line();
    let grid = Grid::new(
        history,
        model.selected(),
        model.kind(),
        columns,
        lines * per_line,
    );
    put(
        buf,
        area,
        0,
        title(model, theme, area.width.into(), grid.as_ref()),
    );
    let Some(grid) = grid else {
        say_nothing(buf, area, model, theme);
        return;
    };
    let most = grid.most();
    let indent = columns - grid.columns;
    for line in 0..lines {
        let row = (lines - 1 - line) * per_line;
        let mut spans = vec![Span::styled(
            format!("{:>7} │", time(grid.start(row))),
            theme.dim(),
        )];
        spans.push(Span::raw(" ".repeat(indent)));
        for column in 0..grid.columns {
            let level = |row| theme.level(grid.at(row, column), most);
            let (symbol, style) = match per_line {
                1 => theme.place(level(row), 0),
                _ => theme.place(level(row + 1), level(row)),
            };
            spans.push(Span::styled(symbol, style));
        }
        put(buf, area, 1 + line, Line::from(spans));
    }
    let axis = axis(history, grid.columns, columns);
    put(buf, area, 1 + lines, Line::styled(axis, theme.dim()));
}

/// Which segment it is, and what the shades stand for.
fn title(model: &Model, theme: Theme, columns: usize, grid: Option<&Grid>) -> Line<'static> {
    let Some(segment) = model.segments().get(model.selected()) else {
        return Line::default();
    };
    let kind = match model.kind() {
        Kind::All => "",
        Kind::Busy => ", busy packets",
        Kind::Idle => ", packets after idle",
    };
    let mut legend = Vec::new();
    if let Some(grid) = grid {
        legend.push(Span::styled(" 1 ", theme.dim()));
        for level in 1..=theme.levels() {
            let (symbol, style) = theme.place(level, level);
            legend.push(Span::styled(symbol, style));
        }
        let unit = if grid.most() == 1 {
            "packet"
        } else {
            "packets"
        };
        let most = format!(" {} {unit} ", compact(grid.most()));
        legend.push(Span::styled(most, theme.dim()));
    }
    let taken: usize = legend.iter().map(Span::width).sum();
    let name = format!(" {} {}", segment.name, segment.direction);
    let way = format!("  {} → {}{kind} ", segment.from, segment.to);
    let room = columns.saturating_sub(width(&name) + 2);
    if room < taken + width(&way) && room < taken + 20 {
        legend.clear();
    }
    let taken: usize = legend.iter().map(Span::width).sum();
    let way = fit(&way, room.saturating_sub(taken));
    let gap = room.saturating_sub(taken + width(&way));
    let mut line = vec![
        Span::styled("─", theme.dim()),
        Span::styled(name, theme.accent()),
        Span::raw(way),
        Span::styled("─".repeat(gap), theme.dim()),
    ];
    line.extend(legend);
    line.push(Span::styled("─", theme.dim()));
    Line::from(line)
}

/// How long ago the columns are.
fn axis(history: &History, shown: usize, columns: usize) -> String {
    let mut axis: Vec<char> = vec!['─'; columns];
    let mut write = |at: usize, text: &str| {
        for (place, c) in axis.iter_mut().skip(at).zip(text.chars()) {
            *place = c;
        }
    };
    for back in (MARK..=shown).step_by(MARK) {
        write(
            columns - back,
            &format!("┴ -{} ", age(history.age_ns(back))),
        );
    }
    write(columns.saturating_sub(4), " now");
    format!(
        "{:>1$}{2}",
        "└",
        SCALE,
        axis.into_iter().collect::<String>()
    )
}

/// How long ago: `4.5s`, `40s`, `3m20s`, `2h05m`.
fn age(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..10 => format!("{:.1}s", ns as f64 / 1e9),
        10..120 => format!("{seconds}s"),
        120..7200 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Says that there is nothing to draw, and why.
fn say_nothing(buf: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let kind = match model.kind() {
        Kind::All => "packet",
        Kind::Busy => "busy packet",
        Kind::Idle => "packet after idle",
    };
    let (what, hint) = if model.segments().is_empty() {
        (
            "There is no pair of taps to measure between.".to_owned(),
            "",
        )
    } else if model.seen().last.is_none() {
        ("The first interval is not over yet.".to_owned(), "")
    } else if model.is_silent() && model.is_anew() {
        (
            "No packet has passed two taps since the figures were reset.".to_owned(),
            "",
        )
    } else if model.is_silent() {
        (
            "No packet has passed two taps yet.".to_owned(),
            "All taps are up: what the target sends or receives is shown here.",
        )
    } else {
        (
            format!("No {kind} of this segment was seen in the time shown."),
            "Others have figures: select one with ↑ and ↓.",
        )
    };
    let columns = usize::from(area.width);
    let first = usize::from(area.height).saturating_sub(if hint.is_empty() { 1 } else { 2 }) / 2;
    for (row, (text, style)) in [(what, Style::new()), (hint.to_owned(), theme.dim())]
        .into_iter()
        .enumerate()
    {
        let text = fit(&text, columns);
        let indent = columns.saturating_sub(width(&text)) / 2;
        let line = Line::styled(format!("{}{text}", " ".repeat(indent)), style);
        put(buf, area, (first + row).max(1 + row), line);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    fn history(readings: u64) -> History {
        let mut history = History::default();
        for n in 1..=readings {
            history.add(&fixture::report(n).since(&fixture::report(n - 1)));
        }
        history
    }

    #[test]
    fn every_packet_is_on_the_grid() {
        for rows in [1, 2, 7, 14, 200] {
            for kind in [Kind::All, Kind::Busy, Kind::Idle] {
                let grid = Grid::new(&history(4), 3, kind, 50, rows).expect("packets");
                let report = fixture::report(4);
                let expected = kind.samples(&report.segments[3]).count();
                assert_eq!(grid.counts.iter().sum::<u64>(), expected, "{rows} {kind:?}");
                assert_eq!(grid.columns, 4);
            }
        }
    }

    #[test]
    fn the_newest_intervals_are_kept() {
        let grid = Grid::new(&history(9), 0, Kind::All, 3, 5).expect("packets");
        assert_eq!(grid.columns, 3);
        assert_eq!(grid.counts.iter().sum::<u64>(), 3 * 210);
        let lowest = grid.start(0);
        assert!(lowest > 300.0 && lowest < 700.0, "{lowest}");
    }

    #[test]
    fn nothing_makes_no_grid() {
        assert_eq!(Grid::new(&History::default(), 0, Kind::All, 80, 10), None);
        let mut silent = History::default();
        silent.add(&fixture::report(0));
        assert_eq!(Grid::new(&silent, 0, Kind::All, 80, 10), None);
        assert_eq!(Grid::new(&history(2), 0, Kind::All, 0, 10), None);
        assert_eq!(Grid::new(&history(2), 0, Kind::All, 10, 0), None);
    }

    #[test]
    fn the_axis_tells_how_long_ago() {
        let axis = axis(&history(25), 25, 71);
        assert!(axis.ends_with("┴ -20s ───────── now"), "{axis}");
        assert_eq!(axis.chars().count(), 80);
        for (ns, text) in [
            (4_500_000_000, "4.5s"),
            (40_000_000_000, "40s"),
            (200_000_000_000, "3m20s"),
            (7_500_000_000_000, "2h05m"),
        ] {
            assert_eq!(age(ns), text);
        }
    }
}
