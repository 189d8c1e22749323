//! Labs, against `ip` and `ping` as witnesses.

use std::{fs, net::IpAddr, path::Path, process::Command, time::Duration};

use netns_trace::{
    lab::{self, AttachSpec, Cidr, Lab, LabError, LabSpec, Node, Topology, traffic},
    netns::NetNs,
    topology::{Role, discover},
};
use netns_trace_tests::{
    command::ip, names::unique, namespaces::TestNs, patience::patience, require_root,
};

fn build(topology: Topology, count: Option<usize>) -> Lab {
    let mut spec = LabSpec::new(topology, unique('l'));
    spec.count = count;
    lab::up_private(&spec).unwrap_or_else(|error| panic!("{topology}: {error}"))
}

fn ns(node: &Node) -> NetNs {
    node.open()
        .unwrap_or_else(|error| panic!("{}: {error}", node.name))
}

fn address(node: &Node, v6: bool) -> IpAddr {
    node.address(v6)
        .unwrap_or_else(|| panic!("{} has no address", node.name))
}

/// Sends a little of everything from one node to an address of another.
fn reaches(from: &Node, to: &Node, at: IpAddr) {
    let (from_ns, to_ns) = (ns(from), ns(to));
    let way = format!("{} to {} at {at}", from.name, to.name);
    let transfer = traffic::tcp(&from_ns, &to_ns, at, 300_000, patience())
        .unwrap_or_else(|error| panic!("{way}: {error}"));
    assert!(
        transfer.intact && transfer.bytes == 300_000,
        "{way}: {transfer:?}"
    );
    let exchange = traffic::udp(&from_ns, &to_ns, at, 20, 100, patience())
        .unwrap_or_else(|error| panic!("{way}: {error}"));
    assert_eq!((exchange.sent, exchange.returned), (20, 20), "{way}");
}

fn every_pair_reaches(lab: &Lab) {
    let nodes: Vec<&Node> = lab.containers().collect();
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.name != from.name) {
            for interface in &to.interfaces {
                for cidr in &interface.addresses {
                    reaches(from, to, cidr.address);
                }
            }
        }
    }
}

fn listed() -> Vec<String> {
    let listed = ip("netns list");
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

fn state_file(name: &str) -> bool {
    Path::new(&format!("/run/netns-trace/labs/{name}.json")).exists()
}

#[test]
fn a_bridge_lab_carries_traffic_and_leaves_nothing() {
    require_root!();
    let lab = build(Topology::Bridge, Some(3));
    assert_eq!(lab.nodes().len(), 4);
    every_pair_reaches(&lab);
    let names: Vec<String> = lab.nodes().iter().map(|node| node.name.clone()).collect();
    assert!(
        names.iter().all(|name| listed().contains(name)),
        "{names:?}"
    );
    assert!(state_file(lab.name()));
    assert!(
        !ip("-o link").contains(lab.name()),
        "nothing shows in our own namespace"
    );
    let lab_name = lab.name().to_owned();
    lab.down().expect("removing the lab");
    assert!(
        names.iter().all(|name| !listed().contains(name)),
        "{names:?}"
    );
    assert!(!state_file(&lab_name));
}

#[test]
fn the_way_through_a_lab_is_found() {
    require_root!();
    let lab = build(Topology::Nat, None);
    let node = &lab.nodes()[0];
    let map = discover(&ns(node), &node.name, None).expect("the way");
    let router = &lab.router().expect("a router").name;
    let shown: Vec<String> = map
        .sites()
        .map(|site| format!("{} {site}", site.role))
        .collect();
    assert_eq!(
        shown,
        [
            format!("inside eth0@{}", node.name),
            format!("veth v{}@{router}", node.name),
            format!("bridge br0@{router}"),
            format!("uplink up0@{router}"),
        ]
    );
}

#[test]
fn a_nat_lab_masquerades() {
    require_root!();
    let lab = build(Topology::Nat, None);
    let outside = lab.outside().expect("outside");
    let node = &lab.nodes()[0];
    for v6 in [false, true] {
        // Outside has no way back to the container's own address.
        reaches(node, outside, address(outside, v6));
    }
    let routes = ip(&format!("-n {} route", outside.name));
    assert_eq!(routes.lines().count(), 1, "{routes}");
}

#[test]
fn the_other_topologies_reach_everywhere() {
    require_root!();
    for (topology, count) in [
        (Topology::Direct, None),
        (Topology::Ring, None),
        (Topology::Ring, Some(4)),
        (Topology::Mesh, None),
    ] {
        let lab = build(topology, count);
        assert!(lab.router().is_none(), "{topology}");
        every_pair_reaches(&lab);
    }
}

#[test]
fn two_ends_of_a_direct_lab_know_each_other() {
    require_root!();
    let lab = build(Topology::Direct, None);
    let (a, b) = (&lab.nodes()[0], &lab.nodes()[1]);
    let map = discover(&ns(a), &a.name, None).expect("the way");
    assert_eq!(
        map.veth.expect("the peer").to_string(),
        format!("eth0@{}", b.name)
    );
    assert!(
        map.missing
            .iter()
            .any(|missing| missing.role == Role::Bridge)
    );
}

#[test]
fn a_chosen_subnet_is_used() {
    require_root!();
    let mut spec = LabSpec::new(Topology::Bridge, unique('l'));
    spec.subnet = "172.29.8.0/22".parse().expect("a subnet");
    spec.subnet6 = Some("fd00:12:34:56::/64".parse().expect("a subnet"));
    let lab = lab::up_private(&spec).expect("a lab");
    let shown = ip(&format!("-n {} -br addr show eth0", lab.nodes()[1].name));
    assert!(
        shown.contains("172.29.8.3/22") && shown.contains("fd00:12:34:56::3/64"),
        "{shown}"
    );
    assert!(!shown.contains("tentative"), "{shown}");
    every_pair_reaches(&lab);
}

#[test]
fn names_that_are_taken_are_left_alone() {
    require_root!();
    let name = unique('l');
    ip(&format!("netns add {name}-b"));
    let path = format!("/run/netns/{name}-b");
    let theirs = NetNs::open(Path::new(&path)).expect("theirs").inode();
    let error = lab::up(&LabSpec::new(Topology::Bridge, &name)).expect_err("a taken name");
    assert!(
        matches!(&error, LabError::NamespaceExists { name: taken } if *taken == format!("{name}-b"))
    );
    assert!(!listed().contains(&format!("{name}-a")));
    assert!(!state_file(&name));
    assert_eq!(
        NetNs::open(Path::new(&path)).expect("theirs").inode(),
        theirs
    );
    ip(&format!("netns del {name}-b"));

    let lab = lab::up(&LabSpec::new(Topology::Bridge, &name)).expect("a lab");
    let again = lab::up(&LabSpec::new(Topology::Mesh, &name)).expect_err("the same name");
    assert!(matches!(again, LabError::LabExists { .. }), "{again}");
    // A name that came to mean another namespace is not ours to remove.
    ip(&format!("netns del {name}-a"));
    ip(&format!("netns add {name}-a"));
    let error = lab.down().expect_err("one was replaced");
    assert!(matches!(error, LabError::NotOurs { .. }), "{error}");
    assert!(listed().contains(&format!("{name}-a")));
    assert!(!listed().contains(&format!("{name}-b")));
    assert!(!state_file(&name));
    ip(&format!("netns del {name}-a"));
}

/// A namespace that serves as the machine's own, with a bridge.
fn machine() -> TestNs {
    let machine = TestNs::new();
    machine.ip("link add docker0 type bridge");
    machine.ip("addr add 10.66.7.1/24 dev docker0");
    machine.ip("link set docker0 up");
    machine
}

fn attach(machine: &TestNs, name: &str, bridge: &str, gateway: &str) -> Result<Lab, LabError> {
    let spec = AttachSpec {
        name: name.into(),
        bridge: bridge.into(),
        addresses: vec!["10.66.7.9/24".parse().expect("an address")],
        gateways: vec![gateway.parse().expect("an address")],
    };
    machine.open().run(|| lab::attach(&spec)).expect("entering")
}

#[test]
fn a_step_that_fails_undoes_the_others() {
    require_root!();
    let (machine, name) = (machine(), unique('l'));
    // The host side's name is taken: the namespace is made before that is found out.
    machine.ip(&format!("link add v{name} type bridge"));
    let error = attach(&machine, &name, "docker0", "10.66.7.1").expect_err("a taken name");
    let error = error.to_string();
    assert!(
        error.contains("veth pair") && error.contains("exists"),
        "{error}"
    );
    assert!(!listed().contains(&name));
    assert!(!state_file(&name));
}

#[test]
fn a_namespace_is_put_on_an_existing_bridge() {
    require_root!();
    let (machine, name) = (machine(), unique('l'));
    let lab = attach(&machine, &name, "docker0", "10.66.7.1").expect("a namespace");
    let node = &lab.nodes()[0];
    let at = "10.66.7.1".parse().expect("an address");
    let transfer = traffic::tcp(&ns(node), &machine.open(), at, 100_000, patience());
    assert!(transfer.expect("a transfer").intact);
    let map = discover(&ns(node), &name, None).expect("the way");
    let bridge = map.bridge.expect("a bridge").to_string();
    assert_eq!(bridge, format!("docker0@{}", machine.name));
    let route = ip(&format!("-n {name} route show default"));
    assert!(route.contains("via 10.66.7.1"), "{route}");
    lab.down().expect("removing it");
    let links = machine.ip("-o link");
    assert!(!links.contains(&format!("v{name}")), "{links}");
    assert!(!listed().contains(&name));
}

#[test]
fn a_bridge_or_gateway_that_cannot_be_is_refused() {
    require_root!();
    let (machine, name) = (machine(), unique('l'));
    for (bridge, gateway, hint) in [
        (
            "lo",
            "10.66.7.1",
            "is no bridge of this namespace (it has: docker0)",
        ),
        ("docker0", "10.66.8.1", "is in no subnet of --address"),
        ("docker0", "10.66.7.9", "is the namespace's own address"),
        ("docker0", "fd00::1", "is in no subnet of --address"),
    ] {
        let error = attach(&machine, &name, bridge, gateway)
            .expect_err(hint)
            .to_string();
        assert!(error.contains(hint), "{error}");
    }
    assert!(!listed().contains(&name));
    assert!(!state_file(&name));
}

#[test]
fn a_lab_outlives_the_one_who_built_it_only_if_it_is_not_private() {
    require_root!();
    let spec = LabSpec::new(Topology::Direct, unique('l'));
    drop(lab::up(&spec).expect("a lab"));
    assert!(listed().contains(&format!("{}-a", spec.name)));
    let found = lab::list()
        .into_iter()
        .flatten()
        .any(|record| record.name == spec.name);
    assert!(found, "it is listed");
    lab::down(&spec.name).expect("removing it");
    let error = lab::down(&spec.name).expect_err("it is gone");
    assert!(matches!(error, LabError::NoSuchLab { .. }), "{error}");

    let lab = lab::up_private(&spec).expect("a lab");
    let error = lab::down(&spec.name).expect_err("it is ours");
    assert!(
        matches!(error, LabError::InUse { pid, .. } if pid == std::process::id()),
        "{error}"
    );
    drop(lab);
    assert!(!listed().contains(&format!("{}-a", spec.name)));
    assert!(!state_file(&spec.name));
}

/// Not a test by itself: the process that the next test kills.
#[test]
fn build_and_wait_to_be_killed() {
    let Ok(name) = std::env::var("NETNS_TRACE_TEST_VICTIM") else {
        return;
    };
    let lab = lab::up_private(&LabSpec::new(Topology::Bridge, name)).expect("a lab");
    loop {
        std::thread::park();
        assert!(!lab.nodes().is_empty());
    }
}

#[test]
fn what_a_killed_process_left_is_swept() {
    require_root!();
    let name = unique('l');
    let program = std::env::current_exe().expect("this program");
    let mut victim = Command::new(program)
        .args(["--exact", "build_and_wait_to_be_killed"])
        .env("NETNS_TRACE_TEST_VICTIM", &name)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the victim");
    let complete = || {
        let state = fs::read_to_string(format!("/run/netns-trace/labs/{name}.json"));
        state.is_ok_and(|text| text.contains("\"complete\": true"))
    };
    let start = std::time::Instant::now();
    while !complete() {
        assert!(start.elapsed() < patience(), "the victim builds nothing");
        assert!(
            victim.try_wait().expect("its state").is_none(),
            "the victim ended"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let swept = lab::sweep();
    assert!(
        swept.iter().all(|(other, _)| *other != name),
        "it is still owned"
    );
    victim
        .kill()
        .and_then(|()| victim.wait())
        .expect("the victim's end");
    assert!(
        listed().contains(&format!("{name}-a")),
        "nobody removed it yet"
    );
    // Another test's sweep may be the one that does it.
    let start = std::time::Instant::now();
    while state_file(&name) {
        for (other, result) in lab::sweep() {
            result.unwrap_or_else(|error| panic!("{other}: {error}"));
        }
        assert!(start.elapsed() < patience(), "it is not swept");
    }
    for part in ["a", "b", "router"] {
        assert!(!listed().contains(&format!("{name}-{part}")), "{part}");
    }
}

#[test]
fn a_used_lab_goes_with_its_interfaces_at_once() {
    require_root!();
    let lab = build(Topology::Direct, None);
    let other = TestNs::new();
    // An open descriptor keeps the namespace, as a process inside would.
    let held = ns(&lab.nodes()[0]);
    lab.down().expect("removing the lab");
    let left = netns_trace::topology::links(&held).expect("its links");
    assert_eq!(left.len(), 1, "only lo: {left:?}");
    drop(other);
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_made() {
    let refused = |spec: &LabSpec| lab::up(spec).expect_err("no such lab").to_string();
    let error = refused(&LabSpec::new(Topology::Bridge, "../x"));
    assert!(error.contains("cannot be a lab's name"), "{error}");
    let mut spec = LabSpec::new(Topology::Bridge, "x");
    spec.count = Some(300);
    assert!(refused(&spec).contains("too many"));
    spec.count = Some(2);
    spec.subnet = Cidr {
        address: "10.0.0.1".parse().expect("an address"),
        prefix: 24,
    };
    assert!(refused(&spec).contains("beyond its prefix length"));
    assert!(lab::down("../../etc").is_err());
}
