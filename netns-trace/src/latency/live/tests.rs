//! Whole frames, as a terminal would show them.

use std::time::Duration;

use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

use super::{Action, Model, Theme, draw, fixture};
use crate::latency::Report;

fn model(of: impl Fn(u64) -> Report, readings: u64) -> Model {
    let mut model = Model::new(of(0), Duration::from_secs(1));
    (1..=readings).for_each(|n| model.add(of(n)));
    model
}

fn frame(model: &Model, theme: Theme, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let drawn = terminal.draw(|frame| draw(frame, model, theme));
    drawn.expect("a frame").buffer.clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width.max(1));
    rows.map(|row| {
        let text: String = row.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_owned()
    })
    .collect()
}

fn text(model: &Model, width: u16, height: u16) -> String {
    lines(&frame(model, Theme::Plain, width, height)).join("\n")
}

/// Lines that hold all of these words, in any order.
fn has_line(text: &str, words: &[&str]) -> bool {
    text.lines()
        .any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn all_that_matters_is_seen_at_80x24() {
    let text = text(&model(fixture::report, 30), 80, 24);
    println!("{text}");
    let way = "web/eth0 ──veth──→ host/vweb ─bridge─→ host/br0 ──route─→ host/up0";
    for word in [
        way, "packets", "p50", "p90", "p99", "max", "unmat", "left", "overw",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(
        has_line(
            &text,
            &["▶ veth out", "now", "210/s", " µs", "1     2     0"]
        ),
        "{text}"
    );
    assert!(
        has_line(&text, &["eth0→vweb", "run", "6300", "30    60     0"]),
        "{text}"
    );
    assert!(
        text.contains("00:30") && text.contains("every 1 s"),
        "{text}"
    );
    assert!(text.contains("a tap costs 42 ns"), "{text}");
    assert!(
        has_line(&text, &["veth out", "web/eth0 → host/vweb", "░▒▓█"]),
        "{text}"
    );
    assert!(has_line(&text, &["└", "-20s", "now"]), "{text}");
    assert!(
        has_line(&text, &["q quit", "? keys", "b busy/idle/all"]),
        "{text}"
    );
    assert!(
        text.lines()
            .filter(|line| line.contains('│') && line.contains('█'))
            .count()
            > 1,
        "{text}"
    );
}

#[test]
fn a_larger_terminal_shows_more() {
    let model = model(fixture::report, 105);
    let text = text(&model, 132, 43);
    println!("{text}");
    for word in [
        "unmatched",
        "overwritten",
        "host/vweb → host/br0",
        "22 050",
        "-100s",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // All ten segments at once.
    assert_eq!(text.matches(" now ").count(), 10, "{text}");
}

#[test]
fn many_segments_scroll_with_the_selection() {
    let mut model = model(fixture::report, 2);
    let seen = |model: &Model| text(model, 80, 24);
    assert!(seen(&model).contains("segment 1-5/10"), "{}", seen(&model));
    for n in 0..10 {
        let shown = seen(&model);
        assert_eq!(shown.matches('▶').count(), 1, "{n}: {shown}");
        model.apply(Action::Next);
    }
    model.apply(Action::Previous);
    let shown = seen(&model);
    assert!(
        shown.contains("6-10/10") && has_line(&shown, &["▶ total in"]),
        "{shown}"
    );
    assert!(shown.contains("─ total in  host/br0 → web/eth0"), "{shown}");
}

#[test]
fn nothing_seen_is_said() {
    let nothing = |n| Report {
        duration_ns: n * 1_000_000_000,
        ..fixture::report(0)
    };
    let mut model = model(nothing, 0);
    let shown = text(&model, 80, 24);
    assert!(shown.contains("first interval is not over"), "{shown}");
    model.add(nothing(1));
    let shown = text(&model, 80, 24);
    println!("{shown}");
    assert!(
        shown.contains("No packet has passed two taps yet."),
        "{shown}"
    );
    assert!(
        has_line(&shown, &["veth out", "now", "0/s", "-"]),
        "{shown}"
    );
    model.add(fixture::report(2));
    model.apply(Action::Reset);
    model.add(fixture::report(2));
    let shown = text(&model, 80, 24);
    assert!(shown.contains("since the figures were reset"), "{shown}");
    let none = |_| Report {
        segments: Vec::new(),
        ..fixture::report(0)
    };
    let shown = text(&self::model(none, 1), 80, 24);
    assert!(shown.contains("no pair of taps"), "{shown}");
}

#[test]
fn states_are_told() {
    let mut model = model(fixture::report, 3);
    model.apply(Action::Pause);
    model.apply(Action::Kind);
    let shown = text(&model, 80, 24);
    assert!(
        shown
            .lines()
            .next()
            .is_some_and(|line| line.contains("PAUSED") && line.contains("busy packets")),
        "{shown}"
    );
    assert!(has_line(&shown, &["veth out", "200/s"]), "{shown}");
    model.apply(Action::Kind);
    let shown = text(&model, 80, 24);
    assert!(has_line(&shown, &["veth out", "now", "10/s"]), "{shown}");
    assert!(shown.contains("packets after idle"), "{shown}");
    model.say("eth0@web is gone");
    let shown = text(&model, 80, 24);
    let last = shown.lines().last().unwrap_or_default();
    assert!(
        last.starts_with(" eth0@web is gone") && last.ends_with("? keys"),
        "{shown}"
    );
    model.apply(Action::Help);
    let shown = text(&model, 80, 24);
    println!("{shown}");
    for word in ["Keys", "Ctrl-C", "unmatched", "brighter is more packets"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn names_cannot_reach_the_terminal() {
    let hostile = |n| {
        let mut report = fixture::report(n);
        report.targets[0].label = "\x1b]0;owned\x07\u{202e}web".to_owned();
        for segment in &mut report.segments {
            segment.name = format!("{}\x1b[31m", segment.name);
            segment.from = format!("\u{9b}2J\r\n{}", segment.from);
            segment.to = segment.to.replace("host", "\x1b[2J\u{2066}日本語\u{200b}");
        }
        report
    };
    for (width, height) in [(80, 24), (132, 43), (40, 12)] {
        for theme in [Theme::Plain, Theme::Basic, Theme::Rich] {
            let buffer = frame(&model(hostile, 5), theme, width, height);
            for cell in &buffer.content {
                let symbol = cell.symbol();
                let odd = |c: char| c.is_control() || "\u{202e}\u{2066}\u{200b}".contains(c);
                assert!(!symbol.contains(odd), "{symbol:?} in {buffer:?}");
            }
        }
    }
}

#[test]
fn every_size_is_drawn() {
    let mut long = model(fixture::report, 3);
    long.say(&"a long message ".repeat(40));
    let mut models = [model(fixture::report, 0), model(fixture::report, 3), long];
    for round in 0..2 {
        for model in &mut models {
            for theme in [Theme::Plain, Theme::Basic, Theme::Rich] {
                for (width, height) in (0..40).step_by(3).map(|n| (n, n / 2)).chain([
                    (20, 5),
                    (1, 1),
                    (1, 50),
                    (300, 1),
                    (300, 3),
                    (10, 100),
                    (80, 8),
                    (300, 100),
                ]) {
                    let buffer = frame(model, theme, width, height);
                    assert_eq!((buffer.area.width, buffer.area.height), (width, height));
                }
            }
            if round == 0 {
                model.apply(Action::Help);
                model.apply(Action::Previous);
            }
        }
    }
    let shown = text(&model(fixture::report, 3), 20, 5);
    println!("{shown}");
    assert!(
        has_line(&shown, &["▶ veth out", " µs"]) || has_line(&shown, &["▶ veth out", " ns"]),
        "{shown}"
    );
}

#[test]
fn without_colours_there_are_none() {
    use ratatui::style::Color::Reset;
    let buffer = frame(&model(fixture::report, 5), Theme::Plain, 80, 24);
    assert!(
        buffer
            .content
            .iter()
            .all(|cell| (cell.fg, cell.bg) == (Reset, Reset))
    );
    let buffer = frame(&model(fixture::report, 5), Theme::Rich, 80, 24);
    let colours: std::collections::BTreeSet<String> = buffer
        .content
        .iter()
        .map(|cell| cell.fg.to_string())
        .collect();
    assert!(colours.len() > 6, "{colours:?}");
}
