//! Every packet is accounted for, exactly, also when the ring runs over, the output fails, or the
//! capture has all it wanted.

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use netns_trace_tests::{
    bed::Bed,
    packets,
    raw::frame,
    statistics,
    summary::{self, assert_balanced, number},
    tool::{Running, netns_trace},
};
use nix::sys::signal::Signal;
use serde_json::Value;

fn received(summary: &Value, direction: &str) -> u64 {
    let taps = summary["taps"].as_array().expect("taps");
    taps.iter()
        .filter(|tap| tap["direction"] == direction)
        .map(|tap| number(&tap["received"]))
        .sum()
}

/// Sends frames in bursts from `a`.
fn flood(bed: &Bed, frames: u32, len: usize) {
    for start in (0..frames).step_by(500) {
        let burst: Vec<Vec<u8>> = (start..(start + 500).min(frames))
            .map(|n| frame(None, n, len))
            .collect();
        bed.send_frames("a", "eth0", &burst);
    }
}

#[test]
fn a_ring_that_runs_over_loses_what_it_says() {
    let bed = Bed::quiet();
    let file = bed.file("flood.pcapng");
    let target = bed.target("a");
    let mut args = vec![target.as_str(), "--buffer", "4K", "--summary", "json", "-w"];
    args.push(file.to_str().expect("a path"));
    let before = bed.counters("a", "eth0");
    let capture = Running::capture(args);
    // Asleep, it takes nothing out of the ring: all but the first few packets are dropped.
    capture.signal(Signal::SIGSTOP);
    flood(&bed, 4000, 200);
    capture.signal(Signal::SIGCONT);
    flood(&bed, 2000, 200);
    let done = capture.stop();
    let after = bed.counters("a", "eth0");
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    let dropped = number(&summary["dropped"]);
    assert!(dropped > 3500, "{summary}");
    assert_eq!(
        received(&summary, "out"),
        after.1 - before.1,
        "the interface's own count: {summary}"
    );
    let in_file = packets::read(&file).len() as u64;
    assert_eq!(in_file, number(&summary["captured"]));
    // The file says the same: drop counts of the packets and the statistics block.
    let tshark = Command::new("tshark")
        .args(["-T", "fields", "-e", "frame.drop_count", "-r"])
        .arg(&file)
        .output()
        .expect("tshark runs");
    let counts: u64 = String::from_utf8_lossy(&tshark.stdout)
        .lines()
        .filter_map(|line| line.parse::<u64>().ok())
        .sum();
    let statistics = statistics::of(&file);
    assert_eq!(statistics.dropped, dropped);
    assert_eq!(statistics.captured, in_file);
    assert_eq!(statistics.received, number(&summary["received"]));
    assert!(
        counts <= dropped && counts > 0,
        "{counts} of {dropped} told by packets"
    );
}

#[test]
fn nothing_is_lost_without_need_and_the_counters_agree() {
    let bed = Bed::quiet();
    let file = bed.file("all.pcapng");
    let target = bed.target("a");
    let before = bed.counters("a", "eth0");
    let capture = Running::capture([
        target.as_str(),
        "--summary",
        "json",
        "-w",
        file.to_str().expect("a path"),
    ]);
    flood(&bed, 20_000, 100);
    bed.in_ns("a", "ping", &["-c", "50", "-i", "0.002", "10.9.0.3"]);
    let done = capture.stop();
    let after = bed.counters("a", "eth0");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    assert_eq!(number(&summary["dropped"]), 0, "{summary}");
    assert_eq!(received(&summary, "out"), after.1 - before.1);
    assert_eq!(received(&summary, "in"), after.0 - before.0);
    assert_eq!(
        packets::read(&file).len() as u64,
        number(&summary["captured"])
    );
    let statistics = statistics::of(&file);
    assert_eq!(statistics.captured, number(&summary["captured"]));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos() as u64;
    assert!(statistics.start_ns < statistics.end_ns && statistics.end_ns < now);
    assert!(
        now - statistics.start_ns < 120_000_000_000,
        "started within the last minutes"
    );
}

#[test]
fn a_count_discards_and_does_not_drop() {
    let bed = Bed::bridge();
    let file = bed.file("count.pcapng");
    let target = bed.target("a");
    let name = file.to_str().expect("a path").to_owned();
    let mut args = vec![
        target.as_str(),
        "-c",
        "10",
        "--buffer",
        "64K",
        "--summary",
        "json",
    ];
    args.extend(["-w", &name]);
    let capture = Running::capture(args);
    flood(&bed, 3000, 300);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    assert_eq!(number(&summary["captured"]), 10);
    assert_eq!(number(&summary["dropped"]), 0, "{summary}");
    assert_eq!(packets::read(&file).len(), 10);
}

#[test]
fn a_full_device_is_told_and_the_file_stays_whole() {
    let bed = Bed::bridge();
    let folder = bed.file("small");
    fs::create_dir(&folder).expect("a folder");
    netns_trace_tests::bed::must(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            "size=1m",
            "none",
            folder.to_str().expect("a path"),
        ],
    );
    let _unmount = Unmount(folder.clone());
    let file = folder.join("full.pcapng");
    let target = bed.target("a");
    let capture = Running::capture([
        target.as_str(),
        "--summary",
        "json",
        "-w",
        file.to_str().expect("a path"),
    ]);
    flood(&bed, 3000, 1400);
    let done = capture.wait();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("No space left on device"), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    let lost: u64 = summary["taps"]
        .as_array()
        .expect("taps")
        .iter()
        .filter_map(|tap| tap["lost"]["no_space"].as_u64())
        .sum();
    assert!(lost > 0, "{summary}");
    assert_eq!(
        packets::read(&file).len() as u64,
        number(&summary["captured"])
    );
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn a_closed_pipe_ends_it_without_an_error() {
    let bed = Bed::bridge();
    let mut command = netns_trace(["capture", &bed.target("a"), "-w", "-"]);
    command.stdout(Stdio::piped());
    let mut capture = Running::start(command);
    capture.wait_for("listening on");
    let mut pipe = capture.child().stdout.take().expect("a pipe");
    flood(&bed, 10, 100);
    let mut head = [0; 64];
    pipe.read_exact(&mut head).expect("the file's start");
    drop(pipe);
    flood(&bed, 2000, 1000);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.contains("lost: output closed"), "{done:?}");
}

#[test]
fn a_reader_that_stops_reading_does_not_keep_it_from_ending() {
    let bed = Bed::bridge();
    let mut command = netns_trace([
        "capture",
        &bed.target("a"),
        "--summary",
        "json",
        "-w",
        "-",
        "--buffer",
        "1M",
    ]);
    command.stdout(Stdio::piped());
    let mut capture = Running::start(command);
    capture.wait_for("listening on");
    let mut pipe = capture.child().stdout.take().expect("a pipe");
    flood(&bed, 6000, 1000);
    std::thread::sleep(Duration::from_millis(300));
    capture.signal(Signal::SIGTERM);
    let done = capture.wait();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    let stalled: u64 = summary["taps"]
        .as_array()
        .expect("taps")
        .iter()
        .filter_map(|tap| tap["lost"]["output_stalled"].as_u64())
        .sum();
    assert!(stalled > 0 && number(&summary["dropped"]) > 0, "{summary}");
    // The reader wakes up: what counts as captured is there.
    let mut got = Vec::new();
    pipe.read_to_end(&mut got).expect("the rest");
    let file = bed.file("late.pcapng");
    let whole = whole_blocks(&got);
    fs::write(&file, &got[..whole]).expect("written");
    assert_eq!(
        packets::read(&file).len() as u64,
        number(&summary["captured"])
    );
}

/// How many bytes of a pcapng stream are whole blocks.
fn whole_blocks(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let length =
            u32::from_ne_bytes(bytes[at + 4..at + 8].try_into().expect("4 bytes")) as usize;
        if at + length > bytes.len() {
            break;
        }
        at += length;
    }
    at
}
