//! Times between taps, and the clock.

use std::time::Duration;

use netns_trace_tests::{
    kernel, require_root,
    timing::{Timing, figure},
    tool::{Running, netns_trace},
};
use serde_json::Value;

use super::{bridge, exchange, is_guest, number, pair, quiet, read, target};

/// Each datagram and its answer pass three taps: their times are in the histograms.
#[test]
fn every_packet_is_timed_between_its_taps() {
    require_root!();
    let lab = bridge();
    let (a, _) = pair(&lab);
    let router = lab.router().expect("a router");
    let mut command = netns_trace([
        "latency",
        &target(a),
        "--taps",
        "inside,veth,bridge",
        "--json",
    ]);
    command.stdout(std::process::Stdio::piped());
    let mut latency = Running::start(command);
    latency.wait_for("measuring between");
    exchange(a, router, 500);
    let done = latency.stop();
    assert!(done.status.success(), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let segments = report["segments"].as_array().expect("segments");
    let counts: Vec<(&str, &str, u64)> = segments
        .iter()
        .map(|segment| {
            let text = |key: &str| segment[key].as_str().expect("a text");
            (text("name"), text("direction"), number(&segment["count"]))
        })
        .collect();
    for name in ["veth", "bridge", "total"] {
        for direction in ["out", "in"] {
            let found = counts
                .iter()
                .find(|(n, d, _)| (*n, *d) == (name, direction));
            let (.., count) = found.unwrap_or_else(|| panic!("{name} {direction}: {counts:?}"));
            assert!((500..600).contains(count), "{name} {direction}: {counts:?}");
        }
    }
    for segment in segments {
        let figures = ["min_ns", "p50_ns", "p99_ns", "max_ns"].map(|key| number(&segment[key]));
        assert!(figures[0] > 0 && figures.is_sorted(), "{segment}");
        let busy_and_idle = number(&segment["busy"]["count"]) + number(&segment["idle"]["count"]);
        assert_eq!(busy_and_idle, number(&segment["count"]), "{segment}");
    }
}

/// Where the kernel has netem; elsewhere a token bucket is the known delay (`latency.rs`).
#[test]
fn a_known_delay_comes_out() {
    require_root!();
    // So long that what the timer of an emulated machine adds, a millisecond or two, is little of it.
    const DELAY_NS: u64 = 80_000_000;
    const COUNT: u64 = 60;
    let lab = quiet();
    let (a, b) = pair(&lab);
    exchange(a, b, 1);
    if !kernel::delay(&a.open().expect("a"), "eth0", DELAY_NS as i64) {
        assert!(!is_guest(), "this kernel was to have netem");
        kernel::skip("netem");
        return;
    }
    let both = format!("{},{}", target(a), target(b));
    let (from, to) = (format!("{}/eth0", a.name), format!("{}/eth0", b.name));
    // What is wrong with a measurement, if anything is.
    let measure = || {
        let timing = Timing::start(&[&both]);
        exchange(a, b, COUNT);
        let timed = timing.stop();
        let segment = timed.segment("veth", "out", &from, &to);
        assert!(number(&segment["count"]) >= COUNT, "{segment}");
        let is_off = |key: &&str| {
            let (found, known) = (figure(segment, key), DELAY_NS as f64);
            (found - known).abs() > known * 0.05 + 2000.0
        };
        // The highest are for the timer of an emulated machine to decide.
        let off = ["min_ns", "mean_ns", "p50_ns", "p90_ns"]
            .into_iter()
            .find(|key| is_off(key));
        off.map(|key| format!("{key}: {segment}"))
    };
    // An emulated machine stands still at times, while its packets wait: then once more.
    let wrong: Vec<String> = std::iter::repeat_with(measure)
        .take(5)
        .map_while(|wrong| wrong)
        .collect();
    assert!(wrong.len() < 5, "{wrong:#?}");
}

/// For the guests of `cargo xtask vm`: nobody else's clock is set.
#[test]
fn the_clock_may_be_set_meanwhile() {
    require_root!();
    if !is_guest() {
        eprintln!("skipped: nobody else's clock is set");
        return;
    }
    const HOUR: i64 = 3600;
    let set_by = |seconds: i64| {
        let clock = nix::time::ClockId::CLOCK_REALTIME;
        let now = nix::time::clock_gettime(clock).expect("the time");
        let time = libc::timespec {
            tv_sec: now.tv_sec() + seconds,
            tv_nsec: 0,
        };
        // SAFETY: a live `timespec`.
        let set = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    };
    let (lab, folder) = (bridge(), tempfile::tempdir().expect("a folder"));
    let (a, b) = pair(&lab);
    let file = folder.path().join("clock.pcapng");
    let name = file.to_str().expect("a path");
    let timing = Timing::start(&[&target(a)]);
    let mut capture = Running::capture([target(a).as_str(), "-w", name]);
    exchange(a, b, 5);
    set_by(HOUR);
    capture.wait_for("set forward by 3");
    exchange(a, b, 5);
    set_by(-2 * HOUR);
    capture.wait_for("set back by 7");
    exchange(a, b, 5);
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let times: Vec<Duration> = read(&file).iter().map(|packet| packet.time).collect();
    assert!(times.is_sorted(), "time never runs backwards: {times:?}");
    let passed = times[times.len() - 1] - times[0];
    assert!((3590..3700).contains(&passed.as_secs()), "{passed:?}");
    for segment in timing.stop().segments() {
        if number(&segment["count"]) > 0 {
            assert!(number(&segment["max_ns"]) < 1_000_000_000, "{segment}");
        }
    }
    set_by(HOUR);
}
