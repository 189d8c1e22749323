//! The keys, and what the words mean.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Clear, Padding, Paragraph, Widget as _},
};

use super::theme::Theme;

const KEYS: [(&str, &str); 7] = [
    ("↑ ↓  j k  Tab", "select a segment"),
    ("p  Space", "hold the display, or let it go on"),
    ("r", "start the figures anew (the final report keeps all)"),
    ("b", "all packets, busy ones, those after idle"),
    ("?", "show or hide this"),
    ("q  Esc  Ctrl-C", "end, and print the report"),
    ("", ""),
];

const WORDS: [(&str, &str); 7] = [
    ("now, run", "the last interval; all since the start or r"),
    ("p50 p90 p99", "so many of 100 packets took no longer"),
    (
        "idle, busy",
        "after a gap of nothing at the tap; all others",
    ),
    ("unmatched", "came to the end without being seen before"),
    ("left", "seen at the start and not again"),
    ("overwritten", "their mark gave way to another packet's"),
    ("map", "a column is an interval, brighter is more packets"),
];

/// Draws it over what is there.
pub(super) fn draw(buf: &mut Buffer, area: Rect, theme: Theme) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|entry| (entry, theme.accent()))
        .chain(WORDS.iter().map(|entry| (entry, theme.dim())))
        .map(|((key, meaning), style)| {
            Line::from(vec![
                Span::styled(format!("{key:<16}"), style),
                Span::raw(*meaning),
            ])
        })
        .collect();
    let content = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let width = (content + 4).min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(place, buf);
    let block = Block::bordered()
        .border_style(theme.dim())
        .title(Span::styled(" Keys ", theme.accent()))
        .padding(Padding::horizontal(1));
    Paragraph::new(lines).block(block).render(place, buf);
}
