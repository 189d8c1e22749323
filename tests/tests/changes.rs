//! Whatever is done to an interface while it is captured, what passes is captured, for as long as it is
//! there.

use std::path::Path;

use netns_trace_tests::{
    bed::Bed,
    kernel, packets,
    raw::frame,
    require_root,
    summary::{self, assert_balanced, assert_lossless},
    tool::Running,
};

const LEN: usize = 300;
/// Frames after each change.
const FRAMES: u32 = 25;

/// Sends the next frames from an interface.
fn send(bed: &Bed, (ns, interface): (&str, &str), sent: &mut u32) {
    let frames: Vec<Vec<u8>> = (*sent..*sent + FRAMES)
        .map(|n| frame(None, n, LEN))
        .collect();
    bed.send_frames(ns, interface, &frames);
    *sent += FRAMES;
}

/// The numbers of our frames in a file, as they stand there.
fn numbers(file: &Path, sent: u32) -> Vec<u32> {
    let known: Vec<Vec<u8>> = (0..sent).map(|n| frame(None, n, LEN)).collect();
    let number = |data: &Vec<u8>| known.iter().position(|frame| frame == data);
    packets::read(file)
        .iter()
        .filter_map(|packet| number(&packet.data))
        .map(|n| n as u32)
        .collect()
}

#[test]
fn of_an_interface_nothing_is_missed() {
    require_root!();
    for &method in kernel::methods() {
        let mut bed = Bed::quiet();
        bed.add_namespace("c");
        let (file, target) = (bed.file("changed.pcapng"), bed.target("a"));
        let capture = Running::capture([
            target.as_str(),
            "--attach",
            method,
            "--no-latency",
            "--summary",
            "json",
            "-w",
            file.to_str().expect("a path"),
        ]);
        let mut sent = 0;
        send(&bed, ("a", "eth0"), &mut sent);
        for (ns, change) in [
            ("a", "link set eth0 mtu 9000"),
            ("a", "link set eth0 mtu 576"),
            ("a", "addr flush dev eth0"),
            ("a", "link set eth0 address 02:00:00:00:00:55"),
            ("a", "link set eth0 promisc on"),
            ("a", "link set eth0 txqueuelen 17"),
            ("r", "link set va down"),
            ("r", "link set va name other"),
            ("r", "link set other up"),
            ("r", "link set other nomaster"),
            ("r", "link del br0"),
        ] {
            bed.in_ns(ns, "ip", &change.split(' ').collect::<Vec<_>>());
            // Without a carrier nothing is sent.
            if change != "link set va down" && change != "link set va name other" {
                send(&bed, ("a", "eth0"), &mut sent);
            }
        }
        for change in [
            "link set eth0 down",
            "link set eth0 name eth9",
            "link set eth9 up",
        ] {
            bed.in_ns("a", "ip", &change.split(' ').collect::<Vec<_>>());
        }
        send(&bed, ("a", "eth9"), &mut sent);
        // From 6.6, a tap moves along with its interface; before, the kernel takes it off.
        let elsewhere = bed.name("c");
        bed.in_ns("a", "ip", &["link", "set", "eth9", "netns", &elsewhere]);
        bed.in_ns("c", "ip", &["link", "set", "eth9", "up"]);
        let done = if method == "tcx" {
            send(&bed, ("c", "eth9"), &mut sent);
            bed.in_ns("c", "ip", &["link", "del", "eth9"]);
            capture.wait()
        } else {
            capture.wait()
        };
        assert!(done.status.success(), "{method}: {done:?}");
        assert!(done.stderr.contains("is gone"), "{method}: {done:?}");
        let all: Vec<u32> = (0..sent).collect();
        assert_eq!(numbers(&file, sent), all, "{method}: {done:?}");
        let summary = summary::of(&done);
        assert_balanced(&summary);
        assert_lossless(&summary);
    }
}
