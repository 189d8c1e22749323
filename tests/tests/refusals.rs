//! What is refused, and how: the message names the thing, the cause and the way out, the exit status
//! tells a wrong wish (2) from one that cannot be granted here (1), and nothing is left behind.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use netns_trace_tests::{
    bed::Bed,
    names::unique,
    refusal::{assert_untouched, refused, refused_early, treasure, with_read_only},
    tool::{Running, netns_trace},
};
use nix::{
    sys::{
        stat::Mode,
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::{Pid, mkfifo},
};

/// A file in /run/netns that is no namespace, gone at the end of the test.
struct StaleName(PathBuf);

impl StaleName {
    fn new(make: impl FnOnce(&Path) -> std::io::Result<()>) -> Self {
        let path = Path::new("/run/netns").join(unique('s'));
        make(&path).expect("made");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path")
    }

    fn target(&self) -> String {
        self.path().replace("/run/netns/", "netns:")
    }
}

impl Drop for StaleName {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_file(&self.0) {
            eprintln!("{} stays behind: {why}", self.0.display());
        }
    }
}

/// A namespace with `lo` alone.
fn bare() -> (Bed, String) {
    let mut bed = Bed::empty();
    bed.add_namespace("a");
    let target = bed.target("a");
    (bed, target)
}

fn assert_nothing_attached(bed: &Bed) {
    for (ns, interface) in [("a", "eth0"), ("r", "va"), ("r", "br0")] {
        assert_eq!(bed.tcx(ns, interface).concat().len(), 0, "{interface}");
        let qdiscs = bed.in_ns(ns, "tc", &["qdisc", "show", "dev", interface]);
        assert!(!qdiscs.contains("clsact"), "{qdiscs}");
    }
}

#[test]
fn a_target_that_is_not_there_leaves_the_file_alone() {
    let bed = Bed::empty();
    let file = treasure(&bed, "x.pcapng");
    let mut child = Command::new("true").spawn().expect("a child");
    let dead = child.id();
    child.wait().expect("its end");
    let name = bed.name("z");
    for (target, expected) in [
        (
            format!("netns:{name}"),
            format!("there is no namespace {name:?} in /run/netns"),
        ),
        (
            format!("/run/netns/{name}"),
            format!("there is no namespace at \"/run/netns/{name}\": no such file"),
        ),
        (
            format!("pid:{dead}"),
            format!("there is no process with pid {dead} (it may have ended)"),
        ),
        (
            format!("/proc/{dead}/ns/net"),
            format!("there is no process with pid {dead} (it may have ended)"),
        ),
        (
            "inode:1".to_owned(),
            "there is no network namespace with inode 1; `lsns -t net` lists them".to_owned(),
        ),
        (
            "netns:\x1b[2J\n".to_owned(),
            "there is no namespace \"\\u{1b}[2J\\n\" in /run/netns".to_owned(),
        ),
    ] {
        let said = refused_early(&["capture", &target, "-w", &file], 1);
        assert!(said.starts_with(&expected), "{said}");
    }
    assert_untouched(&file);
    let absent = bed.file("absent.pcapng");
    let path = absent.to_str().expect("a path");
    refused_early(&["capture", &format!("netns:{name}"), "-w", path], 1);
    assert!(!absent.exists());
}

#[test]
fn a_zombie_is_in_no_namespace() {
    let mut child = Command::new("true").spawn().expect("a child");
    let pid = child.id();
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from_raw(pid as i32)), ended).expect("a zombie");
    let expected =
        format!("process {pid} has ended (it is a zombie) and is in no namespace any more");
    for target in [format!("pid:{pid}"), format!("/proc/{pid}/ns/net")] {
        assert_eq!(refused_early(&["capture", &target], 1), expected);
    }
    child.wait().expect("its end");
}

#[test]
fn a_path_to_something_else_is_told_as_what_it_is() {
    let bed = Bed::empty();
    let file = treasure(&bed, "file");
    let folder = bed.file("").to_str().expect("a path").to_owned();
    let fifo = bed.file("fifo").to_str().expect("a path").to_owned();
    mkfifo(fifo.as_str(), Mode::S_IRWXU).expect("a FIFO");
    for path in [&file, &folder, &fifo] {
        assert_eq!(
            refused_early(&["capture", path], 1),
            format!(
                "{path:?} is not a namespace (a path such as /run/netns/NAME or /proc/PID/ns/net \
                 is)"
            )
        );
    }
    for (name, kind) in [("mnt", "a mount"), ("uts", "a UTS"), ("ipc", "an IPC")] {
        let path = format!("/proc/self/ns/{name}");
        assert_eq!(
            refused_early(&["capture", &path], 1),
            format!("{path:?} is {kind} namespace, not a network namespace")
        );
    }
}

#[test]
fn a_stale_name_is_told_with_how_to_be_rid_of_it() {
    drop(bare()); // so that the directory is there
    let dangling = StaleName::new(|path| symlink("/proc/0/ns/net", path));
    let plain = StaleName::new(|path| fs::write(path, ""));
    for (stale, why) in [
        (&dangling, "it is a link to a file that does not exist"),
        (
            &plain,
            "no namespace is mounted there any more, or only in another mount namespace",
        ),
    ] {
        let path = stale.path();
        for target in [path, &stale.target()] {
            assert_eq!(
                refused_early(&["capture", target], 1),
                format!("{path:?} is a stale name: {why}; delete the file to be rid of it")
            );
        }
        assert!(stale.0.symlink_metadata().is_ok(), "it is left to the user");
    }
}

#[test]
fn an_interface_that_is_not_there_is_told_with_those_that_are() {
    let bed = Bed::bridge();
    let (target, label) = (bed.target("a"), bed.name("a"));
    let file = treasure(&bed, "x.pcapng");
    for (interface, shown) in [("eth7", "eth7"), ("\x1b[2J", "\\u{1b}[2J"), ("", "")] {
        assert_eq!(
            refused_early(&["capture", &target, "-i", interface, "-w", &file], 1),
            format!("{label} has no interface \"{shown}\" (it has: lo, eth0)")
        );
    }
    assert_eq!(
        refused_early(
            &["capture", &target, "--follow", "-i", "eth7", "-w", &file],
            1
        ),
        format!("{label} has no interface \"eth7\" (it has: lo, eth0)")
    );
    assert!(
        refused_early(&["capture", "pid:1", "--follow", "-w", &file], 2)
            .starts_with("--follow waits for a name to come back, and pid:1 is one namespace only")
    );
    assert_eq!(
        refused_early(&["capture", &bed.target("r"), "-w", &file], 1),
        format!(
            "{} has no eth0; choose an interface with -i (it has: lo, br0, va, vb)",
            bed.name("r")
        )
    );
    let said = refused_early(&["capture", "host", "-i", "\u{7f}", "-w", &file], 1);
    assert!(
        said.starts_with("host has no interface \"\\u{7f}\" (it has: lo"),
        "{said}"
    );
    assert_untouched(&file);
    let (lonely, target) = bare();
    assert_eq!(
        refused_early(&["capture", &target], 1),
        format!(
            "{} has no interface but lo; pass -i lo to watch that",
            lonely.name("a")
        )
    );
}

#[test]
fn the_host_is_a_target_like_others() {
    let done = Running::capture(["host", "-i", "lo", "-w", "/dev/null"]).stop();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.contains("listening on lo@host"), "{done:?}");
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_is_attached() {
    let bed = Bed::bridge();
    let target = bed.target("a");
    let file = treasure(&bed, "file");
    let folder = bed.file("").to_str().expect("a path").to_owned();
    for (path, why) in [
        (
            format!("{folder}none/x.pcapng"),
            "its directory does not exist; make it first",
        ),
        (
            format!("{file}/x.pcapng"),
            "what is above it is a file and no directory; name another place",
        ),
        (folder, "it is a directory; name a file in it"),
        (
            "/dev/full".to_owned(),
            "No space left on device (os error 28)",
        ),
    ] {
        assert_eq!(
            refused_early(&["capture", &target, "-w", &path], 1),
            format!("cannot write to {path:?}: {why}")
        );
    }
    assert_untouched(&file);
    let read_only = bed.file("ro");
    fs::create_dir(&read_only).expect("a folder");
    let path = read_only.join("x.pcapng");
    let mut command = netns_trace(["capture", &target, "-w"]);
    assert_eq!(
        refused(with_read_only(command.arg(&path), &read_only), 1),
        format!(
            "cannot write to {path:?}: its file system is mounted read-only; name another place"
        )
    );
    let mut command = netns_trace(["capture", &target, "-w", "-"]);
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let done = command.stdout(full).output().expect("it runs");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert_eq!(
        String::from_utf8_lossy(&done.stderr),
        "netns-trace: cannot write to standard output: No space left on device (os error 28)\n"
    );
    assert_nothing_attached(&bed);
}

/// Text has no head, so the device shows that it is full with the first packet only.
#[test]
fn a_full_device_ends_a_capture_that_prints_text() {
    let bed = Bed::quiet();
    let mut command = netns_trace(["capture", &bed.target("a")]);
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    command.stdout(full);
    let mut running = Running::start(command);
    running.wait_for("listening on");
    bed.in_ns("a", "ping", &["-c", "1", "10.9.0.3"]);
    let done = running.wait();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("\n0 packets captured\n"), "{done:?}");
    let last = done.stderr.lines().last();
    assert_eq!(
        last,
        Some("netns-trace: cannot write to standard output: No space left on device (os error 28)")
    );
    assert_nothing_attached(&bed);
}
