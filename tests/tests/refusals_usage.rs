//! Wishes that cannot be meant, and how they are refused: exit status 2, before anything is looked at
//! or loaded, and the file that was to be written is left as it was. Those beside them that can be
//! meant are granted.

use std::process::Stdio;

use netns_trace_tests::{
    bed::{Bed, must},
    packets,
    refusal::{assert_untouched, check_plain, refused_early, treasure},
    tool::{Running, netns_trace},
};

#[test]
fn an_argument_out_of_range_is_told_with_the_range() {
    let mut bed = Bed::empty();
    bed.add_namespace("a");
    let target = bed.target("a");
    let file = treasure(&bed, "x.pcap");
    let snaplen = "'--snapshot-length <N>': ";
    let buffer = "'--buffer <SIZE>': a buffer has 4K to 2G bytes";
    let kib = "'--buffer-size <KiB>': a buffer has 4K to 2G bytes";
    for (args, said) in [
        (
            "-s 262145",
            format!("'262145' for {snaplen}262145 is not in 0..=262144"),
        ),
        (
            "-s -1",
            format!("'-1' for {snaplen}-1 is not in 0..=262144"),
        ),
        (
            "-s 1k",
            format!("'1k' for {snaplen}invalid digit found in string"),
        ),
        ("--buffer 0", format!("'0' for {buffer}")),
        ("--buffer 8G", format!("'8G' for {buffer}")),
        ("-B 0", format!("'0' for {kib}")),
        ("-B 2097153", format!("'2097153' for {kib}")),
        ("-B -1", "\"-1\" is not a number of KiB".to_owned()),
        (
            "--buffer abc",
            "\"abc\" is not a size such as 512K, 16M or 1G".to_owned(),
        ),
        (
            "-B 64 --buffer 1M",
            "'--buffer-size <KiB>' cannot be used with '--buffer <SIZE>'".to_owned(),
        ),
        ("-c 0", "'0' for '--count <N>': 0 is not in 1..".to_owned()),
        ("-c -5", "'-5' for '--count <N>': ".to_owned()),
        ("-C 0", "\"0\" is no size of a file".to_owned()),
        ("-C 1T", "\"1T\" is no size of a file".to_owned()),
        ("-G 0", "'0' for '-G <SECONDS>': 0 is not in 1..".to_owned()),
        (
            "-G 60",
            "-G needs a FILE whose name changes with the time".to_owned(),
        ),
        ("-W 3", "-W is about the files of -C or -G".to_owned()),
        ("-z gzip", "-z is about the files of -C or -G".to_owned()),
        (
            "--taps inside,tail",
            "\"tail\" is no tap: inside (or eth0), veth, bridge, uplink, peer, all".to_owned(),
        ),
        (
            "--taps peer",
            "--taps peer means another target's".to_owned(),
        ),
        (
            "--format erf",
            "\"erf\" is no format: pcapng or pcap".to_owned(),
        ),
        (
            "-Q up",
            "'up' for '--direction <in|out|inout>' [possible values: in, out".to_owned(),
        ),
        ("--summary xml", "[possible values: text, json]".to_owned()),
        ("--duration 0", "\"0\" is no time at all".to_owned()),
        (
            "--sumary json",
            "a similar argument exists: '--summary'".to_owned(),
        ),
    ] {
        let mut all = vec!["capture", &target, "-w", &file];
        all.extend(args.split(' '));
        let refusal = refused_early(&all, 2);
        assert!(refusal.contains(&said), "{args}: {refusal}");
    }
    let said = refused_early(&["capture", &target, "--format", "pcap"], 2);
    assert!(said.contains("not provided: --write <FILE>"), "{said}");
    assert_untouched(&file);
}

#[test]
fn a_target_that_cannot_be_one_is_told_with_the_forms_that_can() {
    for (target, said) in [
        (
            "",
            "it is empty; name one such as netns:NAME, pid:N or /a/path",
        ),
        (
            "netns:a,,netns:b",
            "it is empty; name one such as netns:NAME, pid:N or /a/path",
        ),
        (",", "it is empty"),
        (
            "pid:0",
            "pid: takes the number of a process, as in pid:4711",
        ),
        ("netns:../x", "write a path as it is, /a/path"),
        ("pid:\x1b[2J\n\n", "'pid:\\u{1b}[2J\\n\\n' for '<TARGET>'"),
    ] {
        let refusal = refused_early(&["capture", target], 2);
        assert!(refusal.contains(said), "{refusal}");
    }
    let said = refused_early(&["capture"], 2);
    assert!(said.contains("not provided: <TARGET>"), "{said}");
    let said = refused_early(&["captrue"], 2);
    assert!(
        said.contains("a similar subcommand exists: 'capture'"),
        "{said}"
    );
}

/// One namespace under two names is captured once, and said.
#[test]
fn the_same_target_twice_counts_once() {
    let bed = Bed::quiet();
    let file = bed.file("twice.pcapng");
    let (target, path) = (bed.target("a"), bed.path("a").display().to_string());
    let both = format!("{target},{path}");
    let capture = Running::capture([both.as_str(), "-w", file.to_str().expect("a path")]);
    bed.in_ns("a", "ping", &["-c", "3", "-i", "0.01", "10.9.0.3"]);
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let note =
        format!("netns-trace: {path} names a namespace that is captured already, as {target}\n");
    assert!(done.stderr.starts_with(&note), "{done:?}");
    let is_ping = |packet: &packets::Packet| packet.data.len() == 98;
    let pings = packets::read(&file).into_iter().filter(is_ping).count();
    assert_eq!(pings, 6);
    // Nor is it its own peer.
    let mut command = netns_trace(["capture", &both, "--taps", "peer"]);
    let done = command.output().expect("it runs");
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let refusal = "netns-trace: --taps peer means another target's interface: name a second target";
    assert_eq!(said.lines().last(), Some(refusal));
}

#[test]
fn mixed_link_types_go_to_pcapng_and_text_but_not_to_pcap() {
    let mut bed = Bed::bridge();
    bed.add_namespace("t");
    bed.in_ns("t", "ip", &["tuntap", "add", "tun0", "mode", "tun"]);
    let targets = format!("{},{}", bed.target("a"), bed.target("t"));
    let (pcap, pcapng) = (treasure(&bed, "x.pcap"), treasure(&bed, "x.pcapng"));
    for args in [
        &["-w", pcap.as_str()][..],
        &["-w", &pcapng, "--format", "pcap"],
        &["-w", "-", "--format", "pcap"],
    ] {
        let mut all = vec!["capture", &targets];
        all.extend(args);
        assert_eq!(
            refused_early(&all, 2),
            "the taps have different link types, which a pcap file cannot hold: use --format \
             pcapng, or name fewer taps"
        );
    }
    assert_untouched(&pcap);
    assert_untouched(&pcapng);
    let warning = "only Wireshark's tools read this file, tcpdump does not";
    let done = Running::capture([&targets, "-w", &pcapng]).stop();
    assert!(done.status.success(), "{done:?}");
    assert!(done.stderr.contains(warning), "{done:?}");
    let told = must("capinfos", &[&pcapng]);
    assert!(told.contains("Number of interfaces in file: 2"), "{told}");
    let mut text = netns_trace(["capture", &targets]);
    text.stdout(Stdio::null());
    let mut running = Running::start(text);
    running.wait_for("listening on");
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
    assert!(!done.stderr.contains(warning), "{done:?}");
    for line in done.stderr.lines() {
        check_plain(line);
    }
}
