//! `overhead`, end to end: real round trips in namespaces of the test's own.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use netns_trace_tests::{
    bed::Bed,
    refusal::{refused, without_capability},
    require_root,
    tool::{Done, Running, netns_trace, run},
};

/// `a` and `b` behind the router, which know each other's hardware addresses for good: what the taps
/// see is what the test sends.
fn bed() -> Bed {
    let bed = Bed::quiet();
    let mac = |name: &str, interface: &str| {
        let link = bed.link(name, interface);
        link["address"].as_str().expect("an address").to_owned()
    };
    let (a, r) = (mac("a", "eth0"), mac("r", "br0"));
    let know = |ns: &str, address: &str, mac: &str, interface: &str| {
        let args = ["neigh", "replace", address, "lladdr", mac];
        let rest = ["dev", interface, "nud", "permanent"];
        bed.in_ns(ns, "ip", &[&args[..], &rest].concat());
    };
    know("a", "10.9.0.1", &r, "eth0");
    know("r", "10.9.0.2", &a, "br0");
    bed
}

fn overhead(bed: &Bed, name: &str, args: &[&str]) -> Done {
    let target = bed.target(name);
    run([&["overhead", &target][..], args].concat())
}

/// Runs it with `--json`; it must succeed.
fn measured(bed: &Bed, name: &str, args: &[&str]) -> Value {
    json(&overhead(bed, name, &[args, &["--json"]].concat()))
}

fn json(done: &Done) -> Value {
    assert!(done.status.success(), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_else(|why| panic!("{why}: {done:?}"))
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

fn missing(json: &Value) -> String {
    json["missing"].to_string()
}

/// Parts, the taps' time in them and the rest make up the difference.
fn assert_adds_up(comparison: &Value) {
    let split = &comparison["split"];
    for which in ["mean_ns", "p50_ns"] {
        let parts = split["parts"].as_array().expect("parts");
        let seen = parts.iter().filter(|part| !part["time"].is_null());
        let sum: f64 = seen.map(|part| number(&part["time"][which])).sum();
        let all = sum - number(&split["taps_in_parts_ns"]) + number(&split["rest"][which]);
        let difference = number(&comparison["difference"][which]);
        assert!((all - difference).abs() < 1e-3, "{which}: {comparison}");
        let [far, near] = ["gateway", "loopback"].map(|way| number(&comparison[way][which]));
        assert!(
            (far - near - difference).abs() < 1e-3,
            "{which}: {comparison}"
        );
    }
}

#[test]
fn the_difference_is_split_by_segment() {
    require_root!();
    let bed = bed();
    let args = ["--count", "1000", "--idle-count", "10"];
    let json = measured(&bed, "a", &args);
    assert_eq!(missing(&json), "[]");
    assert_eq!(
        (&json["version"], &json["ended"]),
        (&1.into(), &"done".into())
    );
    assert_eq!(
        (&json["to"], &json["is_gateway"]),
        (&"10.9.0.1".into(), &true.into())
    );
    assert_eq!(json["taps"].as_array().expect("taps").len(), 3);
    for (mode, count) in [("busy", 1000), ("idle", 10)] {
        let comparison = &json[mode];
        for way in ["loopback", "host_loopback", "gateway"] {
            for trips in [&comparison[way], &comparison["split"]["probed"][way]] {
                assert_eq!(trips["sent"], count, "{mode} {way}");
                assert_eq!(
                    (&trips["lost"], &trips["count"]),
                    (&0.into(), &count.into())
                );
                assert!(number(&trips["min_ns"]) <= number(&trips["p50_ns"]));
                assert!(number(&trips["p99_ns"]) <= number(&trips["max_ns"]));
            }
        }
        let parts = comparison["split"]["parts"].as_array().expect("parts");
        let names: Vec<String> = parts
            .iter()
            .map(|part| format!("{} {}", part["name"], part["direction"]).replace('"', ""))
            .collect();
        assert_eq!(names, ["veth out", "bridge out", "bridge in", "veth in"]);
        for part in parts {
            assert_eq!(part["count"], count, "{mode}: {part}");
        }
        assert_adds_up(comparison);
    }
    let busy = &json["busy"];
    let usual = |way: &str| number(&busy[way]["p50_ns"]);
    assert!(usual("loopback") < usual("gateway"), "{busy}");
    for hooks in [
        bed.tcx("a", "eth0"),
        bed.tcx("r", "va"),
        bed.tcx("r", "br0"),
    ] {
        assert!(hooks.iter().all(Vec::is_empty), "programs are left");
    }
}

#[test]
fn the_text_has_the_tables_and_the_split() {
    require_root!();
    let bed = bed();
    let done = overhead(&bed, "a", &["--count", "60", "--idle-count", "3"]);
    assert!(done.status.success(), "{done:?}");
    assert!(
        done.stderr
            .contains("60 round trips back to back and 3 after"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("at most"), "{}", done.stderr);
    let name = bed.name("a");
    for text in [
        format!("eth0@{name} -> its gateway 10.9.0.1\n"),
        format!("\n{name}'s loopback"),
        "\nhost's loopback".to_owned(),
        format!("\n{name} -> 10.9.0.1 "),
        format!("\nmore than {name}'s loopback"),
        "\nWhere the difference goes, back to back".to_owned(),
        "\nWhere the difference goes, after 20 ms idle".to_owned(),
        "\n  veth out ".to_owned(),
        "\n  bridge in ".to_owned(),
        "\n  rest ".to_owned(),
        "Cost of the taps: ".to_owned(),
    ] {
        assert!(done.stdout.contains(&text), "{text:?}: {}", done.stdout);
    }
    assert!(!done.stdout.contains("other traffic"), "{}", done.stdout);
}

/// A bucket of one echo's tokens lets one echo through each 2 ms: back to back, each but the first of
/// a batch waits for what is left of its 2 ms, at the very place that `veth out` spans.
#[test]
fn a_known_delay_is_found_where_it_is() {
    require_root!();
    const FRAME: f64 = 14.0 + 20.0 + 64.0;
    const BITS: f64 = 392_000.0;
    let period = FRAME * 8.0 / BITS * 1e9;
    assert_eq!(period, 2e6);
    let bed = bed();
    let shape = "qdisc add dev eth0 root tbf rate 392kbit burst 150 limit 10000";
    bed.in_ns("a", "tc", &shape.split(' ').collect::<Vec<_>>());
    let json = measured(&bed, "a", &["--count", "200", "--idle-count", "5"]);
    let (busy, idle) = (&json["busy"], &json["idle"]);
    let part = |mode: &Value, n: usize| number(&mode["split"]["parts"][n]["time"]["p50_ns"]);
    // The period holds the whole round trip and the loop around it, of which the wait is the most.
    let trip = number(&busy["gateway"]["p50_ns"]);
    let (queue, others) = (part(busy, 0), part(busy, 1) + part(busy, 2) + part(busy, 3));
    assert!(trip > period * 0.8, "{trip} ns a trip: {busy}");
    assert!(queue > period * 0.8, "{queue} ns: {busy}");
    assert!(queue > others * 4.0, "{queue} and {others} ns: {busy}");
    assert!(
        number(&busy["split"]["rest"]["p50_ns"]).abs() < queue / 4.0,
        "{busy}"
    );
    // After a pause there are tokens enough, and nothing waits.
    let rested = part(idle, 0);
    assert!(rested < queue / 4.0, "{rested} of {queue} ns: {idle}");
    assert_adds_up(busy);
}

#[test]
fn without_a_gateway_the_way_out_is_named() {
    require_root!();
    let bed = bed();
    bed.in_ns("a", "ip", &["route", "del", "default"]);
    let (name, target) = (bed.name("a"), bed.target("a"));
    let said = refused(&mut netns_trace(["overhead", &target]), 1);
    assert_eq!(
        said,
        format!(
            "{name} has no default route with a gateway; name an address that answers echoes with \
             --to ADDRESS"
        )
    );
    let few = ["--count", "30", "--idle-count", "0"];
    let json = measured(&bed, "a", &[&few[..], &["--to", "10.9.0.1"]].concat());
    assert_eq!(json["is_gateway"], false);
    assert_eq!(json["busy"]["split"]["parts"][0]["count"], 30);
    assert!(json["idle"]["difference"].is_null());
    let to = ["overhead", &target, "--to", "192.0.2.1"];
    let said = refused(&mut netns_trace(to), 1);
    assert_eq!(said, format!("{name} has no route to 192.0.2.1"));
    let said = refused(&mut netns_trace(["overhead", &target, "-i", "eth7"]), 1);
    assert!(
        said.contains("no interface \"eth7\" (it has: lo, eth0)"),
        "{said}"
    );
}

#[test]
fn a_gateway_that_does_not_answer_is_no_end_of_it() {
    require_root!();
    let bed = bed();
    bed.in_ns("r", "sysctl", &["-qw", "net.ipv4.icmp_echo_ignore_all=1"]);
    let target = bed.target("a");
    let said = refused(&mut netns_trace(["overhead", &target]), 1);
    assert!(
        said.starts_with("10.9.0.1 does not answer ICMP echoes"),
        "{said}"
    );
    assert!(
        said.ends_with("name an address that answers with --to ADDRESS"),
        "{said}"
    );
    // A neighbour does; what is between two ports of a bridge passes by its own device.
    let args = ["--to", "10.9.0.3", "--count", "30", "--idle-count", "0"];
    let json = measured(&bed, "a", &args);
    let parts = &json["busy"]["split"]["parts"];
    assert_eq!(parts[1]["count"], 0, "{parts}");
    assert!(parts[1]["time"].is_null(), "{parts}");
    assert_adds_up(&json["busy"]);
}

#[test]
fn ipv6_where_ipv4_has_no_gateway() {
    require_root!();
    let bed = Bed::bridge();
    bed.in_ns("a", "ip", &["route", "del", "default"]);
    bed.in_ns(
        "a",
        "ip",
        &["-6", "route", "add", "default", "via", "fd09::1"],
    );
    let json = measured(&bed, "a", &["--count", "50", "--idle-count", "0"]);
    assert_eq!(
        (&json["to"], &json["is_gateway"]),
        (&"fd09::1".into(), &true.into())
    );
    let busy = &json["busy"];
    for way in ["loopback", "gateway"] {
        assert_eq!(busy[way]["count"], 50, "{busy}");
    }
    for part in busy["split"]["parts"].as_array().expect("parts") {
        assert!(number(&part["count"]) >= 50.0, "{part}");
    }
}

#[test]
fn what_a_target_lacks_is_named_and_the_rest_is_measured() {
    require_root!();
    let mut bed = bed();
    bed.add_namespace("alone");
    let target = bed.target("alone");
    let said = refused(&mut netns_trace(["overhead", &target]), 1);
    assert!(said.contains("no default route"), "{said}");
    let few = ["--count", "30", "--idle-count", "1"];
    let json = measured(&bed, "alone", &[&few[..], &["--to", "127.0.0.1"]].concat());
    assert_eq!(
        (&json["interface"], &json["busy"]["gateway"]["count"]),
        (&"lo".into(), &30.into())
    );
    assert!(json["busy"]["split"].is_null());
    assert!(
        missing(&json).contains("lo is the loopback device"),
        "{json}"
    );
    // And the other way round: without a loopback of its own, there is the host's.
    bed.in_ns("a", "ip", &["link", "set", "lo", "down"]);
    let json = measured(&bed, "a", &few);
    assert!(missing(&json).contains("is lo up?"), "{json}");
    let busy = &json["busy"];
    assert!(
        busy["loopback"].is_null() && busy["difference"].is_null(),
        "{busy}"
    );
    assert_eq!(busy["host_loopback"]["count"], 30);
    assert_eq!(busy["split"]["parts"][0]["count"], 30);
}

#[test]
fn sockets_are_had_by_right_or_by_group() {
    require_root!();
    const NET_RAW: u32 = 13;
    let bed = bed();
    let target = bed.target("a");
    let args = [
        "overhead",
        &target,
        "--count",
        "30",
        "--idle-count",
        "0",
        "--json",
    ];
    let weak = || {
        let mut command: Command = netns_trace(args);
        without_capability(&mut command, NET_RAW);
        command
    };
    let range = |range: &str| {
        let set = format!("net.ipv4.ping_group_range={range}");
        bed.in_ns("a", "sysctl", &["-qw", &set]);
    };
    range("1 0");
    let said = refused(&mut weak(), 1);
    assert!(said.contains("CAP_NET_RAW is missing"), "{said}");
    assert!(said.contains("net.ipv4.ping_group_range"), "{said}");
    range("0 0");
    let output = weak().output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["socket"], "datagram");
    assert_eq!(json["busy"]["gateway"]["count"], 30);
    assert_eq!(json["busy"]["loopback"]["count"], 30);
}

#[test]
fn an_interrupted_run_tells_what_it_has() {
    require_root!();
    let bed = bed();
    let target = bed.target("a");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut command = netns_trace(["overhead", &target, "--idle-count", "10000", "--json"]);
        command.stdout(std::process::Stdio::piped());
        let mut running = Running::start(command);
        running.wait_for("round trips back to back");
        running.signal(signal);
        let json = json(&running.wait());
        assert_eq!(json["ended"], "interrupted");
        assert!(missing(&json).contains("it ended before"), "{json}");
    }
}
