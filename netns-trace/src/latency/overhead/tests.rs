//! The arithmetic, on figures that are known.

use super::*;
use crate::latency::{Samples, report::tests::sample as report};

/// Trips that all take the same time, but for one.
fn trips(ns: u64) -> Option<Trips> {
    let mut times = vec![ns; 99];
    times.push(ns * 2);
    Some(Trips::new(101, &times))
}

fn round(loopback: u64, gateway: u64) -> Round {
    Round {
        loopback: trips(loopback),
        host_loopback: trips(loopback - 100),
        gateway: trips(gateway),
    }
}

/// Segments of these times, one packet each.
fn segments(times: [u64; 4]) -> Report {
    let mut report = report();
    let like = report.segments[0].clone();
    let names = [
        ("veth", Direction::Out),
        ("bridge", Direction::Out),
        ("bridge", Direction::In),
        ("veth", Direction::In),
    ];
    let made = names.iter().zip(times).map(|((name, direction), ns)| {
        let mut busy = Samples::default();
        if ns > 0 {
            busy.record(ns);
        }
        crate::latency::Segment {
            name: (*name).to_owned(),
            direction: *direction,
            busy,
            idle: Samples::default(),
            ..like.clone()
        }
    });
    report.segments = made.collect();
    report.probe_cost_ns = Some(40.0);
    report
}

/// A run as it might be: 3 µs on loopback, 8 µs to the gateway.
pub(super) fn sample() -> Overhead {
    let mut busy = Comparison::new(round(3_000, 8_000));
    busy.split_by(round(3_000, 8_300), &segments([400, 600, 500, 300]), 3);
    Overhead {
        version: 1,
        target: TargetLabel {
            label: "web".to_owned(),
            inode: 4_026_532_177,
        },
        interface: "eth0".to_owned(),
        to: "10.77.0.1".to_owned(),
        is_gateway: true,
        echo_bytes: 64,
        socket: "raw".to_owned(),
        pause_ns: 20_000_000,
        ended: Ended::Done,
        probe_cost_ns: Some(40.0),
        taps: ["eth0@web", "vweb@host", "br0@host"]
            .map(str::to_owned)
            .to_vec(),
        idle: Comparison::new(round(40_000, 80_000)),
        busy,
        missing: Vec::new(),
    }
}

#[test]
fn figures_are_exact() {
    let times: Vec<u64> = (1..=1000).rev().collect();
    let figures = Figures::of(&times);
    assert_eq!((figures.count, figures.mean_ns), (1000, Some(500.5)));
    assert_eq!(
        [figures.min_ns, figures.p50_ns, figures.p90_ns],
        [Some(1), Some(500), Some(900)]
    );
    assert_eq!(
        [figures.p99_ns, figures.p999_ns, figures.max_ns],
        [Some(990), Some(999), Some(1000)]
    );
    assert_eq!(Figures::of(&[]), Figures::default());
    assert_eq!(Figures::of(&[7]).p999_ns, Some(7));
}

fn centre(mean_ns: f64, p50_ns: f64) -> Option<Centre> {
    Some(Centre { mean_ns, p50_ns })
}

#[test]
fn the_parts_and_the_rest_make_the_difference() {
    let busy = sample().busy;
    // 100 trips, one of which takes twice as long.
    assert_eq!(busy.difference, centre(5_050.0, 5_000.0));
    let split = busy.split.expect("it was made");
    assert_eq!(split.parts[0].time, centre(400.0, 400.0));
    // 6 passes of 40 ns; the gateway became slower by 300 ns, of which 4 of 6 are in parts.
    assert_eq!(split.taps_account_ns, Some(240.0));
    assert_eq!(split.taps_observed_ns, Some(300.0));
    assert_eq!(split.taps_in_parts_ns, 200.0);
    assert_eq!(split.rest, centre(5_050.0 - 1_600.0, 5_000.0 - 1_600.0));
    // Under the probes 8,383 on average; 1,800 in segments; two taps' time outside them.
    assert_eq!(
        split.stacks,
        centre(8_383.0 - 1_800.0 - 100.0, 8_300.0 - 1_800.0 - 100.0)
    );
}

#[test]
fn drift_is_no_cost_of_the_taps() {
    let mut busy = Comparison::new(round(3_000, 8_000));
    busy.split_by(round(3_500, 8_500), &segments([400, 600, 500, 300]), 3);
    let split = busy.split.expect("it was made");
    assert_eq!(split.taps_observed_ns, Some(0.0));
    // But they cannot cost less than they do on their own.
    assert_eq!(split.taps_in_parts_ns, 160.0);
}

#[test]
fn a_segment_without_packets_takes_nothing() {
    let mut busy = Comparison::new(round(3_000, 8_000));
    busy.split_by(round(3_000, 8_000), &segments([400, 0, 0, 300]), 3);
    let split = busy.split.expect("it was made");
    assert_eq!((split.parts[1].count, split.parts[1].time), (0, None));
    assert_eq!(split.rest, centre(5_050.0 - 620.0, 5_000.0 - 620.0));
}

#[test]
fn the_rest_may_be_negative() {
    let mut busy = Comparison::new(round(3_000, 3_500));
    busy.split_by(round(3_000, 3_500), &segments([400, 600, 500, 300]), 3);
    let rest = busy.split.expect("it was made").rest;
    assert_eq!(rest, centre(505.0 - 1_640.0, 500.0 - 1_640.0));
}

#[test]
fn without_a_loopback_there_is_no_difference() {
    let half = Round {
        loopback: None,
        ..round(3_000, 8_000)
    };
    let mut busy = Comparison::new(half.clone());
    busy.split_by(half, &segments([100, 200, 300, 400]), 3);
    assert_eq!(busy.difference, None);
    assert_eq!(busy.split.expect("it was made").rest, None);
}

#[test]
fn json_has_the_same_figures() {
    let json: serde_json::Value = serde_json::from_str(&sample().json()).expect("JSON");
    assert_eq!(json["version"], 1);
    assert_eq!(json["ended"], "done");
    let busy = &json["busy"];
    assert_eq!(busy["loopback"]["p50_ns"], 3_000);
    assert_eq!(
        (&busy["gateway"]["sent"], &busy["gateway"]["lost"]),
        (&101.into(), &1.into())
    );
    assert_eq!(busy["difference"]["mean_ns"], 5_050.0);
    assert_eq!(busy["split"]["parts"][0]["time"]["mean_ns"], 400.0);
    assert_eq!(busy["split"]["probed"]["gateway"]["count"], 100);
    assert!(json["idle"]["split"].is_null());
}
