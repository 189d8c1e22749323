//! `capture --follow`: one file past the end of a namespace and into the next of its name.

use netns_trace_tests::{
    bed::{Bed, must},
    packets,
    tool::{Running, netns_trace, run},
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
        "-w",
        &path,
    ]));
    capture.wait_for("waiting for netns:");
    for round in 0..2 {
        come(&mut bed);
        capture.wait_for("listening on eth0@");
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
    let echoes = packets::read(&file)
        .iter()
        .filter(|packet| {
            packet.data.get(12..14) == Some(&[8, 0]) && packet.data.get(23) == Some(&1)
        })
        .count();
    assert_eq!(echoes, 12, "three requests and replies in each life");
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
