//! `capture --follow` of a container of real Docker: from before it is there, past its restart, in one
//! file. The witness is a tcpdump on the bridge, from before.

use std::path::Path;

use netns_trace_tests::{
    bed::must,
    packets::{self, Packet},
    require_root,
    runtimes::{Docker, Engine as _},
    tool::Witness,
};

/// ICMP echoes of a file: which sequence number, and whether it is a request.
fn echoes(packets: Vec<Packet>) -> Vec<(u16, bool)> {
    let echo = |packet: &Packet| {
        let number = u16::from_be_bytes([packet.data[40], packet.data[41]]);
        (number, packet.data[34] == 8)
    };
    let mut echoes: Vec<_> = packets::icmp(packets).iter().map(echo).collect();
    echoes.sort_unstable();
    echoes
}

/// What tshark tells of a file.
fn fields(file: &Path, filter: &str, field: &str) -> Vec<String> {
    let file = file.to_string_lossy();
    let told = must(
        "tshark",
        &["-n", "-r", &file, "-Y", filter, "-T", "fields", "-e", field],
    );
    told.lines().map(str::to_owned).collect()
}

#[test]
fn the_first_packets_of_a_containers_first_process_are_there() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let witness = |name: &str| {
        let ns = machine.path("/proc/1/ns/net");
        Witness::start(&ns, "docker0", "inout", machine.folder().join(name))
    };
    let file = machine.folder().join("web.pcapng");
    let words = format!("--follow docker:web -w {}", file.display());
    let mut capture = machine.capture(&words, "waiting for docker:web");
    let bridge = witness("first.pcap");
    let ping = "ping -c 3 -i 0.1 10.201.0.1; exec sleep 2147483647";
    docker.run("web", &[], &["sh", "-c", ping]);
    capture.wait_for("listening on eth0@web");
    let first = echoes(bridge.all());
    let all = |from: u16| (from..3).flat_map(|number| [(number, false), (number, true)]);
    assert_eq!(first, all(0).collect::<Vec<_>>(), "the witness saw all");

    let bridge = witness("second.pcap");
    docker.cli(&["restart", "-t", "0", "web"]);
    capture.wait_for("eth0@web is gone");
    capture.wait_for("listening on eth0@web");
    let mut both = [first, echoes(bridge.all())].concat();
    both.sort_unstable();
    assert_eq!(both.len(), 12, "the witness saw both lives");
    let done = capture.stop();
    assert!(done.status.success(), "{}", done.stderr);

    assert_eq!(echoes(packets::read(&file)), both);
    // A life, an interface; and the gap is told.
    let interfaces = fields(&file, "icmp", "frame.interface_id");
    assert_eq!(interfaces, [["0"; 6], ["1"; 6]].concat());
    let names = fields(&file, "icmp", "frame.interface_name");
    assert!(names.iter().all(|name| name == "eth0@web"), "{names:?}");
    let comments = fields(&file, "frame.comment", "frame.comment");
    assert_eq!(comments.len(), 1, "{comments:?}");
    assert!(
        comments[0].contains("docker:web is back after about"),
        "{comments:?}"
    );
}
