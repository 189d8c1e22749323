//! `capture --follow`: one file past the end of a namespace and into the next of its name.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::{Bed, must},
    kernel, packets,
    patience::{patience, slowed},
    require_kernel, summary,
    tool::{Running, binary, netns_trace, run},
};
use nix::sys::signal::Signal;

/// A namespace `a` beside the router `r`, whose bridge is 10.9.0.1.
fn come(bed: &mut Bed) {
    bed.add_namespace("a");
    let ns = bed.name("a");
    let pair = [
        "link", "add", "va", "type", "veth", "peer", "name", "eth0", "netns",
    ];
    bed.in_ns("r", "ip", &[&pair[..], &[&ns]].concat());
    bed.in_ns("r", "ip", &["link", "set", "va", "master", "br0", "up"]);
    bed.in_ns("a", "ip", &["addr", "add", "10.9.0.2/24", "dev", "eth0"]);
    bed.in_ns("a", "ip", &["link", "set", "eth0", "up"]);
}

/// Removes the namespace `a`, and waits until its pair has gone: the kernel takes it down in its own
/// time, and not while somebody has the namespace open.
fn go(bed: &mut Bed) {
    bed.remove("a");
    let start = Instant::now();
    while bed.in_ns("r", "ip", &["-o", "link"]).contains(" va@") {
        let waited = start.elapsed();
        assert!(
            waited < slowed(Duration::from_secs(5)),
            "va is still there after {waited:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// ICMP over IPv4 in a file.
fn echoes(file: &Path) -> usize {
    let is_icmp = |packet: &&packets::Packet| {
        packet.data.get(12..14) == Some(&[8, 0]) && packet.data.get(23) == Some(&1)
    };
    packets::read(file).iter().filter(is_icmp).count()
}

#[test]
fn a_name_that_comes_goes_and_comes_back_is_one_file() {
    let mut bed = Bed::bridge();
    bed.remove("a");
    let file = bed.file("follow.pcapng");
    let path = file.to_string_lossy().into_owned();
    let mut capture = Running::start(netns_trace([
        "capture",
        &bed.target("a"),
        "--follow",
        "--summary",
        "json",
        "-w",
        &path,
    ]));
    capture.wait_for("waiting for netns:");
    for round in 0..2 {
        come(&mut bed);
        capture.wait_for("listening on eth0@");
        // The host side, which gives the times, comes up behind.
        let start = Instant::now();
        while kernel::attached(&bed.open("r"), "va").len() < 2 {
            assert!(start.elapsed() < patience(), "va has no taps");
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = bed.in_ns("a", "ping", &["-c", "3", "-i", "0.01", "10.9.0.1"]);
        assert!(said.contains(" 0% packet loss"), "{said}");
        if round == 0 {
            bed.remove("a");
            capture.wait_for("is gone");
        }
    }
    capture.signal(Signal::SIGINT);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(echoes(&file), 12, "three requests and replies in each life");
    let timed: u64 = summary::of(&done)["latency"]["segments"]
        .as_array()
        .expect("segments")
        .iter()
        .filter(|segment| segment["name"] == "veth")
        .map(|segment| summary::number(&segment["count"]))
        .sum();
    assert!(timed >= 12, "each echo is timed: {timed}");
    let told = must(
        "tshark",
        &[
            "-r",
            &path,
            "-T",
            "fields",
            "-e",
            "frame.comment",
            "-e",
            "frame.interface_name",
        ],
    );
    assert!(told.contains("is back after about"), "{told}");
    let info = must("capinfos", &[&path]);
    assert!(info.contains("Number of interfaces in file: 2"), "{info}");
}

/// One target stays, so that its taps are there while those of the other one come: at interfaces of their own, and at
/// the bridge, which has taps already.
#[test]
fn one_of_two_comes_back() {
    for method in ["tcx", "clsact"] {
        let mut bed = Bed::bridge();
        let file = bed.file("two.pcapng");
        let path = file.to_string_lossy().into_owned();
        let both = format!("{},{}", bed.target("a"), bed.target("b"));
        let mut args = vec!["capture", both.as_str(), "--follow", "--attach", method];
        // A new clsact qdisc makes the kernel drop for an instant: nothing comes up behind.
        args.extend(["--taps", "inside,bridge", "--no-latency", "-w", &path]);
        let mut capture = Running::start(netns_trace(args));
        capture.wait_for("listening on eth0@");
        go(&mut bed);
        capture.wait_for("is gone");
        // What is a port already has the bridge on its way from the start.
        let pair = ["link", "add", "va", "type", "veth", "peer", "name", "vnew"];
        bed.in_ns("r", "ip", &pair);
        bed.in_ns("r", "ip", &["link", "set", "va", "master", "br0", "up"]);
        bed.add_namespace("a");
        bed.in_ns("r", "ip", &["link", "set", "vnew", "netns", &bed.name("a")]);
        for args in [
            "link set vnew name eth0",
            "addr add 10.9.0.2/24 dev eth0",
            "link set eth0 up",
        ] {
            bed.in_ns("a", "ip", &args.split(' ').collect::<Vec<_>>());
        }
        capture.wait_for("is back after about");
        capture.wait_for("listening on eth0@");
        for name in ["a", "b"] {
            let said = bed.in_ns(name, "ping", &["-c", "5", "-i", "0.01", "10.9.0.1"]);
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
        let pid = capture.pid();
        capture.signal(Signal::SIGINT);
        let done = capture.wait();
        assert!(done.status.success(), "{method}: {done:?}");
        // Ten of each, inside and at the bridge, of which each target is shown its own.
        let shown = [
            "-r",
            &path,
            "-t",
            "r",
            "-T",
            "fields",
            "-e",
            "frame.time_relative",
            "-e",
            "frame.interface_name",
            "-e",
            "frame.packet_id",
            "-e",
            "_ws.col.Info",
        ];
        assert_eq!(
            echoes(&file),
            40,
            "{method}: {} {}",
            done.stderr,
            must("tshark", &shown)
        );
        assert!(!Path::new(&format!("/run/netns-trace/filters/{pid}")).exists());
        let left = bed.in_ns("r", "tc", &["qdisc", "show", "dev", "br0"]);
        assert!(!left.contains("clsact"), "{method}: {left}");
    }
}

/// Docker's order: a pair on the host, of which one end is the bridge's port, and a tenth of a second
/// later the other end moves into the namespace, is renamed, and used at once.
#[test]
fn an_interface_that_moves_in_is_seen_from_its_first_packet() {
    require_kernel!(kernel::TCX);
    let mut bed = Bed::bridge();
    go(&mut bed);
    let file = bed.file("first.pcapng");
    let path = file.to_string_lossy().into_owned();
    // Where pairs are made is the host's namespace with Docker; here it is the router's.
    let mut command = bed.command("r", &binary().to_string_lossy());
    command.args(["capture", &bed.target("a"), "--follow", "-w", &path]);
    let mut capture = Running::start(command);
    capture.wait_for("waiting for netns:");
    let pair = ["link", "add", "va", "type", "veth", "peer", "name", "vnew"];
    bed.in_ns("r", "ip", &pair);
    bed.in_ns("r", "ip", &["link", "set", "va", "master", "br0", "up"]);
    std::thread::sleep(Duration::from_millis(120));
    bed.add_namespace("a");
    let name = bed.name("a");
    let script = format!(
        "ip link set vnew netns {name}
         nsenter --net=/run/netns/{name} ip -batch - <<END
link set vnew name eth0
addr add 10.9.0.2/24 dev eth0
link set eth0 up
END
         nsenter --net=/run/netns/{name} ping -c 1 -W 20 10.9.0.1"
    );
    bed.in_ns("r", "sh", &["-ec", &script]);
    // By which of its names depends on when the namespace's own was seen.
    capture.wait_for("listening on ");
    capture.signal(Signal::SIGINT);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    let file = packets::read(&file);
    // By what follows the addresses: ARP's operation, or ICMP's type.
    let count = |ethertype: [u8; 2], start: usize, bytes: &[u8]| {
        let is_it = |packet: &&packets::Packet| {
            packet.data[12..].starts_with(&ethertype) && packet.data[start..].starts_with(bytes)
        };
        file.iter().filter(is_it).count()
    };
    assert!(count([8, 6], 20, &[0, 1]) >= 1, "who has it: {file:?}");
    assert!(count([8, 6], 20, &[0, 2]) >= 1, "the answer: {file:?}");
    assert_eq!(count([8, 0], 34, &[8, 0]), 1, "the request: {file:?}");
    assert_eq!(count([8, 0], 34, &[0, 0]), 1, "the reply: {file:?}");
}

/// A namespace that nobody has a name for is looked at, not kept: it ends when its owner ends it.
#[test]
fn a_namespace_that_goes_while_it_is_unknown_is_gone() {
    let mut bed = Bed::bridge();
    // Any new namespace could be that of a container that is missing.
    let never = format!("docker:{}-never", bed.name("a"));
    let mut capture = Running::start(netns_trace(["capture", "-v", &never, "--follow"]));
    capture.wait_for("waiting for docker:");
    go(&mut bed);
    for _ in 0..20 {
        come(&mut bed);
        // Unknown ones are let go after 10 s in any case: this is sooner.
        go(&mut bed);
    }
    capture.signal(Signal::SIGINT);
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    assert!(!done.stderr.contains("given up"), "{}", done.stderr);
}

#[test]
fn addresses_have_the_names_of_their_containers() {
    let mut bed = Bed::bridge();
    let file = bed.file("names.pcapng");
    let path = file.to_string_lossy().into_owned();
    // Tests that run beside this one have 10.9.0.3, too: what two have is nobody's.
    let [high, low] = [std::process::id() >> 8 & 255, std::process::id() & 255];
    let (own, shared) = (
        format!("198.18.{high}.{low}"),
        format!("198.19.{high}.{low}"),
    );
    for name in ["c", "d"] {
        bed.add_namespace(name);
        bed.in_ns(name, "ip", &["addr", "add", &shared, "dev", "lo"]);
    }
    bed.in_ns("b", "ip", &["addr", "add", &own, "dev", "eth0"]);
    bed.in_ns("a", "ip", &["route", "add", &own, "dev", "eth0"]);
    let capture = Running::capture([&bed.target("a"), "-w", &path]);
    bed.in_ns("a", "ping", &["-c", "1", &own]);
    // The names of others come as soon as they are known, which takes the longer the more there are.
    let name = bed.name("b");
    let is_told = || {
        let file = std::fs::read(&file).expect("the file");
        file.windows(name.len())
            .any(|bytes| bytes == name.as_bytes())
    };
    let start = Instant::now();
    while !is_told() {
        assert!(start.elapsed() < patience(), "{name} is not told");
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let said = must("tshark", &["-r", &path, "-q", "-z", "hosts"]);
    let host = |address: &str| {
        let line = said
            .lines()
            .find(|line| line.split_whitespace().next() == Some(address));
        line.and_then(|line| line.split_whitespace().nth(1))
    };
    let (a, b) = (bed.name("a"), bed.name("b"));
    assert_eq!(host("10.9.0.2"), Some(a.as_str()), "{said}");
    assert_eq!(host("fd09::2"), Some(a.as_str()), "{said}");
    assert_eq!(host(&own), Some(b.as_str()), "{said}");
    for nobodys in [shared.as_str(), "127.0.0.1", "::1"] {
        assert_eq!(host(nobodys), None, "{said}");
    }
    let shown = [
        "-2",
        "-N",
        "n",
        "-r",
        &path,
        "-T",
        "fields",
        "-e",
        "ip.src_host",
        "-e",
        "ip.dst_host",
    ];
    let shown = must("tshark", &shown);
    assert!(shown.contains(&format!("{a}\t{b}")), "{shown}");
}

#[test]
fn an_interface_that_is_left_alone_is_told() {
    let bed = Bed::bridge();
    let pair = [
        "link", "add", "eth1", "type", "veth", "peer", "name", "eth2",
    ];
    bed.in_ns("a", "ip", &pair);
    let run = |args: &[&str]| {
        let target = bed.target("a");
        let all = [
            &["capture", &target, "--duration", "1ms", "-w", "/dev/null"],
            args,
        ]
        .concat();
        run(all).stderr
    };
    let said = format!("{} has eth1, eth2, too, which is left alone", bed.name("a"));
    // By index, of which the later end's is the lower one.
    let other = format!("{} has eth2, eth1, too, which is left alone", bed.name("a"));
    let told = run(&[]);
    assert!(told.contains(&said) || told.contains(&other), "{told}");
    for chosen in [["-i", "eth0"], ["-i", "any"]] {
        let told = run(&chosen);
        assert!(!told.contains("left alone"), "{told}");
    }
}

#[test]
fn every_interface_is_any() {
    let bed = Bed::bridge();
    let file = bed.file("any.pcapng");
    let path = file.to_string_lossy().into_owned();
    let capture = Running::capture([&bed.target("a"), "-i", "any", "-w", &path]);
    bed.in_ns("a", "ip", &["link", "set", "lo", "up"]);
    bed.in_ns("a", "ping", &["-c", "1", "127.0.0.1"]);
    bed.in_ns("a", "ping", &["-c", "1", "10.9.0.1"]);
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let names = must(
        "tshark",
        &[
            "-r",
            &path,
            "-Y",
            "icmp",
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
        ],
    );
    assert_eq!(names.matches("lo@").count(), 2, "{names}");
    assert_eq!(names.matches("eth0@").count(), 2, "{names}");
}

#[test]
fn nothing_is_waited_for_that_cannot_come_back() {
    let done = run(["capture", "inode:1", "--follow"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
}
