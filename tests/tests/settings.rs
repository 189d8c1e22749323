//! Nothing that can be set on the interfaces and in the namespaces is changed by a capture, neither
//! while it runs nor afterwards.

use netns_trace_tests::{bed::Bed, kernel, require_root, tool::Running};

/// The interfaces that the packets of the bed pass.
const INTERFACES: [(&str, &str); 4] = [("a", "eth0"), ("r", "va"), ("r", "br0"), ("b", "eth0")];

/// A line of `ip -d`, without the times left of a bridge's timers.
fn without_timers(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_time = |n: usize| n > 0 && words[n - 1].ends_with("_timer");
    let kept = (0..words.len()).filter(|&n| !is_time(n));
    kept.map(|n| words[n]).collect::<Vec<_>>().join(" ")
}

/// Everything that can be set on the bed's interfaces, and what it is.
fn settings(bed: &Bed) -> Vec<String> {
    let mut all = Vec::new();
    for (ns, interface) in INTERFACES {
        let mut note = |text: String| {
            let lines = text
                .lines()
                .map(|line| format!("{ns} {interface}: {}", without_timers(line)));
            // What ours adds with clsact; it is there before and after in none.
            all.extend(lines.filter(|line| !line.contains("qdisc clsact")));
        };
        for command in [
            "ip -d link show dev",
            "ip addr show dev",
            "ip route show dev",
            "ip neigh show nud permanent dev",
            "ip maddr show dev",
            "tc -d qdisc show dev",
            "bridge -d link show dev",
        ] {
            let words: Vec<&str> = command.split(' ').chain([interface]).collect();
            note(bed.in_ns(ns, words[0], &words[1..]));
        }
        note(bed.in_ns(ns, "nft", &["list", "ruleset"]));
        let pattern = r"^net\.(core|ipv[46]|bridge)\.";
        note(bed.in_ns(ns, "sysctl", &["-a", "-r", pattern]));
        let offloads = bed.command(ns, "ethtool").args(["-k", interface]).output();
        if let Ok(offloads) = offloads {
            note(String::from_utf8_lossy(&offloads.stdout).into_owned());
        }
    }
    all
}

fn clsacts(bed: &Bed) -> usize {
    let count = |(ns, interface): &(&str, &str)| {
        let text = bed.in_ns(ns, "tc", &["qdisc", "show", "dev", interface]);
        text.matches("qdisc clsact").count()
    };
    INTERFACES.iter().map(count).sum()
}

#[test]
fn settings_stay_as_they_are() {
    require_root!();
    let bed = Bed::quiet();
    let before = settings(&bed);
    assert!(before.len() > 500, "{}", before.len());
    for &method in kernel::methods() {
        let added = if method == "tcx" { 0 } else { 3 };
        let target = bed.target("a");
        let options = ["--taps", "all", "--attach", method, "-w", "/dev/null"];
        let capture = Running::capture([&[target.as_str()][..], &options].concat());
        bed.in_ns("a", "ping", &["-c", "2", "-i", "0.01", "10.9.0.3"]);
        let during = settings(&bed);
        assert_eq!(clsacts(&bed), added, "{method}");
        let done = capture.stop();
        assert!(done.status.success(), "{done:?}");
        for (when, now) in [("during", during), ("after", settings(&bed))] {
            let differing: Vec<_> = before
                .iter()
                .zip(&now)
                .filter(|(one, two)| one != two)
                .collect();
            assert!(
                differing.is_empty() && before.len() == now.len(),
                "{method}, {when}: {differing:#?}, {} and {} lines",
                before.len(),
                now.len()
            );
        }
        assert_eq!(clsacts(&bed), 0, "{method}");
        for (ns, interface) in INTERFACES {
            assert_eq!(
                bed.tcx(ns, interface),
                [const { Vec::<u32>::new() }; 2],
                "{interface} in {ns}"
            );
        }
    }
}
