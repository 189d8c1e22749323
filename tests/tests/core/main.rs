//! The core of everything with nothing but netns-trace itself: no `ip`, no tcpdump. So it runs on
//! any kernel that boots, from a root file system that holds two programs (`cargo xtask vm`).
//!
//! The witnesses are the interfaces' own counters, numbered payloads, and pcap-file as reader.

mod filters;
mod memory;
mod times;

use std::{collections::HashMap, fs, path::Path, process::Stdio, time::Duration};

use netns_trace::{
    lab::{self, Lab, LabSpec, Node, Topology, traffic},
    netns::NetNs,
};
use netns_trace_tests::{
    kernel,
    names::unique,
    private_run,
    raw::{self, frame},
    require_root,
    tool::{Done, Running, netns_trace, run},
};
use nix::sys::signal::Signal;
use pcap_file::pcapng::{
    Block, PcapNgReader,
    blocks::{enhanced_packet::EnhancedPacketOption, opt_common::CommonOption},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// An option that pcap-file does not know.
const EPB_PACKETID: u16 = 5;

/// Whether this machine is there for the tests alone, so that they may set its clock.
fn is_guest() -> bool {
    std::env::var_os("NETNS_TRACE_GUEST").is_some()
}

/// A packet of a file of ours.
struct Packet {
    interface: u32,
    len: u32,
    data: Vec<u8>,
    id: Option<u64>,
    time: Duration,
}

fn read(path: &Path) -> Vec<Packet> {
    let file = fs::File::open(path).expect("the file");
    let mut reader = PcapNgReader::new(file).expect("a section header");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(block) = block.expect("a whole block").0 else {
            continue;
        };
        packets.push(Packet {
            interface: block.interface_id,
            len: block.original_len,
            data: block.data.to_vec(),
            time: block.timestamp,
            id: block.options.iter().find_map(|option| match option {
                EnhancedPacketOption::Common(CommonOption::Unknown(option))
                    if option.code == EPB_PACKETID =>
                {
                    let bytes = option.value.as_ref().try_into().expect("8 bytes");
                    Some(u64::from_ne_bytes(bytes))
                }
                _ => None,
            }),
        });
    }
    packets
}

fn bridge() -> Lab {
    lab::up_private(&LabSpec::new(Topology::Bridge, unique('c'))).expect("a lab")
}

/// Without a bridge and without IPv6, which send by themselves: what is counted is what the test
/// sends.
fn quiet() -> Lab {
    let lab = lab::up_private(&LabSpec::new(Topology::Direct, unique('c'))).expect("a lab");
    for node in lab.nodes() {
        let switch = || fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let switched = node.open().expect("the node").run(switch).expect("entered");
        switched.unwrap_or_else(|why| panic!("no IPv6 in {}: {why}", node.name));
    }
    lab
}

fn pair(lab: &Lab) -> (&Node, &Node) {
    let mut containers = lab.containers();
    (
        containers.next().expect("one"),
        containers.next().expect("two"),
    )
}

fn target(node: &Node) -> String {
    format!("netns:{}", node.name)
}

fn exchange(from: &Node, to: &Node, count: u64) {
    let at = to.address(false).expect("an address");
    let (from, to) = (from.open().expect("one"), to.open().expect("two"));
    let udp = traffic::udp(&from, &to, at, count, 200, LIMIT).expect("datagrams");
    assert_eq!((udp.sent, udp.returned), (count, count));
}

/// Packets that an interface has received and sent, by its own count.
fn counters(ns: &NetNs, interface: &str) -> (u64, u64) {
    let table = || fs::read_to_string("/proc/thread-self/net/dev");
    let table = ns.run(table).expect("entered").expect("its interfaces");
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    let fields: Vec<u64> = line
        .unwrap_or_else(|| panic!("{interface} in {table}"))
        .split_whitespace()
        .map(|field| field.parse().expect("a number"))
        .collect();
    (fields[1], fields[9])
}

fn summary(done: &Done) -> Value {
    assert!(done.status.success(), "{done:?}");
    let line = done.stderr.lines().rev().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("a summary: {done:?}"))).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("a number, not {value}"))
}

/// What a tap received in both directions; its sums must agree.
fn received(summary: &Value, interface: &str) -> u64 {
    let sum = |value: &Value| -> u64 {
        value
            .as_object()
            .expect("an object")
            .values()
            .map(number)
            .sum()
    };
    let taps = summary["taps"].as_array().expect("taps").iter();
    taps.filter(|tap| tap["ifname"] == interface)
        .map(|tap| {
            let accounted = number(&tap["captured"])
                + number(&tap["discarded"])
                + sum(&tap["dropped"])
                + sum(&tap["lost"]);
            assert_eq!(number(&tap["received"]), accounted, "{tap}");
            accounted
        })
        .sum()
}

#[test]
fn packets_of_all_sizes_are_captured_and_counted() {
    require_root!();
    let (lab, folder) = (quiet(), tempfile::tempdir().expect("a folder"));
    let (a, b) = pair(&lab);
    let (a_ns, b_ns) = (a.open().expect("a"), b.open().expect("b"));
    let file = folder.path().join("all.pcapng");
    let name = file.to_str().expect("a path");
    let before = counters(&a_ns, "eth0");
    let capture = Running::capture([target(a).as_str(), "--summary", "json", "-w", name]);
    exchange(a, b, 300);
    let at = b.address(false).expect("an address");
    let tcp = traffic::tcp(&a_ns, &b_ns, at, 4 << 20, LIMIT).expect("a transfer");
    assert!(tcp.intact, "{tcp:?}");
    let sizes = [14, 15, 60, 61, 64, 1000, 1514];
    let frames: Vec<Vec<u8>> = sizes
        .iter()
        .zip(0..)
        .map(|(size, number)| frame(None, number, *size))
        .collect();
    a_ns.run(|| raw::send("eth0", &frames))
        .expect("entered")
        .expect("sent");
    let done = capture.stop();
    let summary = summary(&done);
    let after = counters(&a_ns, "eth0");
    let moved = after.0 - before.0 + (after.1 - before.1);
    assert_eq!(
        received(&summary, "eth0"),
        moved,
        "the interface's own count: {summary}"
    );
    assert_eq!(number(&summary["dropped"]), 0, "{summary}");
    let packets = read(&file);
    assert_eq!(packets.len() as u64, moved);
    assert!(
        packets
            .iter()
            .all(|packet| packet.data.len() == packet.len as usize)
    );
    for frame in frames {
        let found = packets.iter().filter(|packet| packet.data == frame).count();
        assert_eq!(found, 1, "a frame of {} bytes", frame.len());
    }
    let largest = packets
        .iter()
        .map(|packet| packet.len)
        .max()
        .expect("packets");
    assert!(
        largest > 16_000,
        "packets of many segments, {largest} bytes at most"
    );
}

#[test]
fn one_packet_has_one_id_at_every_tap() {
    require_root!();
    let (lab, folder) = (bridge(), tempfile::tempdir().expect("a folder"));
    let (a, _) = pair(&lab);
    let router = lab.router().expect("a router");
    let file = folder.path().join("taps.pcapng");
    let name = file.to_str().expect("a path");
    let capture = Running::capture([
        target(a).as_str(),
        "--taps",
        "inside,veth,bridge",
        "--summary",
        "json",
        "-w",
        name,
    ]);
    exchange(a, router, 200);
    let done = capture.stop();
    summary(&done);
    // Each datagram passes three taps, and comes back through them.
    let mut sightings: HashMap<u64, Vec<(u32, Vec<u8>)>> = HashMap::new();
    for packet in read(&file) {
        if packet.data.len() != 14 + 20 + 8 + 200 {
            continue;
        }
        let id = packet.id.expect("an id");
        sightings
            .entry(id)
            .or_default()
            .push((packet.interface, packet.data));
    }
    assert_eq!(sightings.len(), 400);
    for (id, seen) in sightings {
        let mut taps: Vec<u32> = seen.iter().map(|(tap, _)| *tap).collect();
        taps.sort_unstable();
        assert_eq!(taps, [0, 1, 2], "packet {id}");
        assert!(
            seen.iter().all(|(_, data)| *data == seen[0].1),
            "packet {id} is one packet"
        );
    }
}

#[test]
fn tags_and_snapshot_lengths() {
    require_root!();
    let (lab, folder) = (bridge(), tempfile::tempdir().expect("a folder"));
    let (a, _) = pair(&lab);
    let file = folder.path().join("tags.pcapng");
    let name = file.to_str().expect("a path");
    let capture = Running::capture([target(a).as_str(), "-s", "100", "-w", name]);
    let tagged: Vec<Vec<u8>> = (0..10)
        .map(|n| frame(Some((0x8100, 0x6000 | n as u16)), n, 70 + 10 * n as usize))
        .collect();
    let router = lab.router().expect("a router").open().expect("the router");
    let port = format!("v{}", a.name);
    router
        .run(|| raw::send(&port, &tagged))
        .expect("entered")
        .expect("sent");
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let found: Vec<Packet> = read(&file)
        .into_iter()
        .filter(|packet| packet.data[12..14] == [0x81, 0])
        .collect();
    assert_eq!(found.len(), tagged.len());
    for (packet, sent) in found.iter().zip(&tagged) {
        assert_eq!(packet.len as usize, sent.len());
        assert_eq!(packet.data, sent[..sent.len().min(100)]);
    }
}

#[test]
fn a_full_ring_drops_what_it_says() {
    require_root!();
    let (lab, folder) = (quiet(), tempfile::tempdir().expect("a folder"));
    let (a, _) = pair(&lab);
    let a_ns = a.open().expect("a");
    let file = folder.path().join("flood.pcapng");
    let name = file.to_str().expect("a path");
    let before = counters(&a_ns, "eth0");
    let capture = Running::capture([
        target(a).as_str(),
        "--buffer",
        "4K",
        "--summary",
        "json",
        "-w",
        name,
    ]);
    capture.signal(Signal::SIGSTOP);
    let frames: Vec<Vec<u8>> = (0..1000).map(|number| frame(None, number, 200)).collect();
    a_ns.run(|| raw::send("eth0", &frames))
        .expect("entered")
        .expect("sent");
    capture.signal(Signal::SIGCONT);
    let done = capture.stop();
    let summary = summary(&done);
    let after = counters(&a_ns, "eth0");
    let moved = after.0 - before.0 + (after.1 - before.1);
    assert_eq!(received(&summary, "eth0"), moved, "{summary}");
    assert!(number(&summary["dropped"]) > 900, "{summary}");
    assert_eq!(read(&file).len() as u64, number(&summary["captured"]));
}

#[test]
fn a_count_ends_it() {
    require_root!();
    let (lab, folder) = (bridge(), tempfile::tempdir().expect("a folder"));
    let (a, b) = pair(&lab);
    let file = folder.path().join("count.pcapng");
    let name = file.to_str().expect("a path");
    let args = [
        target(a),
        "-c".into(),
        "7".into(),
        "--summary".into(),
        "json".into(),
    ];
    let capture = Running::capture(args.iter().map(String::as_str).chain(["-w", name]));
    exchange(a, b, 100);
    let summary = summary(&capture.wait());
    assert_eq!(number(&summary["captured"]), 7, "{summary}");
    assert_eq!(number(&summary["dropped"]), 0, "{summary}");
    received(&summary, "eth0");
    assert_eq!(read(&file).len(), 7);
}

/// TCX links go with their owner; filters of older kernels are taken off by the next start.
#[test]
fn whose_packets_they_are_is_told() {
    require_root!();
    let lab = quiet();
    let (a, b) = pair(&lab);
    let mut command = netns_trace([
        "capture",
        &target(a),
        "-nt",
        "--process",
        "--summary",
        "json",
    ]);
    command.stdout(Stdio::piped());
    let mut capture = Running::start(command);
    capture.wait_for("listening on");
    exchange(a, b, 50);
    let done = capture.stop();
    let summary = summary(&done);
    let udp: Vec<&str> = done
        .stdout
        .lines()
        .filter(|line| line.contains("UDP"))
        .collect();
    // One more, which is empty, ends the echo.
    assert_eq!(udp.len(), 101, "{done:?}");
    let whose = format!(" {}] IP ", std::process::id());
    for line in udp {
        assert!(line.contains(&whose), "{line}: {done:?}");
    }
    assert_eq!(number(&summary["process"]["attributed"]), 101, "{summary}");
}

#[test]
fn a_killed_capture_leaves_nothing_that_the_next_start_does_not_take() {
    require_root!();
    let lab = bridge();
    private_run::enter();
    let (a, b) = pair(&lab);
    for method in kernel::methods() {
        let target_a = target(a);
        let args = [target_a.as_str(), "--attach", method, "-w", "/dev/null"];
        let capture = Running::capture(args);
        let list = format!("/run/netns-trace/filters/{}", capture.pid());
        let expected = *method != "tcx";
        assert_eq!(Path::new(&list).exists(), expected, "{method}");
        // With its helper process, which would take its filters off.
        drop(if expected {
            capture.kill_with_helper()
        } else {
            capture.signal(Signal::SIGKILL);
            capture.wait()
        });
        let programs = kernel::attached(&a.open().expect("a"), "eth0");
        assert_eq!(programs.is_empty(), !expected, "{method}: {programs:?}");
        let done = run([
            "capture",
            &target(b),
            "--duration",
            "50ms",
            "-w",
            "/dev/null",
        ]);
        assert!(done.status.success(), "{done:?}");
        assert!(!Path::new(&list).exists(), "{method}");
        let programs = kernel::attached(&a.open().expect("a"), "eth0");
        assert!(programs.is_empty(), "{method}: {programs:?}");
    }
}

#[test]
fn the_namespace_may_go_at_any_time() {
    require_root!();
    let lab = bridge();
    let (a, _) = pair(&lab);
    let capture = Running::capture([target(a).as_str(), "-w", "/dev/null"]);
    lab.down().expect("removing the lab");
    let done = capture.wait();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.contains("is gone"), "{done:?}");
}
