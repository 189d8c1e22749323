//! Once everything is attached, a run keeps no right that it does not need, and ends as well without them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::Bed,
    packets,
    raw::frame,
    refusal::refused,
    summary::{self, assert_balanced, number},
    tool::{Done, PATIENCE, Running, netns_trace},
};

/// The sets of capabilities, and the rest, of one thread.
type Rights = BTreeMap<String, String>;

const FIELDS: [&str; 10] = [
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Uid",
    "Gid",
    "Groups",
];

/// Those of all threads.
fn rights(pid: i32) -> Vec<Rights> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let mut all = Vec::new();
    for thread in threads {
        let path = thread.expect("a thread").path().join("status");
        // One may end meanwhile.
        let Ok(status) = fs::read_to_string(path) else {
            continue;
        };
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        let fields = fields.filter(|(name, _)| FIELDS.contains(name) || *name == "Name");
        all.push(
            fields
                .map(|(name, value)| {
                    (
                        name.to_owned(),
                        value.split_whitespace().collect::<Vec<_>>().join(" "),
                    )
                })
                .collect(),
        );
    }
    all
}

/// The rights once every thread has got rid of those that it does not need.
fn settled(pid: i32, is_settled: impl Fn(&[Rights]) -> bool) -> Vec<Rights> {
    let end = Instant::now() + PATIENCE;
    loop {
        let all = rights(pid);
        if is_settled(&all) || Instant::now() > end {
            return all;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_nothing(rights: &Rights) -> bool {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .iter()
        .all(|set| rights[*set] == "0000000000000000")
        && rights["NoNewPrivs"] == "1"
        // SECCOMP_MODE_FILTER
        && rights["Seccomp"] == "2"
}

fn all_have_nothing(all: &[Rights]) -> bool {
    all.iter().all(has_nothing)
}

fn flood(bed: &Bed, frames: u32) {
    let frames: Vec<Vec<u8>> = (0..frames).map(|number| frame(None, number, 200)).collect();
    bed.send_frames("a", "eth0", &frames);
}

/// A capture that has ended as it should, with this many packets in its file.
fn assert_whole(done: &Done, file: &Path, wanted: u64) {
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(done);
    assert_balanced(&summary);
    let captured = number(&summary["captured"]);
    assert!(captured >= wanted, "{summary}");
    assert_eq!(packets::read(file).len() as u64, captured);
    assert!(summary["latency"]["segments"].is_array(), "{summary}");
    assert!(
        summary["latency"]["probe_cost_ns"]
            .as_f64()
            .is_some_and(|cost| cost > 0.0),
        "{summary}"
    );
}

fn capture<'a>(target: &'a str, file: &'a Path, more: &[&'a str]) -> Running {
    let mut args = vec![
        target,
        "--summary",
        "json",
        "-w",
        file.to_str().expect("a path"),
    ];
    args.extend(more);
    Running::capture(args)
}

#[test]
fn a_capture_to_a_file_keeps_nothing() {
    let bed = Bed::quiet();
    let (file, target) = (bed.file("x.pcapng"), bed.target("a"));
    let running = capture(&target, &file, &["--taps", "all"]);
    let all = settled(running.pid(), all_have_nothing);
    assert!(all_have_nothing(&all), "{all:#?}");
    flood(&bed, 500);
    assert_whole(&running.stop(), &file, 500);
    assert!(bed.tcx("a", "eth0").iter().all(Vec::is_empty));
}

#[test]
fn text_is_made_without_any_right() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let mut command = netns_trace(["capture", &target, "-c", "100", "-t", "-q"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("listening on");
    let all = settled(running.pid(), all_have_nothing);
    assert!(all_have_nothing(&all), "{all:#?}");
    flood(&bed, 200);
    let done = running.wait();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(done.stdout.lines().count(), 100, "{done:?}");
}

#[test]
fn files_are_read_without_any_right() {
    netns_trace_tests::require_root!();
    let mut command = netns_trace(["read", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command);
    let all = settled(running.pid(), all_have_nothing);
    assert!(all_have_nothing(&all), "{all:#?}");
    drop(running.child().stdin.take());
    let done = running.wait();
    assert!(
        done.stderr.contains("cannot read standard input"),
        "{done:?}"
    );
}

#[test]
fn a_measurement_keeps_nothing() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let mut command = netns_trace(["latency", &target, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("measuring between");
    let all = settled(running.pid(), all_have_nothing);
    assert!(all_have_nothing(&all), "{all:#?}");
    flood(&bed, 100);
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(report["segments"].is_array(), "{report}");
}

#[test]
fn filters_of_clsact_are_taken_off_with_what_is_kept_for_that() {
    let bed = Bed::quiet();
    let (file, target) = (bed.file("x.pcapng"), bed.target("a"));
    for user in [None, Some("nobody")] {
        if user.is_some() {
            // Theirs to write in.
            let folder = fs::File::open(file.parent().expect("a folder")).expect("opened");
            std::os::unix::fs::fchown(&folder, Some(65534), None).expect("theirs");
            fs::remove_file(&file).expect("removed");
        }
        let mut more = vec!["--attach", "clsact"];
        more.extend(user.iter().flat_map(|user| ["-Z", user]));
        let running = capture(&target, &file, &more);
        let in_force = |all: &[Rights]| all.iter().all(|one| one["CapEff"] == "0000000000000000");
        let all = settled(running.pid(), in_force);
        assert!(in_force(&all), "nothing is in force all the time: {all:#?}");
        for one in &all {
            let permitted = u64::from_str_radix(&one["CapPrm"], 16).expect("a set");
            // CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN, and before 5.19 CAP_BPF.
            let most = 1 << 1 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 39;
            assert_eq!(permitted & !most, 0, "{one:#?}");
            assert_eq!(one["CapBnd"], "0000000000000000");
        }
        flood(&bed, 300);
        assert_whole(&running.stop(), &file, 300);
        let left = bed.in_ns("a", "tc", &["qdisc", "show", "dev", "eth0"]);
        assert!(!left.contains("clsact"), "{left}");
    }
}

#[test]
fn following_keeps_its_rights_with_the_thread_that_attaches() {
    let bed = Bed::quiet();
    let (file, target) = (bed.file("x.pcapng"), bed.target("a"));
    let running = capture(&target, &file, &["--follow"]);
    let pid = running.pid();
    let reads_without = |all: &[Rights]| {
        all.iter()
            .any(|one| one["Name"] == "netns-trace" && has_nothing(one))
    };
    let all = settled(pid, reads_without);
    assert!(reads_without(&all), "{all:#?}");
    flood(&bed, 100);
    assert_whole(&running.stop(), &file, 100);
}

#[test]
fn another_user_owns_the_file_and_the_rest_of_the_run() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).expect("theirs");
    let file = folder.path().join("x.pcapng");
    let running = capture(&target, &file, &["-Z", "nobody", "-C", "20K"]);
    let all = settled(running.pid(), all_have_nothing);
    for one in &all {
        assert!(has_nothing(one), "{one:#?}");
        assert_eq!(one["Uid"], "65534 65534 65534 65534", "{one:#?}");
        assert_eq!(one["Gid"], "65534 65534 65534 65534", "{one:#?}");
        assert!(
            !one["Groups"].split(' ').any(|group| group == "0"),
            "{one:#?}"
        );
    }
    flood(&bed, 500);
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).expect("the folder") {
        let about = entry.expect("a file").metadata().expect("its owner");
        assert_eq!((about.uid(), about.gid()), (65534, 65534));
        files += 1;
    }
    assert!(files > 3, "{files}");
    assert!(bed.tcx("a", "eth0").iter().all(Vec::is_empty));
}

#[test]
fn a_user_who_cannot_be_is_told_before_anything_is_made() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let file = bed.file("x.pcapng");
    let name = file.to_str().expect("a path");
    let said = refused(
        &mut netns_trace(["capture", &target, "-Z", "no\u{7}such", "-w", name]),
        1,
    );
    assert_eq!(
        said,
        "there is no user \"no\\u{7}such\" on this machine (-Z takes a name that `getent passwd` lists)"
    );
    assert!(!file.exists());
    // A folder that is root's alone.
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("x.pcapng").display().to_string();
    let said = refused(
        &mut netns_trace(["capture", &target, "-Z", "nobody", "-w", &inside]),
        1,
    );
    assert!(
        said.contains("cannot write to") && said.contains("Permission denied"),
        "{said}"
    );
}
