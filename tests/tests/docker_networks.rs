//! Docker's networks as netns-trace sees them: a network of one's own with its resolver, a published
//! port, the host's network.

use std::path::PathBuf;

use netns_trace_tests::{
    packets::{self, Packet},
    require_root,
    runtimes::{Docker, Engine as _, Machine},
    sightings, tool,
};
use serde_json::Value;

/// The packets of TCP over IPv4 with a port of a server.
fn of_port(packets: Vec<Packet>, port: u16) -> Vec<Packet> {
    let is_it = |packet: &Packet| {
        let data = &packet.data;
        let has = |at: usize| data.get(at..at + 2) == Some(&port.to_be_bytes());
        data.get(12..14) == Some(&[8, 0]) && data.get(23) == Some(&6) && (has(34) || has(36))
    };
    packets.into_iter().filter(is_it).collect()
}

fn file(machine: &Machine, name: &str) -> (PathBuf, String) {
    let path = machine.folder().join(name);
    let text = path.display().to_string();
    (path, text)
}

#[test]
fn a_published_port_is_seen_from_both_sides() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    machine.add_outside("outside");
    let serve = "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    docker.run("web", &["-p", "8080:80"], &["sh", "-c", serve]);
    let (path, name) = file(machine, "web.pcapng");
    let inside = machine.witnesses(docker.pid("web"), "eth0");
    let words = format!("docker:web --taps all -w {name}");
    let capture = machine.capture(&words, "listening on");
    let ask = "ip netns exec outside curl -s http://10.202.0.1:8080/";
    assert_eq!(machine.line(ask), "hello\n");
    let [received, sent] = inside.map(|witness| of_port(witness.all(), 80));
    let done = capture.stop();
    assert!(done.status.success(), "{}", done.stderr);
    let seen = sightings::read(&path);
    let ours = |interface: &str, egress| of_port(sightings::of(&seen, interface, egress), 80);
    packets::assert_same(&ours("eth0@web", false), &received, "received");
    packets::assert_same(&ours("eth0@web", true), &sent, "sent");
    // A connection, a question, an answer, and the end.
    assert!(
        received.len() >= 4 && sent.len() >= 3,
        "{received:?} {sent:?}"
    );
    let before = of_port(sightings::of(&seen, "eth0@host", false), 8080);
    assert_eq!(
        before.len(),
        received.len(),
        "before it is translated: {seen:#?}"
    );
}

#[test]
fn a_network_of_ones_own_has_dockers_resolver() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let network = docker.cli(&["network", "create", "--subnet", "10.205.0.0/24", "back"]);
    docker.run("web", &["--network", "back"], &[]);
    docker.run(
        "db",
        &["--network", "back", "--network-alias", "store"],
        &[],
    );
    docker.run("plain", &[], &[]);

    let resolver = |name: &str| {
        let read = ["exec", name, "--resolv", "--", "cat", "/etc/resolv.conf"];
        tool::must(machine.netns_trace(read))
    };
    assert_eq!(
        resolver("web"),
        docker.exec("web", &["cat", "/etc/resolv.conf"]) + "\n"
    );
    assert!(resolver("web").contains("nameserver 127.0.0.11"));
    assert!(!resolver("plain").contains("127.0.0.11"));

    for name in ["db", "store"] {
        let report = machine.json(&["inspect", "web", "--resolve", name, "--json"]);
        assert_eq!(report["resolver"]["docker"], true);
        let questions = report["lookup"]["questions"].as_array().expect("questions");
        let answer = questions.iter().find(|one| one["kind"] == "A").expect("A");
        assert_eq!(answer["server"], "127.0.0.11");
        assert_eq!(
            answer["addresses"],
            serde_json::json!([docker.address("db")])
        );
    }
    let plain = machine.json(&["inspect", "plain", "--json"]);
    assert_eq!(plain["resolver"]["docker"], false);

    // The bridge is the network's, by its id.
    let bridge = format!("br-{}", &network[..12]);
    let report = machine.json(&["inspect", "web", "--json"]);
    assert_eq!(report["interfaces"][1]["peer"]["master"], bridge.as_str());
    // dockerd itself answers, in the container's namespace.
    let sockets = report["sockets"].as_array().expect("sockets");
    let is_dockers = |one: &&Value| one["local"]["address"] == "127.0.0.11";
    let dockers: Vec<_> = sockets.iter().filter(is_dockers).collect();
    assert!(!dockers.is_empty(), "{sockets:?}");
    for socket in dockers {
        assert_eq!(socket["processes"][0]["command"], "dockerd");
    }
    let chains = report["firewall"].to_string();
    assert!(chains.contains("DOCKER_OUTPUT"), "{chains}");

    // Both ends of a conversation in one file, by name.
    let (path, name) = file(machine, "both.pcapng");
    let capture = machine.capture(&format!("web,db -w {name}"), "listening on");
    docker.exec("web", &["ping", "-c", "2", "-W", "5", "store"]);
    assert!(capture.stop().status.success());
    let seen = sightings::read(&path);
    let echoes = |interface: &str, egress: bool| {
        packets::icmp(sightings::of(&seen, interface, egress)).len()
    };
    for interface in ["eth0@web", "eth0@db"] {
        assert_eq!(
            (echoes(interface, true), echoes(interface, false)),
            (2, 2),
            "{interface}"
        );
    }
}

#[test]
fn a_container_in_the_hosts_network_is_said_to_be() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    machine.add_outside("outside");
    docker.run("open", &["--network", "host"], &["httpd", "-f", "-p", "80"]);
    let (path, name) = file(machine, "open.pcapng");
    let words = format!("open -i eth0 -w {name}");
    let mut capture = machine.capture(&words, "uses the host's network");
    capture.wait_for("listening on eth0@");
    let ask = "ip netns exec outside curl -s -o /dev/null -w %{http_code} http://10.202.0.1/";
    assert_eq!(machine.line(ask), "404");
    assert!(capture.stop().status.success());
    let seen = sightings::read(&path);
    assert!(of_port(seen.into_iter().map(|one| one.packet).collect(), 80).len() >= 7);
}

/// In a PID namespace, where the kernel's numbers of processes mean nothing, and on the real machine.
#[test]
fn a_containers_processes_are_told() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let serve = "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    docker.run("web", &["-p", "8080:80"], &["sh", "-c", serve]);
    docker.run("db", &[], &[]);
    let web = docker.address("web");
    let (path, name) = file(machine, "web.pcapng");
    let words = format!("docker:web,docker:db --process --taps inside,veth tcp -w {name}");
    let capture = machine.capture(&words, "listening on");
    let ask = format!("wget -q -O - http://{web}/ && exit 0");
    assert_eq!(docker.exec("db", &["sh", "-c", &ask]), "hello");
    let done = capture.stop();
    assert!(done.status.success(), "{}", done.stderr);
    let mut list = machine.command("tshark");
    list.args([
        "-r",
        &path.display().to_string(),
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
    ]);
    list.args(["-e", "tcp.dstport", "-e", "frame.comment"]);
    let listed = tool::must(list);
    assert!(listed.lines().count() > 20, "{listed}");
    let server = format!("process: httpd, pid {}", docker.pid("web"));
    for line in listed.lines() {
        let of_web = line.starts_with("eth0@web");
        assert!(!of_web || line.ends_with(&server), "{listed}");
    }

    let outside = ["capture", "docker:db", "-nt", "--process", "tcp"];
    let mut command = machine.from_outside(&outside);
    command.stdout(std::process::Stdio::piped());
    let mut capture = tool::Running::start(command);
    capture.wait_for("listening on");
    assert_eq!(docker.exec("db", &["sh", "-c", &ask]), "hello");
    let done = capture.stop();
    assert!(done.stdout.lines().count() >= 7, "{done:?}");
    for line in done.stdout.lines() {
        assert!(line.starts_with("[wget "), "{done:?}");
    }
}
