//! The report as one page that needs nothing else: no network, no script, no font.

use super::{
    Figures, Report, Segment,
    chart::{histogram, percentiles},
    diagram::{lying, upright},
    paths::paths,
    picture::{STYLE, escape},
    svg::{shared, summary, targets},
    units::{count, round_time, time},
};

const PAGE_STYLE: &str = include_str!("page.css");

/// So many targets are named at the top.
const MOST_TARGETS: usize = 6;

/// The names of the table's columns: figures of samples, then counts of packets without any.
const COLUMNS: [&str; 11] = [
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
];

/// What the counts beside the samples mean.
const TERMS: [(&str, &str); 3] = [
    (
        "unmatched",
        "arrived at the segment’s end, a tap of the target, without having been seen at a tap \
         before; all segments with the same end share the number.",
    ),
    (
        "left",
        "seen at the segment’s start and not again: delivered to the host itself, sent another \
         way, or dropped; all segments with the same start share the number.",
    ),
    (
        "overwritten",
        "seen at the start, but the mark by which they would be recognised gave way to another \
         packet’s first, so they could not be timed.",
    ),
];

/// One HTML file.
#[must_use]
pub fn html(report: &Report) -> String {
    let title = escape(&format!("Latency of {}", targets(report)));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"generator\" content=\"netns-trace {}\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>{title}</h1>\n{}</header>\n{}{}{}{}</main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        facts(report),
        diagrams(report),
        figures(report),
        charts(report),
        footer(report),
    )
}

fn facts(report: &Report) -> String {
    let samples = report.segments.iter().filter(|segment| !segment.is_total());
    let samples: u64 = samples.map(|segment| segment.all().count()).sum();
    let shown = report.targets.iter().take(MOST_TARGETS);
    let mut targets: Vec<String> = shown
        .map(|target| {
            let (label, inode) = (escape(&target.label), target.inode);
            format!("{label}<small>network namespace {inode}</small>")
        })
        .collect();
    if let Some(more @ 1..) = report.targets.len().checked_sub(MOST_TARGETS) {
        targets.push(format!("<small>and {more} more</small>"));
    }
    let cost = report.probe_cost_ns.map_or_else(
        || "not known<small>this kernel does not let it be measured</small>".to_owned(),
        |cost| {
            format!(
                "{}<small>for each packet and tap; a segment’s times include it once</small>",
                time(cost)
            )
        },
    );
    let names = if report.targets.len() == 1 {
        "Target"
    } else {
        "Targets"
    };
    let facts = [
        (names, targets.join("")),
        (
            "Measured for",
            format!(
                "{}<small>{} times from tap to tap</small>",
                time(report.duration_ns as f64),
                count(samples)
            ),
        ),
        ("The probe’s own cost", cost),
        (
            "Idle means",
            format!(
                "after {}<small>without a packet at the segment’s start; other packets are busy</small>",
                round_time(report.idle_gap_ns as f64)
            ),
        ),
    ];
    let mut text = "<dl class=\"facts\">\n".to_owned();
    for (name, fact) in facts {
        text.push_str(&format!("<div><dt>{name}</dt><dd>{fact}</dd></div>\n"));
    }
    text + "</dl>\n"
}

fn diagrams(report: &Report) -> String {
    let paths = paths(report);
    if paths.is_empty() {
        return "<p>There is no pair of taps to measure between.</p>\n".to_owned();
    }
    let shared = shared(report);
    let mut text = format!(
        "<section>\n<h2>The path of a packet</h2>\n\
        <p class=\"quiet\">Boxes are taps. On each arrow: half of the packets took no longer than \
        p50, 99 of 100 no longer than p99.{shared}</p>\n"
    );
    for path in &paths {
        let title = path.title();
        text.push_str(&format!(
            "<figure>\n<figcaption>{}</figcaption>\n<div class=\"wide\">{}</div>\n\
             <div class=\"tall\">{}</div>\n</figure>\n",
            escape(&title),
            lying(path).inline(&title, 1.0),
            upright(path).inline(&title, 1.3)
        ));
    }
    text + "</section>\n"
}

fn figures(report: &Report) -> String {
    if report.segments.is_empty() {
        return String::new();
    }
    let heads: String = COLUMNS
        .iter()
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .collect();
    let mut text = format!(
        "<section>\n<h2>The figures</h2>\n<div class=\"scroll\">\n<table>\n\
         <thead><tr><th scope=\"col\">segment</th>{heads}</tr></thead>\n"
    );
    for segment in &report.segments {
        text.push_str("<tbody>\n");
        text.push_str(&rows(segment));
        text.push_str("</tbody>\n");
    }
    text.push_str("</table>\n</div>\n<dl class=\"terms\">\n");
    for (term, meaning) in TERMS {
        text.push_str(&format!("<dt>{term}</dt><dd>Packets {meaning}</dd>\n"));
    }
    text + "</dl>\n</section>\n"
}

/// A segment's row, and one for each kind of its samples where there are both.
fn rows(segment: &Segment) -> String {
    let (all, busy, idle) = (
        segment.all().figures(),
        segment.busy.figures(),
        segment.idle.figures(),
    );
    let mut text = format!(
        "<tr class=\"whole\"><td><b>{} {}</b><span class=\"way tap\">{} → {}</span></td>",
        escape(&segment.name),
        segment.direction,
        escape(&segment.from),
        escape(&segment.to)
    );
    if all.count == 0 {
        text.push_str("<td class=\"none\" colspan=\"8\">no samples</td>");
    } else {
        text.push_str(&cells(all));
    }
    let counts = [segment.unmatched, segment.left, segment.overwritten];
    for (number, name) in counts.into_iter().zip(&COLUMNS[8..]) {
        let class = if number > 0 { " class=\"some\"" } else { "" };
        text.push_str(&format!(
            "<td{class} data-is=\"{name}\">{}</td>",
            count(number)
        ));
    }
    text.push_str("</tr>\n");
    if busy.count > 0 && idle.count > 0 {
        for (kind, name, figures) in [("busy", "busy", busy), ("idle", "after idle", idle)] {
            text.push_str(&format!(
                "<tr class=\"part\"><td><span class=\"dot {kind}\"></span>{name}</td>{}<td></td><td></td><td></td></tr>\n",
                cells(figures)
            ));
        }
    }
    text
}

fn cells(figures: Figures) -> String {
    let exact = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), |ns| time(ns as f64));
    let texts = [
        count(figures.count),
        exact(figures.min_ns),
        figures.mean_ns.map_or_else(|| "–".to_owned(), time),
        exact(figures.p50_ns),
        exact(figures.p90_ns),
        exact(figures.p99_ns),
        exact(figures.p999_ns),
        exact(figures.max_ns),
    ];
    let cells = texts.iter().zip(COLUMNS);
    cells
        .map(|(text, name)| format!("<td data-is=\"{name}\">{text}</td>"))
        .collect()
}

fn charts(report: &Report) -> String {
    let (timed, silent): (Vec<&Segment>, Vec<&Segment>) = report
        .segments
        .iter()
        .partition(|segment| segment.all().count() > 0);
    let mut text = String::new();
    if !timed.is_empty() {
        text.push_str("<section>\n<h2>Segment by segment</h2>\n");
    }
    for segment in &timed {
        let name = format!("{} {}", segment.name, segment.direction);
        text.push_str(&format!(
            "<article class=\"segment\">\n<h3>{} <span class=\"tap quiet\">{} → {}</span></h3>\n\
             <p>{}</p>\n<div class=\"charts\">{}{}</div>\n</article>\n",
            escape(&name),
            escape(&segment.from),
            escape(&segment.to),
            escape(&summary(segment)),
            histogram(segment).inline(&format!("Histogram of {name}"), 1.25),
            percentiles(segment).inline(&format!("Percentiles of {name}"), 1.25),
        ));
    }
    if !timed.is_empty() {
        text.push_str("</section>\n");
    }
    if !silent.is_empty() {
        text.push_str("<section>\n<h2>Without samples</h2>\n<p>No packet was timed here while the measurement ran.</p>\n<ul class=\"silent\">\n");
        for segment in silent {
            text.push_str(&format!(
                "<li>{} {} <span class=\"tap quiet\">{} → {}</span></li>\n",
                escape(&segment.name),
                segment.direction,
                escape(&segment.from),
                escape(&segment.to)
            ));
        }
        text.push_str("</ul>\n</section>\n");
    }
    text
}

fn footer(report: &Report) -> String {
    let cost = report.probe_cost_ns.map_or_else(String::new, |cost| {
        format!(
            " To compare with a host on which nothing is attached, subtract about {} from a step.",
            time(cost)
        )
    });
    format!(
        "<footer><p>A time is that of one packet, seen at the segment’s start and again at its end, \
         by the kernel’s monotonic clock. Percentiles are read from buckets of 3 % width at most, so \
         they are off by 1/64 at most; shortest, longest and mean are exact.{cost}</p></footer>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            report::tests::{hostile, sample, two_targets},
            xml,
        },
        *,
    };

    /// The page without what only HTML may leave open.
    fn as_xml(page: &str) -> String {
        let lines = page.lines().filter(|line| !line.starts_with("<!DOCTYPE"));
        let close = |line: &str| {
            if line.starts_with("<meta") {
                line.replace('>', "/>")
                    .replace("'none'; ", "")
                    .replace('\'', "")
            } else {
                line.to_owned()
            }
        };
        let text: Vec<String> = lines.map(close).collect();
        // A style's `>` is no markup in HTML.
        text.join("\n").replace(".whole>*", ".whole *")
    }

    #[test]
    fn it_is_well_formed_and_needs_nothing() {
        let mut none = sample();
        none.segments.clear();
        none.probe_cost_ns = None;
        for report in [sample(), two_targets(), hostile(), none] {
            let page = html(&report);
            xml::check(&as_xml(&page));
            for word in [
                "http:", "https:", "//", "<script", "<link", "<img", "src=", "@import", "url(",
            ] {
                let clean = page.replace("../../", "");
                assert!(!clean.contains(word), "{word}: {page}");
            }
        }
    }

    #[test]
    fn it_tells_what_was_measured_and_what_was_not() {
        let page = html(&sample());
        for text in [
            "<title>Latency of web</title>",
            "network namespace 4026532177",
            "2.00 s",
            "42 ns",
            "after 10 ms",
            "<td data-is=\"count\">1 000</td>",
            "<td class=\"some\" data-is=\"left\">2</td>",
            "no samples",
            "Without samples",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert_eq!(
            page.matches("<article").count(),
            1,
            "the silent one has none"
        );
        for (term, _) in TERMS {
            assert_eq!(page.matches(&format!("<dt>{term}</dt>")).count(), 1);
        }
    }
}
