//! What `inspect --diff` tells of two namespaces.

use std::net::UdpSocket;

use netns_trace_tests::{
    bed::Bed,
    inspected::{inspect, list},
    tool::run,
};
use serde_json::Value;

fn topic<'a>(difference: &'a Value, name: &str) -> &'a Value {
    let mut topics = list(difference, "topics").iter();
    topics
        .find(|topic| topic["topic"] == name)
        .expect("the topic")
}

#[test]
fn what_two_namespaces_differ_in_is_told() {
    let bed = Bed::quiet();
    let file = bed.file("rules.nft");
    let rules = "table inet guard {
        chain in {
            type filter hook input priority 0; policy drop;
            iif lo accept
            udp dport 5353 accept
        }
    }";
    std::fs::write(&file, rules).expect("a file");
    bed.in_ns("a", "nft", &["-f", file.to_str().expect("a path")]);
    bed.in_ns("b", "ip", &["link", "set", "eth0", "mtu", "1400"]);
    bed.in_ns("b", "ethtool", &["-K", "eth0", "tso", "off"]);
    let listen = || UdpSocket::bind("0.0.0.0:5353").expect("a socket");
    let _socket = bed.open("a").run(listen).expect("entered");
    let (a, b) = (bed.target("a"), bed.target("b"));
    let difference = inspect(&[&a, "--diff", &b]);
    assert_eq!(difference["same_namespace"], false);
    let relation = list(&difference, "relation");
    let bridge = format!("Both are on the bridge br0 of {}.", bed.name("r"));
    assert!(relation.iter().any(|said| *said == bridge), "{relation:?}");
    assert_eq!(
        topic(&difference, "addresses")["only_a"],
        Value::from(vec!["10.9.0.2/24 on eth0"])
    );
    assert_eq!(
        topic(&difference, "addresses")["only_b"],
        Value::from(vec!["10.9.0.3/24 on eth0"])
    );
    let changed = &topic(&difference, "interfaces")["changed"][0];
    assert!(
        changed["a"]
            .as_str()
            .is_some_and(|like| like.contains("mtu 1500")),
        "{changed}"
    );
    assert!(
        changed["b"]
            .as_str()
            .is_some_and(|like| like.contains("mtu 1400")),
        "{changed}"
    );
    let own = std::fs::read_to_string("/proc/self/comm").expect("our command");
    let port = format!("udp 0.0.0.0:5353: {}", own.trim());
    assert_eq!(
        topic(&difference, "listening sockets")["only_a"],
        Value::from(vec![port])
    );
    let rules = list(topic(&difference, "packet filter"), "only_a");
    assert!(
        rules
            .iter()
            .any(|rule| *rule == "nftables inet guard in: 2 rules, policy drop"),
        "{rules:?}"
    );
    assert_eq!(list(topic(&difference, "offloads"), "changed").len(), 1);
    assert_eq!(list(topic(&difference, "routes"), "changed").len(), 0);
    let text = run(["inspect", &a, "--diff", &b]).stdout;
    assert!(
        text.contains("\n  - 10.9.0.2/24 on eth0\n  + 10.9.0.3/24 on eth0\n"),
        "{text}"
    );
    let with_router = inspect(&[&a, "--diff", &bed.target("r")]);
    let (a, r) = (bed.name("a"), bed.name("r"));
    let pair = format!("eth0 of {a} leads to va of {r}, a port of br0.");
    assert_eq!(with_router["relation"][1], pair);
}

#[test]
fn one_namespace_compared_with_itself_is_one() {
    let bed = Bed::quiet();
    let inode = format!("inode:{}", bed.open("a").inode());
    let difference = inspect(&[&bed.target("a"), "--diff", &inode]);
    assert_eq!(difference["same_namespace"], true);
    for topic in list(&difference, "topics") {
        for what in ["only_a", "only_b", "changed"] {
            assert_eq!(list(topic, what).len(), 0, "{topic}");
        }
    }
    let text = run(["inspect", "host", "--diff", "/proc/2/ns/net"]).stdout;
    assert!(
        text.contains("are in the same namespace") && text.contains("the host's"),
        "{text}"
    );
}
