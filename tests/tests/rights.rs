//! Once everything is attached, a run keeps no right that it does not need, and ends as well without them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::Bed,
    kernel, packets,
    patience::patience,
    raw::frame,
    refusal::refused,
    summary::{self, assert_balanced, number},
    tool::{Done, Running, done, netns_trace},
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
    let end = Instant::now() + patience();
    loop {
        let all = rights(pid);
        if is_settled(&all) || Instant::now() > end {
            return all;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// CAP_BPF, which using maps takes before 5.19: kept then, and not in force.
const FOR_MAPS: u64 = 1 << 39;

fn permitted(rights: &Rights) -> u64 {
    u64::from_str_radix(&rights["CapPrm"], 16).expect("a set")
}

fn has_nothing(rights: &Rights) -> bool {
    let kept = if kernel::is_at_least((5, 19)) {
        0
    } else {
        FOR_MAPS
    };
    permitted(rights) & !kept == 0
        && ["CapInh", "CapEff", "CapBnd", "CapAmb"]
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
    assert!(kernel::attached(&bed.open("a"), "eth0").is_empty());
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

/// The helper process of a run.
fn helper_of(pid: i32) -> i32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("its children");
    children.trim().parse().expect("one helper process")
}

/// Capabilities, by their numbers.
fn set(capabilities: &[u32]) -> u64 {
    capabilities.iter().map(|number| 1 << number).sum()
}

/// What taking filters off needs: CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
const TAKES_OFF: [u32; 4] = [1, 12, 19, 21];

/// A helper process that has these capabilities at most, and cannot get others.
fn assert_helper(pid: i32, most: u64, is_confined: bool) {
    let is_so = |all: &[Rights]| {
        all.iter().all(|one| {
            permitted(one) & !most == 0
                && one["CapBnd"] == "0000000000000000"
                && one["NoNewPrivs"] == "1"
                && (one["Seccomp"] == "2" || !is_confined)
        })
    };
    let all = settled(pid, is_so);
    assert!(!all.is_empty() && is_so(&all), "{all:#?}");
}

#[test]
fn filters_of_clsact_are_taken_off_by_a_helper() {
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
        let all = settled(running.pid(), all_have_nothing);
        assert!(all_have_nothing(&all), "{all:#?}");
        let helper = helper_of(running.pid());
        assert_helper(helper, set(&TAKES_OFF), true);
        flood(&bed, 300);
        assert_whole(&running.stop(), &file, 300);
        assert!(!Path::new(&format!("/proc/{helper}")).exists());
        let left = bed.in_ns("a", "tc", &["qdisc", "show", "dev", "eth0"]);
        assert!(!left.contains("clsact"), "{left}");
    }
}

#[test]
fn following_and_looking_at_sockets_is_a_helpers() {
    let bed = Bed::quiet();
    let (file, target) = (bed.file("x.pcapng"), bed.target("a"));
    // CAP_PERFMON, CAP_BPF, which attaching needs, too.
    let attaches = set(&TAKES_OFF) | set(&[38, 39]);
    for (more, most, is_confined) in [
        (&["--follow"][..], attaches, false),
        (&["--process"], set(&TAKES_OFF), true),
        (&["--follow", "--process"], attaches, false),
    ] {
        let running = capture(&target, &file, more);
        let all = settled(running.pid(), all_have_nothing);
        assert!(all_have_nothing(&all), "{more:?}: {all:#?}");
        assert_helper(helper_of(running.pid()), most, is_confined);
        flood(&bed, 100);
        assert_whole(&running.stop(), &file, 100);
    }
}

/// What was attached is captured on; that nothing comes back any more is told.
#[test]
fn a_capture_outlives_its_helper() {
    let bed = Bed::quiet();
    let (file, target) = (bed.file("x.pcapng"), bed.target("a"));
    let mut running = capture(&target, &file, &["--follow"]);
    // It follows by then.
    let all = settled(running.pid(), all_have_nothing);
    assert!(all_have_nothing(&all), "{all:#?}");
    let helper = nix::unistd::Pid::from_raw(helper_of(running.pid()));
    nix::sys::signal::kill(helper, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    running.wait_for("what comes back from now on is not captured");
    flood(&bed, 100);
    assert_whole(&running.stop(), &file, 100);
    assert!(bed.tcx("a", "eth0").iter().all(Vec::is_empty));
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
    assert!(kernel::attached(&bed.open("a"), "eth0").is_empty());
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

const NOBODY: u32 = 65534;

/// As sudo starts it for `nobody`.
fn through_sudo(args: &[&str]) -> Command {
    let mut command = netns_trace(args);
    command
        .env("SUDO_UID", NOBODY.to_string())
        .env("SUDO_USER", "nobody");
    command
}

fn owner(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").uid()
}

/// A folder of nobody's, and one that root alone may write to.
fn folders(bed: &Bed) -> (PathBuf, PathBuf) {
    let [theirs, ours] = ["theirs", "ours"].map(|name| bed.file(name));
    for folder in [&theirs, &ours] {
        fs::create_dir(folder).expect("a folder");
    }
    std::os::unix::fs::chown(&theirs, Some(NOBODY), None).expect("theirs");
    // Where the test's files are, others may look.
    let above = theirs.parent().expect("a folder");
    fs::set_permissions(above, fs::Permissions::from_mode(0o755)).expect("open");
    (theirs, ours)
}

#[test]
fn through_sudo_files_are_the_users() {
    let bed = Bed::quiet();
    let (theirs, ours) = folders(&bed);
    let target = bed.target("a");
    let path = |folder: &Path, name: &str| folder.join(name).to_string_lossy().into_owned();
    for &method in kernel::methods() {
        let file = path(&theirs, &format!("{method}.pcapng"));
        let args = [
            "capture",
            &target,
            "--attach",
            method,
            "-w",
            &file,
            "--summary",
            "json",
        ];
        let mut running = Running::start(through_sudo(&args));
        running.wait_for("listening on");
        flood(&bed, 100);
        assert_whole(&running.stop(), Path::new(&file), 100);
        assert_eq!(owner(Path::new(&file)), NOBODY);
    }
    let pattern = path(&theirs, "rotated.pcapng");
    let args = ["capture", &target, "-C", "1KiB", "-w", &pattern];
    let mut running = Running::start(through_sudo(&args));
    running.wait_for("listening on");
    flood(&bed, 100);
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
    let rotated: Vec<PathBuf> = fs::read_dir(&theirs)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("rotated"))
        .collect();
    assert!(rotated.len() > 5, "{rotated:?}");
    assert!(rotated.iter().all(|path| owner(path) == NOBODY));

    let (page, hgrm) = (path(&theirs, "page.html"), path(&theirs, "hgrm"));
    let args = [
        "latency",
        &target,
        "--duration",
        "100ms",
        "--html",
        &page,
        "--hgrm",
        &hgrm,
    ];
    let done = netns_trace_tests::tool::done(through_sudo(&args));
    assert!(done.status.success(), "{done:?}");
    assert_eq!(owner(Path::new(&page)), NOBODY);
    assert_eq!(owner(Path::new(&hgrm)), NOBODY);

    // Where the user may not, root does not do it for them, unless asked to.
    let file = path(&ours, "x.pcapng");
    let said = refused(&mut through_sudo(&["capture", &target, "-w", &file]), 1);
    let why =
        "as user nobody, who has started it through sudo (-Z root writes as root): cannot write to";
    assert!(said.contains(why), "{said}");
    let page = path(&ours, "page.html");
    let said = refused(&mut through_sudo(&["latency", &target, "--html", &page]), 1);
    assert!(
        said.contains("as user nobody, who has started it through sudo"),
        "{said}"
    );
    assert_eq!(fs::read_dir(&ours).expect("a folder").count(), 0);
    let args = [
        "capture",
        &target,
        "-Z",
        "root",
        "--duration",
        "50ms",
        "-w",
        &file,
    ];
    let done = netns_trace_tests::tool::done(through_sudo(&args));
    assert!(done.status.success(), "{done:?}");
    assert_eq!(owner(Path::new(&file)), 0);
}

#[test]
fn a_demo_through_sudo_is_the_users() {
    netns_trace_tests::require_root!();
    let bed = Bed::empty();
    let (theirs, _) = folders(&bed);
    let mut command = through_sudo(&["demo"]);
    command.env("TMPDIR", &theirs);
    let done = done(command);
    assert!(done.status.success(), "{done:?}");
    let folder = fs::read_dir(&theirs)
        .expect("a folder")
        .next()
        .expect("its folder");
    let file = folder.expect("an entry").path().join("demo.pcapng");
    assert_eq!(owner(&file), NOBODY);
}

/// Whoever may put a link beside our file would else have us write what it leads to.
#[test]
fn a_link_in_everybodys_folder_is_not_followed() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let (folder, treasure) = (bed.file("everybodys"), bed.file("treasure"));
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).expect("everybody's");
    fs::write(&treasure, "a treasure").expect("written");
    let link = folder.join("x");
    std::os::unix::fs::symlink(&treasure, &link).expect("a link");
    let link = link.to_str().expect("a path");
    let rotated = folder.join("y");
    for name in ["y", "y0", "y00"] {
        std::os::unix::fs::symlink(&treasure, folder.join(name)).expect("a link");
    }
    let rotated = rotated.to_str().expect("a path");
    for args in [
        &["capture", &target, "-w", link][..],
        &["capture", &target, "-w", rotated, "-C", "1KiB", "-W", "3"],
        &["latency", &target, "--html", link],
    ] {
        let said = refused(&mut netns_trace(args), 1);
        assert!(
            said.contains("it is a link in a directory where everybody may put one"),
            "{args:?}: {said}"
        );
        assert_eq!(fs::read_to_string(&treasure).expect("text"), "a treasure");
    }
    // Where it is not everybody's, a link is what root has put there.
    let own = bed.file("own");
    std::os::unix::fs::symlink(&treasure, &own).expect("a link");
    let own = own.to_str().expect("a path");
    let args = ["capture", &target, "--duration", "50ms", "-w", own];
    let done = done(netns_trace(args));
    assert!(done.status.success(), "{done:?}");
    assert!(
        fs::read(&treasure)
            .expect("bytes")
            .starts_with(&[0x0a, 0x0d, 0x0d, 0x0a])
    );
}
