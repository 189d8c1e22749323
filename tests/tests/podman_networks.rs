//! Podman's networks as netns-trace sees them: with root a bridge, without root a process that has the
//! container's interface in its hands, and no veth.

use netns_trace_tests::{
    listed::Listed,
    packets, require_root,
    runtimes::{Engine as _, Podman, User},
    sightings, tool,
};

#[test]
fn with_root_there_is_a_bridge_and_a_veth() {
    require_root!();
    let Some(podman) = Podman::private(User::Root) else {
        return;
    };
    let machine = podman.machine();
    podman.run("web", &[], &[]);
    podman.run("side", &["--network", "container:web"], &[]);
    podman.run("open", &["--network", "host"], &[]);
    let pid = podman.pid("web");
    let report = machine.json(&["inspect", "podman:web", "--json"]);
    assert_eq!(report["inode"], machine.inode(pid));
    assert_eq!(report["containers"][0]["runtime"], "podman");
    let peer = &report["interfaces"][1]["peer"];
    assert_eq!(peer["inode"], machine.host_inode());
    let bridge = peer["master"].as_str().expect("a bridge").to_owned();
    assert!(bridge.contains("podman"), "{bridge}");

    let all = Listed::by(&mut machine.netns_trace(["list", "--json"]));
    let names = |inode: u64| {
        let containers = all.get(inode)["containers"].as_array().expect("containers");
        let mut names: Vec<_> = containers.iter().map(|one| one["name"].as_str()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(machine.inode(pid)), [Some("side"), Some("web")]);
    assert_eq!(names(machine.host_inode()), [Some("open")]);

    let file = machine.folder().join("web.pcapng");
    let witness = machine.witnesses(pid, "eth0");
    let name = file.display().to_string();
    let words = format!("web --taps inside,veth,bridge -w {name}");
    let capture = machine.capture(&words, "listening on");
    let gateway = podman.inspect("web")["NetworkSettings"]["Gateway"].clone();
    let gateway = gateway.as_str().expect("a gateway");
    podman.exec(
        "web",
        &["ping", "-c", "3", "-i", "0.01", "-W", "5", gateway],
    );
    let [received, sent] = witness.map(|one| packets::icmp(one.all()));
    assert!(capture.stop().status.success());
    let seen = sightings::read(&file);
    let host_side = format!("{}@host", peer["name"].as_str().expect("a name"));
    let bridge = format!("{bridge}@host");
    let ours = |interface: &str, egress| packets::icmp(sightings::of(&seen, interface, egress));
    assert_eq!((received.len(), sent.len()), (3, 3));
    packets::assert_same(&ours("eth0@web", false), &received, "received");
    packets::assert_same(&ours("eth0@web", true), &sent, "sent");
    for interface in [&host_side, &bridge] {
        assert_eq!(ours(interface, true).len(), 3, "{interface}");
        assert_eq!(ours(interface, false).len(), 3, "{interface}");
    }
}

#[test]
fn without_root_there_is_no_veth_and_the_inside_is_captured() {
    require_root!();
    let Some(podman) = Podman::private(User::Lodger) else {
        return;
    };
    let machine = podman.machine();
    podman.run("web", &[], &[]);
    let inode = machine.inode(podman.pid("web"));
    let all = Listed::by(&mut machine.netns_trace(["list", "--json"]));
    let containers = &all.get(inode)["containers"];
    assert_eq!(containers[0]["name"], "web");
    assert_eq!(containers[0]["runtime"], "podman");
    assert_eq!(all.interface(inode, "tap0")["kind"], "tun");
    assert_eq!(
        all.interface(inode, "tap0")["peer"],
        serde_json::Value::Null
    );

    let file = machine.folder().join("web.pcapng");
    let name = file.display().to_string();
    // slirp4netns sets the interface up, which takes its time.
    let gateway = "10.0.2.2";
    podman.exec("web", &["ping", "-c", "1", "-W", "10", gateway]);
    let witness = machine.witnesses(podman.pid("web"), "tap0");
    let words = format!("web --taps inside,veth -w {name}");
    let why = "no veth tap for tap0@web: tap0 is a tun device: it has no host side";
    let mut capture = machine.capture(&words, why);
    capture.wait_for("listening on tap0@web");
    podman.exec(
        "web",
        &["ping", "-c", "3", "-i", "0.01", "-W", "5", gateway],
    );
    let [received, sent] = witness.map(|one| packets::icmp(one.all()));
    let done = capture.stop();
    assert!(done.status.success(), "{}", done.stderr);
    let seen = sightings::read(&file);
    let ours = |egress| packets::icmp(sightings::of(&seen, "tap0@web", egress));
    assert_eq!((received.len(), sent.len()), (3, 3));
    packets::assert_same(&ours(false), &received, "received");
    packets::assert_same(&ours(true), &sent, "sent");
    // Of its taps alone, nothing is left.
    let done = machine.run(["capture", "web", "--taps", "veth", "-w", &name]);
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("it has no host side"),
        "{}",
        done.stderr
    );
    // Its own resolver, which only the container's /etc/resolv.conf tells.
    let ours = tool::must(machine.netns_trace([
        "exec",
        "web",
        "--resolv",
        "--",
        "cat",
        "/etc/resolv.conf",
    ]));
    assert_eq!(
        ours,
        podman.exec("web", &["cat", "/etc/resolv.conf"]) + "\n"
    );
    assert!(ours.contains("10.0.2.3"), "{ours}");
}
