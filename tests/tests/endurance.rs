//! A flood into a ring of files, for some seconds, and for half an hour with `cargo xtask test --long`:
//! memory and descriptors stay as they are, every packet is accounted for, and the times of packets stay
//! those of the wall clock.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use netns_trace_tests::{
    bed::Bed,
    long::times,
    packets,
    raw::frame,
    require_root,
    summary::{self, assert_balanced, number, taps},
    tool::Running,
};

/// What it may take more at the end than after the start, in KiB: the allocator's slack.
const MORE_KIB: u64 = 2048;
/// By how much a packet's time may be off the wall clock.
const OFF: Duration = Duration::from_millis(1);

/// Resident memory in KiB, and open descriptors.
fn taken(pid: i32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    (kib.expect("its memory"), descriptors.count())
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

#[test]
fn it_goes_on_and_on() {
    require_root!();
    let time = Duration::from_secs(times(10, 1800) as u64);
    let bed = Bed::quiet();
    let (file, target) = (bed.file("ring.pcapng"), bed.target("a"));
    let args = [
        target.as_str(),
        "-C",
        "4MiB",
        "-W",
        "4",
        "--summary",
        "json",
        "-w",
        file.to_str().expect("a path"),
    ];
    let before = bed.counters("a", "eth0").1;
    let capture = Running::capture(args);
    let burst: Vec<Vec<u8>> = (0..500).map(|n| frame(None, n, 400)).collect();
    let start = Instant::now();
    let mut settled = None;
    let mut last = (Duration::ZERO, Duration::ZERO);
    while start.elapsed() < time {
        bed.send_frames("a", "eth0", &burst);
        let from = now();
        bed.send_frames("a", "eth0", &burst[..1]);
        last = (from, now());
        std::thread::sleep(Duration::from_millis(5));
        if settled.is_none() && start.elapsed() > time / 4 {
            settled = Some(taken(capture.pid()));
        }
    }
    let (kib, descriptors) = settled.expect("it has lasted");
    let (kib_now, descriptors_now) = taken(capture.pid());
    assert!(kib_now <= kib + MORE_KIB, "{kib} KiB, and now {kib_now}");
    assert_eq!(descriptors_now, descriptors, "descriptors");
    let done = capture.stop();
    let sent = bed.counters("a", "eth0").1 - before;
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    let received: u64 = taps(&summary)
        .iter()
        .filter(|tap| tap["direction"] == "out")
        .map(|tap| number(&tap["received"]))
        .sum();
    assert_eq!(received, sent, "{summary}");

    // The packet that was sent last, in the newest of the files.
    let files = fs::read_dir(file.parent().expect("a folder")).expect("a folder");
    let files = files.map(|entry| entry.expect("an entry").path());
    let newest = files
        .filter(|path| path.to_string_lossy().contains("ring.pcapng"))
        .max_by_key(|path| {
            fs::metadata(path)
                .and_then(|told| told.modified())
                .expect("told")
        });
    let packets = packets::read(&newest.expect("a file"));
    let time = Duration::from_nanos(packets.last().expect("a packet").time_ns);
    assert!(
        time + OFF >= last.0 && time <= last.1 + OFF,
        "{time:?}, and it was sent between {last:?}"
    );
    println!(
        "{sent} packets in {:?}, {} dropped; {kib} KiB after a quarter, {kib_now} at the end; {descriptors} descriptors",
        start.elapsed(),
        number(&summary["dropped"])
    );
}
