//! `capture all`: every namespace of a machine but its host's, in a machine of the test's own, so that
//! no other test's is meant.

use std::sync::atomic::{AtomicBool, Ordering};

use netns_trace_tests::{bed::must, require_root, runtimes::Machine, summary, tool::Running};

/// Namespaces `n1` to `n8` on a bridge of the host's, 10.9.0.1 to .8, in which nothing is sent by itself.
const NETWORK: &str = "
ip link add br0 type bridge mcast_snooping 0
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set br0 up
for n in 1 2 3 4 5 6 7 8; do
    ip netns add n$n
    ip netns exec n$n sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip link add v$n type veth peer name eth0 netns n$n
    ip link set v$n master br0 up
    ip -n n$n addr add 10.9.0.$n/24 dev eth0
    ip -n n$n link set eth0 up
done
# A bridge forwards once the kernel has noticed the carrier.
for n in 2 3 4 5 6 7 8; do
    ip netns exec n1 ping -q -c 1 -W 20 10.9.0.$n >/dev/null
done
";

/// Comes and goes: namespaces, whose pairs go with them.
const CHURN: &str = "
ip netns add gone
ip link add vgone type veth peer name eth0 netns gone
ip -n gone link set eth0 up
ip netns del gone
";

#[test]
fn every_namespace_has_an_interface_of_its_own_in_the_file() {
    require_root!();
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.must("sh", &["-ec", NETWORK]);
    let received = |n: u32| -> u64 {
        let path = "/sys/class/net/eth0/statistics/rx_packets";
        let name = format!("n{n}");
        let text = machine.must("ip", &["netns", "exec", &name, "cat", path]);
        text.trim().parse().expect("a number")
    };
    let before: Vec<u64> = (1..=8).map(received).collect();
    let file = machine.folder().join("all.pcapng");
    let path = file.to_string_lossy().into_owned();
    let args = ["capture", "all", "-v", "--summary", "json", "-w", &path];
    let mut capture = Running::start(machine.netns_trace(args)).of_child();
    capture.wait_for("listening on ");
    // The host's ends, for the times alone, come behind.
    capture.wait_for("attached to v8@host");
    let ping =
        "ping -q -i 0.002 -c 50 10.9.0.2 >/dev/null; ping -q -c 3 -i 0.002 10.9.0.8 >/dev/null";
    machine.must("ip", &["netns", "exec", "n1", "sh", "-ec", ping]);
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    assert_eq!(summary["dropped"], 0, "{summary}");
    let said = must(
        "tshark",
        &[
            "-r",
            &path,
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
            "-e",
            "frame.packet_flags_direction",
        ],
    );
    for n in 1..=8 {
        let came = said
            .lines()
            .filter(|line| *line == format!("eth0@n{n}\t0x00000001"));
        let counted = received(n) - before[n as usize - 1];
        assert_eq!(came.count() as u64, counted, "n{n}: {said}");
    }
    let info = must("capinfos", &[&path]);
    assert!(info.contains("Number of interfaces in file: 8"), "{info}");
    let segments = summary["latency"]["segments"].as_array().expect("segments");
    let of_ping = segments.iter().find(|segment| {
        segment["name"] == "veth" && segment["direction"] == "out" && segment["from"] == "n1/eth0"
    });
    let count = of_ping.and_then(|segment| segment["count"].as_u64());
    assert!(count >= Some(53), "{segments:?}");
}

#[test]
fn one_that_goes_meanwhile_does_not_end_it() {
    require_root!();
    let Some(machine) = Machine::start() else {
        return;
    };
    machine.must("sh", &["-ec", NETWORK]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) && times < 2000 {
                // The last one's pair may still be there: the kernel takes it down in its own time.
                let mut one = machine.command("sh");
                drop(one.args(["-c", CHURN]).output());
                times += 1;
            }
            times
        });
        for _ in 0..6 {
            let done = machine.run([
                "capture",
                "all",
                "-v",
                "--duration",
                "100ms",
                "-w",
                "/dev/null",
            ]);
            assert!(done.status.success(), "{}", done.stderr);
            assert!(done.stderr.contains(" eth0@n1, "), "{}", done.stderr);
        }
        over.store(true, Ordering::Relaxed);
        assert!(churn.join().expect("the others") > 6);
    });
}
