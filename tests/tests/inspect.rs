//! What `inspect` tells of a namespace, with the tools that are run inside it as witnesses: ip,
//! bridge, ss and sysctl.

use std::{
    collections::BTreeSet,
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
};

use netns_trace_tests::{
    bed::{Bed, must},
    inspected::{inspect, interface, json, list, missing, word},
    tool::{Running, netns_trace, run},
};
use serde_json::Value;

/// The whole report, in which nothing is missing. The text must be had too, and be plain.
fn whole(target: &str) -> Value {
    let text = run(["inspect", target]);
    assert!(text.status.success(), "{}", text.stderr);
    let odd = |c: char| c.is_control() && c != '\n';
    assert!(!text.stdout.contains(odd), "{:?}", text.stdout);
    let report = inspect(&[target]);
    assert_eq!(missing(&report), [""; 0]);
    report
}

fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

#[test]
fn interfaces_are_those_of_ip_with_their_counters_and_peers() {
    let bed = Bed::quiet();
    bed.in_ns("a", "ping", &["-c", "3", "-i", "0.01", "10.9.0.1"]);
    bed.in_ns(
        "r",
        "bridge",
        &[
            "link", "set", "dev", "vb", "isolated", "on", "hairpin", "on",
        ],
    );
    for ns in ["a", "r"] {
        let report = whole(&bed.target(ns));
        let theirs = json(&bed.in_ns(ns, "ip", &["-j", "-s", "-d", "link"]));
        let theirs = theirs.as_array().expect("a list");
        assert_eq!(list(&report, "interfaces").len(), theirs.len());
        for (our, their) in list(&report, "interfaces").iter().zip(theirs) {
            let name = &their["ifname"];
            let kind = their["linkinfo"]["info_kind"]
                .as_str()
                .unwrap_or("loopback");
            assert_eq!(our["kind"], kind, "{name}");
            for (ours, theirs) in [
                ("name", "ifname"),
                ("index", "ifindex"),
                ("mtu", "mtu"),
                ("mac", "address"),
                ("qdisc", "qdisc"),
                ("queue_length", "txqlen"),
                ("master", "master"),
            ] {
                assert_eq!(our[ours], their[theirs], "{name} {theirs}");
            }
            let state = their["operstate"].as_str().expect("a state").to_lowercase();
            assert_eq!(our["state"], state, "{name}");
            for (ours, theirs) in [("received", "rx"), ("sent", "tx")] {
                for count in ["packets", "bytes", "errors", "dropped"] {
                    let of_ip = &their["stats64"][theirs][count];
                    assert_eq!(
                        &our["counters"][ours][count], of_ip,
                        "{name} {theirs} {count}"
                    );
                }
            }
        }
    }
    let report = whole(&bed.target("r"));
    for port in json(&bed.in_ns("r", "bridge", &["-j", "-d", "link"]))
        .as_array()
        .expect("ports")
    {
        let our = interface(&report, port["ifname"].as_str().expect("a name"));
        assert_eq!(our["port"]["state"], port["state"]);
        assert_eq!(our["port"]["hairpin"], port["hairpin"]);
        assert_eq!(our["port"]["isolated"], port["isolated"]);
    }
    let report = whole(&bed.target("b"));
    let peer = &interface(&report, "eth0")["peer"];
    let theirs = bed.link("r", "vb");
    assert_eq!(
        (&peer["name"], &peer["index"]),
        (&theirs["ifname"], &theirs["ifindex"])
    );
    assert_eq!(peer["namespace"], bed.name("r"));
    assert_eq!(peer["inode"], bed.open("r").inode());
    assert_eq!(
        (&peer["master"], &peer["port"]["isolated"]),
        (&"br0".into(), &true.into())
    );
}

#[test]
fn addresses_are_those_of_ip_with_scope_and_flags() {
    let bed = Bed::bridge();
    let add = |args: &str| bed.in_ns("a", "ip", &args.split(' ').collect::<Vec<_>>());
    add("addr add 10.9.1.5/24 dev eth0 valid_lft 500 preferred_lft 0");
    add("addr add 10.9.0.77/24 dev eth0");
    add("addr add 192.0.2.1 peer 192.0.2.2/32 dev eth0");
    let report = whole(&bed.target("a"));
    for their in json(&bed.in_ns("a", "ip", &["-j", "addr"]))
        .as_array()
        .expect("a list")
    {
        let name = their["ifname"].as_str().expect("a name");
        let theirs = their["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .map(|one| {
                let local = word(&one["local"]);
                let peer = word(&one["address"]);
                let prefix = &one["prefixlen"];
                let address = if one["address"].is_null() {
                    format!("{local}/{prefix}")
                } else {
                    format!("{local} to {peer}/{prefix}")
                };
                let flags = ["deprecated", "dynamic", "secondary", "nodad", "tentative"];
                let flags = flags.into_iter().filter(|flag| one[*flag] == true);
                (address, word(&one["scope"]), set(flags.map(str::to_owned)))
            });
        let ours = list(interface(&report, name), "addresses")
            .iter()
            .map(|one| {
                let mut address = word(&one["address"]);
                if let Some(peer) = one["peer"].as_str() {
                    address.push_str(&format!(" to {peer}"));
                }
                (
                    address,
                    word(&one["scope"]),
                    set(list(one, "flags").iter().map(word)),
                )
            });
        assert_eq!(set(ours), set(theirs), "{name}");
    }
}

#[test]
fn routes_rules_and_neighbours_are_those_of_ip() {
    let bed = Bed::bridge();
    for args in [
        "route add 10.50.0.0/16 via 10.9.0.3 metric 7",
        "route add 10.51.0.0/16 nexthop via 10.9.0.3 weight 2 nexthop via 10.9.0.1 weight 5",
        "route add blackhole 10.52.0.0/16 table 100",
        "route add default via 10.9.0.1 table 4711 proto static src 10.9.0.2",
        "-6 route add fd55::/64 via fd09::3 table 100",
        "rule add from 10.60.0.0/16 fwmark 0x10/0xf0 iif eth0 lookup 100 pref 77",
        "-6 rule add to fd55::/64 ipproto tcp dport 80-90 blackhole pref 78",
        "neigh add 10.9.0.200 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
        "neigh add 10.9.0.201 lladdr 02:00:00:00:00:02 dev eth0 nud stale",
    ] {
        bed.in_ns("a", "ip", &args.split(' ').collect::<Vec<_>>());
    }
    let report = whole(&bed.target("a"));
    let ip = |args: &[&str]| {
        json(&bed.in_ns("a", "ip", args))
            .as_array()
            .expect("a list")
            .clone()
    };
    for family in ["4", "6"] {
        let flag = format!("-{family}");
        let theirs = ip(&[&flag, "-j", "-d", "-N", "route", "show", "table", "all"]);
        let theirs = theirs
            .iter()
            .filter(|route| route["table"] != "255")
            .map(|route| {
                let hops = route["nexthops"].as_array().into_iter().flatten();
                let hops: Vec<String> = hops
                    .map(|hop| {
                        format!(
                            "{} {} {}",
                            word(&hop["gateway"]),
                            word(&hop["dev"]),
                            hop["weight"]
                        )
                    })
                    .collect();
                let to = word(&route["dst"]);
                let to = match (to.contains('/') || to == "default", family) {
                    (true, _) => to,
                    (false, "4") => to + "/32",
                    (false, _) => to + "/128",
                };
                let table = route["table"].as_str().unwrap_or("254").to_owned();
                let source = word(&route["prefsrc"]);
                // IPv6 tells its default metric always.
                (
                    to,
                    table,
                    word(&route["gateway"]),
                    hops,
                    source,
                    word(&route["metric"]),
                )
            });
        let ours = list(&report, "routes").iter();
        let ours = ours
            .filter(|route| word(&route["family"]) == family)
            .map(|route| {
                let hops = list(route, "hops").iter().map(|hop| {
                    format!(
                        "{} {} {}",
                        word(&hop["gateway"]),
                        word(&hop["device"]),
                        hop["weight"]
                    )
                });
                (
                    word(&route["destination"]),
                    route["table"].to_string(),
                    word(&route["gateway"]),
                    hops.collect(),
                    word(&route["source"]),
                    word(&route["metric"]),
                )
            });
        assert_eq!(set(ours), set(theirs), "IPv{family}");
        let rules = bed.in_ns("a", "ip", &[&flag, "rule"]);
        let ours = list(&report, "rules").iter();
        let ours = ours
            .filter(|rule| word(&rule["family"]) == family)
            .map(|rule| {
                let (selector, action) = (word(&rule["selector"]), word(&rule["action"]));
                format!("{}: {selector} {action}", rule["priority"])
            });
        let theirs = rules
            .lines()
            .map(|rule| rule.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(set(ours), set(theirs), "IPv{family}");
    }
    let blackhole = list(&report, "routes")
        .iter()
        .find(|r| r["destination"] == "10.52.0.0/16");
    assert_eq!(blackhole.expect("a blackhole")["kind"], "blackhole");
    let ours = list(&report, "neighbours").iter().filter(|one| {
        one["address"]
            .as_str()
            .is_some_and(|address| address.starts_with("10.9.0.20"))
    });
    let ours = ours.map(|one| {
        (
            word(&one["address"]),
            word(&one["mac"]),
            word(&one["state"]),
        )
    });
    let theirs = ip(&["-j", "neigh"]);
    let theirs = theirs
        .iter()
        .filter(|one| word(&one["dst"]).starts_with("10.9.0.20"));
    let theirs = theirs.map(|one| {
        (
            word(&one["dst"]),
            word(&one["lladdr"]),
            word(&one["state"][0]).to_lowercase(),
        )
    });
    let theirs = set(theirs);
    assert_eq!(theirs.len(), 2);
    assert_eq!(set(ours), theirs);
}

#[test]
fn sockets_are_those_of_ss_with_their_processes() {
    let bed = Bed::quiet();
    let ns = bed.open("a");
    let (listener, stream, accepted, udp, mut packet) = ns
        .run(|| {
            let listener = TcpListener::bind("10.9.0.2:0").expect("a listener");
            let address = listener.local_addr().expect("its address");
            let stream = TcpStream::connect(address).expect("a connection");
            let accepted = listener.accept().expect("its other end");
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            udp.connect("127.0.0.1:9").expect("connected");
            let mut tcpdump = Command::new("tcpdump");
            tcpdump
                .args(["-n", "-i", "lo", "-w", "/dev/null"])
                .stdin(Stdio::null());
            (listener, stream, accepted, udp, Running::start(tcpdump))
        })
        .expect("entered");
    let _six = ns.run(|| TcpListener::bind("[::1]:0")).expect("entered");
    packet.wait_for("listening on");
    let report = whole(&bed.target("a"));
    let ours = list(&report, "sockets")
        .iter()
        .filter(|one| one["protocol"] != "packet");
    let end = |end: &Value| match (end["address"].as_str(), end["port"].as_u64()) {
        (Some(address), Some(port)) if address.contains(':') => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        _ => "*".to_owned(),
    };
    // A child that another test of this process has just forked holds them too, until its exec.
    let own = format!("pid={},", std::process::id());
    let is_own = |holder: &String| holder.starts_with(&own);
    let ours = ours.map(|one| {
        let holders = list(one, "processes").iter();
        let holders = holders.map(|holder| format!("pid={},fd={}", holder["pid"], holder["fd"]));
        let holders = holders.filter(is_own);
        let (local, remote) = (end(&one["local"]), end(&one["remote"]));
        (
            word(&one["protocol"]),
            word(&one["state"]),
            local,
            remote,
            set(holders),
        )
    });
    let theirs = bed.in_ns("a", "ss", &["-tuanpHO"]);
    let theirs = theirs.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let remote = if fields[5].ends_with(":*") {
            "*"
        } else {
            fields[5]
        };
        let holders = fields
            .get(6)
            .unwrap_or(&"")
            .split("pid=")
            .skip(1)
            .map(|holder| format!("pid={}", holder.split(')').next().expect("its end")))
            .filter(is_own);
        let [protocol, state, local] = [fields[0], fields[1], fields[4]].map(str::to_owned);
        (protocol, state, local, remote.to_owned(), set(holders))
    });
    let theirs = set(theirs);
    assert!(theirs.len() >= 4, "{theirs:?}");
    assert_eq!(set(ours), theirs);
    let own = format!("pid={},fd={}", std::process::id(), listener.as_raw_fd());
    assert!(
        theirs
            .iter()
            .any(|(_, state, .., held)| state == "LISTEN" && held.contains(&own))
    );
    let mut sockets = list(&report, "sockets").iter();
    let sniffer = sockets
        .find(|one| one["protocol"] == "packet")
        .expect("tcpdump's");
    assert_eq!(
        (&sniffer["device"], &sniffer["processes"][0]["pid"]),
        (&"lo".into(), &packet.pid().into())
    );
    let text = run(["inspect", &bed.target("a")]).stdout;
    let port = listener.local_addr().expect("its address").port();
    assert!(text.contains(&format!("10.9.0.2:{port}")), "{text}");
    assert!(
        text.contains(&format!("{} tcpdump", packet.pid())),
        "{text}"
    );
    drop((stream, accepted, udp));
}

#[test]
fn settings_are_those_of_sysctl_and_unlike_ones_are_marked() {
    let bed = Bed::bridge();
    let ours = "net.ipv4.ip_unprivileged_port_start";
    bed.in_ns(
        "a",
        "sysctl",
        &[
            "-qw",
            &format!("{ours}=77"),
            "net.ipv4.conf.eth0.rp_filter=2",
        ],
    );
    let report = whole(&bed.target("a"));
    let mut names = 0;
    for sysctl in list(&report, "sysctls") {
        let name = word(&sysctl["name"]);
        let theirs = bed.in_ns("a", "sysctl", &["-n", &name]);
        let theirs = theirs.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(word(&sysctl["value"]), theirs, "{name}");
        if !name.contains("eth0") {
            let host = must("nsenter", &["--net=/proc/2/ns/net", "sysctl", "-n", &name]);
            let host = host.split_whitespace().collect::<Vec<_>>().join(" ");
            let usual = if host == theirs {
                Value::Null
            } else {
                host.into()
            };
            assert_eq!(sysctl["usual"], usual, "{name}");
        }
        names += 1;
    }
    assert!(names > 20, "{report}");
    let text = run(["inspect", &bed.target("a")]).stdout;
    let line = |name: &str| {
        text.lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
    };
    assert!(
        line(ours).contains("77") && line(ours).contains("the host: "),
        "{text}"
    );
    assert!(
        line("eth0.rp_filter").contains("new interfaces: 0"),
        "{text}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bed = Bed::bridge();
    let mut command = netns_trace(["inspect", &bed.target("a")]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
