//! What `inspect` tells of the programs and offloads of a namespace's interfaces, with bpftool, tc
//! and ethtool as witnesses.

use std::{os::fd::AsRawFd as _, process::Command};

use netns_trace_tests::{
    bed::{Bed, must},
    classifier::{Classifier, NEXT, Place, attach_xdp},
    inspected::{inspect, interface, json, list, word},
    kernel, require_kernel,
    tcx::HOOKS,
    tool::{Running, binary, run},
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::Value;

#[test]
fn offloads_are_those_of_ethtool() {
    let bed = Bed::bridge();
    bed.in_ns(
        "a",
        "ethtool",
        &["-K", "eth0", "tso", "off", "gro", "on", "rx", "off"],
    );
    for (ns, name) in [("a", "eth0"), ("a", "lo"), ("r", "br0")] {
        let report = inspect(&[&bed.target(ns)]);
        let ours = interface(&report, name)["offloads"]
            .as_object()
            .expect("offloads");
        let theirs = bed.in_ns(ns, "ethtool", &["-k", name]);
        for (word, on) in ours {
            let word = word.replace('_', "-");
            let line = theirs
                .lines()
                .find(|line| line.starts_with(&format!("{word}:")));
            let line = line.unwrap_or_else(|| panic!("{word}: {theirs}"));
            assert_eq!(*on, line.contains(": on"), "{name}: {line}");
        }
        assert_eq!(ours.len(), 7);
    }
}

#[test]
fn programs_are_told_in_their_order_with_ours_marked() {
    require_kernel!(kernel::TCX);
    let bed = Bed::bridge();
    let ns = bed.open("a");
    let attach = |hook, place| Classifier::attach("eth0", hook, place, NEXT);
    let others = ns.run(|| [attach(HOOKS[0], Place::Tail), attach(HOOKS[1], Place::Tail)]);
    let _others = others
        .expect("entered")
        .map(|other| other.expect("attached"));
    let capture = Running::capture([&bed.target("a"), "-w", "/dev/null"]);
    let _late = ns
        .run(|| attach(HOOKS[0], Place::Tail))
        .expect("entered")
        .expect("attached");
    let report = inspect(&[&bed.target("a")]);
    let text = run(["inspect", &bed.target("a")]).stdout;
    let chains = bed.tcx("a", "eth0");
    assert_eq!(chains.each_ref().map(Vec::len), [3, 2], "{chains:?}");
    for (hook, chain) in ["ingress", "egress"].into_iter().zip(&chains) {
        let listed = list(interface(&report, "eth0"), "programs").iter();
        let listed: Vec<&Value> = listed.filter(|one| one["hook"] == hook).collect();
        let ids: Vec<u64> = listed.iter().filter_map(|one| one["id"].as_u64()).collect();
        assert_eq!(
            ids,
            chain.iter().map(|&id| u64::from(id)).collect::<Vec<_>>()
        );
        for (place, one) in listed.iter().enumerate() {
            let theirs = must(
                "bpftool",
                &["-j", "prog", "show", "id", &one["id"].to_string()],
            );
            let theirs = json(&theirs);
            assert_eq!(one["tag"], theirs["tag"]);
            assert_eq!(one["name"].as_str(), theirs["name"].as_str());
            assert_eq!(
                (&one["method"], &one["ours"]),
                (&"tcx".into(), &(place == 0).into())
            );
        }
    }
    let ours = text
        .lines()
        .filter(|line| line.contains("netns_trace_") && line.ends_with("ours"));
    assert_eq!(ours.count(), 2, "{text}");
    let done = capture.stop();
    assert!(done.status.success(), "{}", done.stderr);
    let report = inspect(&[&bed.target("a")]);
    let left = list(interface(&report, "eth0"), "programs");
    assert!(
        left.len() == 3 && left.iter().all(|one| one["ours"] == false),
        "{left:?}"
    );
}

#[test]
fn filters_of_the_clsact_qdisc_are_told_with_priority_and_handle() {
    let bed = Bed::bridge();
    bed.in_ns("a", "tc", &["qdisc", "add", "dev", "eth0", "clsact"]);
    let filter = "filter add dev eth0 ingress prio 7 protocol ip u32 match u32 0 0";
    bed.in_ns("a", "tc", &filter.split(' ').collect::<Vec<_>>());
    let target = bed.target("a");
    let capture = Running::capture([&target, "--attach", "clsact", "-w", "/dev/null"]);
    let report = inspect(&[&target]);
    let listed: Vec<String> = list(interface(&report, "eth0"), "programs")
        .iter()
        .map(|one| {
            let name = one["name"].as_str().unwrap_or_default();
            let (ours, handle) = (one["ours"] == true, &one["handle"]);
            format!(
                "{} {} {} {handle} {name} {ours}",
                word(&one["hook"]),
                word(&one["method"]),
                one["priority"]
            )
        })
        .collect();
    let pid = capture.pid();
    assert_eq!(
        listed,
        [
            format!("ingress bpf 1 {pid} netns_trace_in true"),
            // Of u32, its table of hashes is listed as well.
            format!("ingress u32 7 {}  false", 0x8000_0000_u32),
            format!("ingress u32 7 {}  false", 0x8000_0800_u32),
            format!("egress bpf 1 {pid} netns_trace_out true"),
        ]
    );
    assert!(
        bed.in_ns("a", "tc", &["filter", "show", "dev", "eth0", "ingress"])
            .contains("fh 800::800")
    );
    assert!(capture.stop().status.success());
}

#[test]
fn an_xdp_program_is_told_with_its_mode() {
    let bed = Bed::quiet();
    let link = bed.open("a").run(|| attach_xdp("eth0"));
    let link = link.expect("entered").expect("attached");
    let report = inspect(&[&bed.target("a")]);
    let xdp = &interface(&report, "eth0")["xdp"];
    let theirs = &bed.link("a", "eth0")["xdp"];
    assert_eq!(xdp["id"], theirs["prog"]["id"], "{theirs}");
    assert_eq!(xdp["tag"], theirs["prog"]["tag"], "{theirs}");
    assert_eq!(
        (&xdp["mode"], &xdp["ours"]),
        (&"generic".into(), &false.into())
    );
    let text = run(["inspect", &bed.target("a")]).stdout;
    let line = format!("XDP        {}", xdp["id"]);
    assert!(text.contains(&line), "{text}");
    drop(link);
    assert_eq!(
        interface(&inspect(&[&bed.target("a")]), "eth0")["xdp"],
        Value::Null
    );
}

#[test]
fn who_may_not_ask_for_programs_is_told_the_rest() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let program = std::fs::File::open(binary()).expect("the program");
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "unshare",
        "-Urn",
    ]);
    command.args([&path, "inspect", "--json", "/proc/self/ns/net"]);
    fcntl(&program, FcntlArg::F_SETFD(FdFlag::empty())).expect("kept open");
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let report = json(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(interface(&report, "lo")["up"], false);
    let missing = list(&report, "missing")
        .iter()
        .map(word)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        missing.contains("TC programs are missing: TCX ingress: the capabilities are those of a"),
        "{missing}"
    );
    assert!(
        missing.contains("settings are not compared with the host's"),
        "{missing}"
    );
    assert!(missing.contains("those of a user namespace"), "{missing}");
}
