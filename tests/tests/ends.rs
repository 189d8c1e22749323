//! However a capture ends, it ends soon, its file is whole, and nothing of ours is left.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::Bed,
    kernel, packets,
    patience::{patience, slowed},
    private_run,
    raw::frame,
    tool::{Running, netns_trace},
};
use nix::sys::signal::Signal;

/// What is attached to an interface, as foreign eyes see it; empty if nothing is.
fn left_behind(bed: &Bed, ns: &str, interface: &str) -> String {
    let mut left = bed.in_ns(ns, "tc", &["qdisc", "show", "dev", interface]);
    left = left
        .lines()
        .filter(|line| line.contains("clsact"))
        .collect();
    for hook in ["ingress", "egress"] {
        if !left.is_empty() {
            left += &bed.in_ns(ns, "tc", &["filter", "show", "dev", interface, hook]);
        }
    }
    for ids in bed.tcx(ns, interface) {
        left += &ids
            .iter()
            .map(|id| format!(" tcx {id}"))
            .collect::<String>();
    }
    left
}

/// The list of the filters of a process.
fn list(pid: i32) -> String {
    format!("/run/netns-trace/filters/{pid}")
}

/// Waits until the helper of a process that was killed has taken its filters off.
fn until_taken_off(pid: i32) {
    let start = Instant::now();
    while std::fs::exists(list(pid)).expect("looked") {
        assert!(start.elapsed() < patience(), "its list is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_nothing_left(bed: &Bed) {
    for (ns, interface) in [("a", "eth0"), ("r", "va"), ("r", "br0")] {
        assert_eq!(left_behind(bed, ns, interface), "", "{interface} in {ns}");
    }
}

/// Waits for the taps that only give times, which come up after the announcement: a new clsact
/// qdisc makes the kernel drop what passes at that moment.
fn until_all_is_attached(bed: &Bed) {
    let start = Instant::now();
    loop {
        let attached = left_behind(bed, "r", "va");
        if attached
            .matches(" tcx ")
            .count()
            .max(attached.matches("netns_trace_").count())
            >= 2
        {
            return;
        }
        assert!(start.elapsed() < patience(), "at va there is {attached:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ping(bed: &Bed, count: &str) {
    let said = bed.in_ns("a", "ping", &["-c", count, "-i", "0.005", "10.9.0.3"]);
    assert!(said.contains(" 0% packet loss"), "{said}");
}

#[test]
fn on_each_signal_also_an_ignored_one() {
    let bed = Bed::bridge();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let file = bed.file("signal.pcapng");
        let mut command = Command::new("sh");
        // As a shell's background job: SIGINT is ignored.
        command
            .args(["-c", "trap '' INT; exec \"$@\"", "sh"])
            .arg(netns_trace_tests::tool::binary())
            .args([
                "capture",
                &bed.target("a"),
                "--taps",
                "inside,veth,bridge",
                "-w",
            ])
            .arg(&file)
            .stdin(Stdio::null());
        let mut capture = Running::start(command);
        capture.wait_for("listening on");
        assert_ne!(left_behind(&bed, "a", "eth0"), "", "attached");
        ping(&bed, "10");
        capture.signal(signal);
        let done = capture.wait();
        assert!(done.status.success(), "{signal}: {done:?}");
        assert!(packets::read(&file).len() >= 40, "{signal}");
        assert_nothing_left(&bed);
    }
}

#[test]
fn after_a_time_or_a_count() {
    let bed = Bed::bridge();
    let file = bed.file("short.pcap");
    let name = file.to_str().expect("a path");
    let start = Instant::now();
    let capture = Running::capture([bed.target("a").as_str(), "--duration", "700ms", "-w", name]);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(700) && took < slowed(Duration::from_secs(5)),
        "{took:?}"
    );
    let capture = Running::capture([bed.target("a").as_str(), "-c", "1", "-w", name]);
    ping(&bed, "3");
    let done = capture.wait();
    assert!(done.stderr.contains("\n1 packet captured\n"), "{done:?}");
    assert_eq!(packets::read(&file).len(), 1);
    assert_nothing_left(&bed);
}

#[test]
fn sigusr1_prints_the_counts() {
    let bed = Bed::bridge();
    let mut capture = Running::capture([bed.target("a").as_str(), "-w", "/dev/null"]);
    until_all_is_attached(&bed);
    ping(&bed, "10");
    capture.signal(Signal::SIGUSR1);
    let line = capture.wait_for("packets captured");
    let count: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a count");
    assert!(count >= 20, "{line}");
    assert!(capture.stop().status.success());
}

/// Nothing of ours keeps a namespace alive.
#[test]
fn when_the_namespace_goes_and_it_goes_at_once() {
    for &method in kernel::methods() {
        let mut bed = Bed::bridge();
        let file = bed.file("gone.pcapng");
        let name = file.to_str().expect("a path").to_owned();
        let target = bed.target("a");
        let inode = netns_trace::netns::NetNs::open(&bed.path("a"))
            .expect("the namespace")
            .inode();
        let capture = Running::capture([target.as_str(), "--attach", method, "-w", &name]);
        // The taps behind are there too: their namespace must be let go.
        until_all_is_attached(&bed);
        ping(&bed, "5");
        bed.remove("a");
        let start = Instant::now();
        while bed.in_ns("r", "ip", &["-br", "link"]).contains("va@") {
            assert!(
                start.elapsed() < slowed(Duration::from_secs(1)),
                "{method}: its veth is still there"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let done = capture.wait();
        assert!(done.status.success(), "{method}: {done:?}");
        assert!(done.stderr.contains("is gone"), "{method}: {done:?}");
        assert!(packets::read(&file).len() >= 10, "{method}");
        let mark = format!("/run/netns-trace/qdiscs/{inode}-");
        let marks = std::fs::read_dir("/run/netns-trace/qdiscs")
            .into_iter()
            .flatten()
            .flatten();
        for left in marks {
            let left = left.path().to_string_lossy().into_owned();
            assert!(!left.starts_with(&mark), "{left}");
        }
    }
}

#[test]
fn when_the_interface_goes() {
    let bed = Bed::bridge();
    let capture = Running::capture([bed.target("a").as_str(), "-w", "/dev/null"]);
    bed.in_ns("a", "ip", &["link", "del", "eth0"]);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.contains("is gone"), "{done:?}");
}

#[test]
fn by_sigkill_the_file_is_readable_up_to_its_last_flush() {
    let bed = Bed::bridge();
    let file = bed.file("killed.pcapng");
    let name = file.to_str().expect("a path");
    let capture = Running::capture([bed.target("a").as_str(), "-w", name]);
    for n in 0..40 {
        bed.send_frames("a", "eth0", &[frame(None, n, 500)]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = capture.pid();
    capture.signal(Signal::SIGKILL);
    drop(capture.wait());
    let packets = packets::read(&file).len();
    assert!(packets >= 20, "{packets} packets");
    until_taken_off(pid);
    assert_nothing_left(&bed);
}

/// Filters of kernels before 6.6 outlive their owner; the helper process takes them off.
#[test]
fn by_sigkill_with_clsact_the_helper_cleans_up() {
    let bed = Bed::bridge();
    private_run::enter();
    for command in ["capture", "latency"] {
        let target = bed.target("a");
        let mut args = vec![command, &target, "--attach", "clsact"];
        args.extend(["--taps", "inside,veth"]);
        if command == "capture" {
            args.extend(["-w", "/dev/null"]);
        }
        let mut running = Running::start(netns_trace(args));
        running.wait_for(if command == "capture" {
            "listening"
        } else {
            "measuring"
        });
        let pid = running.pid();
        assert!(
            std::fs::exists(list(pid)).expect("looked"),
            "its list is there"
        );
        running.signal(Signal::SIGKILL);
        drop(running.wait());
        until_taken_off(pid);
        assert_nothing_left(&bed);
    }
}

/// Where the helper was killed as well, the next start takes them off.
#[test]
fn by_sigkill_of_both_with_clsact_the_next_start_sweeps() {
    let bed = Bed::bridge();
    private_run::enter();
    let target = bed.target("a");
    let capture = Running::capture([
        target.as_str(),
        "--attach",
        "clsact",
        "--taps",
        "inside,veth",
        "-w",
        "/dev/null",
    ]);
    let pid = capture.pid();
    drop(capture.kill_with_helper());
    let list = list(pid);
    assert!(std::fs::exists(&list).expect("looked"), "its list is left");
    assert_ne!(left_behind(&bed, "a", "eth0"), "", "its filters are left");
    assert_ne!(left_behind(&bed, "r", "va"), "", "its filters are left");
    let done = netns_trace([
        "capture",
        &bed.target("b"),
        "--duration",
        "100ms",
        "-w",
        "/dev/null",
    ])
    .output()
    .expect("it runs");
    assert!(done.status.success(), "{done:?}");
    assert!(!std::fs::exists(&list).expect("looked"), "its list is gone");
    assert_nothing_left(&bed);
}

/// A qdisc that others use stays, and so do their filters.
#[test]
fn with_clsact_what_others_added_stays() {
    let bed = Bed::bridge();
    bed.in_ns("a", "tc", &["qdisc", "add", "dev", "eth0", "clsact"]);
    let mut theirs: Vec<&str> = "filter add dev eth0 ingress prio 7 bpf bytecode"
        .split(' ')
        .collect();
    theirs.push("1,6 0 0 0,");
    bed.in_ns("a", "tc", &theirs);
    let before = bed.in_ns("a", "tc", &["filter", "show", "dev", "eth0", "ingress"]);
    let capture = Running::capture([
        bed.target("a").as_str(),
        "--attach",
        "clsact",
        "-w",
        "/dev/null",
    ]);
    let during = bed.in_ns("a", "tc", &["filter", "show", "dev", "eth0", "ingress"]);
    assert!(during.contains("netns_trace_in"), "{during}");
    until_all_is_attached(&bed);
    ping(&bed, "3");
    assert!(capture.stop().status.success());
    assert_eq!(
        bed.in_ns("a", "tc", &["filter", "show", "dev", "eth0", "ingress"]),
        before
    );
    assert!(
        bed.in_ns("a", "tc", &["qdisc", "show", "dev", "eth0"])
            .contains("clsact")
    );
    assert_eq!(left_behind(&bed, "r", "va"), "");
}

#[test]
fn two_at_once_on_one_target_do_not_disturb_each_other() {
    let bed = Bed::bridge();
    for &method in kernel::methods() {
        let files = ["one.pcapng", "two.pcapng"].map(|name| bed.file(name));
        let mut captures: Vec<Running> = files
            .iter()
            .map(|file| {
                let name = file.to_str().expect("a path");
                let target = bed.target("a");
                // With its taps up from the start: a new clsact qdisc makes the kernel drop packets.
                let args = [&target, "--no-latency", "--attach", method, "-w", name];
                Running::capture(args)
            })
            .collect();
        ping(&bed, "10");
        // The first one ends; the second goes on.
        let done = captures.remove(0).stop();
        assert!(done.status.success(), "{method}: {done:?}");
        ping(&bed, "10");
        let done = captures.remove(0).stop();
        assert!(done.status.success(), "{method}: {done:?}");
        let pings = |n: usize| {
            let packets = packets::read(&files[n]);
            packets
                .iter()
                .filter(|packet| packet.data.len() == 98)
                .count()
        };
        assert_eq!(
            (pings(0), pings(1)),
            (20, 40),
            "{method}: {done:?}, {:?}",
            bed.counters("a", "eth0")
        );
        assert_nothing_left(&bed);
    }
}
