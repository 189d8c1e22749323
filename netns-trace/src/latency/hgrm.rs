//! Percentile distributions in HdrHistogram's text format, which its plotters read: one file for
//! each segment with samples, in microseconds.

use std::collections::BTreeSet;

use hdrhistogram::Histogram;

use super::{Report, Samples, Segment};

/// Lines for each halving of the rest, as HdrHistogram's own tools have it.
const TICKS_PER_HALF: u32 = 5;
/// Times are kept in nanoseconds and written in microseconds.
const NS_PER_UNIT: f64 = 1000.0;
/// Digits that are kept of a time; the samples' buckets are coarser.
const DIGITS: u8 = 3;
/// Longest part of a file name, in characters.
const LONGEST_PART: usize = 60;

/// File names and their contents.
#[must_use]
pub fn hgrm(report: &Report) -> Vec<(String, String)> {
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for segment in &report.segments {
        if let Some(text) = distribution(&segment.all()) {
            files.push((file_name(segment, &mut names), text));
        }
    }
    files
}

/// `veth-out-web_eth0-host_vweb.hgrm`: no other characters than these, whatever the labels hold, and
/// never the same name twice.
fn file_name(segment: &Segment, names: &mut BTreeSet<String>) -> String {
    let safe = |text: &str| -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        text.chars()
            .take(LONGEST_PART)
            .map(|c| if plain(c) { c } else { '_' })
            .collect()
    };
    let base = format!(
        "{}-{}-{}-{}",
        safe(&segment.name).trim_start_matches(['.', '-']),
        segment.direction,
        safe(&segment.from),
        safe(&segment.to)
    );
    let others = (2_u32..).map(|n| format!("{base}-{n}.hgrm"));
    let name = std::iter::once(format!("{base}.hgrm"))
        .chain(others)
        .find(|name| !names.contains(name))
        .unwrap_or(base);
    names.insert(name.clone());
    name
}

/// The file's text; nothing where there are no samples.
fn distribution(samples: &Samples) -> Option<String> {
    let figures = samples.figures();
    let (min, max, mean) = (figures.min_ns?, figures.max_ns?, figures.mean_ns?);
    let mut histogram = Histogram::<u64>::new(DIGITS).ok()?;
    for (start, end, count) in samples.buckets() {
        let middle = (start + (end - start) / 2).clamp(min, max);
        histogram.record_n(middle, count).ok()?;
    }
    let unit = |ns: f64| ns / NS_PER_UNIT;
    let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
    let mut passed = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        let share = step.quantile_iterated_to();
        // The end of the distribution is known better than by its bucket.
        let value = if share < 1.0 {
            step.value_iterated_to().clamp(min, max)
        } else {
            max
        };
        let value = unit(value as f64);
        passed += step.count_since_last_iteration();
        text.push_str(&format!("{value:12.3} {share:.12} {passed:10}"));
        if share < 1.0 {
            text.push_str(&format!(" {:14.2}", 1.0 / (1.0 - share)));
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        unit(mean),
        unit(histogram.stdev()),
        unit(max as f64),
        histogram.len(),
        histogram.buckets(),
        2048,
    ));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{
        super::report::tests::{hostile, sample},
        *,
    };

    fn rows(text: &str) -> Vec<Vec<f64>> {
        let lines = text.lines().skip(2).filter(|line| !line.starts_with('#'));
        let number = |word: &str| word.parse::<f64>().expect("a number");
        lines
            .map(|line| line.split_whitespace().map(number).collect())
            .collect()
    }

    #[test]
    fn a_segment_with_samples_gets_a_file() {
        let files = hgrm(&sample());
        assert_eq!(files.len(), 1, "the other has none");
        let (name, text) = &files[0];
        assert_eq!(name, "veth-out-web_eth0-host_vweb.hgrm");
        let header = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
        assert!(text.starts_with(header), "{text}");
        let rows = rows(text);
        assert_eq!(rows[0], [0.3, 0.0, 20.0, 1.0], "{text}");
        let last = rows.last().expect("rows");
        assert_eq!(last[..], [29.0, 1.0, 1000.0], "{text}");
        for pair in rows.windows(2) {
            assert!((0..3).all(|n| pair[0][n] <= pair[1][n]), "{pair:?}");
        }
        assert!(text.contains("#[Mean    =        0.6"), "{text}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }

    #[test]
    fn one_sample_and_huge_ones() {
        for ns in [0, 1, 777, 60_000_000_000] {
            let mut samples = Samples::default();
            samples.record(ns);
            let text = distribution(&samples).expect("a sample");
            for row in rows(&text) {
                assert_eq!(row[0], ns as f64 / 1000.0, "{text}");
                assert_eq!(row[2], 1.0, "{text}");
            }
        }
        assert_eq!(distribution(&Samples::default()), None);
    }

    #[test]
    fn file_names_are_safe_and_differ() {
        let files = hgrm(&hostile());
        let names: BTreeSet<&String> = files.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), files.len());
        for name in names {
            assert!(name.len() < 250 && !name.starts_with(['.', '-']), "{name}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            assert!(name.chars().all(plain), "{name}");
        }
    }
}
