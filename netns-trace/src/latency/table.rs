//! The report for a terminal: a table of segments, and a histogram of bars for each.

use super::{
    Direction, Figures, Report, Segment,
    units::{count, time},
};

/// Widest row of bars, in characters.
const BAR: usize = 50;

/// With more segments than this, those that saw nothing are only counted.
const MANY: usize = 24;

/// A table of all segments; those that saw nothing say so.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut rows = vec![
        [
            "segment",
            "way",
            "from -> to",
            "count",
            "min",
            "mean",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "unmatched",
            "left",
            "overwritten",
        ]
        .map(str::to_owned),
    ];
    let few = report.segments.len() <= MANY;
    let shown = report.segments.iter().filter(|one| few || !is_silent(one));
    for segment in shown {
        let (all, idle) = (segment.all().figures(), segment.idle.figures());
        let way = format!("{} -> {}", segment.from, segment.to);
        rows.push(row(
            &segment.name,
            &segment.direction.to_string(),
            &way,
            all,
            Some(segment),
        ));
        // Where both kinds are there, they are too different to be told by one line.
        if idle.count > 0 && idle.count < all.count {
            rows.push(row("", "", "  busy", segment.busy.figures(), None));
            rows.push(row("", "", "  after idle", idle, None));
        }
    }
    let mut text = aligned(&rows);
    text.push('\n');
    text.push_str(&notes(report));
    text
}

fn row(
    name: &str,
    direction: &str,
    way: &str,
    figures: Figures,
    segment: Option<&Segment>,
) -> [String; 14] {
    let exact = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), |ns| time(ns as f64));
    let counts = segment.map_or_else(Default::default, |segment| {
        [segment.unmatched, segment.left, segment.overwritten].map(count)
    });
    let [unmatched, left, overwritten] = counts;
    [
        name.to_owned(),
        direction.to_owned(),
        way.to_owned(),
        count(figures.count),
        exact(figures.min_ns),
        figures.mean_ns.map_or_else(|| "-".to_owned(), time),
        exact(figures.p50_ns),
        exact(figures.p90_ns),
        exact(figures.p99_ns),
        exact(figures.p999_ns),
        exact(figures.max_ns),
        unmatched,
        left,
        overwritten,
    ]
}

/// Columns of equal width: the first three to the left, the others to the right. A column whose
/// counts are all 0 is left out.
fn aligned(rows: &[[String; 14]]) -> String {
    let shown: Vec<usize> = (0..14)
        .filter(|column| {
            *column < 11
                || rows[1..]
                    .iter()
                    .any(|row| !["", "0"].contains(&row[*column].as_str()))
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for column in &shown {
            let (cell, width) = (&row[*column], width(*column));
            let gap = " ".repeat(width - cell.chars().count());
            if *column < 3 {
                line.push_str(&format!("{cell}{gap}  "));
            } else {
                line.push_str(&format!("{gap}{cell}  "));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn notes(report: &Report) -> String {
    let mut text = String::new();
    match report.probe_cost_ns {
        Some(cost) => text.push_str(&format!(
            "Each tap costs a packet about {}: subtract it from a segment.\n",
            time(cost)
        )),
        None => text.push_str("What a tap costs could not be measured on this kernel.\n"),
    }
    let unmeasured: Vec<&Segment> = report
        .segments
        .iter()
        .filter(|segment| segment.all().count() == 0)
        .collect();
    if report.segments.is_empty() {
        text.push_str("There is no pair of taps to measure between.\n");
    } else if unmeasured.len() == report.segments.len() {
        text.push_str("No packet passed two taps: nothing was measured.\n");
    } else if report.segments.len() > MANY {
        let silent = unmeasured.iter().filter(|one| is_silent(one)).count();
        text.push_str(&match silent {
            0 => String::new(),
            1 => "One more segment saw nothing.\n".to_owned(),
            more => format!("{more} more segments saw nothing.\n"),
        });
    } else if !unmeasured.is_empty() {
        let told: Vec<String> = unmeasured
            .iter()
            .map(|one| {
                format!(
                    "{} {} ({} -> {})",
                    one.name, one.direction, one.from, one.to
                )
            })
            .collect();
        text.push_str(&format!("Saw nothing: {}.\n", told.join(", ")));
    }
    for one in unmeasured.iter().filter(|one| is_passed_by(one)).take(MANY) {
        text.push_str(&format!(
            "{} packets came to {} without passing {}: a program hands them in directly, as \
             bpf_redirect_peer does (Cilium).\n",
            count(one.unmatched),
            one.to,
            one.from
        ));
    }
    text
}

/// Whether packets come to a container past the host side of its pair: enough of them that they were not under way when
/// the measurement began.
/// `skb_do_redirect` in <https://github.com/torvalds/linux/blob/v6.12/net/core/filter.c>
fn is_passed_by(segment: &Segment) -> bool {
    const ENOUGH: u64 = 10;
    segment.name == "veth" && segment.direction == Direction::In && segment.unmatched >= ENOUGH
}

/// Whether there is nothing at all to say of a segment.
fn is_silent(segment: &Segment) -> bool {
    segment.all().count() + segment.unmatched + segment.left + segment.overwritten == 0
}

/// A histogram of bars for each segment with samples: a row for each doubling of time, idle packets
/// drawn light.
#[must_use]
pub fn bars(report: &Report) -> String {
    let mut text = String::new();
    for segment in report
        .segments
        .iter()
        .filter(|segment| segment.all().count() > 0)
    {
        let title = format!(
            "{} {} ({} -> {})\n",
            segment.name, segment.direction, segment.from, segment.to
        );
        text.push_str(&title);
        text.push_str(&histogram(segment));
        text.push('\n');
    }
    text
}

fn histogram(segment: &Segment) -> String {
    // Busy and idle samples by the power of two below them.
    let mut rows = std::collections::BTreeMap::<u32, [u64; 2]>::new();
    for (kind, samples) in [&segment.busy, &segment.idle].into_iter().enumerate() {
        for (start, _, in_bucket) in samples.buckets() {
            rows.entry(start.max(1).ilog2()).or_default()[kind] += in_bucket;
        }
    }
    let (Some(first), Some(last)) = (
        rows.keys().next().copied(),
        rows.keys().next_back().copied(),
    ) else {
        return String::new();
    };
    let most = rows.values().map(|row| row[0] + row[1]).max().unwrap_or(1);
    let mut text = String::new();
    for power in first..=last {
        let [busy, idle] = rows.get(&power).copied().unwrap_or_default();
        let len = |count: u64| (count as f64 / most as f64 * BAR as f64).round() as usize;
        let (mut solid, whole) = (len(busy), len(busy + idle));
        solid = solid.min(whole);
        // What is there is seen, however little it is.
        let bar = match busy + idle {
            0 => String::new(),
            _ if whole == 0 => "▏".to_owned(),
            _ => format!("{}{}", "█".repeat(solid), "░".repeat(whole - solid)),
        };
        let label = if power == 0 {
            0.0
        } else {
            (1_u64 << power) as f64
        };
        let line = format!("  {:>8} {:>12} {bar}", time(label), count(busy + idle));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::sample, *};

    #[test]
    fn segments_line_up_and_the_silent_say_so() {
        let text = table(&sample());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("segment  way  from -> to"), "{text}");
        assert!(
            lines[1].contains("veth     out  web/eth0 -> host/vweb  1 000   300 ns"),
            "{text}"
        );
        assert!(lines[2].contains("busy"), "{text}");
        assert!(lines[3].contains("after idle"), "{text}");
        assert!(lines[4].contains("vweb      0        -"), "{text}");
        assert!(!text.contains("overwritten"), "a column of zeroes: {text}");
        assert!(
            text.contains("Saw nothing: veth in (web/eth0 -> host/vweb)."),
            "{text}"
        );
        assert!(text.contains("about 42 ns"), "{text}");
    }

    #[test]
    fn packets_that_pass_by_the_host_side_are_explained() {
        let mut report = sample();
        report.segments[1].unmatched = 9;
        assert!(!table(&report).contains("bpf_redirect_peer"));
        report.segments[1].unmatched = 1200;
        let text = table(&report);
        let why = "1 200 packets came to host/vweb without passing web/eth0: a program hands";
        assert!(text.contains(why), "{text}");
    }

    #[test]
    fn many_that_saw_nothing_are_counted() {
        let mut report = sample();
        let few = table(&report).lines().count();
        let mut silent = report.segments[1].clone();
        (silent.unmatched, silent.left) = (0, 0);
        report.segments.extend(vec![silent; MANY]);
        let text = table(&report);
        assert_eq!(text.lines().count(), few, "{text}");
        assert!(text.contains("\n24 more segments saw nothing.\n"), "{text}");
    }

    #[test]
    fn bars_show_every_sample() {
        let text = bars(&sample());
        assert!(text.contains("256 ns          990 ██████"), "{text}");
        assert!(text.contains("16.4 µs           10 ░"), "{text}");
        assert_eq!(
            text.matches("veth").count(),
            1,
            "one segment is drawn: {text}"
        );
    }

    #[test]
    fn nothing_measured_is_said() {
        let mut report = sample();
        report.segments.remove(0);
        assert!(table(&report).contains("nothing was measured"));
        report.segments.clear();
        assert!(table(&report).contains("no pair of taps"));
        assert_eq!(bars(&report), "");
    }
}
