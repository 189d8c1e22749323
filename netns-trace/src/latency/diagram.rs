//! Draws a path: taps in their order, in the namespaces they are in, and on the arrows between them
//! how long packets took there and back. Once lying, once upright for narrow screens.

use super::{
    Segment,
    paths::{Node, Path, Span},
    picture::Picture,
    units::time,
};

/// A tap's box, lying.
const NODE: (f64, f64) = (132.0, 50.0);
/// Between two of them.
const GAP: f64 = 146.0;
/// What a namespace's background has around its taps.
const PAD: f64 = 16.0;
/// A total's line.
const SPAN: f64 = 30.0;
/// From the top of a namespace's background to its taps' middle, and from there on to its end.
const ZONE: f64 = 84.0;
/// The arrow to where nothing is timed.
const WORLD: f64 = 130.0;

/// What a picture of an interval says of it: half, and almost all.
fn figures(segment: &Segment) -> Option<(String, String)> {
    let all = segment.all();
    let at = |share| all.quantile(share).map(|ns| time(ns as f64));
    Some((format!("p50 {}", at(0.5)?), format!("p99 {}", at(0.99)?)))
}

fn kind(node: &Node<'_>) -> (&'static str, &'static str) {
    if node.is_inside {
        ("zone own", "container side")
    } else {
        ("zone", "host side")
    }
}

/// Runs of taps in one namespace and of one kind, as first and last number.
fn zones(nodes: &[Node<'_>]) -> Vec<(usize, usize)> {
    let mut zones: Vec<(usize, usize)> = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        let same = |last: usize| {
            nodes[last].namespace == node.namespace && nodes[last].is_inside == node.is_inside
        };
        match zones.last_mut() {
            Some((_, last)) if same(*last) => *last = n,
            _ => zones.push((n, n)),
        }
    }
    zones
}

/// From left to right.
pub(super) fn lying(path: &Path<'_>) -> Picture {
    let (forth, back): (Vec<&Span<'_>>, Vec<&Span<'_>>) =
        path.spans.iter().partition(|span| span.from < span.to);
    let count = path.nodes.len() as f64;
    let world = if path.leads_on() { WORLD } else { 0.0 };
    let width = count * NODE.0 + (count - 1.0).max(0.0) * GAP + 2.0 * PAD + 2.0 + world;
    let top = forth.len() as f64 * SPAN + 1.0;
    let middle = top + ZONE;
    let bottom = middle + ZONE;
    let mut picture = Picture::new(width, bottom + back.len() as f64 * SPAN + 4.0);
    let left = |n: usize| 1.0 + PAD + n as f64 * (NODE.0 + GAP);
    for (first, last) in zones(&path.nodes) {
        let node = &path.nodes[first];
        let (class, says) = kind(node);
        let (x, wide) = (
            left(first) - PAD,
            left(last) - left(first) + NODE.0 + 2.0 * PAD,
        );
        picture.rect((x, top), (wide, bottom - top), 10.0, class);
        let most = ((wide - 20.0) / 8.0) as usize;
        picture.label((x + 12.0, top + 20.0), "strong", node.namespace, most);
        picture.text((x + 12.0, bottom - 10.0), "small muted", says);
    }
    for (n, node) in path.nodes.iter().enumerate() {
        let x = left(n);
        picture.rect((x, middle - NODE.1 / 2.0), NODE, 7.0, "node");
        let at = (x + NODE.0 / 2.0, middle + 5.0);
        picture.label(at, "tap mid", node.interface, 14);
    }
    for (n, step) in path.steps.iter().enumerate() {
        let (from, to) = (left(n) + NODE.0 + 4.0, left(n + 1) - 4.0);
        let x = f64::midpoint(from, to);
        let name = step
            .forth
            .or(step.back)
            .map(|segment| segment.name.as_str());
        picture.label(
            (x, middle - 50.0),
            "small muted mid",
            name.unwrap_or(""),
            20,
        );
        let ways = [
            (
                step.forth,
                (from, to),
                middle - 8.0,
                [middle - 33.0, middle - 17.0],
            ),
            (
                step.back,
                (to, from),
                middle + 8.0,
                [middle + 25.0, middle + 41.0],
            ),
        ];
        for (segment, (from, to), y, lines) in ways {
            let Some(segment) = segment else { continue };
            if let Some((half, most)) = figures(segment) {
                picture.arrow((from, y), (to, y), "flow");
                picture.text((x, lines[0]), "strong mid", &half);
                picture.text((x, lines[1]), "muted mid", &most);
            } else {
                picture.arrow((from, y), (to, y), "silent");
                let nearest = if y < middle { lines[1] } else { lines[0] };
                picture.text((x, nearest), "muted mid", "no samples");
            }
        }
    }
    for (n, span) in forth.iter().enumerate() {
        let y = top - 14.0 - n as f64 * SPAN;
        total(&mut picture, span, &left, y, -6.0);
    }
    for (n, span) in back.iter().enumerate() {
        let y = bottom + 16.0 + n as f64 * SPAN;
        total(&mut picture, span, &left, y, 6.0);
    }
    if path.leads_on() {
        let (from, to) = (width - WORLD + 6.0, width - WORLD + 62.0);
        picture.arrow((from, middle - 8.0), (to, middle - 8.0), "silent");
        picture.arrow((to, middle + 8.0), (from, middle + 8.0), "silent");
        picture.text((width - WORLD + 72.0, middle + 1.0), "strong", "world");
        picture.text(
            (width - WORLD + 72.0, middle + 16.0),
            "small muted",
            "untimed",
        );
    }
    picture
}

/// The line of a total, from tap to tap, broken by what it says.
fn total(picture: &mut Picture, span: &Span<'_>, left: &impl Fn(usize) -> f64, y: f64, up: f64) {
    let Some((half, most)) = figures(span.segment) else {
        return;
    };
    let centre = |n: usize| left(n) + NODE.0 / 2.0;
    let (from, to) = (centre(span.from), centre(span.to));
    let middle = f64::midpoint(from, to);
    let text = format!("total  {half} · {most}");
    let half_text = text.chars().count() as f64 * 3.3 + 6.0;
    let towards = (to - from).signum();
    picture.line((from, y - up), (from, y + up), "span");
    picture.line((from, y), (middle - towards * half_text, y), "span");
    picture.arrow((middle + towards * half_text, y), (to, y), "span");
    picture.line((to, y - up), (to, y + up), "span");
    picture.text((middle, y + 4.0), "mid", &text);
}

/// A picture for a narrow screen.
const NARROW: f64 = 340.0;
const HIGH: f64 = 40.0;
const STEP: f64 = 78.0;
/// Above a namespace's first tap, for its name.
const HEAD: f64 = 30.0;

/// From top to bottom.
pub(super) fn upright(path: &Path<'_>) -> Picture {
    let zones = zones(&path.nodes);
    let starts = |n: usize| zones.iter().any(|(first, _)| *first == n);
    let mut tops = Vec::new();
    let mut y = 1.0;
    for n in 0..path.nodes.len() {
        y += if starts(n) { HEAD } else { 0.0 };
        tops.push(y);
        y += HIGH + STEP;
    }
    let end = y - STEP + 12.0;
    let world = if path.leads_on() { 62.0 } else { 0.0 };
    let height = end + world + path.spans.len() as f64 * 42.0 + 8.0;
    let mut picture = Picture::new(NARROW, height);
    let middle = NARROW / 2.0;
    for (first, last) in &zones {
        let node = &path.nodes[*first];
        let (class, says) = kind(node);
        let (top, bottom) = (tops[*first] - HEAD, tops[*last] + HIGH + 12.0);
        picture.rect((1.0, top), (NARROW - 2.0, bottom - top), 10.0, class);
        picture.label((12.0, top + 19.0), "strong", node.namespace, 26);
        picture.text((NARROW - 12.0, top + 19.0), "small muted end", says);
    }
    for (node, top) in path.nodes.iter().zip(&tops) {
        picture.rect((middle - 80.0, *top), (160.0, HIGH), 7.0, "node");
        picture.label((middle, top + 25.0), "tap mid", node.interface, 17);
    }
    for (n, step) in path.steps.iter().enumerate() {
        // Between two namespaces the arrows pass the second one's name.
        let (above, below) = (tops[n] + HIGH + 4.0, tops[n + 1] - 4.0);
        let first = tops[n] + HIGH + 27.0;
        let ways = [
            (step.forth, (above, below), -9.0, "end"),
            (step.back, (below, above), 9.0, ""),
        ];
        for (segment, (from, to), side, anchor) in ways {
            let Some(segment) = segment else { continue };
            let (x, text) = (middle + side, middle + side * 2.2);
            let shown = figures(segment);
            let class = if shown.is_some() { "flow" } else { "silent" };
            picture.arrow((x, from), (x, to), class);
            let small = format!("small muted {anchor}");
            let named = format!("{} {}", segment.name, segment.direction);
            picture.label((text, first), &small, &named, 22);
            let (half, most) = shown.unwrap_or_else(|| ("no samples".to_owned(), String::new()));
            let weight = if class == "flow" { "strong" } else { "muted" };
            picture.text((text, first + 16.0), &format!("{weight} {anchor}"), &half);
            picture.text((text, first + 32.0), &format!("muted {anchor}"), &most);
        }
    }
    if path.leads_on() {
        picture.arrow(
            (middle - 9.0, end + 4.0),
            (middle - 9.0, end + 34.0),
            "silent",
        );
        picture.arrow(
            (middle + 9.0, end + 34.0),
            (middle + 9.0, end + 4.0),
            "silent",
        );
        picture.text((middle, end + 50.0), "strong mid", "world");
        picture.text((middle + 24.0, end + 50.0), "small muted", "untimed");
    }
    for (n, span) in path.spans.iter().enumerate() {
        let y = end + world + 20.0 + n as f64 * 42.0;
        let (from, to) = (&path.nodes[span.from], &path.nodes[span.to]);
        let way = format!(
            "total {}  {} → {}",
            span.segment.direction, from.interface, to.interface
        );
        picture.label((12.0, y), "muted", &way, 48);
        let (half, most) = figures(span.segment).unwrap_or_default();
        picture.text((12.0, y + 17.0), "strong", &half);
        picture.text((130.0, y + 17.0), "muted", &most);
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::{
        super::{paths::paths, report::tests::two_targets},
        *,
    };

    #[test]
    fn figures_stand_on_the_arrows_and_silence_is_said() {
        let report = two_targets();
        for path in paths(&report) {
            for picture in [lying(&path), upright(&path)] {
                let text = picture.inline("path", 1.0);
                let heads = text.matches(" head").count();
                let arrows = path.steps.len() * 2 + if path.leads_on() { 2 } else { 0 };
                assert!(heads >= arrows, "{heads} of {arrows}: {text}");
                let silent = path.steps.iter().flat_map(|step| [step.forth, step.back]);
                let silent = silent.flatten().filter(|s| s.all().count() == 0).count();
                assert_eq!(text.matches("no samples").count(), silent, "{text}");
            }
        }
    }
}
