//! Every packet that tcpdump sees on an interface is in our file, and none that it does not see:
//! bytes, lengths, order in each direction, and times within a millisecond.

use std::process::{Command, Stdio};

use netns_trace::lab::{Topology, traffic};
use netns_trace_tests::{
    bed::Bed,
    command::ip,
    kernel,
    net::{self, Net},
    packets::{self, Packet, assert_same},
    raw::frame,
    require_kernel,
    tool::{Running, Witness},
};

const FROM: u32 = 0x1000_0001;
const TO: u32 = 0x1000_0002;

/// Captures `a`'s eth0 with tcpdump and with us, each direction by itself, while `traffic` runs,
/// and compares. Returns what was received and what was sent.
fn compare(bed: &Bed, extra: &[&str], traffic: impl FnOnce(&Bed)) -> (Vec<Packet>, Vec<Packet>) {
    let sides: Vec<_> = ["in", "out"]
        .into_iter()
        .map(|direction| {
            let witness = Witness::start(
                &bed.path("a"),
                "eth0",
                direction,
                bed.file(&format!("theirs-{direction}.pcap")),
            );
            let file = bed.file(&format!("ours-{direction}.pcapng"));
            let (name, target) = (file.to_str().expect("a path").to_owned(), bed.target("a"));
            let mut args = vec![target.as_str(), "-Q", direction, "-w", &name];
            args.extend(extra);
            (direction, witness, Running::capture(args), file)
        })
        .collect();
    let marker = |number| {
        bed.send_frames("a", "eth0", &[frame(None, number, 60)]);
        bed.send_frames("r", "va", &[frame(None, number, 60)]);
    };
    marker(FROM);
    traffic(bed);
    marker(TO);
    let mut seen = Vec::new();
    for (direction, witness, ours, file) in sides {
        let theirs = witness.between(FROM, TO);
        let done = ours.stop();
        assert!(done.status.success(), "{done:?}");
        assert!(
            done.stderr.contains("\n0 packets dropped by kernel"),
            "{done:?}"
        );
        let ours = packets::between(&packets::read(&file), FROM, TO).expect("both markers");
        assert_same(&ours, &theirs, direction);
        seen.push(ours);
    }
    let out = seen.pop().expect("out");
    (seen.pop().expect("in"), out)
}

fn count(packets: &[Packet], wanted: impl Fn(&[u8]) -> bool) -> usize {
    packets.iter().filter(|packet| wanted(&packet.data)).count()
}

fn ether_type(data: &[u8]) -> u16 {
    u16::from_be_bytes([data[12], data[13]])
}

/// A server and a client that send `bytes` over TCP or UDP with socat, in `b` and `a`.
fn transfer(bed: &Bed, server: &str, client: &str, bytes: usize) {
    let mut listener = bed
        .command("b", "socat")
        .args(["-u", server, "OPEN:/dev/null"])
        .stderr(Stdio::null())
        .spawn()
        .expect("socat starts");
    let mut sent = false;
    for _ in 0..100 {
        let mut sender = bed
            .command("a", "socat")
            .args(["-u", "-", client])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("socat starts");
        let mut stdin = sender.stdin.take().expect("a pipe");
        let wrote = std::io::Write::write_all(&mut stdin, &vec![0x5a; bytes]).is_ok();
        drop(stdin);
        if sender.wait().expect("its status").success() && wrote {
            sent = true;
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    if !sent {
        drop(listener.kill());
    }
    // It ends once it has read everything.
    listener.wait().expect("its status");
    assert!(sent, "the transfer {client} works");
}

#[test]
fn ping_and_arp() {
    let bed = Bed::bridge();
    let (received, sent) = compare(&bed, &[], |bed| {
        bed.in_ns("a", "ip", &["neigh", "flush", "all"]);
        bed.in_ns(
            "a",
            "ping",
            &["-c", "20", "-i", "0.01", "-s", "1400", "10.9.0.3"],
        );
    });
    assert_eq!(count(&sent, |data| ether_type(data) == 0x0800), 20);
    assert_eq!(count(&received, |data| ether_type(data) == 0x0800), 20);
    assert!(
        count(&sent, |data| ether_type(data) == 0x0806) >= 1,
        "an ARP request"
    );
}

#[test]
fn ipv6() {
    let bed = Bed::bridge();
    let (received, sent) = compare(&bed, &[], |bed| {
        bed.in_ns("a", "ping", &["-c", "10", "-i", "0.01", "fd09::3"]);
    });
    assert!(count(&sent, |data| ether_type(data) == 0x86dd) >= 10);
    assert!(count(&received, |data| ether_type(data) == 0x86dd) >= 10);
}

/// The kernel loops copies of these back to the sender; tcpdump shows none, and so do we not.
#[test]
fn multicast_and_broadcast() {
    let bed = Bed::bridge();
    let (received, sent) = compare(&bed, &[], |bed| {
        bed.in_ns("a", "ip", &["route", "add", "224.0.0.0/4", "dev", "eth0"]);
        for target in [
            "UDP4-DATAGRAM:224.0.0.251:5353,ip-multicast-loop=1",
            "UDP4-DATAGRAM:10.9.0.255:9999,broadcast",
            "UDP6-DATAGRAM:[ff02::1%eth0]:9998",
        ] {
            let shell = format!("echo hello | socat -u - '{target}'");
            bed.in_ns("a", "sh", &["-c", &shell]);
        }
        bed.in_ns(
            "b",
            "sh",
            &[
                "-c",
                "echo hi | socat -u - UDP4-DATAGRAM:10.9.0.255:9999,broadcast",
            ],
        );
    });
    let hello = |data: &[u8]| data.windows(6).any(|bytes| bytes == b"hello\n");
    assert_eq!(count(&sent, hello), 3);
    assert_eq!(count(&received, hello), 0, "no copy of our own");
    assert_eq!(
        count(&received, |data| data
            .windows(3)
            .any(|bytes| bytes == b"hi\n")),
        1
    );
}

#[test]
fn tcp_with_segmentation_offload() {
    let bed = Bed::bridge();
    let (received, sent) = compare(&bed, &[], |bed| {
        transfer(bed, "TCP-LISTEN:7001", "TCP:10.9.0.3:7001", 8 << 20);
    });
    let bytes: usize = sent.iter().map(|packet| packet.data.len()).sum();
    assert!(bytes > 8 << 20, "{bytes}");
    let largest = sent.iter().map(|packet| packet.len).max().expect("packets");
    assert!(
        largest > 3 * 1514,
        "packets of many segments, {largest} bytes at most"
    );
    assert!(!received.is_empty());
}

#[test]
fn udp_and_fragments() {
    let bed = Bed::bridge();
    let (_, sent) = compare(&bed, &[], |bed| {
        for _ in 0..5 {
            let shell = "socat -u -b 8000 OPEN:/dev/zero,readbytes=8000 UDP:10.9.0.3:7002";
            bed.in_ns("a", "sh", &["-c", shell]);
        }
    });
    let fragments = count(&sent, |data| {
        ether_type(data) == 0x0800 && u16::from_be_bytes([data[20], data[21]]) & 0x3fff != 0
    });
    assert!(fragments >= 25, "{fragments} fragments");
}

#[test]
fn jumbo_frames() {
    let bed = Bed::bridge();
    for (ns, device) in [
        ("r", "br0"),
        ("r", "va"),
        ("r", "vb"),
        ("a", "eth0"),
        ("b", "eth0"),
    ] {
        bed.in_ns(ns, "ip", &["link", "set", device, "mtu", "9000"]);
    }
    let (received, sent) = compare(&bed, &[], |bed| {
        bed.in_ns(
            "a",
            "ping",
            &[
                "-c", "5", "-i", "0.01", "-M", "do", "-s", "8900", "10.9.0.3",
            ],
        );
    });
    for packets in [received, sent] {
        assert_eq!(count(&packets, |data| data.len() == 8942), 5);
    }
}

/// The kernel takes a tag off what an interface receives and keeps it beside the packet.
#[test]
fn vlan_tags_are_put_back() {
    let bed = Bed::bridge();
    let tagged: Vec<Vec<u8>> = (0..20)
        .map(|n| {
            frame(
                Some((0x8100, 0x6000 | (100 + n as u16))),
                n,
                64 + 60 * n as usize,
            )
        })
        .chain((0..5).map(|n| frame(Some((0x88a8, 7)), n, 300)))
        .chain((0..5).map(|n| frame(Some((0x8100, 0)), n, 300)))
        .collect();
    let (received, sent) = compare(&bed, &[], |bed| {
        bed.send_frames("r", "va", &tagged);
        bed.send_frames("a", "eth0", &tagged);
    });
    for packets in [received, sent] {
        let found: Vec<&[u8]> = packets
            .iter()
            .map(|packet| packet.data.as_slice())
            .filter(|data| [0x8100, 0x88a8].contains(&ether_type(data)))
            .collect();
        assert_eq!(found, tagged.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}

#[test]
fn cut_to_a_snapshot_length() {
    let bed = Bed::bridge();
    let file = bed.file("cut.pcap");
    let target = bed.target("a");
    let ours = Running::capture([
        target.as_str(),
        "-s",
        "68",
        "-w",
        file.to_str().expect("a path"),
    ]);
    bed.in_ns(
        "a",
        "ping",
        &["-c", "3", "-i", "0.01", "-s", "1000", "10.9.0.3"],
    );
    bed.send_frames("r", "va", &[frame(Some((0x8100, 5)), 1, 200)]);
    let done = ours.stop();
    assert!(done.status.success(), "{done:?}");
    let packets = packets::read(&file);
    let pings = packets.iter().filter(|packet| packet.len == 1042).count();
    assert_eq!(pings, 6, "{packets:?}");
    assert!(
        packets
            .iter()
            .all(|packet| packet.data.len() == packet.len.min(68) as usize)
    );
    // The tag counts, as it does for tcpdump.
    assert!(
        packets
            .iter()
            .any(|packet| packet.len == 200 && packet.data.len() == 68)
    );
}

/// A tun device has no link-layer header: its packets start with the IP header.
#[test]
fn a_tun_device_is_raw_ip() {
    let mut bed = Bed::empty();
    bed.add_namespace("t");
    bed.in_ns("t", "ip", &["tuntap", "add", "tun0", "mode", "tun"]);
    let reader = netns_trace::netns::NetNs::open(&bed.path("t"))
        .expect("the namespace")
        .run(|| netns_trace_tests::raw::open_tun("tun0"))
        .expect("entered")
        .expect("opened");
    bed.in_ns("t", "ip", &["addr", "add", "10.77.0.1/24", "dev", "tun0"]);
    bed.in_ns("t", "ip", &["link", "set", "tun0", "up"]);
    let witness = Witness::start(&bed.path("t"), "tun0", "inout", bed.file("theirs.pcap"));
    let file = bed.file("ours.pcapng");
    let target = bed.target("t");
    let ours = Running::capture([
        target.as_str(),
        "-i",
        "tun0",
        "-w",
        file.to_str().expect("a path"),
    ]);
    let ping = bed
        .command("t", "ping")
        .args(["-c", "4", "-i", "0.05", "-W", "1", "10.77.0.9"])
        .stdout(Stdio::null())
        .status();
    assert!(ping.is_ok(), "ping runs; nobody answers");
    drop(reader);
    let done = ours.stop();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.contains("link-type RAW (Raw IP)"), "{done:?}");
    let is_ping = |packet: &Packet| packet.data.first() == Some(&0x45) && packet.data[9] == 1;
    let ours: Vec<Packet> = packets::read(&file).into_iter().filter(is_ping).collect();
    let theirs: Vec<Packet> = witness.all().into_iter().filter(is_ping).collect();
    assert_eq!(ours.len(), 4);
    assert_same(&ours, &theirs, "tun");
}

#[test]
fn loopback_shows_each_packet_once() {
    let mut bed = Bed::empty();
    bed.add_namespace("l");
    let witness = Witness::start(&bed.path("l"), "lo", "inout", bed.file("theirs.pcap"));
    let file = bed.file("ours.pcapng");
    let target = bed.target("l");
    let ours = Running::capture([
        target.as_str(),
        "-i",
        "lo",
        "-w",
        file.to_str().expect("a path"),
    ]);
    bed.in_ns("l", "ping", &["-c", "10", "-i", "0.01", "127.0.0.1"]);
    let done = ours.stop();
    assert!(done.status.success(), "{done:?}");
    let ours = packets::read(&file);
    assert_eq!(ours.len(), 20);
    assert_same(&ours, &witness.all(), "lo");
}

/// Wireshark's tools read the file without a warning, and find what we meant.
#[test]
fn wiresharks_tools_read_it() {
    let bed = Bed::bridge();
    let file = bed.file("ours.pcapng");
    let name = file.to_str().expect("a path");
    let target = bed.target("a");
    let ours = Running::capture([target.as_str(), "--taps", "inside,veth", "-w", name]);
    transfer(&bed, "TCP-LISTEN:7003", "TCP:10.9.0.3:7003", 1 << 20);
    let done = ours.stop();
    assert!(done.status.success(), "{done:?}");
    let capinfos = Command::new("capinfos")
        .arg(name)
        .output()
        .expect("capinfos runs");
    assert!(
        capinfos.status.success() && capinfos.stderr.is_empty(),
        "{capinfos:?}"
    );
    let text = String::from_utf8_lossy(&capinfos.stdout).into_owned();
    assert!(text.contains("Number of interfaces in file: 2"), "{text}");
    assert!(
        text.contains(&format!("Name = eth0@{}", bed.name("a"))),
        "{text}"
    );
    let tshark = Command::new("tshark")
        .args([
            "-r",
            name,
            "-T",
            "fields",
            "-e",
            "frame.interface_id",
            "-e",
            "frame.packet_id",
        ])
        .args(["-e", "frame.packet_flags_direction", "-e", "frame.len"])
        .output()
        .expect("tshark runs");
    assert!(tshark.status.success(), "{tshark:?}");
    let text = String::from_utf8_lossy(&tshark.stdout).into_owned();
    // Sightings of one packet: the same id, once at each tap, with opposite directions.
    let mut inside = std::collections::HashMap::new();
    let mut pairs = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [interface, id, direction, len] = fields[..] else {
            panic!("{line}")
        };
        assert!(!id.is_empty(), "every packet has an id: {line}");
        if let Some((other, way, length)) = inside.insert(
            id.to_owned(),
            (interface.to_owned(), direction.to_owned(), len.to_owned()),
        ) {
            assert_ne!(other, interface, "one id, two packets at one tap: {line}");
            assert_ne!(way, direction, "{line}");
            assert_eq!(length, len, "{line}");
            pairs += 1;
        }
    }
    assert!(
        pairs * 2 + 8 >= text.lines().count(),
        "{pairs} pairs in {} lines",
        text.lines().count()
    );
}

/// With BIG TCP (Linux 5.19) one packet of IPv6 holds more than 64 KiB.
#[test]
fn packets_beyond_64_kib_are_whole() {
    require_kernel!(kernel::BIG_TCP);
    let net = Net::up(Topology::Direct);
    let (a, b) = (net.container(0), net.container(1));
    for node in [a, b] {
        ip(&format!(
            "-n {} link set eth0 gso_max_size 150000 gro_max_size 150000",
            node.name
        ));
    }
    let file = net.file("big.pcapng");
    let name = file.to_str().expect("a path");
    let target = net.target(0);
    let ours = Running::capture([target.as_str(), "--buffer", "128M", "-w", name]);
    let at = b.address(true).expect("an address");
    // How much TCP puts into one packet depends on what else the machine does.
    for _ in 0..3 {
        let tcp = traffic::tcp(&net::open(a), &net::open(b), at, 32 << 20, net::limit());
        assert!(tcp.expect("a transfer").intact);
    }
    let done = ours.stop();
    assert!(done.status.success(), "{done:?}");
    assert!(
        done.stderr.contains("\n0 packets dropped by kernel"),
        "{done:?}"
    );
    let packets = packets::read(&file);
    let largest = packets
        .iter()
        .max_by_key(|packet| packet.len)
        .expect("packets");
    assert!(largest.len > 66_000, "{largest:?}");
    assert!(
        packets
            .iter()
            .all(|packet| packet.data.len() == packet.len as usize)
    );
}
