//! `read`: files of every kind, and broken ones.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use netns_trace::capture::input::{Input, Item};
use netns_trace_tests::{
    corpus,
    tool::{Done, done, must, netns_trace, run},
};

/// An ARP request, as a frame.
const ARP: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0,
    0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
];
const SECONDS: u32 = 1_700_000_000;

/// Writes numbers in one byte order.
struct Bytes {
    is_big_endian: bool,
    all: Vec<u8>,
}

impl Bytes {
    fn new(is_big_endian: bool) -> Self {
        Self {
            is_big_endian,
            all: Vec::new(),
        }
    }

    fn u16(&mut self, number: u16) -> &mut Self {
        self.number(number.to_be_bytes())
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.number(number.to_be_bytes())
    }

    fn number<const N: usize>(&mut self, mut bytes: [u8; N]) -> &mut Self {
        if !self.is_big_endian {
            bytes.reverse();
        }
        self.bytes(&bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.all.extend(bytes);
        self
    }

    /// A pcapng block around `body`.
    fn block(&mut self, kind: u32, body: &Self) -> &mut Self {
        let len = (body.all.len().next_multiple_of(4) + 12) as u32;
        self.u32(kind).u32(len).bytes(&body.all);
        while !self.all.len().is_multiple_of(4) {
            self.all.push(0);
        }
        self.u32(len)
    }
}

/// A pcap file of three packets.
fn pcap(magic: u32, is_big_endian: bool, minor: u16, link_type: u32) -> Vec<u8> {
    let mut file = Bytes::new(is_big_endian);
    file.u32(magic)
        .u16(2)
        .u16(minor)
        .u32(0)
        .u32(0)
        .u32(65535)
        .u32(link_type);
    for number in 0..3 {
        file.u32(SECONDS + number).u32(123_456 + number);
        let (captured, original) = (ARP.len() as u32, ARP.len() as u32 + 18);
        if minor < 3 {
            file.u32(original).u32(captured);
        } else {
            file.u32(captured).u32(original);
        }
        if magic == 0xa1b2_cd34 {
            file.u32(7).u16(1).u16(0);
        }
        file.bytes(&ARP);
    }
    file.all
}

/// A pcapng file: two interfaces of different link types and clocks, packets of each, names, an unknown block.
fn pcapng(is_big_endian: bool) -> Vec<u8> {
    let mut file = Bytes::new(is_big_endian);
    let new = || Bytes::new(is_big_endian);
    file.block(
        0x0a0d_0d0a,
        new()
            .u32(0x1a2b_3c4d)
            .u16(1)
            .u16(0)
            .u32(u32::MAX)
            .u32(u32::MAX),
    );
    // Nanoseconds, and ten seconds on.
    let mut first = new();
    first
        .u16(1)
        .u16(0)
        .u32(0)
        .u16(2)
        .u16(5)
        .bytes(b"eth0\0\0\0\0");
    first.u16(9).u16(1).bytes(&[9, 0, 0, 0]).u16(14).u16(8);
    if is_big_endian {
        first.u32(0).u32(10);
    } else {
        first.u32(10).u32(0);
    }
    file.block(1, first.u32(0));
    // Units of 2^-20 s.
    file.block(
        1,
        new()
            .u16(101)
            .u16(0)
            .u32(0)
            .u16(9)
            .u16(1)
            .bytes(&[0x80 | 20, 0, 0, 0]),
    );
    file.block(0xbad, new().bytes(b"whatever"));
    let ticks = u64::from(SECONDS) * 1_000_000_000 + 5;
    let mut packet = new();
    packet
        .u32(0)
        .u32((ticks >> 32) as u32)
        .u32(ticks as u32)
        .u32(42)
        .u32(42)
        .bytes(&ARP)
        .bytes(&[0, 0]);
    packet.u16(2).u16(4).u32(2);
    file.block(6, packet.u32(0));
    let ip = [
        0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9, 0, 8, 0, 0,
    ];
    let ticks = u64::from(SECONDS) << 20 | 1 << 19;
    file.block(
        6,
        new()
            .u32(1)
            .u32((ticks >> 32) as u32)
            .u32(ticks as u32)
            .u32(28)
            .u32(28)
            .bytes(&ip),
    );
    file.block(
        4,
        new()
            .u16(1)
            .u16(8)
            .bytes(&[10, 0, 0, 2])
            .bytes(b"web\0")
            .u32(0),
    );
    // The same packet, in a block without interface and time.
    file.block(3, new().u32(42).bytes(&ARP));
    file.all
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn save(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    path.display().to_string()
}

fn tcpdump(file: &str, options: &[&str]) -> String {
    must(tcpdump_command(file, options))
}

fn tcpdump_command(file: &str, options: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("tcpdump");
    command
        .args(["-n", "-r", file])
        .args(options)
        .env("TZ", "UTC");
    command
}

fn read(file: &str, options: &[&str]) -> Done {
    let mut command = netns_trace(["read", file]);
    command.args(options).env("TZ", "UTC");
    done(command)
}

/// What is said of a file that cannot be read to its end, behind the first line.
fn failure(done: &Done) -> &str {
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let said = done.stderr.trim_end();
    said.split_once("link-type EN10MB (Ethernet), snapshot length 65535\n")
        .map_or(said, |(_, said)| said)
}

#[test]
fn pcap_of_every_magic_and_byte_order() {
    let folder = folder();
    for (magic, minor) in [
        (0xa1b2_c3d4, 4),
        (0xa1b2_3c4d, 4),
        (0xa1b2_cd34, 4),
        (0xa1b2_c3d4, 3),
        (0xa1b2_c3d4, 2),
    ] {
        for is_big_endian in [false, true] {
            let file = save(&folder, "a.pcap", &pcap(magic, is_big_endian, minor, 1));
            for options in [&[][..], &["-tttt", "-e"]] {
                let ours = read(&file, options);
                assert_eq!(
                    ours.stdout,
                    tcpdump(&file, options),
                    "{magic:x} {is_big_endian}"
                );
                assert_eq!(ours.status.code(), Some(0), "{ours:?}");
                assert_eq!(ours.stdout.lines().count(), 3);
            }
        }
    }
    let file = save(&folder, "n.pcap", &pcap(0xa1b2_3c4d, true, 4, 1));
    assert_eq!(read(&file, &["--nano"]).stdout, tcpdump(&file, &["--nano"]));
    assert!(read(&file, &["--nano"]).stdout.contains(".000123456 ARP"));
}

#[test]
fn pcapng_of_either_byte_order_with_several_interfaces() {
    let folder = folder();
    for is_big_endian in [false, true] {
        let file = save(&folder, "a.pcapng", &pcapng(is_big_endian));
        let ours = read(&file, &["-tt", "--nano"]);
        assert_eq!(
            ours.stdout,
            "1700000010.000000005 eth0 Out ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28\n\
             1700000000.500000000 interface 1 IP 10.0.0.1.7 > 10.0.0.2.9: UDP, length 0\n\
             10.000000000 eth0 ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28\n",
            "{ours:?}"
        );
        assert_eq!(ours.status.code(), Some(0), "{ours:?}");
        let tshark = must({
            let mut command = std::process::Command::new("tshark");
            command.args(["-n", "-r", &file, "-T", "fields", "-e", "frame.time_epoch"]);
            command
        });
        let times: Vec<&str> = tshark.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            times[..2],
            ["1700000010.000000005", "1700000000.500000000"],
            "{tshark}"
        );
        // Names hold from where they stand on.
        let named = read(&file, &["-t", "--names"]).stdout;
        assert!(
            named.contains("interface 1 IP 10.0.0.1.7 > 10.0.0.2.9:"),
            "{named}"
        );
        assert!(
            named.contains("who-has 10.0.0.2[web] tell 10.0.0.1,"),
            "{named}"
        );
    }
}

/// Of every link type, also those that cannot be put in words; where a filter is refused, nothing is counted.
#[test]
fn filters_of_all_link_types_count_as_tcpdumps() {
    let Some(folder) = corpus::folder() else {
        return;
    };
    for file in corpus::files(&folder) {
        let file = file.to_str().expect("a path");
        for filter in ["ip", "greater 101"] {
            let counted = ["--count", filter];
            let (ours, theirs) = (read(file, &counted), done(tcpdump_command(file, &counted)));
            // Of a broken file, tcpdump counts nothing.
            if theirs.status.success() || ours.stdout.is_empty() {
                assert_eq!(ours.stdout, theirs.stdout, "{file} {filter}: {ours:?}");
            }
            assert_eq!(
                ours.status.success(),
                theirs.status.success(),
                "{file} {filter}: {ours:?} {theirs:?}"
            );
        }
    }
}

#[test]
fn filters_counts_and_ends_are_tcpdumps() {
    let Some(folder) = corpus::folder() else {
        return;
    };
    let file = folder.join("resp_1_benchmark.pcap");
    let file = file.to_str().expect("a path");
    for filter in [
        "tcp",
        "udp or arp",
        "greater 200",
        "tcp port 6379",
        "src host 127.0.0.1",
    ] {
        let words: Vec<&str> = filter.split(' ').collect();
        assert_eq!(read(file, &words).stdout, tcpdump(file, &words), "{filter}");
        let mut counted = vec!["--count"];
        counted.extend(&words);
        assert_eq!(
            read(file, &counted).stdout,
            tcpdump(file, &counted),
            "{filter}"
        );
        let mut few = vec!["-c", "2"];
        few.extend(&words);
        assert_eq!(read(file, &few).stdout, tcpdump(file, &few), "{filter}");
    }
    let refused = read(file, &["tcp", "prot", "80"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("tcp prot 80\n"),
        "{}",
        refused.stderr
    );
    assert!(refused.stdout.is_empty(), "{refused:?}");
}

#[test]
fn from_a_pipe_and_into_one_that_closes() {
    let bytes = pcap(0xa1b2_c3d4, false, 4, 1);
    let mut child = netns_trace(["read", "-", "-tt"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&bytes)
        .expect("written");
    let output = child.wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 3, "{text}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with(
            "reading from file -, link-type EN10MB (Ethernet), snapshot length 65535\n"
        ),
        "{said}"
    );
    // More lines than a pipe holds, of which the reader takes one.
    let mut many = pcap(0xa1b2_c3d4, false, 4, 1);
    let packet = many[24..24 + 16 + ARP.len()].to_vec();
    for _ in 0..20_000 {
        many.extend(&packet);
    }
    let folder = folder();
    let file = save(&folder, "many.pcap", &many);
    let binary = netns_trace_tests::tool::binary();
    let mut command = std::process::Command::new("bash");
    command
        .args(["-c", r#"set -o pipefail; "$0" read "$1" 2>&1 | head -2"#])
        .arg(binary)
        .arg(&file);
    let cut = done(command);
    assert_eq!(
        cut.status.code(),
        Some(0),
        "a reader that leaves is no error: {cut:?}"
    );
    assert_eq!(cut.stdout.lines().count(), 2, "{cut:?}");
}

#[test]
fn broken_files_are_printed_up_to_where_they_break() {
    let folder = folder();
    let bytes = pcap(0xa1b2_c3d4, false, 4, 1);
    let cut = save(&folder, "cut.pcap", &bytes[..24 + 2 * 58 + 10]);
    let done = read(&cut, &[]);
    assert_eq!(done.stdout.lines().count(), 2, "{done:?}");
    assert_eq!(
        failure(&done),
        format!(
            "netns-trace: {cut:?}: at byte 140: the file ends within a packet's header: 16 bytes wanted, 10 there"
        )
    );
    let mut long = bytes.clone();
    long[24 + 58 + 8..24 + 58 + 12].copy_from_slice(&[0xff; 4]);
    let long = save(&folder, "long.pcap", &long);
    let done = read(&long, &[]);
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    assert!(
        failure(&done).contains("at byte 82: a packet of 4294967295 captured bytes"),
        "{done:?}"
    );
    let text = save(&folder, "text", b"no capture at all");
    let done = read(&text, &[]);
    assert_eq!(
        failure(&done),
        format!(
            "netns-trace: cannot read {text:?}: at byte 0: this is no capture file: it starts with 0x6e6f2063, \
             where pcap and pcapng have another number"
        )
    );
    let empty = save(&folder, "empty", b"");
    assert!(
        failure(&read(&empty, &[])).contains("at byte 0: the file ends within its first number")
    );
    let missing = folder.path().join("missing").display().to_string();
    assert!(
        failure(&read(&missing, &[])).contains("No such file"),
        "{:?}",
        read(&missing, &[])
    );
    let dir = folder.path().display().to_string();
    assert!(
        failure(&read(&dir, &[])).contains("directory"),
        "{:?}",
        read(&dir, &[])
    );
    let version = save(&folder, "version.pcap", &{
        let mut bytes = bytes.clone();
        bytes[4] = 9;
        bytes
    });
    assert!(failure(&read(&version, &[])).contains("at byte 4: version 9.4 of pcap is not known"));
    let wifi = save(&folder, "wifi.pcap", &pcap(0xa1b2_c3d4, false, 4, 105));
    let done = read(&wifi, &[]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        done.stderr
            .contains("link-type IEEE802_11 (802.11), which cannot be put in words"),
        "{done:?}"
    );
    let counted = run(["read", &wifi, "--count"]);
    assert_eq!(
        (counted.stdout.as_str(), counted.status.code()),
        ("3 packets\n", Some(0))
    );
    let dumped = run(["read", &wifi, "-X"]);
    assert_eq!(dumped.status.code(), Some(0), "{dumped:?}");
    assert!(
        dumped
            .stdout
            .contains("IEEE802_11 (802.11), length 60\n\t0x0000:  ffff"),
        "{dumped:?}"
    );
}

/// What can be had of a file: packets, and whether it is whole. It ends, and never panics.
fn items(bytes: &[u8]) -> (usize, bool) {
    let file = std::io::Cursor::new(bytes.to_vec());
    let Ok(mut input) = Input::open(file) else {
        return (0, false);
    };
    let mut packets = 0;
    loop {
        match input.next() {
            Ok(Some(Item::Packet(_))) => packets += 1,
            Ok(Some(_)) => {}
            Ok(None) => return (packets, true),
            Err(why) => {
                assert!(why.offset <= bytes.len() as u64, "{why}");
                return (packets, false);
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_packets() {
    let file = pcap(0xa1b2_c3d4, true, 4, 1);
    for len in 0..=file.len() {
        let (packets, whole) = items(&file[..len]);
        let wanted = len.saturating_sub(24) / 58;
        assert_eq!(packets, wanted, "{len}");
        assert_eq!(whole, len >= 24 && (len - 24) % 58 == 0, "{len}");
    }
    let file = pcapng(true);
    assert_eq!(items(&file), (3, true));
    let mut before = 0;
    for len in 0..file.len() {
        let (packets, _) = items(&file[..len]);
        assert!(packets >= before, "{len}");
        before = packets;
    }
    assert_eq!(before, 2, "the last one is not whole");
}

#[test]
fn names_of_files_are_escaped() {
    let folder = folder();
    let path = Path::new("no\u{1b}[31m such");
    let done = run(["read", &folder.path().join(path).display().to_string()]);
    assert_eq!(done.status.code(), Some(1));
    assert!(!done.stderr.contains('\u{1b}'), "{done:?}");
}
