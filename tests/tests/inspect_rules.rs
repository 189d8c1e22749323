//! What `inspect` tells of a namespace's packet filter and connections, with nft, iptables and
//! conntrack as witnesses; and targets that are gone, closed or odd.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
};

use netns_trace::netns::NetNs;
use netns_trace_tests::{
    bed::Bed,
    inspected::{inspect, json, list, missing},
    refusal::{as_nobody, refused, with_read_only},
    tool::{netns_trace, run},
};
use serde_json::Value;

const RULES: &str = "table ip nat {
    set ports { type inet_service; elements = { 80, 443 }; }
    chain out {
        type nat hook output priority -100; policy accept;
        ip daddr 127.0.0.11 udp dport 53 counter dnat to 127.0.0.11:34567
        tcp dport @ports counter accept
    }
    chain spare { }
}
table inet guard {
    chain in {
        type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established counter accept
        meta l4proto { icmp, icmpv6 } accept
        udp dport 5353 counter accept
    }
}";

/// Loads rules by nft, which reads them from a file.
fn load(bed: &Bed, ns: &str, rules: &str) {
    let file = bed.file("rules.nft");
    std::fs::write(&file, rules).expect("a file");
    bed.in_ns(ns, "nft", &["-f", file.to_str().expect("a path")]);
}

#[test]
fn rules_of_nftables_are_those_of_nft() {
    let bed = Bed::quiet();
    load(&bed, "a", RULES);
    let report = inspect(&[&bed.target("a")]);
    assert_eq!(missing(&report), [""; 0]);
    let theirs = json(&bed.in_ns("a", "nft", &["-j", "list", "ruleset"]));
    assert_eq!(report["firewall"]["nftables"], theirs);
    let mut chains = Vec::new();
    for table in list(&report["firewall"], "tables") {
        for chain in list(table, "chains") {
            let (family, table) = (&table["family"], &table["name"]);
            chains.push(format!(
                "{family} {table} {} {} {} {} {}",
                chain["name"], chain["hook"], chain["priority"], chain["policy"], chain["rules"]
            ));
        }
    }
    assert_eq!(
        chains,
        [
            r#""ip" "nat" "out" "output" -100 "accept" 2"#,
            r#""ip" "nat" "spare" null null null 0"#,
            r#""inet" "guard" "in" "input" 0 "drop" 4"#,
        ]
    );
    let text = run(["inspect", &bed.target("a")]).stdout;
    let line = "in  at input 0  policy drop  4 rules  0 packets counted";
    assert!(text.contains(line), "{text}");
    let other = inspect(&[&bed.target("b")]);
    assert_eq!(list(&other["firewall"], "tables").len(), 0);
}

#[test]
fn the_older_iptables_tables_are_told_where_they_are_in_use() {
    let bed = Bed::quiet();
    let add = |tool, args: &str| bed.in_ns("a", tool, &args.split(' ').collect::<Vec<_>>());
    add("iptables-legacy", "-A INPUT -p tcp --dport 80 -j ACCEPT");
    add("iptables-legacy", "-P FORWARD DROP");
    add("iptables-legacy", "-N mine");
    add("ip6tables-legacy", "-A OUTPUT -p udp -j DROP");
    let report = inspect(&[&bed.target("a")]);
    assert_eq!(missing(&report), [""; 0]);
    let of = |by: &str, name: &str| {
        let tables = list(&report["firewall"], "tables").iter();
        let chains = tables
            .filter(|table| table["by"] == by)
            .flat_map(|table| list(table, "chains"));
        let chain = chains.clone().find(|chain| chain["name"] == name);
        chain
            .unwrap_or_else(|| panic!("{by} {name}: {report}"))
            .clone()
    };
    assert_eq!(
        (
            &of("iptables", "INPUT")["rules"],
            &of("iptables", "INPUT")["policy"]
        ),
        (&1.into(), &"accept".into())
    );
    assert_eq!(of("iptables", "FORWARD")["policy"], "drop");
    assert_eq!(
        (
            &of("iptables", "mine")["hook"],
            &of("iptables", "mine")["rules"]
        ),
        (&Value::Null, &0.into())
    );
    assert_eq!(of("ip6tables", "OUTPUT")["rules"], 1);
    let rules = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let theirs = bed.in_ns("a", "iptables-legacy-save", &["-c"]);
    assert_eq!(
        rules(report["firewall"]["iptables"].as_str().expect("text")),
        rules(&theirs)
    );
    // Looking does not set the tables up where they are not in use.
    let other = inspect(&[&bed.target("b")]);
    assert_eq!(other["firewall"]["iptables"], Value::Null);
    assert_eq!(bed.in_ns("b", "cat", &["/proc/net/ip_tables_names"]), "");
}

#[test]
fn a_tool_that_is_not_installed_is_said_to_be_missing() {
    let bed = Bed::quiet();
    let mut command = netns_trace(["inspect", "--json", &bed.target("a")]);
    command.env("PATH", "/nowhere");
    let output = with_read_only(&mut command, Path::new("/usr/sbin"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let report = json(&String::from_utf8_lossy(&output.stdout));
    let why = "nftables rules are missing: nft is not installed (apt-get install nftables)";
    assert_eq!(missing(&report), [why]);
    assert_eq!(list(&report, "interfaces").len(), 2, "all else is there");
}

#[test]
fn connections_are_those_of_conntrack() {
    let bed = Bed::quiet();
    load(
        &bed,
        "r",
        "table ip t {
            chain pre {
                type nat hook prerouting priority -100
                udp dport 7000 dnat to 10.9.0.1:7001
            }
            chain in {
                type filter hook input priority 0
                ct state new counter
            }
        }",
    );
    let (ns, router) = (bed.open("a"), bed.open("r"));
    let bind = |address: &'static str| move || UdpSocket::bind(address).expect("a socket");
    let server = router.run(bind("10.9.0.1:7001")).expect("entered");
    let client = ns.run(bind("10.9.0.2:6000")).expect("entered");
    client.send_to(b"ask", "10.9.0.1:7000").expect("sent");
    let (_, from) = server.recv_from(&mut [0; 9]).expect("it came");
    server.send_to(b"answer", from).expect("sent");
    client.recv_from(&mut [0; 9]).expect("it came");
    let (lonely, _quiet) = (
        ns.run(bind("10.9.0.2:6001")),
        router.run(bind("10.9.0.1:7002")),
    );
    lonely
        .expect("entered")
        .send_to(b"x", "10.9.0.1:7002")
        .expect("sent");
    let report = inspect(&[&bed.target("r")]);
    assert_eq!(missing(&report), [""; 0]);
    let tuple = |tuple: &Value| {
        let (ports, text) = (&tuple["ports"], |name: &str| {
            tuple[name].as_str().expect("text")
        });
        let (source, destination) = (text("source"), text("destination"));
        format!(
            "src={source} dst={destination} sport={} dport={}",
            ports[0], ports[1]
        )
    };
    let ours = list(&report["conntrack"], "entries").iter().map(|one| {
        let quiet = if one["replied"] == true {
            ""
        } else {
            "[UNREPLIED] "
        };
        let protocol = one["protocol"].as_str().expect("a protocol");
        format!(
            "{protocol} {} {quiet}{}",
            tuple(&one["original"]),
            tuple(&one["reply"])
        )
    });
    let ours: BTreeSet<String> = ours.collect();
    let theirs = bed.in_ns("r", "conntrack", &["-L"]);
    let theirs = theirs.lines().map(|line| {
        let kept = line.split_whitespace().enumerate().filter(|(at, word)| {
            *at == 0
                || word.contains("src=")
                || word.contains("dst=")
                || word.contains("port=")
                || *word == "[UNREPLIED]"
        });
        kept.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(ours, theirs.collect());
    let answered = "udp src=10.9.0.2 dst=10.9.0.1 sport=6000 dport=7000 src=10.9.0.1 dst=10.9.0.2 sport=7001 dport=6000";
    assert!(ours.contains(answered), "{ours:?}");
    assert_eq!(report["conntrack"]["count"], ours.len());
    let max = bed.in_ns("r", "sysctl", &["-n", "net.netfilter.nf_conntrack_max"]);
    assert_eq!(report["conntrack"]["max"].to_string(), max.trim());
    let text = run(["inspect", &bed.target("r")]).stdout;
    let line = "udp  10.9.0.2:6000 -> 10.9.0.1:7000  answers 10.9.0.1:7001 -> 10.9.0.2:6000";
    assert!(text.lines().any(|found| found.trim() == line), "{text}");
}

/// A process in a network namespace of its own, which has said so.
fn apart() -> Child {
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo in; exec sleep 300"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its stdout");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "in\n");
    child
}

fn end(mut child: Child) {
    child.kill().and_then(|()| child.wait()).expect("its end");
}

#[test]
fn a_namespace_without_a_name_is_told_with_its_process() {
    let child = apart();
    let pid = child.id();
    let ns = NetNs::of_process(pid).expect("its namespace");
    let report = inspect(&[&format!("pid:{pid}")]);
    end(child);
    assert_eq!(report["inode"], ns.inode());
    let process = &list(&report, "processes")[0];
    assert_eq!(
        (&process["pid"], &process["command"]),
        (&pid.into(), &"sleep".into())
    );
    assert_eq!(
        (&report["process_count"], &report["host"]),
        (&1.into(), &false.into())
    );
    let source = report["resolver"]["source"].as_str().expect("a source");
    assert_eq!(source, format!("/etc/resolv.conf of process {pid} (sleep)"));
    let mut command = netns_trace(["inspect", &format!("pid:{pid}")]);
    let said = refused(&mut command, 1);
    assert_eq!(
        said,
        format!("there is no process with pid {pid} (it may have ended)")
    );
}

#[test]
fn a_namespace_that_only_a_descriptor_keeps_is_told_too() {
    let mut bed = Bed::quiet();
    let held = bed.open("a");
    bed.remove("a");
    let own = std::process::id();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&held));
    let report = inspect(&[&format!("/proc/{own}/fd/{fd}")]);
    assert_eq!(report["inode"], held.inode());
    assert_eq!(
        (&report["process_count"], list(&report, "names").len()),
        (&0.into(), 0)
    );
    let source = report["resolver"]["source"].as_str().expect("a source");
    assert!(source.contains("no process lives"), "{source}");
}

#[test]
fn processes_that_end_meanwhile_do_no_harm() {
    for _ in 0..20 {
        let mut child = Command::new("unshare")
            .args(["--net", "true"])
            .spawn()
            .expect("unshare");
        let target = format!("pid:{}", child.id());
        let done = run(["inspect", &target]);
        child.wait().expect("its end");
        match done.status.code() {
            Some(0) => assert!(done.stdout.contains("Interfaces"), "{}", done.stdout),
            code => {
                assert_eq!(code, Some(1), "{}", done.stderr);
                assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
                assert!(done.stderr.starts_with("netns-trace: "), "{}", done.stderr);
            }
        }
    }
}

#[test]
fn who_may_not_enter_is_told_so() {
    let bed = Bed::quiet();
    let (mut command, _program) = as_nobody(&["inspect", &bed.target("a")]);
    let said = refused(&mut command, 1);
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    let child = apart();
    let (mut command, _program) = as_nobody(&["inspect", &format!("pid:{}", child.id())]);
    let said = refused(&mut command, 1);
    end(child);
    assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
}

#[test]
fn odd_names_of_interfaces_are_only_text() {
    let bed = Bed::quiet();
    bed.in_ns("a", "ip", &["link", "set", "eth0", "name", "\x1b[31m"]);
    let target = bed.target("a");
    for args in [
        vec!["inspect", &target],
        vec!["inspect", &target, "--diff", "host"],
    ] {
        let done = run(&args);
        assert!(done.status.success(), "{}", done.stderr);
        assert!(!done.stdout.contains('\x1b'), "{:?}", done.stdout);
        assert!(done.stdout.contains("\\u{1b}[31m"), "{:?}", done.stdout);
    }
}

#[test]
fn misuse_is_told() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let mut command = netns_trace(["inspect", &target, "--diff", &target, "--resolve", "web"]);
    assert!(refused(&mut command, 2).contains("cannot be used with"));
    let said = refused(&mut netns_trace(["inspect"]), 2);
    assert!(said.contains("<TARGET>"), "{said}");
    let said = refused(
        &mut netns_trace(["inspect", &target, "--diff", "netns:no\x1bsuch"]),
        1,
    );
    assert!(said.contains("no\\u{1b}such"), "{said}");
}
