//! Reports as tests need them.

use crate::latency::{Direction, Report, Samples, Segment, TargetLabel};

/// Segments that have seen nothing.
pub(super) fn segments(of: &[(&str, Direction, &str, &str)]) -> Vec<Segment> {
    let segment = |(name, direction, from, to): &(&str, Direction, &str, &str)| Segment {
        name: (*name).to_owned(),
        direction: *direction,
        from: (*from).to_owned(),
        to: (*to).to_owned(),
        unmatched: 0,
        left: 0,
        overwritten: 0,
        busy: Samples::default(),
        idle: Samples::default(),
    };
    of.iter().map(segment).collect()
}

/// What one target with all four taps had measured after so many seconds.
pub(super) fn report(seconds: u64) -> Report {
    use Direction::{In, Out};
    let mut segments = segments(&[
        ("veth", Out, "web/eth0", "host/vweb"),
        ("bridge", Out, "host/vweb", "host/br0"),
        ("route", Out, "host/br0", "host/up0"),
        ("total", Out, "web/eth0", "host/br0"),
        ("total", Out, "web/eth0", "host/up0"),
        ("route", In, "host/up0", "host/br0"),
        ("bridge", In, "host/br0", "host/vweb"),
        ("veth", In, "host/vweb", "web/eth0"),
        ("total", In, "host/up0", "web/eth0"),
        ("total", In, "host/br0", "web/eth0"),
    ]);
    for (at, segment) in segments.iter_mut().enumerate() {
        let base = 400 * (at as u64 + 1);
        for second in 1..=seconds {
            // A hump that wanders, and a few that come late.
            for n in 0..200 {
                segment.busy.record(base + (n * n) % base + 37 * second);
            }
            for n in 0..10 {
                segment.idle.record(base * 20 + 1000 * n);
            }
            segment.unmatched += 1;
            segment.left += 2;
        }
        segment.overwritten = u64::from(at == 2) * seconds;
    }
    Report {
        version: 1,
        duration_ns: seconds * 1_000_000_000,
        probe_cost_ns: Some(41.5),
        idle_gap_ns: 10_000_000,
        targets: vec![TargetLabel {
            label: "web".to_owned(),
            inode: 4_026_532_177,
        }],
        segments,
    }
}
