//! Interfaces and the way of a packet, against `ip -j` as the witness.

use netns_trace::{
    netns::NetNs,
    topology::{LinkKind, PathMap, Role, TopologyError, discover, links},
};
use netns_trace_tests::{namespaces::TestNs, require_root};
use serde_json::Value;

fn why(map: &PathMap, role: Role) -> &str {
    let missing = map.missing.iter().find(|missing| missing.role == role);
    &missing
        .unwrap_or_else(|| panic!("{role} is not missing: {map:?}"))
        .why
}

fn find(ns: &TestNs) -> PathMap {
    discover(&ns.open(), &ns.name, None).unwrap_or_else(|error| panic!("{}: {error}", ns.name))
}

/// A container, its router with bridge and uplink, and what lies beyond.
fn routed() -> (TestNs, TestNs, TestNs) {
    let (container, router, beyond) = (TestNs::new(), TestNs::new(), TestNs::new());
    container.join("eth0", &router, "vweb");
    router.join("up0", &beyond, "eth0");
    router.ip("link add br0 type bridge");
    router.ip("link set br0 up");
    router.ip("link set vweb master br0");
    (container, router, beyond)
}

#[test]
fn the_links_are_those_that_ip_lists() {
    require_root!();
    let (_container, router, _beyond) = routed();
    router.ip("addr add 10.9.8.1/24 dev br0");
    router.ip("addr add fd00:9::1/64 dev br0 nodad");
    router.ip("link set up0 mtu 1400");
    let ours = links(&router.open()).expect("the links");
    let theirs: Value = serde_json::from_str(&router.ip("-j -d addr")).expect("JSON");
    let theirs = theirs.as_array().expect("a list");
    assert_eq!(ours.len(), theirs.len());
    for (our, their) in ours.iter().zip(theirs) {
        let name = &our.name;
        assert_eq!(Some(name.as_str()), their["ifname"].as_str());
        assert_eq!(
            Some(u64::from(our.index)),
            their["ifindex"].as_u64(),
            "{name}"
        );
        assert_eq!(Some(u64::from(our.mtu)), their["mtu"].as_u64(), "{name}");
        let kind = their["linkinfo"]["info_kind"]
            .as_str()
            .unwrap_or("loopback");
        assert_eq!(our.kind.to_string(), kind, "{name}");
        let flags = their["flags"].as_array().expect("flags");
        assert_eq!(our.up, flags.iter().any(|flag| flag == "UP"), "{name}");
        let mac = our
            .mac
            .expect("a MAC address")
            .map(|byte| format!("{byte:02x}"));
        assert_eq!(
            Some(mac.join(":").as_str()),
            their["address"].as_str(),
            "{name}"
        );
        let peer = our.peer_index.map(u64::from);
        assert_eq!(peer, their["link_index"].as_u64(), "{name}");
        let netnsid = our.peer_netnsid.map(i64::from);
        assert_eq!(netnsid, their["link_netnsid"].as_i64(), "{name}");
        let master = our
            .master
            .and_then(|index| ours.iter().find(|link| link.index == index));
        assert_eq!(
            master.map(|link| link.name.as_str()),
            their["master"].as_str(),
            "{name}"
        );
        let addresses: Vec<String> = their["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .map(|info| format!("{}/{}", info["local"], info["prefixlen"]).replace('"', ""))
            .collect();
        let mine: Vec<String> = our
            .addresses
            .iter()
            .map(|(a, p)| format!("{a}/{p}"))
            .collect();
        assert_eq!(mine, addresses, "{name}");
    }
}

#[test]
fn the_whole_way_is_found_through_a_router() {
    require_root!();
    let (container, router, _beyond) = routed();
    router.ip("addr add 10.9.8.1/24 dev up0");
    router.ip("route add default via 10.9.8.2");
    let map = find(&container);
    let shown: Vec<String> = map
        .sites()
        .map(|site| format!("{} {site}", site.role))
        .collect();
    let (c, r) = (&container.name, &router.name);
    assert_eq!(
        shown,
        [
            format!("inside eth0@{c}"),
            format!("veth vweb@{r}"),
            format!("bridge br0@{r}"),
            format!("uplink up0@{r}"),
        ]
    );
    assert!(map.missing.is_empty(), "{:?}", map.missing);
}

#[test]
fn the_default_route_of_ipv6_serves_when_there_is_none_of_ipv4() {
    require_root!();
    let (container, router, _beyond) = routed();
    assert_eq!(
        why(&find(&container), Role::Uplink),
        format!("{} has no default route", router.name)
    );
    router.ip("addr add fd00:9::1/64 dev up0 nodad");
    router.ip("route add default via fd00:9::2");
    let map = find(&container);
    assert_eq!(map.uplink.expect("an uplink").link.name, "up0");
}

#[test]
fn the_lower_metric_is_the_uplink() {
    require_root!();
    let (container, router, _beyond) = routed();
    router.ip("addr add 10.9.8.1/24 dev up0");
    router.ip("addr add 10.9.7.1/24 dev vweb");
    router.ip("route add default via 10.9.7.2 metric 50");
    assert!(why(&find(&container), Role::Uplink).contains("leads back through"));
    router.ip("route add default via 10.9.8.2 metric 20");
    assert_eq!(find(&container).uplink.expect("an uplink").link.name, "up0");
}

#[test]
fn two_namespaces_joined_directly_find_each_other() {
    require_root!();
    let (a, b) = (TestNs::new(), TestNs::new());
    a.join("eth0", &b, "eth0");
    for (one, other) in [(&a, &b), (&b, &a)] {
        let map = find(one);
        assert_eq!(
            map.veth.as_ref().expect("the peer").to_string(),
            format!("eth0@{}", other.name)
        );
        assert_eq!(
            why(&map, Role::Bridge),
            format!("eth0@{} is not a port of a bridge", other.name)
        );
    }
}

#[test]
fn a_pair_within_one_namespace_is_found_there() {
    require_root!();
    let ns = TestNs::new();
    ns.ip("link add eth0 type veth peer name other");
    let map = find(&ns);
    assert_eq!(
        map.veth.expect("the peer").to_string(),
        format!("other@{}", ns.name)
    );
}

#[test]
fn a_host_side_in_our_own_namespace_is_found() {
    require_root!();
    let (container, machine) = (TestNs::new(), TestNs::new());
    container.join("eth0", &machine, "vhost");
    let found = machine.open().run(|| {
        let map = discover(&container.open(), "web", None).expect("the way");
        let veth = map.veth.expect("the host side");
        (veth.to_string(), veth.ns.is_current())
    });
    let expected = (format!("vhost@{}", machine.name), true);
    assert_eq!(found.expect("entering"), expected);
}

#[test]
fn devices_that_share_an_index_are_told_apart() {
    require_root!();
    let ((a, router_a, _far_a), (b, router_b, _far_b)) = (routed(), routed());
    let (map_a, map_b) = (find(&a), find(&b));
    assert_eq!(
        map_a.inside.link.index, map_b.inside.link.index,
        "built alike"
    );
    let (veth_a, veth_b) = (map_a.veth.expect("a's"), map_b.veth.expect("b's"));
    assert_eq!(veth_a.link.index, veth_b.link.index, "built alike");
    assert!(!veth_a.ns.is_same(&veth_b.ns));
    assert_eq!(veth_a.ns_label, router_a.name);
    assert_eq!(veth_b.ns_label, router_b.name);
}

#[test]
fn a_namespace_without_a_name_is_found_by_a_process_in_it() {
    require_root!();
    let ns = TestNs::new();
    let mut child = std::process::Command::new("unshare")
        .args(["--net", "sleep", "300"])
        .spawn()
        .expect("unshare");
    let pid = child.id();
    let own = NetNs::current().expect("our namespace").inode();
    while NetNs::of_process(pid).expect("the child's").inode() == own {
        std::thread::yield_now();
    }
    ns.ip(&format!(
        "link add eth0 type veth peer name far netns {pid}"
    ));
    let map = discover(&ns.open(), &ns.name, None);
    child
        .kill()
        .and_then(|()| child.wait())
        .expect("the child's end");
    let site = map.expect("the way").veth.expect("the peer");
    assert_eq!(site.to_string(), format!("far@pid:{pid}"));
}

#[test]
fn a_namespace_that_nothing_leads_to_is_missing() {
    require_root!();
    let (a, b) = (TestNs::new(), TestNs::new());
    a.join("eth0", &b, "far");
    let held = b.open();
    drop(b); // its name is gone, and our descriptor keeps the namespace
    let map = find(&a);
    assert_eq!(
        why(&map, Role::Veth),
        "the other end of eth0 is in a namespace that cannot be found: \
         no name, process or mount leads to it"
    );
    drop(held);
}

#[test]
fn devices_without_a_host_side_say_so() {
    require_root!();
    let ns = TestNs::new();
    ns.ip("link add low type veth peer name far");
    ns.ip("link add link low name mac0 type macvlan mode bridge");
    ns.ip("tuntap add dev tun0 mode tun");
    ns.ip("link add br0 type bridge");
    for (name, sentence) in [
        ("lo", "lo is the loopback device: it has no host side"),
        ("mac0", "mac0 is a macvlan device: it has no host side"),
        ("tun0", "tun0 is a tun device: it has no host side"),
        ("br0", "br0 is a bridge device: it has no host side"),
    ] {
        let map = discover(&ns.open(), "web", Some(name)).expect("the interface");
        assert_eq!(map.inside.to_string(), format!("{name}@web"));
        assert_eq!(why(&map, Role::Veth), sentence);
        assert!(map.veth.is_none() && map.bridge.is_none() && map.uplink.is_none());
        assert_eq!(map.missing.len(), 3, "{:?}", map.missing);
    }
    let all = links(&ns.open()).expect("the links");
    let tun = all.iter().find(|link| link.name == "tun0").expect("tun0");
    assert_eq!((tun.arp_type, tun.mac), (libc::ARPHRD_NONE, None));
    assert_eq!(tun.kind, LinkKind::Tun);
}

#[test]
fn an_interface_that_is_not_there_is_told_with_those_that_are() {
    require_root!();
    let ns = TestNs::new();
    let find = |iface| discover(&ns.open(), "web", iface);
    let error = find(None).expect_err("only lo");
    assert!(
        matches!(error, TopologyError::OnlyLoopback { .. }),
        "{error}"
    );
    ns.ip("link add name va type veth peer name vb");
    let error = find(None).expect_err("two");
    assert!(error.to_string().contains("it has: lo, vb, va"), "{error}");
    let error = find(Some("eth7")).expect_err("no eth7");
    assert_eq!(
        error.to_string(),
        "web has no interface \"eth7\" (it has: lo, vb, va)"
    );
}
