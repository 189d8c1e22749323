//! The report as one picture: the paths with their figures, and below them each segment's samples.

use super::{
    Report, Segment,
    chart::{self, histogram, percentiles},
    diagram::lying,
    paths::paths,
    picture::Picture,
    units::{count, time},
};

const MARGIN: f64 = 32.0;
/// The least width: two charts side by side.
const WIDTH: f64 = 2.0 * MARGIN + 2.0 * chart::SIZE.0 + GAP;
const GAP: f64 = 48.0;

/// Whose packets were measured, in a line: a few by name, the others by number.
pub(super) fn targets(report: &Report) -> String {
    let labels = report.targets.iter().map(|target| target.label.as_str());
    let few: Vec<&str> = labels.take(4).collect();
    let more = report.targets.len() - few.len();
    let named = few.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

/// What is to know of the pictures where there are several targets.
pub(super) fn shared(report: &Report) -> &'static str {
    if report.targets.len() > 1 {
        " Where several targets pass, the figures are those of all their packets."
    } else {
        ""
    }
}

/// What a segment comes to, in a line.
pub(super) fn summary(segment: &Segment) -> String {
    let figures = segment.all().figures();
    let exact = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), |ns| time(ns as f64));
    let samples = if figures.count == 1 {
        "sample"
    } else {
        "samples"
    };
    let idle = match segment.idle.count() {
        0 => "none".to_owned(),
        idle => count(idle),
    };
    format!(
        "{} {samples}, {idle} of them after idle · p50 {} · p99 {} · longest {}",
        count(figures.count),
        exact(figures.p50_ns),
        exact(figures.p99_ns),
        exact(figures.max_ns)
    )
}

/// One SVG file.
#[must_use]
pub fn svg(report: &Report) -> String {
    let title = format!("Latency of {}", targets(report));
    let paths = paths(report);
    let drawn: Vec<_> = paths
        .iter()
        .map(|path| (path.title(), lying(path)))
        .collect();
    let widest = drawn
        .iter()
        .map(|(_, picture)| picture.width)
        .fold(0.0, f64::max);
    let mut picture = Picture::new(WIDTH.max(widest + 2.0 * MARGIN), 0.0);
    let most = ((picture.width - 2.0 * MARGIN) / 14.0) as usize;
    picture.label((MARGIN, 48.0), "title", &title, most);
    let cost = report.probe_cost_ns.map_or_else(
        || "what a tap costs could not be measured".to_owned(),
        |cost| {
            format!(
                "each tap costs a packet about {}, which is in the times",
                time(cost)
            )
        },
    );
    let measured = format!("Measured for {}; {cost}.", time(report.duration_ns as f64));
    picture.text((MARGIN, 72.0), "muted", &measured);
    let reading =
        "On each arrow: half of the packets took no longer than p50, 99 of 100 no longer than p99.";
    let reading = format!("{reading}{}", shared(report));
    picture.text((MARGIN, 90.0), "muted", &reading);
    let mut y = 132.0;
    for (title, path) in &drawn {
        picture.label((MARGIN, y), "heading", title, 80);
        picture.place((MARGIN, y + 16.0), path);
        y += path.height + 64.0;
    }
    for segment in &report.segments {
        y = section(&mut picture, segment, y);
    }
    if report.segments.is_empty() {
        picture.text(
            (MARGIN, y),
            "muted",
            "There is no pair of taps to measure between.",
        );
        y += 24.0;
    }
    picture.height = y;
    picture.document(&title)
}

/// A segment's part, from `y` on; where the next one starts.
fn section(picture: &mut Picture, segment: &Segment, y: f64) -> f64 {
    let name = format!("{} {}", segment.name, segment.direction);
    picture.line(
        (MARGIN, y - 24.0),
        (picture.width - MARGIN, y - 24.0),
        "grid",
    );
    picture.label((MARGIN, y), "heading", &name, 40);
    let way = format!("{} → {}", segment.from, segment.to);
    picture.label((MARGIN, y + 20.0), "muted", &way, 110);
    if segment.all().count() == 0 {
        picture.text((MARGIN, y + 40.0), "muted", "No packet was timed here.");
        return y + 84.0;
    }
    picture.text((MARGIN, y + 40.0), "", &summary(segment));
    picture.place((MARGIN - 12.0, y + 60.0), &histogram(segment));
    let x = MARGIN - 12.0 + chart::SIZE.0 + GAP;
    picture.place((x, y + 60.0), &percentiles(segment));
    y + 60.0 + chart::SIZE.1 + 56.0
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Direction,
            report::tests::{hostile, sample, two_targets},
            xml,
        },
        *,
    };

    #[test]
    fn it_is_well_formed_whatever_the_names() {
        for report in [sample(), two_targets(), hostile()] {
            let text = svg(&report);
            xml::check(&text);
            assert!(!text.contains("<script"), "{text}");
        }
        let mut nothing = sample();
        nothing.segments.clear();
        nothing.targets.clear();
        nothing.probe_cost_ns = None;
        xml::check(&svg(&nothing));
        assert!(svg(&nothing).contains("no pair of taps"));
    }

    #[test]
    fn silent_segments_say_so_and_have_no_chart() {
        let text = svg(&sample());
        assert_eq!(text.matches("No packet was timed here.").count(), 1);
        assert_eq!(text.matches("How many took how long").count(), 1);
        assert!(text.contains("1 000 samples, 10 of them after idle"));
        assert_eq!(sample().segments[1].direction, Direction::In);
    }
}
