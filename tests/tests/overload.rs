//! What a capture does with more than it can keep: headers rather than bodies, one of many packets, and exact counts in any
//! case.

use std::{path::Path, process::Command};

use netns_trace_tests::{
    bed::Bed,
    packets::{self, Packet},
    raw::frame,
    summary::{self, assert_balanced, number, taps},
    tool::{Done, Running, run},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Bytes of each frame.
const LEN: usize = 1400;

/// Frames of consecutive numbers from `a`.
fn send(bed: &Bed, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for some in numbers.chunks(500) {
        let frames: Vec<Vec<u8>> = some.iter().map(|n| frame(None, *n, LEN)).collect();
        bed.send_frames("a", "eth0", &frames);
    }
}

/// A capture of `a` with these options, which does not read the ring while `sending`.
fn asleep(bed: &Bed, options: &[&str], file: &Path, sending: impl FnOnce()) -> Value {
    let target = bed.target("a");
    let mut args = vec![target.as_str(), "--no-latency", "--summary", "json", "-w"];
    args.push(file.to_str().expect("a path"));
    args.extend(options);
    let capture = Running::capture(args);
    capture.signal(Signal::SIGSTOP);
    sending();
    capture.signal(Signal::SIGCONT);
    summary_of(&capture.stop())
}

fn summary_of(done: &Done) -> Value {
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(done);
    assert_balanced(&summary);
    summary
}

/// The sum of a count over all taps and directions.
fn total(summary: &Value, what: &str) -> u64 {
    taps(summary).iter().map(|tap| number(&tap[what])).sum()
}

/// The number that each frame has.
fn numbers(packets: &[Packet]) -> Vec<u32> {
    let number = |packet: &Packet| {
        let bytes = packet.data.get(14..18)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    packets.iter().filter_map(number).collect()
}

/// What of the file tshark calls cut short.
fn called_shed(file: &Path) -> usize {
    let tshark = Command::new("tshark")
        .args(["-T", "fields", "-e", "frame.number", "-Y"])
        .arg("frame.comment contains \"shed\"")
        .arg("-r")
        .arg(file)
        .output()
        .expect("tshark runs");
    assert!(tshark.status.success(), "{tshark:?}");
    String::from_utf8_lossy(&tshark.stdout).lines().count()
}

#[test]
fn bodies_give_way_to_headers_and_both_are_counted() {
    let bed = Bed::quiet();
    let file = bed.file("shed.pcapng");
    // Three quarters of 256 KiB hold about 136 such frames whole, the rest of it some 580 headers.
    let options = ["--buffer", "256K", "--shed=64"];
    let summary = asleep(&bed, &options, &file, || send(&bed, 0..500));
    assert_eq!(number(&summary["dropped"]), 0, "{summary}");
    let packets = packets::read(&file);
    assert_eq!(numbers(&packets), (0..500).collect::<Vec<_>>());
    assert!(packets.iter().all(|packet| packet.len == LEN as u32));
    let whole = packets.iter().take_while(|packet| packet.data.len() == LEN);
    let whole = whole.count();
    assert!((120..145).contains(&whole), "{whole} whole ones");
    assert!(
        packets[whole..]
            .iter()
            .all(|packet| packet.data.len() == 64)
    );
    let shed = packets.len() - whole;
    assert_eq!(total(&summary, "shed"), shed as u64, "{summary}");
    assert_eq!(called_shed(&file), shed);
}

#[test]
fn where_headers_do_not_fit_either_they_are_dropped_and_counted() {
    let bed = Bed::quiet();
    let (file, without) = (bed.file("shed.pcapng"), bed.file("whole.pcapng"));
    let before = bed.counters("a", "eth0");
    let options = ["--buffer", "256K", "--shed"];
    let summary = asleep(&bed, &options, &file, || send(&bed, 0..2000));
    let sent = bed.counters("a", "eth0").1 - before.1;
    let (captured, dropped) = (number(&summary["captured"]), number(&summary["dropped"]));
    assert!(dropped > 1000, "{summary}");
    assert_eq!(total(&summary, "received"), sent, "{summary}");
    let packets = packets::read(&file);
    assert_eq!(packets.len() as u64, captured);
    let cut = packets
        .iter()
        .filter(|packet| packet.data.len() == 128)
        .count();
    assert_eq!(cut as u64, total(&summary, "shed"), "{summary}");
    assert_eq!(called_shed(&file), cut);
    // What it is for: without, bodies take the room of others' headers.
    let plain = asleep(&bed, &options[..2], &without, || send(&bed, 0..2000));
    assert!(
        number(&plain["captured"]) * 2 < captured,
        "{plain} {summary}"
    );
    assert_eq!((total(&plain, "shed"), called_shed(&without)), (0, 0));
}

#[test]
fn nothing_is_cut_while_there_is_room() {
    let bed = Bed::quiet();
    let file = bed.file("room.pcapng");
    let summary = asleep(&bed, &["--shed=64"], &file, || send(&bed, 0..500));
    assert_eq!(total(&summary, "shed"), 0, "{summary}");
    let packets = packets::read(&file);
    assert_eq!(packets.len(), 500);
    assert!(packets.iter().all(|packet| packet.data.len() == LEN));
}

#[test]
fn one_of_many_is_taken_and_the_others_are_counted() {
    let bed = Bed::quiet();
    let file = bed.file("sample.pcapng");
    let before = bed.counters("a", "eth0");
    let summary = asleep(&bed, &["--sample", "1/10"], &file, || send(&bed, 0..1000));
    let sent = bed.counters("a", "eth0").1 - before.1;
    let (received, left_out) = (total(&summary, "received"), total(&summary, "unsampled"));
    assert_eq!(received + left_out, sent, "{summary}");
    assert_eq!(total(&summary, "filtered"), 0, "{summary}");
    // Each processor counts by itself.
    let most = 100 + std::thread::available_parallelism().map_or(64, |cpus| cpus.get() as u64);
    assert!((100..=most).contains(&received), "{summary}");
    assert_eq!(packets::read(&file).len() as u64, received);
}

/// At several taps it is the same packets, so that each can be followed.
#[test]
fn the_same_packets_are_taken_at_all_taps() {
    let bed = Bed::quiet();
    let file = bed.file("taps.pcapng");
    let target = bed.target("a");
    let path = file.to_str().expect("a path");
    let capture = Running::capture([
        target.as_str(),
        "--taps",
        "inside,veth",
        "--sample",
        "1/7",
        "--summary",
        "json",
        "-w",
        path,
    ]);
    send(&bed, 0..700);
    let summary = summary_of(&capture.stop());
    let mut numbers = numbers(&packets::read(&file));
    assert!((200..=220).contains(&numbers.len()), "{summary}");
    numbers.sort_unstable();
    for pair in numbers.chunks(2) {
        assert_eq!(
            pair[0],
            *pair.last().expect("one"),
            "seen at both: {numbers:?}"
        );
    }
}

/// Nothing but the end of the file may be missing: no hole, and no packet twice.
#[test]
fn killed_under_load_it_leaves_a_file_that_is_whole_up_to_its_end() {
    let bed = Bed::quiet();
    let file = bed.file("killed.pcapng");
    let target = bed.target("a");
    let path = file.to_str().expect("a path").to_owned();
    let capture = Running::capture([target.as_str(), "--no-latency", "-w", &path]);
    // So much that it is written in large pieces.
    send(&bed, 0..4000);
    let written = || std::fs::metadata(&file).map_or(0, |file| file.len());
    for _ in 0..100 {
        if written() > 2 << 20 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| send(&bed, 4000..8000));
        std::thread::sleep(std::time::Duration::from_millis(20));
        capture.signal(Signal::SIGKILL);
    });
    drop(capture.wait());
    let size = written();
    assert!(size > 2 << 20, "{size} bytes");
    let output = Command::new("tcpdump")
        .args(["--time-stamp-precision=nano", "-w", "-", "-r"])
        .arg(&file)
        .output()
        .expect("tcpdump runs");
    // It may have been killed in the middle of a write.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || said.contains("truncated"),
        "{said}"
    );
    let numbers = numbers(&packets::parse(&output.stdout));
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
    assert!(numbers.len() > 1000, "{} packets", numbers.len());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (option, said) in [
        ("--sample=0", "such as 1/100"),
        ("--sample=1/0", "such as 1/100"),
        ("--sample=2/3", "such as 1/100"),
        ("--shed=0", "not in 1..=262144"),
        ("--shed=x", "invalid digit"),
    ] {
        let done = run(["capture", "host", option, "-w", "/dev/null"]);
        assert_eq!(done.status.code(), Some(2), "{option}: {done:?}");
        assert!(done.stderr.contains(said), "{option}: {done:?}");
    }
}
