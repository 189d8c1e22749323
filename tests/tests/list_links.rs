//! Interfaces in `list`, with their peers and bridges, and what may not be looked at; with `ip` as the
//! witness.

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::MetadataExt as _,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use netns_trace::{lab::Topology, netns::NetNs};
use netns_trace_tests::{
    command::ip,
    dweller::Dweller,
    listed::{Listed, line, table},
    names::unique,
    namespaces::TestNs,
    net::{Net, open},
    refusal::{as_nobody, missing},
    require_root,
    tool::binary,
};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

/// What `ip` tells of an interface.
fn link(ns: &str, name: &str) -> Value {
    let links: Value = serde_json::from_str(&ip(&format!("-n {ns} -j address show dev {name}")))
        .expect("JSON of ip");
    links[0].clone()
}

#[test]
fn peers_and_bridges_from_both_sides() {
    require_root!();
    let net = Net::up(Topology::Nat);
    let listed = Listed::now();
    let router = open(net.router()).inode();
    for number in [0, 1] {
        let container = net.container(number);
        let inode = open(container).inode();
        let eth0 = listed.interface(inode, "eth0");
        let witness = link(&container.name, "eth0");
        assert_eq!(
            eth0["peer"],
            json!({
                "netns_inode": router,
                "nsid": witness["link_netnsid"],
                "name": net.veth(number),
                "index": witness["link_index"],
                "master": "br0",
            })
        );
        for (ours, theirs) in [("index", "ifindex"), ("mac", "address"), ("mtu", "mtu")] {
            assert_eq!(eth0[ours], witness[theirs], "{ours}");
        }
        assert_eq!(
            (&eth0["kind"], &eth0["state"]),
            (&json!("veth"), &json!("up"))
        );
        let addresses = witness["addr_info"].as_array().expect("addresses");
        let mut addresses: Vec<String> = addresses
            .iter()
            .map(|one| {
                format!(
                    "{}/{}",
                    one["local"].as_str().expect("one"),
                    one["prefixlen"]
                )
            })
            .collect();
        let mut told: Vec<String> =
            serde_json::from_value(eth0["addresses"].clone()).expect("addresses");
        addresses.sort();
        told.sort();
        assert_eq!(told, addresses);

        let veth = listed.interface(router, net.veth(number));
        assert_eq!(veth["master"], "br0");
        assert_eq!(veth["peer"]["netns_inode"], inode);
        assert_eq!(
            (&veth["peer"]["name"], &veth["peer"]["master"]),
            (&json!("eth0"), &Value::Null)
        );
    }
    let text = table();
    let shown = format!("→ {}@br0 in netns:{}", net.veth(0), net.router().name);
    assert!(
        line(&text, open(net.container(0)).inode()).contains(&shown),
        "{text}"
    );
    let row = line(&text, router);
    assert!(row.contains("br0 ") && row.contains("(2 ports)"), "{text}");
}

#[test]
fn a_peer_in_the_hosts_namespace() {
    require_root!();
    let inside = TestNs::new();
    let (veth, bridge) = (unique('v'), unique('b'));
    ip(&format!(
        "link add {veth} type veth peer name eth0 netns {}",
        inside.name
    ));
    ip(&format!("link add {bridge} type bridge"));
    let joined = ip(&format!("link set {veth} master {bridge}"));
    let listed = Listed::now();
    let text = table();
    ip(&format!("link del {bridge}"));
    assert_eq!(joined, "");
    let inode = inside.open().inode();
    let own = NetNs::current().expect("our namespace");
    let peer = &listed.interface(inode, "eth0")["peer"];
    assert_eq!(peer["netns_inode"], own.inode());
    assert_eq!(
        (&peer["name"], &peer["master"]),
        (&json!(veth), &json!(bridge))
    );
    assert_eq!(
        listed.interface(own.inode(), &veth)["peer"]["netns_inode"],
        inode
    );
    assert!(
        line(&text, inode).contains(&format!("eth0 (down) → {veth}@{bridge}")),
        "{text}"
    );
}

#[test]
fn pairs_that_look_alike_are_told_apart() {
    require_root!();
    // The same names, indices and addresses everywhere: the namespace's number alone decides.
    let pairs: Vec<[TestNs; 2]> = (0..3)
        .map(|_| {
            let pair = [TestNs::new(), TestNs::new()];
            pair[0].join("eth0", &pair[1], "eth0");
            for (at, one) in pair.iter().enumerate() {
                one.ip(&format!("link set eth0 address 02:00:00:00:00:0{at}"));
            }
            pair
        })
        .collect();
    let listed = Listed::now();
    for [one, other] in &pairs {
        let (one, other) = (one.open().inode(), other.open().inode());
        assert_eq!(listed.interface(one, "eth0")["peer"]["netns_inode"], other);
        assert_eq!(listed.interface(other, "eth0")["peer"]["netns_inode"], one);
    }
}

#[test]
fn a_pair_and_a_subinterface_within_one_namespace() {
    require_root!();
    let ns = TestNs::new();
    ns.ip("link add va type veth peer name vb");
    ns.ip("link add link va name over type macvlan mode bridge");
    let inode = ns.open().inode();
    let listed = Listed::now();
    for (name, key, other) in [
        ("va", "peer", "vb"),
        ("vb", "peer", "va"),
        ("over", "lower", "va"),
    ] {
        let peer = &listed.interface(inode, name)[key];
        assert_eq!(
            (&peer["name"], &peer["netns_inode"], &peer["nsid"]),
            (&json!(other), &json!(inode), &Value::Null),
            "{name}"
        );
    }
    assert!(table().contains("over (down) macvlan on va"), "{}", table());
}

#[test]
fn a_peer_in_a_namespace_that_only_a_socket_holds() {
    require_root!();
    let here = TestNs::new();
    let held = std::thread::scope(|scope| {
        // A namespace of a thread, which leaves a socket behind when it ends.
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            let add = "link add lost0 type veth peer name eth0 netns";
            ip(&format!("{add} {}", here.name));
            let own = fs::metadata("/proc/thread-self/ns/net").expect("the namespace");
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            (own.ino(), socket)
        });
        thread.join().expect("the thread")
    });
    let (inode, socket) = held;
    let listed = Listed::now();
    assert!(listed.find(inode).is_none(), "nothing leads there");
    let peer = &listed.interface(here.open().inode(), "eth0")["peer"];
    let witness = link(&here.name, "eth0");
    assert_eq!(
        *peer,
        json!({
            "netns_inode": null,
            "nsid": witness["link_netnsid"],
            "name": "lost0",
            "index": witness["link_index"],
            "master": null,
        })
    );
    let text = table();
    let shown = format!("→ lost0 in an unknown namespace (nsid {})", peer["nsid"]);
    assert!(line(&text, here.open().inode()).contains(&shown), "{text}");
    drop(socket);
}

#[test]
fn another_user_sees_names_and_is_told_the_rest() {
    require_root!();
    let named = TestNs::new();
    let (mut command, _program) = as_nobody(&["list", "--json"]);
    let listed = Listed::by(&mut command);
    let one = listed.get(named.open().inode());
    assert_eq!(one["names"], json!([format!("netns:{}", named.name)]));
    assert_eq!(one["interfaces"], json!([]));
    assert_eq!(one["error"], "not entered: CAP_SYS_ADMIN is missing");
    let (looking, entering) = (missing(&["CAP_SYS_PTRACE"]), missing(&["CAP_SYS_ADMIN"]));
    for said in [
        format!("may not be looked at, and their namespaces may be missing here; {looking}\n"),
        format!("which namespace is the host's cannot be told: {looking}\n"),
        format!("interfaces are not seen: {entering}\n"),
    ] {
        assert!(listed.stderr.contains(&said), "{}", listed.stderr);
    }
    // Where it is itself, nothing needs to be entered.
    let own = NetNs::current().expect("our namespace").inode();
    assert_eq!(listed.interface(own, "lo")["index"], 1);
}

#[test]
fn what_another_user_namespace_owns_is_entered_by_root_alone() {
    require_root!();
    let mut unshared = Command::new("unshare");
    unshared.args(["--user", "--map-root-user", "--net"]);
    let theirs = Dweller::start(unshared);
    let listed = Listed::now();
    assert_eq!(listed.interface(theirs.inode(), "lo")["index"], 1);
    assert_eq!(listed.get(theirs.inode())["error"], Value::Null);

    let ours = TestNs::new();
    let mut inside = Command::new("unshare");
    inside
        .args(["--user", "--map-root-user"])
        .arg(binary())
        .args(["list", "--json"]);
    let listed = Listed::by(&mut inside);
    assert_eq!(
        listed.get(ours.open().inode())["error"],
        "not entered: another user namespace owns it"
    );
}

#[test]
fn namespaces_that_come_and_go_do_no_harm() {
    require_root!();
    let stays = TestNs::new();
    let inode = stays.open().inode();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for _ in 0..500 {
                let (one, other) = (TestNs::new(), TestNs::new());
                one.join("eth0", &other, "eth0");
                drop(Dweller::alone());
                if done.load(Ordering::Relaxed) {
                    return true;
                }
            }
            false
        });
        for _ in 0..10 {
            let listed = Listed::now();
            assert_eq!(listed.get(inode)["error"], Value::Null);
            for one in listed.namespaces() {
                check_shape(one);
            }
        }
        done.store(true, Ordering::Relaxed);
        let went_on = churn.join().expect("the others");
        assert!(went_on, "the others ended before the tenth list did");
    });
}

/// Checks that everything is of its type.
fn check_shape(one: &Value) {
    for (key, is_right) in [
        ("inode", Value::is_u64 as fn(&Value) -> bool),
        ("host", Value::is_boolean),
        ("shared", Value::is_boolean),
        ("names", Value::is_array),
        ("mounts", Value::is_array),
        ("containers", Value::is_array),
        ("processes", Value::is_u64),
        ("pids", Value::is_array),
        ("threads", Value::is_array),
        ("descriptors", Value::is_array),
        ("interfaces", Value::is_array),
    ] {
        assert!(is_right(&one[key]), "{key}: {one}");
    }
    for interface in one["interfaces"].as_array().expect("interfaces") {
        for key in ["name", "kind", "state"] {
            assert!(interface[key].is_string(), "{key}: {interface}");
        }
        for key in ["index", "mtu"] {
            assert!(interface[key].is_u64(), "{key}: {interface}");
        }
        assert!(interface["addresses"].is_array(), "{interface}");
        let peer = &interface["peer"];
        assert!(peer.is_null() || peer["index"].is_u64(), "{interface}");
    }
}
