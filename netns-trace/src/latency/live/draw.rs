//! Puts the parts of the view together, whatever room there is.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{
    heat, help,
    model::{Kind, Model},
    rows,
    text::{fit, parts, width},
    theme::Theme,
    way::{Way, way},
};
use crate::latency::{Segment, time};

/// Fewest lines of the map with its title and axis, and fewest that the table has beside it.
const MAP: u16 = 5;
const TABLE: u16 = 3;

/// Narrower terminals get shorter words.
const NARROW: usize = 60;

/// Draws the view into a frame of any size.
pub fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    let mut rest = area;
    let mut take = |lines: u16| {
        let lines = lines.min(rest.height);
        let taken = Rect {
            height: lines,
            ..rest
        };
        rest.y += lines;
        rest.height -= lines;
        taken
    };
    title(buf, take(1), model, theme);
    let way_lines = match area.height {
        18.. => 2,
        12.. => 1,
        _ => 0,
    };
    draw_way(buf, take(way_lines), model, theme);
    let footer = u16::from(area.height >= 4);
    let room = area.height.saturating_sub(1 + way_lines + footer);
    let table = table_lines(room, rows::lines(model));
    rows::draw(buf, take(table), model, theme);
    if room > table {
        heat::draw(buf, take(room - table), model, theme);
    }
    draw_footer(buf, take(footer), model, theme);
    if model.shows_help() {
        help::draw(buf, area, theme);
    }
}

/// How many lines of the room for table and map the table gets: all that it needs, if the map has
/// enough, and whole segments only.
fn table_lines(room: u16, needed: u16) -> u16 {
    if room < MAP + TABLE {
        return room;
    }
    let map = (room / 20 * 9 + room % 20 * 9 / 20).max(MAP);
    let table = (room - map).min(needed).max(TABLE);
    1 + (table - 1) / 2 * 2
}

/// Writes a line where there is room for it.
pub(super) fn put(buf: &mut Buffer, area: Rect, row: usize, line: Line<'_>) {
    if row < usize::from(area.height) && area.width > 0 {
        buf.set_line(area.x, area.y + row as u16, &line, area.width);
    }
}

fn title(buf: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let seen = model.seen();
    let targets: Vec<&str> = seen
        .run
        .targets
        .iter()
        .map(|target| target.label.as_str())
        .collect();
    let mut badges = Vec::new();
    if model.is_held() {
        badges.push(Span::styled(" PAUSED ", theme.badge()));
        badges.push(Span::raw(" "));
    }
    let columns = usize::from(area.width);
    let is_narrow = columns < NARROW;
    let kind = match model.kind() {
        Kind::All if is_narrow => "",
        Kind::Busy if is_narrow => "busy",
        Kind::Idle if is_narrow => "idle",
        Kind::All => "all packets",
        Kind::Busy => "busy packets",
        Kind::Idle => "packets after idle",
    };
    let style = match model.kind() {
        Kind::All => Style::new(),
        Kind::Busy | Kind::Idle => theme.warning(),
    };
    badges.push(Span::styled(format!("{kind} "), style));
    let taken: usize = badges.iter().map(Span::width).sum();
    let mut facts = vec![
        clock(seen.elapsed_ns),
        format!("every {}", interval(model.interval().as_secs_f64())),
    ];
    if let Some(cost) = seen.run.probe_cost_ns {
        facts.push(format!("a tap costs {}", time(cost)));
    }
    let name = if is_narrow {
        " "
    } else {
        " netns-trace latency "
    };
    let room = columns.saturating_sub(taken + 1);
    let mut room_left = room.saturating_sub(width(name));
    let targets = fit(
        &targets.join(", "),
        (room_left * 2 / 3).max(8).min(room_left),
    );
    room_left = room_left.saturating_sub(width(&targets));
    let mut line = vec![
        Span::styled(fit(name, room), Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(targets, theme.accent()),
    ];
    for fact in facts {
        let fact = format!("  {fact}");
        if width(&fact) > room_left {
            break;
        }
        room_left -= width(&fact);
        line.push(Span::styled(fact, theme.dim()));
    }
    let used: usize = line.iter().map(Span::width).sum();
    line.push(Span::raw(" ".repeat(columns.saturating_sub(used + taken))));
    line.extend(badges);
    put(buf, area, 0, Line::from(line));
}

/// `1:02:03`, `02:03`.
fn clock(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

fn interval(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        // At most one digit behind the point, and only where it says something.
        format!("{} s", (seconds * 10.0).round() / 10.0)
    }
}

/// The taps in their order, with what lies between them, and half of the packets' time below.
fn draw_way(buf: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    if area.height == 0 {
        return;
    }
    let segments = model.segments();
    let way = way(segments, model.selected());
    let half = |step: usize| {
        let figures = model
            .last(step)
            .map(|last| model.kind().samples(last).quantile(0.5));
        figures
            .flatten()
            .map_or_else(|| "-".to_owned(), |ns| time(ns as f64))
    };
    let halves: Vec<String> = way.steps.iter().map(|step| half(*step)).collect();
    let columns = usize::from(area.width);
    let mut lines = [Line::default(), Line::default()];
    for detail in [Detail::Full, Detail::NamespaceOnce, Detail::Interfaces] {
        lines = way_lines(segments, &way, &halves, detail, theme);
        if lines[0].width() <= columns {
            break;
        }
    }
    let [taps, below] = lines;
    put(buf, area, 0, taps);
    put(buf, area, 1, below);
}

/// How a tap is named on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Full,
    NamespaceOnce,
    Interfaces,
}

fn way_lines(
    segments: &[Segment],
    way: &Way,
    halves: &[String],
    detail: Detail,
    theme: Theme,
) -> [Line<'static>; 2] {
    let mut namespace = "";
    let mut taps = Vec::new();
    let mut below = Vec::new();
    for (at, step) in way.steps.iter().enumerate() {
        let segment = &segments[*step];
        let is_selected = way.selected.contains(&at);
        let touches = |edge: usize| way.selected.start <= edge && edge <= way.selected.end;
        let style = |on: bool| if on { theme.accent() } else { theme.dim() };
        if at == 0 {
            let first = format!(" {}", named(&segment.from, &mut namespace, detail));
            below.push(Span::raw(" ".repeat(width(&first))));
            taps.push(Span::styled(first, style(touches(0))));
        }
        let room = width(&segment.name).max(width(&halves[at]));
        let connector = format!(" ─{:─^room$}→ ", segment.name);
        let time = format!("  {:^room$}  ", halves[at]);
        let to = named(&segment.to, &mut namespace, detail);
        taps.push(Span::styled(connector, style(is_selected)));
        below.push(Span::styled(time, style(is_selected)));
        below.push(Span::raw(" ".repeat(width(&to))));
        taps.push(Span::styled(to, style(touches(at + 1))));
    }
    [Line::from(taps), Line::from(below)]
}

/// A tap's name, as detailed as wanted; remembers the namespace that was named last.
fn named<'a>(label: &'a str, namespace: &mut &'a str, detail: Detail) -> String {
    let (own, interface) = parts(label);
    let is_known = std::mem::replace(namespace, own) == own;
    match detail {
        Detail::Full => label.to_owned(),
        Detail::NamespaceOnce if !is_known => label.to_owned(),
        Detail::NamespaceOnce | Detail::Interfaces => interface.to_owned(),
    }
}

fn draw_footer(buf: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let columns = usize::from(area.width);
    if let Some(message) = model.message() {
        let keys = [(" ? ", theme.accent()), ("keys ", theme.dim())];
        let room = columns.saturating_sub(9);
        let text = fit(&format!(" {message}"), room);
        let gap = " ".repeat(columns.saturating_sub(8 + width(&text)));
        let mut line = vec![Span::styled(text, theme.warning()), Span::raw(gap)];
        line.extend(keys.map(|(text, style)| Span::styled(text, style)));
        put(buf, area, 0, Line::from(line));
        return;
    }
    let mut line = Vec::new();
    let mut used = 0;
    for (key, meaning) in [
        ("q", "quit"),
        ("?", "keys"),
        ("↑↓", "segment"),
        ("p", "pause"),
        ("r", "reset"),
        ("b", "busy/idle/all"),
    ] {
        let (key, meaning) = (format!(" {key} "), format!("{meaning}  "));
        used += width(&key) + width(&meaning);
        if used > columns {
            break;
        }
        line.push(Span::styled(key, theme.accent()));
        line.push(Span::styled(meaning, theme.dim()));
    }
    put(buf, area, 0, Line::from(line));
}
