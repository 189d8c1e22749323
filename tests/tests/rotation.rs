//! A capture that is spread over files: no packet is lost or there twice, and each file is complete.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::Bed,
    packets::{self, Packet},
    patience::patience,
    raw::frame,
    statistics,
    summary::{self, assert_balanced, assert_lossless, number},
    tool::{Running, must},
};
use nix::sys::signal::Signal;

/// Sends numbered frames in bursts from `a`.
fn flood(bed: &Bed, from: u32, to: u32) {
    for start in (from..to).step_by(200) {
        let burst: Vec<Vec<u8>> = (start..(start + 200).min(to))
            .map(|number| frame(None, number, 300))
            .collect();
        bed.send_frames("a", "eth0", &burst);
    }
}

fn own_number(packet: &Packet) -> Option<u32> {
    let number = packet.data.get(14..18)?.try_into().ok()?;
    (packet.data.get(12..14) == Some(&[0x88, 0xb5])).then(|| u32::from_be_bytes(number))
}

/// Our frames' numbers in all of these files, in order. Each file can be read by foreign tools to its end.
fn numbers(files: &[PathBuf]) -> Vec<u32> {
    let mut all = Vec::new();
    for file in files {
        let mut capinfos = Command::new("capinfos");
        capinfos.arg(file);
        must(capinfos);
        all.extend(packets::read(file).iter().filter_map(own_number));
    }
    all
}

/// None is missing, and none there twice.
fn assert_in_order(numbers: &[u32], wanted: std::ops::Range<u32>) {
    assert_eq!(numbers.len(), wanted.len());
    let wrong = numbers
        .iter()
        .zip(wanted)
        .find(|(number, wanted)| *number != wanted);
    assert_eq!(wrong, None, "a number, and the one that was to be there");
}

fn capture(bed: &Bed, options: &[&str], file: &Path) -> Running {
    let target = bed.target("a");
    let mut args = vec![target.as_str(), "--summary", "json", "-Q", "out"];
    args.extend(options);
    args.extend(["-w", file.to_str().expect("a path")]);
    Running::capture(args)
}

/// The files of a folder, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort_by_key(|file| {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or(0)
    });
    files
}

#[test]
fn files_of_a_size_hold_every_packet_once() {
    for (extension, format) in [("pcapng", "pcapng"), ("pcap", "pcap")] {
        let bed = Bed::quiet();
        let folder = tempfile::tempdir().expect("a folder");
        let first = folder.path().join("x.").with_extension(extension);
        let running = capture(&bed, &["-C", "64K", "--format", format], &first);
        flood(&bed, 0, 4000);
        let done = running.stop();
        assert!(done.status.success(), "{done:?}");
        let summary = summary::of(&done);
        assert_balanced(&summary);
        assert_lossless(&summary);
        // FILE, FILE1, FILE2, …
        let count = number(&summary["files"]);
        let mut names = vec![first.clone()];
        names.extend((1..count).map(|n| folder.path().join(format!("x.{extension}{n}"))));
        assert!(
            names.len() > 10 && names.iter().all(|name| name.exists()),
            "{names:?}"
        );
        assert_eq!(files(folder.path()).len(), names.len());
        assert_in_order(&numbers(&names), 0..4000);
        let in_files: usize = names.iter().map(|name| packets::read(name).len()).sum();
        assert_eq!(in_files as u64, number(&summary["captured"]));
        for name in &names[..names.len() - 1] {
            let len = fs::metadata(name).expect("a file").len();
            assert!(len > 64 << 10 && len < 66 << 10, "{len}");
        }
        if format == "pcapng" {
            let told = names.iter().map(|name| statistics::of(name));
            let (received, captured) = told.fold((0, 0), |sum, told| {
                (sum.0 + told.received, sum.1 + told.captured)
            });
            assert_eq!(captured, number(&summary["captured"]));
            assert_eq!(received, number(&summary["received"]));
        }
    }
}

#[test]
fn drops_are_told_by_the_file_that_they_are_in() {
    let bed = Bed::quiet();
    let folder = tempfile::tempdir().expect("a folder");
    let first = folder.path().join("x.pcapng");
    let running = capture(&bed, &["-C", "16K", "--buffer", "8K"], &first);
    for round in 0..5 {
        // Asleep, it takes nothing out of the ring.
        running.signal(Signal::SIGSTOP);
        flood(&bed, round * 1000, round * 1000 + 400);
        running.signal(Signal::SIGCONT);
        flood(&bed, round * 1000 + 400, round * 1000 + 600);
    }
    let summary = summary::of(&running.stop());
    assert_balanced(&summary);
    let dropped = number(&summary["dropped"]);
    assert!(dropped > 500, "{summary}");
    let files = files(folder.path());
    assert!(files.len() > 3, "{files:?}");
    let mut all = 0;
    for (number, file) in files.iter().enumerate() {
        let mut tshark = Command::new("tshark");
        tshark
            .args(["-T", "fields", "-e", "frame.drop_count", "-r"])
            .arg(file);
        let told: u64 = must(tshark)
            .lines()
            .filter_map(|line| line.parse::<u64>().ok())
            .sum();
        let statistics = statistics::of(file);
        if number + 1 < files.len() {
            assert_eq!(statistics.dropped, told, "{file:?}");
        } else {
            assert!(
                statistics.dropped >= told,
                "{file:?}: and those after the last packet"
            );
        }
        all += statistics.dropped;
        assert_eq!(
            statistics.captured,
            packets::read(file).len() as u64,
            "{file:?}"
        );
    }
    assert_eq!(all, dropped);
}

#[test]
fn a_ring_of_files_keeps_the_latest() {
    let bed = Bed::quiet();
    let folder = tempfile::tempdir().expect("a folder");
    let running = capture(&bed, &["-C", "32K", "-W", "12"], &folder.path().join("x"));
    flood(&bed, 0, 4000);
    let done = running.stop();
    let summary = summary::of(&done);
    assert_lossless(&summary);
    let names: Vec<PathBuf> = (0..12)
        .map(|n| folder.path().join(format!("x{n:02}")))
        .collect();
    assert_eq!(files(folder.path()), names);
    // Where the ring was closed, numbers go back once.
    let mut kept = numbers(&names);
    kept.sort_unstable();
    let first = kept[0];
    assert!(first > 1000 && first < 3500, "{first}");
    assert_in_order(&kept, first..4000);
}

#[test]
fn files_of_a_time_end_the_capture_and_are_named_by_it() {
    let bed = Bed::quiet();
    let folder = tempfile::tempdir().expect("a folder");
    let pattern = folder.path().join("x-%s.pcapng");
    let running = capture(&bed, &["-G", "1", "-W", "3"], &pattern);
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(2900) {
        flood(&bed, sent, sent + 50);
        sent += 50;
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nothing more comes; it ends all the same.
    let done = running.wait();
    assert!(done.status.success(), "{done:?}");
    assert!(start.elapsed() < patience(), "{:?}", start.elapsed());
    let summary = summary::of(&done);
    assert_balanced(&summary);
    assert_eq!(number(&summary["files"]), 3, "{summary}");
    let files = files(folder.path());
    assert_eq!(files.len(), 3, "{files:?}");
    let kept = numbers(&files);
    assert_in_order(&kept, 0..kept.len() as u32);
    let name = files[0]
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let seconds: u64 = name[2..12].parse().expect("seconds since 1970");
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    assert!(now - seconds < 60, "{name}");
}

#[test]
fn a_command_runs_on_each_file_that_is_complete() {
    let bed = Bed::quiet();
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("after");
    let log = folder.path().join("log");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\ncapinfos \"$1\" >/dev/null 2>&1 && echo \"$1 $(nice) $#\" >>{}\n",
            log.display()
        ),
    )
    .expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a program");
    let captured = folder.path().join("captured");
    fs::create_dir(&captured).expect("a folder");
    let script = script.to_str().expect("a path");
    let running = capture(&bed, &["-C", "100K", "-z", script], &captured.join("x"));
    flood(&bed, 0, 2000);
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
    let files = files(&captured);
    assert!(files.len() > 4, "{files:?}");
    // The last commands go on by themselves.
    let end = Instant::now() + patience();
    let mut told = Vec::new();
    while told.len() < files.len() && Instant::now() < end {
        let text = fs::read_to_string(&log).unwrap_or_default();
        told = text.lines().map(str::to_owned).collect();
        std::thread::sleep(Duration::from_millis(50));
    }
    told.sort();
    let mut wanted: Vec<String> = files
        .iter()
        .map(|file| format!("{} 19 1", file.display()))
        .collect();
    wanted.sort();
    assert_eq!(told, wanted);
}

#[test]
fn a_next_file_that_cannot_be_made_ends_the_capture_with_what_is_there() {
    let bed = Bed::quiet();
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).expect("a folder");
    let first = inner.join("x.pcapng");
    let running = capture(&bed, &["-C", "1"], &first);
    flood(&bed, 0, 1000);
    // In the place of the second file there is a folder.
    fs::create_dir(inner.join("x.pcapng1")).expect("a folder");
    flood(&bed, 1000, 6000);
    let done = running.wait();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("x.pcapng1"), "{done:?}");
    assert!(done.stderr.contains("directory"), "{done:?}");
    let kept = numbers(&[first]);
    assert!(kept.len() > 2500, "{}", kept.len());
    assert_in_order(&kept, 0..kept.len() as u32);
    let json = done
        .stderr
        .lines()
        .find(|line| line.starts_with('{'))
        .expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_balanced(&summary);
    assert_eq!(number(&summary["captured"]), kept.len() as u64, "{summary}");
}
