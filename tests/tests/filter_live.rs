//! Filters on live packets: the file holds what tcpdump takes of everything, tagged frames and short ones
//! too, and the programs behind ours see all packets.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::Command,
};

use netns_trace::filter::{Filter, View};
use netns_trace_tests::{
    bed::{Bed, must},
    classifier::{Classifier, NEXT, Place},
    corpus, kernel, packets,
    raw::frame,
    require_kernel, require_root, summary,
    tool::{Running, netns_trace, run},
};

/// What mentions the bytes about a tag, and what does not.
const EXPRESSIONS: [&str; 24] = [
    "vlan",
    "not vlan",
    "vlan 10",
    "vlan and ip",
    "vlan and vlan",
    "ip",
    "arp",
    "ether proto 0x88b5",
    "ether[12:2] = 0x8100",
    "ether[12:4] & 0xfff = 7",
    "ether[10:4] & 0xffff = 0x8100",
    "ether[13:2] & 0xff != 0",
    "ether[14:2] & 0xfff = 7",
    "ether[15:2] & 0xff00 = 0x0700",
    "ether[15] = 7",
    "ether[16:2] = 0x88b5",
    "ether[18:4] & 1 = 0",
    "len > 100",
    "ether[len - 1] & 1 = 0",
    "ether[len - 4:4] & 7 = 3",
    "ether[ether[5] & 0xf:4] & 3 = 1",
    "ether[ether[15]:2] & 0xff > 9",
    "vlan 7 and len < 500",
    "tcp or udp",
];

/// Real tagged frames, and made ones of all kinds: each with a number.
fn frames() -> Vec<Vec<u8>> {
    let tags = [
        None,
        Some((0x8100, 7)),
        Some((0x8100, 10)),
        Some((0x88a8, 7)),
        Some((0x8100, 0xe007)),
        None,
    ];
    let mut all: Vec<Vec<u8>> = (0..120)
        .map(|number: u32| {
            let tag = tags[number as usize % tags.len()];
            frame(tag, number, 60 + (number as usize * 37) % 1400)
        })
        .collect();
    if let Some(folder) = corpus::folder() {
        let stored = corpus::packets(&folder, &[1]).into_iter();
        let tagged = stored.filter(|packet| {
            let is_tagged = matches!(packet.data.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
            is_tagged && !packet.is_cut() && (18..1500).contains(&packet.data.len())
        });
        all.extend(tagged.map(|packet| packet.data).take(300));
    }
    all
}

fn file(bed: &Bed, name: &str) -> (PathBuf, String) {
    let path = bed.file(name);
    let text = path.to_string_lossy().into_owned();
    (path, text)
}

/// What tcpdump takes of a file.
fn taken(path: &Path, expression: &str, to: &Path) -> Vec<packets::Packet> {
    let (path, name) = (path.to_string_lossy(), to.to_string_lossy());
    must(
        "tcpdump",
        &["--nano", "-n", "-r", &path, "-w", &name, expression],
    );
    packets::read(to)
}

#[test]
fn a_filtered_file_is_the_whole_one_filtered() {
    require_root!();
    let bed = Bed::quiet();
    let (all, name) = file(&bed, "all.pcapng");
    let target = bed.target("a");
    let start = |name: &str, filter: &[&str]| {
        Running::capture([&[&target, "--no-latency", "-w", name], filter].concat())
    };
    let whole = start(&name, &[]);
    // The kernel takes 64 programs at one hook.
    let filtered: Vec<(PathBuf, Running)> = (0..)
        .zip(EXPRESSIONS)
        .map(|(number, expression)| {
            let (path, name) = file(&bed, &format!("{number}.pcapng"));
            (path, start(&name, &[expression]))
        })
        .collect();
    let frames = frames();
    // From the bridge's side: the target receives them.
    bed.send_frames("r", "va", &frames);
    let done = whole.stop();
    assert!(done.status.success(), "{done:?}");
    let whole = packets::read(&all);
    assert_eq!(whole.len(), frames.len());
    for ((path, capture), expression) in filtered.into_iter().zip(EXPRESSIONS) {
        let done = capture.stop();
        assert!(done.status.success(), "{expression}: {done:?}");
        let data = |packets: &[packets::Packet]| -> Vec<Vec<u8>> {
            packets.iter().map(|packet| packet.data.clone()).collect()
        };
        let ours = data(&packets::read(&path));
        let theirs = data(&taken(&all, expression, &bed.file("taken.pcap")));
        assert_eq!(ours, theirs, "{expression}");
        let program = Filter::Expression(expression.to_owned())
            .compile(1, 262_144)
            .expect("compiled");
        let here = whole.iter().filter(|packet| {
            program.accepts(&View {
                data: &packet.data,
                length: packet.len,
                is_outgoing: false,
                interface: 0,
            })
        });
        assert_eq!(ours.len(), here.count(), "{expression}");
        let counted = format!("\n{} packets received by filter\n", ours.len());
        let one = "\n1 packet received by filter\n";
        assert!(
            done.stderr.contains(&counted) || done.stderr.contains(one),
            "{done:?}"
        );
    }
    let both = EXPRESSIONS.map(|expression| taken(&all, expression, &bed.file("t")).len());
    let some = both.iter().filter(|count| (1..whole.len()).contains(count));
    assert!(some.count() > 15, "{both:?}");
}

#[test]
fn real_traffic_that_is_replayed_is_filtered_alike() {
    require_root!();
    let Some(folder) = corpus::folder() else {
        return;
    };
    let bed = Bed::quiet();
    let (all, name) = file(&bed, "all.pcapng");
    let target = bed.target("a");
    let whole = Running::capture([&target, "--no-latency", "-w", &name]);
    let expressions = [
        "tcp",
        "udp port 53",
        "ip6",
        "not ip and not ip6",
        "len > 500",
        "tcp[13] & 2 != 0",
    ];
    let captures: Vec<(PathBuf, Running)> = (0..)
        .zip(expressions)
        .map(|(number, expression)| {
            let (path, name) = file(&bed, &format!("{number}.pcapng"));
            (
                path,
                Running::capture([&target, "--no-latency", "-w", &name, expression]),
            )
        })
        .collect();
    let stored = corpus::sendable(&folder);
    bed.replay("r", "va", &stored);
    assert!(whole.stop().status.success());
    let whole = packets::read(&all);
    assert!(
        whole.len() >= stored.len(),
        "{} of {}",
        whole.len(),
        stored.len()
    );
    for ((path, capture), expression) in captures.into_iter().zip(expressions) {
        assert!(capture.stop().status.success());
        let count = |packets: &[packets::Packet]| {
            let all: HashSet<Vec<u8>> = packets.iter().map(|packet| packet.data.clone()).collect();
            (packets.len(), all)
        };
        let (ours, theirs) = (
            packets::read(&path),
            taken(&all, expression, &bed.file("t")),
        );
        assert!(!ours.is_empty(), "{expression}");
        assert_eq!(count(&ours), count(&theirs), "{expression}");
    }
}

/// Beyond a packet's end, a load ends the filter, and nothing else.
#[test]
fn programs_behind_ours_see_what_a_filter_cannot_read() {
    require_root!();
    require_kernel!(kernel::TCX);
    let bed = Bed::quiet();
    let capture = Running::capture([
        &bed.target("a"),
        "--no-latency",
        "-w",
        "/dev/null",
        "ether[100:4] = 1 or ether[ether[14] + 200] = 1",
    ]);
    let ns = bed.open("a");
    let theirs = ns
        .run(|| Classifier::attach("eth0", netns_trace_tests::tcx::HOOKS[0], Place::Tail, NEXT))
        .expect("entered")
        .expect("attached");
    let frames: Vec<Vec<u8>> = (0..200).map(|number| frame(None, number, 20)).collect();
    bed.send_frames("r", "va", &frames);
    assert_eq!(theirs.count(), 200);
    let done = capture.stop();
    assert!(
        done.stderr.contains("0 packets received by filter"),
        "{done:?}"
    );
}

#[test]
fn in_and_out_are_those_of_the_interface() {
    require_root!();
    let bed = Bed::quiet();
    let (inbound, to_in) = file(&bed, "in.pcapng");
    let (outbound, to_out) = file(&bed, "out.pcapng");
    let target = bed.target("a");
    let captures = [
        Running::capture([&target, "-w", &to_in, "inbound", "and", "icmp"]),
        Running::capture([&target, "-w", &to_out, "icmp and outbound"]),
    ];
    bed.in_ns("a", "ping", &["-c", "3", "-i", "0.01", "10.9.0.3"]);
    for capture in captures {
        assert!(capture.stop().status.success());
    }
    // Its type: a request goes out, and a reply comes in.
    for (file, kind) in [(inbound, 0), (outbound, 8)] {
        let kinds: Vec<u8> = packets::read(&file)
            .iter()
            .map(|packet| packet.data[34])
            .collect();
        assert_eq!(kinds, [kind; 3]);
    }
}

#[test]
fn what_a_filter_left_out_is_counted() {
    require_root!();
    let bed = Bed::quiet();
    let args = [
        "--no-latency",
        "--summary",
        "json",
        "-w",
        "/dev/null",
        "ether[15] = 7",
    ];
    let capture = Running::capture([&[bed.target("a").as_str()], &args[..]].concat());
    let frames: Vec<Vec<u8>> = (0..30)
        .map(|number| frame(Some((0x8100, if number < 10 { 7 } else { 8 })), number, 100))
        .collect();
    bed.send_frames("r", "va", &frames);
    let summary = summary::of(&capture.stop());
    assert_eq!(summary["received"], 10, "{summary}");
    let tap = summary["taps"]
        .as_array()
        .expect("taps")
        .iter()
        .find(|tap| tap["direction"] == "in");
    assert_eq!(tap.expect("a tap")["filtered"], 20, "{summary}");
}

#[test]
fn what_is_no_filter_is_told_with_its_place() {
    require_root!();
    let bed = Bed::bridge();
    let target = bed.target("a");
    let refused = |args: &[&str]| {
        let done = run([&["capture", target.as_str(), "-w", "/dev/null"], args].concat());
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        done.stderr
    };
    let said = refused(&["ip", "and", "and", "tcp"]);
    assert!(
        said.contains("syntax error\n  ip and and tcp\n         ^"),
        "{said}"
    );
    let said = refused(&["tcp", "port", "none-such"]);
    assert!(said.contains("unknown port 'none-such'"), "{said}");
    let said = refused(&["ip and arp"]);
    assert!(said.contains("expression rejects all packets"), "{said}");
    let said = refused(&["ip protochain 6"]);
    assert!(
        said.contains("protochain") && said.contains("no loops"),
        "{said}"
    );
    let said = refused(&["host \x1b[2J"]);
    assert!(!said.contains('\x1b'), "{said}");
    // Arguments: nothing that a filter file could be.
    for (text, word) in [
        ("", "no instructions"),
        ("2\n40 0 0 12\n", "after 1 of 2"),
        ("1\n177 0 0\n", "line 2"),
        ("40000\n", "32768 at most"),
    ] {
        let file = bed.file("code");
        std::fs::write(&file, text).expect("written");
        let done = run([
            "capture",
            &target,
            "--filter-bytecode",
            &file.to_string_lossy(),
        ]);
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(done.stderr.contains(word), "{done:?}");
    }
    // A chain of comparisons whose last jump is to lead over all of them.
    let mut code = "30002\n32 0 0 26\n".to_owned();
    for host in 0..15_000 {
        code.push_str(&format!("21 0 1 {host}\n6 0 0 262144\n"));
    }
    code.push_str("6 0 0 0\n");
    let file = bed.file("code");
    std::fs::write(&file, code).expect("written");
    let said = refused(&["--filter-bytecode", &file.to_string_lossy()]);
    assert!(
        said.contains("too long") && said.contains("32767"),
        "{said}"
    );
}

#[test]
fn without_libpcap_bytecode_does() {
    require_root!();
    let bed = Bed::quiet();
    let (path, name) = file(&bed, "udp.pcapng");
    let (code, target) = (bed.file("code"), bed.target("a"));
    let empty = bed.file("empty.pcap");
    let header: Vec<u8> = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1_u32]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    std::fs::write(&empty, header).expect("written");
    let text = must(
        "tcpdump",
        &["-r", &empty.to_string_lossy(), "-ddd", "icmp[0] = 8"],
    );
    std::fs::write(&code, text).expect("written");
    // A machine whose libpcap is none.
    let hidden = |args: &[&str]| {
        let script = "for lib in $(ldconfig -p | sed -n 's/.*=> \\(.*libpcap.so.*\\)/\\1/p'); do
                          mount --bind /dev/null \"$lib\"
                      done
                      exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-ec",
            script,
            "sh",
        ]);
        command
            .arg(netns_trace(Vec::<&str>::new()).get_program())
            .args(args);
        command
    };
    let done = hidden(&["capture", &target, "icmp"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("libpcap0.8") && said.contains("--filter-bytecode"),
        "{said}"
    );
    let args = [
        "capture",
        &target,
        "--filter-bytecode",
        &code.to_string_lossy(),
        "-w",
        &name,
    ];
    let mut capture = Running::start(hidden(&args));
    capture.wait_for("listening on");
    bed.in_ns("a", "ping", &["-c", "2", "-i", "0.01", "10.9.0.3"]);
    assert!(capture.stop().status.success());
    let kinds: Vec<u8> = packets::read(&path)
        .iter()
        .map(|packet| packet.data[34])
        .collect();
    assert_eq!(kinds, [8, 8]);
}

#[test]
fn times_are_those_of_the_packets_that_pass() {
    require_root!();
    let bed = Bed::quiet();
    let mut args = vec!["latency".to_owned(), bed.target("a"), "--json".to_owned()];
    args.extend(["icmp", "and", "icmp[0] = 8"].map(str::to_owned));
    let mut command = netns_trace(&args);
    command.stdout(std::process::Stdio::piped());
    let mut latency = Running::start(command);
    latency.wait_for("measuring between");
    bed.in_ns("a", "ping", &["-c", "7", "-i", "0.01", "10.9.0.3"]);
    let done = latency.stop();
    assert!(done.status.success(), "{done:?}");
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let count = |direction: &str| -> u64 {
        let segments = report["segments"].as_array().expect("segments");
        let of_veth = segments
            .iter()
            .filter(|segment| segment["name"] == "veth" && segment["direction"] == direction);
        of_veth
            .map(|segment| segment["count"].as_u64().expect("a count"))
            .sum()
    };
    assert_eq!((count("out"), count("in")), (7, 0), "{report}");
}

#[test]
fn the_file_tells_its_filter() {
    require_root!();
    let bed = Bed::quiet();
    let (_, name) = file(&bed, "filter.pcapng");
    let capture = Running::capture([&bed.target("a"), "-w", &name, "icmp", "or", "arp"]);
    assert!(capture.stop().status.success());
    let info = must("capinfos", &[&name]);
    assert!(info.contains("icmp or arp"), "{info}");
}
