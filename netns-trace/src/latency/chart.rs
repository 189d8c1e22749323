//! Draws a segment's samples: a histogram, and its percentiles, on logarithmic axes; busy and idle
//! samples each in their colour.

use super::{Samples, Segment, picture::Picture, units::round_time};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 244.0;
/// The part with data: its left, right, top and bottom.
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 42.0;

/// Both kinds, with their colours, in the order in which they are drawn.
fn kinds(segment: &Segment) -> impl Iterator<Item = (&Samples, &'static str)> {
    let kinds = [(&segment.busy, "busy"), (&segment.idle, "idle")];
    kinds.into_iter().filter(|(samples, _)| samples.count() > 0)
}

/// A logarithmic axis: from what to what, and where that is drawn.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self {
            low,
            high: high.max(low * 1.01),
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// Round values within it: powers of ten, with 2 and 5 between them where they are few.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = match decades {
            decades if decades < 2.2 => &[1.0, 2.0, 5.0],
            decades if decades < 3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all = (first..=last).flat_map(|power| {
            let ten = 10_f64.powi(power);
            steps.iter().map(move |step| step * ten)
        });
        let within = all.filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001);
        within.collect()
    }
}

/// Shortest and longest time, widened to where the axis may start and end.
fn range(segment: &Segment) -> (f64, f64) {
    let figures = segment.all().figures();
    let low = figures.min_ns.unwrap_or(1).max(1) as f64;
    let high = figures.max_ns.unwrap_or(1).max(1) as f64;
    (low / 1.12, (high * 1.12).max(low * 2.5))
}

/// A chart's title, and what its upward axis is.
fn frame(title: &str, up: &str) -> Picture {
    let mut picture = Picture::new(WIDTH, HEIGHT);
    picture.text((LEFT, 12.0), "strong", title);
    picture.text((LEFT - 6.0, 12.0), "small muted end", up);
    picture
}

/// The legend, at the right of the title: what colour is what.
fn legend(picture: &mut Picture, segment: &Segment) {
    let mut x = RIGHT;
    let mut shown: Vec<_> = kinds(segment).collect();
    shown.reverse();
    for (_, class) in shown {
        picture.text((x, 12.0), "small end", class);
        x -= if class == "busy" { 27.0 } else { 21.0 };
        picture.rect((x - 12.0, 3.5), (10.0, 10.0), 2.0, &format!("{class} area"));
        x -= 24.0;
    }
}

/// How many samples took how long: time to the right, counts upward.
pub(super) fn histogram(segment: &Segment) -> Picture {
    let mut picture = frame("How many took how long", "count");
    legend(&mut picture, segment);
    let across = Axis::new(range(segment), (LEFT, RIGHT));
    let octaves = (across.high / across.low).log2();
    // Wide enough to be seen each, and never finer than what was recorded.
    let steps = [8.0, 4.0, 2.0, 1.0];
    let step = steps
        .into_iter()
        .find(|step| octaves * step <= 72.0)
        .unwrap_or(1.0);
    let bins: Vec<_> = kinds(segment)
        .map(|(samples, class)| (binned(samples, step), class))
        .collect();
    let most = bins.iter().flat_map(|(bins, _)| bins.values()).max();
    // A single sample stands above the line that is none.
    let most = most.copied().unwrap_or(1).max(1) as f64;
    let up = Axis::new((0.5, (most * 1.15).max(10.0)), (BOTTOM, TOP));
    for tick in up
        .ticks()
        .into_iter()
        .filter(|tick| tick.log10().fract() == 0.0)
    {
        let y = up.at(tick);
        picture.line((LEFT, y), (RIGHT, y), "grid");
        picture.text((LEFT - 6.0, y + 4.0), "small muted end", &round_count(tick));
    }
    let edge = |bin: i32| 2_f64.powf(f64::from(bin) / step);
    for (bins, class) in &bins {
        for (first, run) in runs(bins) {
            let mut points = vec![(across.at(edge(first)), BOTTOM)];
            for (n, count) in run.iter().enumerate() {
                let y = up.at(*count as f64);
                let bin = first + n as i32;
                points.push((across.at(edge(bin)), y));
                points.push((across.at(edge(bin + 1)), y));
            }
            points.push((across.at(edge(first + run.len() as i32)), BOTTOM));
            picture.polyline(&points, &format!("{class} area"));
        }
    }
    picture.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
    time_axis_below(&mut picture, &across);
    marks(&mut picture, segment, &across);
    picture
}

/// Samples by equal steps of a logarithmic scale, so many for each doubling.
fn binned(samples: &Samples, step: f64) -> std::collections::BTreeMap<i32, u64> {
    let mut bins = std::collections::BTreeMap::new();
    for (start, end, count) in samples.buckets() {
        let middle = f64::midpoint(start as f64, end as f64).max(1.0);
        *bins
            .entry((middle.log2() * step).floor() as i32)
            .or_default() += count;
    }
    bins
}

/// Neighbouring bins together, by the first one's number.
fn runs(bins: &std::collections::BTreeMap<i32, u64>) -> Vec<(i32, Vec<u64>)> {
    let mut runs: Vec<(i32, Vec<u64>)> = Vec::new();
    for (bin, count) in bins {
        match runs.last_mut() {
            Some((first, run)) if *first + run.len() as i32 == *bin => run.push(*count),
            _ => runs.push((*bin, vec![*count])),
        }
    }
    runs
}

fn time_axis_below(picture: &mut Picture, across: &Axis) {
    for tick in across.ticks() {
        let x = across.at(tick);
        picture.line((x, BOTTOM), (x, BOTTOM + 4.0), "axis");
        picture.text((x, BOTTOM + 17.0), "small muted mid", &round_time(tick));
    }
    let x = f64::midpoint(LEFT, RIGHT);
    picture.text((x, HEIGHT - 7.0), "small muted mid", "time, logarithmic");
}

/// Where half and almost all of the samples are.
fn marks(picture: &mut Picture, segment: &Segment, across: &Axis) {
    let all = segment.all();
    let at = |share| all.quantile(share).map_or(LEFT, |ns| across.at(ns as f64));
    let (half, most) = (at(0.5), at(0.99));
    for x in [half, most] {
        picture.line((x, TOP - 3.0), (x, BOTTOM), "mark");
    }
    if most - half > 30.0 {
        picture.text((half, TOP - 6.0), "small muted mid", "p50");
        picture.text(
            (most.min(RIGHT - 12.0), TOP - 6.0),
            "small muted mid",
            "p99",
        );
    } else {
        let x = f64::midpoint(half, most).clamp(LEFT + 26.0, RIGHT - 26.0);
        picture.text((x, TOP - 6.0), "small muted mid", "p50 p99");
    }
}

/// How long which share of the samples took at most: shares to the right, time upward.
pub(super) fn percentiles(segment: &Segment) -> Picture {
    let mut picture = frame("What share took no longer", "time");
    legend(&mut picture, segment);
    let count = segment.busy.count().max(segment.idle.count()) as f64;
    let across = Axis::new((1.0, (count * 2.0).clamp(20.0, 1e7)), (LEFT, RIGHT));
    let up = Axis::new(range(segment), (BOTTOM, TOP));
    for tick in up.ticks() {
        let y = up.at(tick);
        picture.line((LEFT, y), (RIGHT, y), "grid");
        picture.text((LEFT - 6.0, y + 4.0), "small muted end", &round_time(tick));
    }
    picture.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
    let shares = [
        (0.0, "0"),
        (50.0, "50"),
        (90.0, "90"),
        (99.0, "99"),
        (99.9, "99.9"),
        (99.99, "99.99"),
        (99.999, "99.999"),
        (99.9999, "99.9999"),
    ];
    for (share, label) in shares {
        let value = 100.0 / (100.0 - share);
        if value > across.high * 1.001 {
            break;
        }
        let x = across.at(value);
        picture.line((x, BOTTOM), (x, BOTTOM + 4.0), "axis");
        picture.text((x, BOTTOM + 17.0), "small muted mid", label);
    }
    let x = f64::midpoint(LEFT, RIGHT);
    picture.text((x, HEIGHT - 7.0), "small muted mid", "percentile");
    for (samples, class) in kinds(segment) {
        let points = curve(samples, &across, &up);
        picture.polyline(&points, class);
    }
    picture
}

/// The percentiles of samples, bucket after bucket. It ends where its count does.
fn curve(samples: &Samples, across: &Axis, up: &Axis) -> Vec<(f64, f64)> {
    let figures = samples.figures();
    let (min, max) = (figures.min_ns.unwrap_or(0), figures.max_ns.unwrap_or(0));
    let count = samples.count() as f64;
    let (mut points, mut passed) = (Vec::new(), 0);
    let mut x = across.at(1.0);
    for (start, end, in_bucket) in samples.buckets() {
        passed += in_bucket;
        let ns = (start + (end - start) / 2).clamp(min, max.max(min));
        let y = up.at(ns.max(1) as f64);
        points.push((x, y));
        // The last sample is as far to the right as one of so many can be.
        let left = (count - passed as f64).max(0.5);
        x = across.at((count / left).max(1.0));
        points.push((x, y));
    }
    // A single sample is a share of all, however small: seen as a short line.
    if let (Some(first), Some(last)) = (points.first().copied(), points.last_mut())
        && last.0 - first.0 < 6.0
    {
        last.0 = first.0 + 6.0;
    }
    points
}

fn round_count(count: f64) -> String {
    match count {
        count if count >= 1e9 => format!("{}G", count / 1e9),
        count if count >= 1e6 => format!("{}M", count / 1e6),
        count if count >= 1e3 => format!("{}k", count / 1e3),
        count => format!("{count}"),
    }
}

/// How wide and high a chart is.
pub(super) const SIZE: (f64, f64) = (WIDTH, HEIGHT);

#[cfg(test)]
mod tests {
    use super::{super::report::tests::sample, *};

    #[test]
    fn axes_have_round_ticks() {
        let axis = Axis::new((640.0, 26_000.0), (0.0, 100.0));
        let ticks: Vec<String> = axis.ticks().into_iter().map(round_time).collect();
        assert_eq!(ticks, ["1 µs", "2 µs", "5 µs", "10 µs", "20 µs"]);
        let wide = Axis::new((1.0, 60e9), (0.0, 100.0));
        assert_eq!(wide.ticks().len(), 11);
        assert_eq!(wide.at(0.0), 0.0);
        assert_eq!(wide.at(1e300), 100.0);
    }

    #[test]
    fn both_kinds_are_drawn_if_they_are_there() {
        let mut segment = sample().segments.remove(0);
        for picture in [histogram(&segment), percentiles(&segment)] {
            let text = picture.inline("", 1.0);
            assert!(text.contains(r#"class="busy"#) && text.contains(r#"class="idle"#));
        }
        segment.idle = Samples::default();
        for picture in [histogram(&segment), percentiles(&segment)] {
            assert!(!picture.inline("", 1.0).contains("idle"));
        }
    }

    #[test]
    fn any_samples_make_numbers_that_can_be_drawn() {
        let mut segment = sample().segments.remove(1);
        for times in [
            &[][..],
            &[0],
            &[1],
            &[60_000_000_000],
            &[0, 1, 60_000_000_000, u64::MAX],
        ] {
            segment.busy = Samples::default();
            times.iter().for_each(|ns| segment.busy.record(*ns));
            for picture in [histogram(&segment), percentiles(&segment)] {
                let text = picture.inline("", 1.0);
                assert!(
                    !text.contains("NaN") && !text.contains("inf"),
                    "{times:?}: {text}"
                );
            }
        }
    }
}
