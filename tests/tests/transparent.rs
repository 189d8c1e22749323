//! Observing changes nothing: not the packets, and not what other programs and filters on the
//! same interfaces do and count.

use std::{iter, path::Path, time::Duration};

use netns_trace::lab::{Topology, traffic};
use netns_trace_tests::{
    bed::Bed,
    classifier::{Classifier, DROP, NEXT, Place, attach_shortcut},
    kernel,
    net::{Net, open, v4},
    packets::Packet,
    patience::{patience, slowed},
    raw::frame,
    require_kernel, require_root,
    sightings::{self, Sighting},
    summary,
    tcx::HOOKS,
    tool::{Done, Running},
};
use serde_json::Value;

/// Frames that a test sends each time.
const FRAMES: u32 = 500;

fn start(target: &str, method: &str, taps: &str, file: &Path) -> Running {
    let file = file.to_str().expect("a path");
    let args = [target, "--taps", taps, "--attach", method, "-w", file];
    let mut all = args.to_vec();
    all.extend(["--summary", "json"]);
    Running::capture(all)
}

fn stop(capture: Running) -> Done {
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    summary::assert_balanced(&summary::of(&done));
    done
}

/// Sends frames from `a` to everybody, and waits until `count` has grown by them, or for long
/// enough to know that it does not.
fn send(bed: &Bed, count: impl Fn() -> u64) {
    let before = count();
    let frames: Vec<_> = (0..FRAMES).map(|number| frame(None, number, 100)).collect();
    bed.send_frames("a", "eth0", &frames);
    let end = std::time::Instant::now() + patience();
    while count() - before < u64::from(FRAMES) && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        count() - before,
        u64::from(FRAMES),
        "what the test waits for"
    );
}

#[test]
fn a_large_transfer_arrives_as_it_was_sent() {
    require_root!();
    const BYTES: u64 = 200_000_000;
    let net = Net::up(Topology::Nat);
    let (a, outside) = (net.container(0), net.outside());
    for &method in kernel::methods() {
        let file = net.file("transfer.pcapng");
        let capture = start(&net.target(0), method, "all", &file);
        let limit = slowed(Duration::from_secs(240));
        let transfer = traffic::tcp(&open(a), &open(outside), v4(outside).into(), BYTES, limit)
            .unwrap_or_else(|why| panic!("{method}: {why}"));
        let done = stop(capture);
        std::fs::remove_file(&file).expect("removed");
        assert!(
            transfer.intact && transfer.bytes == BYTES,
            "{method}: {transfer:?}"
        );
        let summary = summary::of(&done);
        // Each of the four taps saw it, in packets of at most 64 KiB.
        for tap in summary::taps(&summary) {
            let least = if tap["direction"] == "out" {
                BYTES / 65_536
            } else {
                100
            };
            assert!(
                summary::number(&tap["received"]) >= least,
                "{method}: {tap}, not {least}"
            );
        }
    }
}

/// Programs that were there before us, and that came after us at either end, see each packet once,
/// with us, and when we are gone.
#[test]
fn other_tcx_programs_run_as_if_we_were_not_there() {
    require_root!();
    require_kernel!(kernel::TCX);
    let bed = Bed::quiet();
    for (ns, interface, hook) in [("a", "eth0", 1), ("r", "va", 0)] {
        let attach = |place| {
            let attached = bed
                .open(ns)
                .run(|| Classifier::attach(interface, HOOKS[hook], place, NEXT));
            attached.expect("entered").expect("attached")
        };
        let received = || bed.counters("r", "va").0;
        let early = attach(Place::Tail);
        let before = bed.tcx(ns, interface);
        send(&bed, received);
        assert_eq!(early.count(), u64::from(FRAMES), "alone");

        let capture = start(&bed.target("a"), "tcx", "all", &bed.file("tcx.pcapng"));
        let during = bed.tcx(ns, interface);
        assert_eq!(during[hook].len(), before[hook].len() + 1, "{during:?}");
        assert_eq!(during[hook][1..], before[hook], "ours is at the head");
        let (head, tail) = (attach(Place::Head), attach(Place::Tail));
        let ours = bed.tcx(ns, interface)[hook][1];
        assert_eq!(ours, during[hook][0], "the test's own is ahead of ours now");
        send(&bed, received);
        let counts = [&head, &early, &tail].map(Classifier::count);
        let frames = u64::from(FRAMES);
        assert_eq!(counts, [frames, 2 * frames, frames], "ahead, behind, last");

        let done = stop(capture);
        let summary = summary::of(&done);
        let tap = summary::taps(&summary)
            .iter()
            .find(|tap| tap["ifname"] == interface && tap["direction"] == "out");
        let tap = tap.unwrap_or_else(|| panic!("{interface} in {summary}"));
        assert_eq!(summary::number(&tap["received"]), frames, "{tap}");
        send(&bed, received);
        let counts = [&head, &early, &tail].map(Classifier::count);
        assert_eq!(counts, [2 * frames, 3 * frames, 2 * frames], "after us");
        let left = bed.tcx(ns, interface);
        assert!(!left[hook].contains(&ours), "{left:?} without {ours}");
        drop((early, head, tail));
    }
}

/// What a program behind ours drops is dropped, and still captured; one ahead of us that drops
/// hides its packets, and it is no loss of ours.
#[test]
fn a_program_that_drops_still_drops() {
    require_root!();
    require_kernel!(kernel::TCX);
    let bed = Bed::quiet();
    for (place, captured) in [(Place::Tail, FRAMES), (Place::Head, 0)] {
        let file = bed.file("drop.pcapng");
        let capture = start(&bed.target("a"), "tcx", "inside,veth", &file);
        let attached = bed
            .open("r")
            .run(|| Classifier::attach("va", HOOKS[0], place, DROP));
        let dropping = attached.expect("entered").expect("attached");
        let (bridge, other) = (bed.counters("r", "br0"), bed.counters("b", "eth0"));
        send(&bed, || dropping.count());
        let done = stop(capture);
        assert_eq!(dropping.count(), u64::from(FRAMES), "{place:?}");
        assert_eq!(
            bed.counters("r", "br0"),
            bridge,
            "nothing got to the bridge"
        );
        assert_eq!(bed.counters("b", "eth0"), other, "nothing got to b");
        let summary = summary::of(&done);
        summary::assert_lossless(&summary);
        let at = |interface: &str| -> u64 {
            let taps = summary::taps(&summary).iter();
            let out = taps.filter(|tap| tap["ifname"] == interface && tap["direction"] == "out");
            out.map(|tap| summary::number(&tap["captured"])).sum()
        };
        let expected = (u64::from(FRAMES), u64::from(captured));
        assert_eq!((at("eth0"), at("va")), expected, "{place:?}: {summary}");
    }
}

/// Packets and bytes that each filter of an interface's hook has counted, by its priority.
fn filter_counts(bed: &Bed, ns: &str, interface: &str, hook: &str) -> Vec<(u64, u64)> {
    let show = ["-s", "-j", "filter", "show", "dev", interface, hook];
    let text = bed.in_ns(ns, "tc", &show);
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let mut counts = Vec::new();
    for filter in json.as_array().expect("filters") {
        for action in filter["options"]["actions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let priority = filter["pref"].as_u64().expect("a priority");
            counts.push((
                priority,
                action["stats"]["packets"].as_u64().expect("a count"),
            ));
        }
    }
    counts
}

/// Filters of the clsact qdisc count and redirect the same without us, with TCX, and with a filter
/// of ours ahead of them.
#[test]
fn filters_and_redirections_do_and_count_the_same() {
    require_root!();
    let mut outcomes = Vec::new();
    let with_us = kernel::methods().iter().map(|&method| Some(method));
    for method in iter::once(None).chain(with_us) {
        let bed = Bed::quiet();
        bed.in_ns("r", "ip", &["link", "add", "sink", "type", "ifb"]);
        bed.in_ns("r", "ip", &["link", "set", "sink", "up"]);
        bed.in_ns("r", "tc", &["qdisc", "add", "dev", "va", "clsact"]);
        let bytecode = "bpf bytecode 1,6\u{a0}0\u{a0}0\u{a0}4294967295,";
        let all = "u32 match u32 0 0";
        for filter in [
            format!("pref 10 {bytecode} action mirred egress mirror dev sink continue"),
            format!("pref 20 {all} action mirred egress mirror dev sink continue"),
            format!("pref 30 {all} action mirred egress redirect dev vb"),
            format!("pref 40 {all} action mirred egress redirect dev sink"),
        ] {
            let filter = format!("filter add dev va ingress protocol all {filter}");
            let words: Vec<String> = filter
                .split(' ')
                .map(|word| word.replace('\u{a0}', " "))
                .collect();
            bed.in_ns(
                "r",
                "tc",
                &words.iter().map(String::as_str).collect::<Vec<_>>(),
            );
        }
        let capture = method
            .map(|method| start(&bed.target("a"), method, "all", &bed.file("filters.pcapng")));
        let before = (bed.counters("r", "br0").0, bed.counters("b", "eth0").0);
        send(&bed, || bed.counters("b", "eth0").0);
        let counts = filter_counts(&bed, "r", "va", "ingress");
        let after = (bed.counters("r", "br0").0, bed.counters("b", "eth0").0);
        if let Some(capture) = capture {
            let summary = summary::of(&stop(capture));
            let out = summary::taps(&summary)
                .iter()
                .find(|tap| tap["ifname"] == "va" && tap["direction"] == "out");
            let out = out.unwrap_or_else(|| panic!("va in {summary}"));
            assert_eq!(
                summary::number(&out["captured"]),
                u64::from(FRAMES),
                "{method:?}: {out}"
            );
        }
        outcomes.push((counts, after.0 - before.0, after.1 - before.1));
    }
    let frames = u64::from(FRAMES);
    let expected = (
        vec![(10, frames), (20, frames), (30, frames), (40, 0)],
        0,
        frames,
    );
    assert_eq!(
        outcomes,
        vec![expected; outcomes.len()],
        "without us, TCX, clsact"
    );
}

/// Frames of an Ethernet header and little or nothing behind it pass as they do without us, and
/// are captured at each tap.
#[test]
fn the_shortest_frames_pass_and_are_captured() {
    require_root!();
    let bed = Bed::quiet();
    let frames: Vec<Vec<u8>> = [14, 15, 20, 41, 42, 43]
        .into_iter()
        .flat_map(|len: usize| {
            // Of each kind that is looked into: IPv4, ARP, IPv6, and one that is not.
            [0x0800_u16, 0x0806, 0x86dd, 0x88b5].map(|kind| {
                let mut frame = vec![0xff; 6];
                frame.extend([2, 0, 0, 0, 0, 9]);
                frame.extend(kind.to_be_bytes());
                frame.resize(len, 0x45);
                frame
            })
        })
        .collect();
    // The bridge's netfilter drops some; what arrives without us must arrive with us.
    let passed = || (bed.counters("r", "va").0, bed.counters("b", "eth0").0);
    let send = || {
        let before = passed();
        bed.send_frames("a", "eth0", &frames);
        let after = passed();
        (after.0 - before.0, after.1 - before.1)
    };
    let alone = send();
    assert_eq!(alone.0, frames.len() as u64, "they get to the host side");
    assert!(alone.1 >= 6, "some get to b: {alone:?}");
    for &method in kernel::methods() {
        let file = bed.file("short.pcapng");
        let targets = format!("{},{}", bed.target("a"), bed.target("b"));
        let capture = start(&targets, method, "inside,veth,bridge", &file);
        assert_eq!(send(), alone, "{method}");
        let summary = summary::of(&stop(capture));
        summary::assert_lossless(&summary);
        let seen = sightings::read(&file);
        let ours = |interface: String, egress| -> Vec<Vec<u8>> {
            let is_ours = |packet: &Packet| packet.data.get(6..12) == Some(&[2, 0, 0, 0, 0, 9]);
            let packets = sightings::of(&seen, &interface, egress).into_iter();
            packets.filter(is_ours).map(|packet| packet.data).collect()
        };
        let (a, b, r) = (bed.name("a"), bed.name("b"), bed.name("r"));
        assert_eq!(
            ours(format!("eth0@{a}"), true),
            frames,
            "{method}: a's eth0"
        );
        assert_eq!(ours(format!("va@{r}"), false), frames, "{method}: va");
        let arrived = ours(format!("eth0@{b}"), false);
        assert_eq!(arrived.len() as u64, alone.1, "{method}: {arrived:?}");
        assert_eq!(ours(format!("vb@{r}"), true), arrived, "{method}: vb");
        let plain: Vec<_> = frames
            .iter()
            .filter(|frame| frame[12..14] == [0x88, 0xb5])
            .collect();
        let plain_arrived: Vec<_> = arrived
            .iter()
            .filter(|frame| frame[12..14] == [0x88, 0xb5])
            .collect();
        assert_eq!(plain_arrived, plain, "{method}");
        let nameless: Vec<&Sighting> = seen.iter().filter(|seen| seen.id.is_none()).collect();
        assert!(nameless.is_empty(), "{nameless:?}");
    }
}

/// Where a program hands packets to the container past the host side, as Cilium does, they are captured in
/// the container, and it is told why the host side is silent.
#[test]
fn packets_that_are_handed_in_directly_are_captured_and_explained() {
    require_root!();
    let bed = Bed::quiet();
    let shortcut = bed
        .open("r")
        .run(|| attach_shortcut("vb", "va"))
        .expect("entered");
    let _shortcut = shortcut.expect("attached");
    let file = bed.file("handed.pcapng");
    let name = file.to_str().expect("a path");
    let capture = Running::capture([&bed.target("a"), "--taps", "inside,veth", "-w", name]);
    let frames: Vec<Vec<u8>> = (0..FRAMES).map(|n| frame(None, n, 200)).collect();
    bed.send_frames("b", "eth0", &frames);
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let why = format!(
        "{FRAMES} packets came to {}/eth0 without passing {}/va: a program hands them in directly, as \
         bpf_redirect_peer does (Cilium)",
        bed.name("a"),
        bed.name("r")
    );
    assert!(done.stderr.contains(&why), "not {why:?}: {}", done.stderr);
    let seen = sightings::read(&file);
    let at = |name: &str, ns: &str, egress| {
        let interface = format!("{name}@{}", bed.name(ns));
        sightings::of(&seen, &interface, egress).len()
    };
    assert_eq!(at("eth0", "a", false), FRAMES as usize);
    assert_eq!(at("va", "r", true), 0);
}
