//! Every tap of a path shows what tcpdump shows there, as far as it is the target's, and one packet
//! has one id at all of them.

use std::{
    collections::HashSet,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    path::Path,
};

use netns_trace::lab::{Topology, traffic};
use netns_trace_tests::{
    bed::Bed,
    net::{Net, limit, open, v4},
    packets::{Packet, assert_same},
    patience::patience,
    require_root,
    sightings::{self, Flow, Sighting, assert_ids, flow},
    summary,
    tool::{Done, Running, Witness},
};

fn start(target: &str, taps: &str, file: &Path, extra: &[&str]) -> Running {
    let mut args = vec![target, "--taps", taps, "-w", file.to_str().expect("a path")];
    args.extend(extra);
    Running::capture(args)
}

/// Packets of UDP and TCP, by content: of what two CPUs do at once, each witness has an order of its
/// own.
fn flows(packets: Vec<Packet>) -> Vec<Packet> {
    let mut packets: Vec<Packet> = packets
        .into_iter()
        .filter(|packet| flow(&packet.data).is_some())
        .collect();
    packets.sort_by(|one, other| one.data.cmp(&other.data));
    packets
}

/// How many packets of others a tap counted, in both directions.
fn of_others(done: &Done, label: &str) -> u64 {
    done.stderr
        .lines()
        .filter(|line| line.trim_start().starts_with(label))
        .filter_map(|line| {
            line.split(", ")
                .find_map(|part| part.strip_suffix(" of others"))
        })
        .map(|count| count.parse::<u64>().expect("a count"))
        .sum()
}

/// What a packet is, wherever it is seen: whether it leaves the target, the far end's port, which
/// is the same before and after masquerading, and its content.
fn across_nat(seen: &Sighting) -> Option<(bool, u8, u16, Vec<u8>)> {
    let leaving =
        seen.egress == (seen.interface.starts_with("eth0") || seen.interface.starts_with("up0"));
    let Flow {
        from,
        to,
        protocol,
        content,
    } = flow(&seen.packet.data)?;
    let far = if leaving { to.1 } else { from.1 };
    Some((leaving, protocol, far, content))
}

/// a and b talk to the outside and to each other at the same time; two captures of a see each
/// packet of a at each tap that it passes, and nothing of b's talk with the outside.
#[test]
fn all_taps_hold_the_targets_packets_and_nobody_elses() {
    require_root!();
    let net = Net::up(Topology::Nat);
    let (a, b, outside) = (net.container(0), net.container(1), net.outside());
    // Everybody knows everybody before anybody watches.
    for (from, to) in [(a, b), (a, outside), (b, outside)] {
        net.send(from, to, 3, 100);
    }
    let places = [
        ("eth0", &a.path, &a.name),
        (net.veth(0), &net.router().path, &net.router().name),
        ("br0", &net.router().path, &net.router().name),
        ("up0", &net.router().path, &net.router().name),
    ];
    let witnesses: Vec<_> = places
        .iter()
        .flat_map(|place| [(place, false), (place, true)])
        .map(|((interface, ns, label), egress)| {
            let way = if egress { "out" } else { "in" };
            let file = net.file(&format!("{interface}-{way}.pcap"));
            let witness = Witness::start(ns, interface, way, file);
            (format!("{interface}@{label}"), egress, witness)
        })
        .collect();
    let files = [net.file("all.pcapng"), net.file("named.pcapng")];
    let named = "inside,veth,bridge,uplink";
    let all = start(&net.target(0), "all", &files[0], &["--summary", "json"]);
    let text = start(&net.target(0), named, &files[1], &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| net.send(a, outside, 400, 200));
        scope.spawn(|| net.send(a, b, 400, 200));
        scope.spawn(|| net.send(b, outside, 400, 200));
    });
    let (all, text) = (all.stop(), text.stop());
    assert!(
        all.status.success() && text.status.success(),
        "{all:?} {text:?}"
    );
    let summary = summary::of(&all);
    summary::assert_balanced(&summary);
    summary::assert_lossless(&summary);
    assert!(
        text.stderr.contains("\n0 packets dropped by kernel"),
        "{text:?}"
    );
    assert!(!text.stderr.contains("lost:"), "{text:?}");

    let theirs: Vec<_> = witnesses
        .into_iter()
        .map(|(label, egress, witness)| (label, egress, flows(witness.all())))
        .collect();
    // The outside's ports that a talked to: they tell its packets from b's on the uplink.
    let ports: HashSet<u16> = theirs[0..2]
        .iter()
        .flat_map(|(_, _, packets)| packets)
        .filter_map(|packet| flow(&packet.data))
        .flat_map(|flow| [flow.from, flow.to])
        .filter(|(address, _)| *address == v4(outside))
        .map(|(_, port)| port)
        .collect();
    assert!(ports.len() >= 2, "one for UDP, one for TCP: {ports:?}");
    let is_of_a = |packet: &Packet| {
        flow(&packet.data).is_some_and(|flow| {
            [flow.from, flow.to]
                .iter()
                .any(|(address, port)| *address == v4(outside) && ports.contains(port))
        })
    };
    for file in &files {
        let ours = sightings::read(file);
        for (label, egress, theirs) in &theirs {
            let what = format!(
                "{label} {} in {}",
                if *egress { "out" } else { "in" },
                file.display()
            );
            let shared = label.starts_with("br0") || label.starts_with("up0");
            let theirs: Vec<Packet> = theirs
                .iter()
                .filter(|packet| !shared || is_of_a(packet))
                .cloned()
                .collect();
            assert!(theirs.len() >= 400, "{what}: {} packets", theirs.len());
            let ours = flows(sightings::of(&ours, label, *egress));
            assert_same(&ours, &theirs, &what);
        }
        let seen = assert_ids(&ours, across_nat);
        for (what, times) in &seen {
            let expected = if ports.contains(&what.2) { 4 } else { 2 };
            assert_eq!(*times, expected, "sightings of {what:?}");
        }
        assert!(seen.len() > 1600, "{} packets", seen.len());
    }
    for (number, interface) in [(4, "br0"), (6, "up0")] {
        let foreign: usize = theirs[number..number + 2]
            .iter()
            .flat_map(|(_, _, packets)| packets)
            .filter(|packet| !is_of_a(packet))
            .count();
        let counted = of_others(&text, &format!("{interface}@{}", net.router().name));
        assert!(
            foreign > 800 && counted >= foreign as u64,
            "{interface}: tcpdump saw {foreign} packets of others, we counted {counted}: {text:?}"
        );
    }
}

/// From the first packet after the announcement on, shared taps know whose packets they see, also
/// where no tap of the target is written.
#[test]
fn a_shared_tap_alone_misses_nothing_of_the_targets() {
    require_root!();
    let net = Net::up(Topology::Nat);
    let (a, outside) = (net.container(0), net.outside());
    net.send(a, outside, 1, 100);
    for taps in ["bridge", "uplink"] {
        for extra in [&[][..], &["--no-latency"], &["--attach", "clsact"]] {
            let file = net.file("shared.pcapng");
            let capture = start(&net.target(0), taps, &file, extra);
            let (here, there) = (open(a), open(outside));
            let udp = traffic::udp(&here, &there, v4(outside).into(), 50, 100, limit());
            assert_eq!(udp.expect("datagrams").returned, 50);
            let done = capture.stop();
            assert!(done.status.success(), "{done:?}");
            let seen = sightings::read(&file);
            let count = |egress| {
                let packets = seen.iter().filter(|seen| seen.egress == egress);
                let udp = packets.filter_map(|seen| flow(&seen.packet.data));
                udp.filter(|flow| flow.protocol == 17).count()
            };
            // 50 and the last, empty one, which is not answered.
            let leaving = taps == "uplink";
            assert_eq!(
                (count(leaving), count(!leaving)),
                (51, 50),
                "--taps {taps} {extra:?}: {done:?}"
            );
        }
    }
}

/// Namespaces on both ends of a pair: the other's eth0 is the host side, whoever is named.
#[test]
fn of_a_pair_that_joins_two_namespaces_the_other_end_is_the_veth() {
    require_root!();
    let net = Net::up(Topology::Direct);
    let (a, b) = (net.container(0), net.container(1));
    net.send(a, b, 3, 100);
    let one = net.file("one.pcapng");
    let both = net.file("both.pcapng");
    let targets = format!("{},{}", net.target(0), net.target(1));
    let captures = [
        start(&net.target(0), "all", &one, &["--summary", "json"]),
        start(&targets, "all", &both, &["--summary", "json"]),
    ];
    net.send(a, b, 200, 300);
    for (capture, file) in captures.into_iter().zip([one, both]) {
        let done = capture.stop();
        assert!(done.status.success(), "{done:?}");
        assert!(done.stderr.contains("no bridge tap for eth0@"), "{done:?}");
        let summary = summary::of(&done);
        summary::assert_balanced(&summary);
        summary::assert_lossless(&summary);
        assert_eq!(
            summary::taps(&summary).len(),
            4,
            "two taps, two directions: {summary}"
        );
        let seen = sightings::read(&file);
        let (here, there) = (format!("eth0@{}", a.name), format!("eth0@{}", b.name));
        for egress in [false, true] {
            let ours = flows(sightings::of(&seen, &here, egress));
            let theirs = flows(sightings::of(&seen, &there, !egress));
            assert!(ours.len() >= 200, "{}", ours.len());
            assert_same(&ours, &theirs, "both ends");
        }
        let counts = assert_ids(&seen, |seen| flow(&seen.packet.data));
        assert!(counts.values().all(|times| *times == 2), "{counts:?}");
    }
}

/// Two targets on one bridge, whose interfaces have the same index in their namespaces.
#[test]
fn targets_whose_interfaces_share_an_index_are_told_apart() {
    require_root!();
    let bed = Bed::quiet();
    let index = |name| bed.link(name, "eth0")["ifindex"].clone();
    assert_eq!(index("a"), index("b"), "what this test is about");
    bed.in_ns("a", "ping", &["-c", "1", "10.9.0.3"]);
    let file = bed.file("two.pcapng");
    let targets = format!("{},{}", bed.target("a"), bed.target("b"));
    let capture = start(
        &targets,
        "inside,veth,bridge,peer",
        &file,
        &["--summary", "json"],
    );
    let (here, there) = (bed.open("a"), bed.open("b"));
    let at = "10.9.0.3".parse().expect("an address");
    let udp = traffic::udp(&here, &there, at, 300, 120, limit()).expect("datagrams");
    assert_eq!(udp.returned, 300);
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    summary::assert_balanced(&summary);
    summary::assert_lossless(&summary);
    let received = |name, interface: &str, direction: &str| {
        let inode = bed.open(name).inode();
        let taps = summary::taps(&summary).iter();
        let of = taps.filter(|tap| tap["netns_inode"] == inode && tap["ifname"] == interface);
        let counts: Vec<u64> = of
            .filter(|tap| tap["direction"] == direction)
            .map(|tap| summary::number(&tap["received"]))
            .collect();
        assert_eq!(
            counts.len(),
            1,
            "{interface} {direction} of {name}: {summary}"
        );
        counts[0]
    };
    // Directions are the target's own: what leaves a enters b. ARP may come on top.
    for (name, veth, leaving) in [("a", "va", 301), ("b", "vb", 300)] {
        for (ns, interface) in [(name, "eth0"), ("r", veth)] {
            for (direction, least) in [("out", leaving), ("in", 601 - leaving)] {
                let count = received(ns, interface, direction);
                assert!(
                    (least..least + 10).contains(&count),
                    "{interface} of {name} {direction}: {count}, not {least}: {summary}"
                );
            }
        }
    }
    let seen = sightings::read(&file);
    let counts = assert_ids(&seen, |seen| flow(&seen.packet.data));
    assert_eq!(counts.len(), 601);
    assert!(counts.values().all(|times| *times == 4), "{counts:?}");
}

/// Receives a datagram, also if the wait is cut short meanwhile.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer) {
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            received => return received.expect("a datagram in time"),
        }
    }
}

/// A packet's memory is used again at once: b hands on what it gets from a, in packets that differ
/// in nothing but addresses and payload. They are others' at the bridge, and none has an id of
/// a's.
#[test]
fn a_packet_that_takes_anothers_memory_is_not_taken_for_it() {
    require_root!();
    let net = Net::up(Topology::Nat);
    let (a, b, outside) = (net.container(0), net.container(1), net.outside());
    for (from, to) in [(a, b), (a, outside), (b, outside)] {
        net.send(from, to, 1, 100);
    }
    let bind = |node| {
        let socket = open(node).run(|| UdpSocket::bind((v4(node), 0)));
        socket.expect("entered").expect("a socket")
    };
    let (from, through, to) = (bind(a), bind(b), bind(outside));
    for socket in [&through, &to] {
        socket.set_read_timeout(Some(patience())).expect("set");
    }
    let at = |socket: &UdpSocket| socket.local_addr().expect("its address");
    for extra in [&[][..], &["--no-latency"]] {
        let file = net.file("relay.pcapng");
        let capture = start(&net.target(0), "all", &file, extra);
        let mut buffer = [0; 200];
        for number in 0..2000_u64 {
            let mut datagram = [0xab; 100];
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            from.send_to(&datagram, at(&through)).expect("sent");
            let (len, _) = receive(&through, &mut buffer);
            buffer[8] = 0xcd;
            through.send_to(&buffer[..len], at(&to)).expect("sent on");
            let (len, back) = receive(&to, &mut buffer);
            buffer[8] = 0xef;
            to.send_to(&buffer[..len], back).expect("sent back");
            receive(&through, &mut buffer);
            buffer[8] = 0x12;
            through
                .send_to(&buffer[..len], at(&from))
                .expect("sent to a");
        }
        let done = capture.stop();
        assert!(done.status.success(), "{done:?}");
        let seen = sightings::read(&file);
        let payload = |seen: &Sighting| Some(flow(&seen.packet.data)?.content[4..13].to_vec());
        let foreign: Vec<&Sighting> = seen
            .iter()
            .filter(|seen| payload(seen).is_some_and(|payload| [0xcd, 0xef].contains(&payload[8])))
            .collect();
        let first = foreign.first();
        assert!(
            first.is_none(),
            "{} packets of b's, the first: {first:?}",
            foreign.len()
        );
        assert_ids(&seen, payload);
    }
}
