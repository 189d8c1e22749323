//! What was measured, as programs read it.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::Samples;

/// Whether packets of a segment leave the target or enter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// They leave it.
    Out,
    /// They enter it.
    In,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Out => "out",
            Self::In => "in",
        })
    }
}

/// A namespace that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetLabel {
    /// Its name for people.
    pub label: String,
    /// Its inode.
    pub inode: u64,
}

/// What was measured between two taps.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// `veth`, `bridge`, `route`, or `total` for a whole way.
    pub name: String,
    /// Which way its packets go.
    pub direction: Direction,
    /// `web/eth0`.
    pub from: String,
    /// `host/vethce5c219`.
    pub to: String,
    /// Packets that arrived at `to`, a tap of the target, without having been seen at a tap
    /// before. All segments that end there share the number.
    pub unmatched: u64,
    /// Packets that were seen at `from` and not again. All segments that start there share it.
    pub left: u64,
    /// Packets seen at `from` whose mark gave way to another's before they came to `to`. All
    /// segments that start there share it.
    pub overwritten: u64,
    /// Packets that followed others closely.
    pub busy: Samples,
    /// Packets before which nothing had passed `from` for the idle gap.
    pub idle: Samples,
}

/// What one run, or one interval of it, measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Of this form: 1.
    pub version: u32,
    /// How long it took.
    pub duration_ns: u64,
    /// What a tap costs each packet, in nanoseconds, measured at start; nothing where the kernel
    /// does not let it be measured.
    pub probe_cost_ns: Option<f64>,
    /// A packet is idle after a gap of so many nanoseconds.
    pub idle_gap_ns: u64,
    /// Whose packets were measured.
    pub targets: Vec<TargetLabel>,
    /// Between which taps, and how long it took.
    pub segments: Vec<Segment>,
}

/// The name of segments that span a whole way.
pub(crate) const TOTAL: &str = "total";

impl Segment {
    /// All samples, busy and idle.
    #[must_use]
    pub fn all(&self) -> Samples {
        let mut all = self.busy.clone();
        all.add(&self.idle);
        all
    }

    /// Whether it spans a whole way rather than a step of it.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.name == TOTAL
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            unmatched: self.unmatched.saturating_sub(earlier.unmatched),
            left: self.left.saturating_sub(earlier.left),
            overwritten: self.overwritten.saturating_sub(earlier.overwritten),
            busy: self.busy.since(&earlier.busy),
            idle: self.idle.since(&earlier.idle),
            ..self.clone()
        }
    }
}

impl Report {
    /// What came after `earlier`, a reading of the same run.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let segments = self.segments.iter().zip(&earlier.segments);
        Self {
            duration_ns: self.duration_ns.saturating_sub(earlier.duration_ns),
            segments: segments.map(|(now, then)| now.since(then)).collect(),
            ..self.clone()
        }
    }

    /// Adds what another run recorded, between taps of its own, after this one or beside it.
    pub fn append(&mut self, other: Self) {
        self.duration_ns = self.duration_ns.max(other.duration_ns);
        self.segments.extend(other.segments);
        for target in other.targets {
            if !self.targets.contains(&target) {
                self.targets.push(target);
            }
        }
    }

    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|why| format!("{{\"error\":\"{why}\"}}"))
    }
}

/// The figures of all samples stand beside the names, those of the groups below theirs.
impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.all();
        let figures = all.figures();
        let buckets: Vec<(u64, u64)> = all.buckets().map(|(_, end, count)| (end, count)).collect();
        let mut out = serializer.serialize_struct("Segment", 18)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("direction", &self.direction)?;
        out.serialize_field("from", &self.from)?;
        out.serialize_field("to", &self.to)?;
        out.serialize_field("count", &figures.count)?;
        out.serialize_field("unmatched", &self.unmatched)?;
        out.serialize_field("left", &self.left)?;
        out.serialize_field("overwritten", &self.overwritten)?;
        out.serialize_field("min_ns", &figures.min_ns)?;
        out.serialize_field("mean_ns", &figures.mean_ns)?;
        out.serialize_field("p50_ns", &figures.p50_ns)?;
        out.serialize_field("p90_ns", &figures.p90_ns)?;
        out.serialize_field("p99_ns", &figures.p99_ns)?;
        out.serialize_field("p999_ns", &figures.p999_ns)?;
        out.serialize_field("max_ns", &figures.max_ns)?;
        out.serialize_field("buckets", &buckets)?;
        out.serialize_field("busy", &self.busy.figures())?;
        out.serialize_field("idle", &self.idle.figures())?;
        out.end()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report with samples at one segment and none at the other.
    pub(crate) fn sample() -> Report {
        let mut busy = Samples::default();
        let mut idle = Samples::default();
        (0..990).for_each(|n| busy.record(300 + n % 200));
        (0..10).for_each(|n| idle.record(20_000 + 1000 * n));
        let segment = |name: &str, direction, busy: Samples, idle: Samples| Segment {
            name: name.to_owned(),
            direction,
            from: "web/eth0".to_owned(),
            to: "host/vweb".to_owned(),
            unmatched: 1,
            left: 2,
            overwritten: 0,
            busy,
            idle,
        };
        Report {
            version: 1,
            duration_ns: 2_000_000_000,
            probe_cost_ns: Some(41.5),
            idle_gap_ns: 10_000_000,
            targets: vec![TargetLabel {
                label: "web".to_owned(),
                inode: 4_026_532_177,
            }],
            segments: vec![
                segment("veth", Direction::Out, busy, idle),
                segment(
                    "veth",
                    Direction::In,
                    Samples::default(),
                    Samples::default(),
                ),
            ],
        }
    }

    /// Two targets on a bridge with an uplink, whose packets took up to a minute.
    pub(crate) fn two_targets() -> Report {
        let mut report = sample();
        report.segments.clear();
        report.targets = ["a", "b"]
            .map(|label| TargetLabel {
                label: label.to_owned(),
                inode: 1,
            })
            .to_vec();
        let mut add = |name: &str, direction, from: &str, to: &str, times: &[u64]| {
            let mut segment = sample().segments.remove(1);
            segment.name = name.to_owned();
            segment.direction = direction;
            segment.from = from.to_owned();
            segment.to = to.to_owned();
            times.iter().for_each(|ns| segment.busy.record(*ns));
            report.segments.push(segment);
        };
        let (out, into) = (Direction::Out, Direction::In);
        add("veth", out, "a/eth0", "host/va", &[680, 700, 8500]);
        add(
            "bridge",
            out,
            "host/va",
            "host/br0",
            &[1030, 60_000_000_000],
        );
        add("route", out, "host/br0", "host/up0", &[4000]);
        add(TOTAL, out, "a/eth0", "host/br0", &[1700, 1800]);
        add(TOTAL, out, "a/eth0", "host/up0", &[5700]);
        add("route", into, "host/up0", "host/br0", &[2000]);
        add("bridge", into, "host/br0", "host/va", &[440]);
        add("veth", into, "host/va", "a/eth0", &[0, 1]);
        add(TOTAL, into, "host/up0", "a/eth0", &[3500]);
        add("veth", out, "b/eth0", "host/vb", &[]);
        add("bridge", out, "host/vb", "host/br0", &[]);
        add("bridge", into, "host/br0", "host/vb", &[]);
        add("veth", into, "host/vb", "b/eth0", &[]);
        add("bridge", out, "host/va", "host/vb", &[1600]);
        add(TOTAL, out, "a/eth0", "b/eth0", &[3200]);
        add("bridge", out, "host/vb", "host/va", &[1300]);
        report
    }

    /// Names that try to be more than names.
    pub(crate) fn hostile() -> Report {
        let mut report = two_targets();
        let evil = "<script>alert('x')</script>\"&amp;\u{1b}[2J\u{202e}../../\u{ffff}";
        let long = "x".repeat(300);
        for target in &mut report.targets {
            target.label = format!("{evil}{}", target.label);
        }
        for segment in &mut report.segments {
            segment.from = segment.from.replace('/', &format!("{evil}/"));
            segment.to = format!("{evil}{long}/{evil}");
        }
        report.segments[0].name = format!(".{evil}");
        report
    }

    #[test]
    fn json_has_what_the_contract_names() {
        let json: serde_json::Value = serde_json::from_str(&sample().json()).expect("JSON");
        assert_eq!(json["version"], 1);
        assert_eq!(json["targets"][0]["inode"], 4_026_532_177_u64);
        let segment = &json["segments"][0];
        assert_eq!(segment["direction"], "out");
        assert_eq!(segment["count"], 1000);
        assert_eq!(segment["busy"]["count"], 990);
        assert_eq!(segment["idle"]["min_ns"], 20_000);
        let buckets = segment["buckets"].as_array().expect("buckets");
        let sum: u64 = buckets
            .iter()
            .map(|pair| pair[1].as_u64().expect("a count"))
            .sum();
        assert_eq!(sum, 1000);
        assert_eq!(json["segments"][1]["count"], 0);
        assert!(json["segments"][1]["p50_ns"].is_null());
    }

    #[test]
    fn an_interval_is_what_came_since() {
        let report = sample();
        let nothing = report.since(&report);
        assert_eq!(nothing.duration_ns, 0);
        assert_eq!(nothing.segments[0].all().count(), 0);
        assert_eq!(nothing.segments[0].unmatched, 0);
    }
}
