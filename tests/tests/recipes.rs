//! The recipes for Docker's namespaces, which otherwise take the docker command, nsenter and ip, each
//! with real Docker, and with those as witnesses.

use netns_trace_tests::{
    bed::must,
    listed::Listed,
    private_run, require_root,
    runtimes::{Docker, Engine as _, Machine},
    tool,
};
use serde_json::Value;

/// What `list` tells inside a machine.
fn list(machine: &Machine) -> Listed {
    Listed::by(&mut machine.netns_trace(["list", "--json"]))
}

/// The namespace that `list` has a container in, and the container.
fn listed<'a>(all: &'a Listed, name: &str) -> Option<(&'a Value, &'a Value)> {
    all.namespaces().iter().find_map(|one| {
        let containers = one["containers"].as_array().expect("containers");
        let container = containers.iter().find(|found| found["name"] == name)?;
        Some((one, container))
    })
}

/// The names of a namespace's containers, sorted.
fn names(namespace: &Value) -> Vec<&str> {
    let containers = namespace["containers"].as_array().expect("containers");
    let names = containers.iter().map(|one| one["name"].as_str());
    let mut names: Vec<_> = names.map(|name| name.expect("a name")).collect();
    names.sort_unstable();
    names
}

/// `docker inspect -f '{{.State.Pid}}'`, then `nsenter -t PID -n ip addr`.
#[test]
fn a_container_leads_to_its_namespace() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let id = docker.run("web", &[], &["httpd", "-f", "-p", "80"]);
    let pid = docker.pid("web");
    let report = machine.json(&["inspect", "docker:web", "--json"]);
    assert_eq!(report["inode"], machine.inode(pid));
    assert_eq!(report["containers"][0]["id"], id.as_str());
    assert_eq!(report["processes"][0]["pid"], pid);
    let pid = pid.to_string();
    let ask = "ip -o addr show dev eth0";
    let inside = machine.line(&format!("nsenter -t {pid} -n {ask}"));
    let by_us = format!("exec docker:web -- {ask}");
    assert_eq!(tool::must(machine.netns_trace(by_us.split(' '))), inside);
    let address = docker.address("web");
    assert!(inside.contains(&format!("{address}/24")), "{inside}");

    let eth0 = &report["interfaces"][1];
    assert_eq!(eth0["name"], "eth0");
    assert_eq!(eth0["addresses"][0]["address"], format!("{address}/24"));
    let peer = &eth0["peer"];
    assert_eq!(peer["inode"], machine.host_inode());
    assert_eq!(peer["master"], "docker0");
    assert_eq!(peer["port"]["state"], "forwarding");
    let host_side = peer["name"].as_str().expect("a name");
    let witness = machine.line(&format!("ip -o link show dev {host_side}"));
    let index = witness.split(':').next().expect("an index");
    assert_eq!(peer["index"].to_string(), index);
    // As `ss -tlnp` from inside.
    let sockets = report["sockets"].as_array().expect("sockets");
    let serving = sockets.iter().find(|one| one["local"]["port"] == 80);
    let serving = serving.unwrap_or_else(|| panic!("{sockets:?}"));
    assert_eq!(serving["state"], "LISTEN");
    assert_eq!(serving["processes"][0]["command"], "httpd");

    let all = list(machine);
    let (namespace, container) = listed(&all, "web").expect("it is listed");
    assert_eq!(namespace["inode"], report["inode"]);
    assert_eq!(container["id"], id.as_str());
    assert_eq!(container["runtime"], "docker");
    assert_eq!(container["pid"].to_string(), pid);
    let eth0 = all.interface(machine.inode(docker.pid("web")), "eth0");
    assert_eq!(eth0["peer"]["name"], host_side);
    assert_eq!(eth0["peer"]["master"], "docker0");
    assert_eq!(eth0["addresses"][0], format!("{address}/24"));
}

/// `ln -s /proc/PID/ns/net /var/run/netns/NAME`, and `rm` when the container has ended.
#[test]
fn a_linked_container_is_one_of_ip_netns_until_it_is_cleaned() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &[]);
    docker.run("other", &[], &[]);
    let inode = machine.inode(docker.pid("web"));
    let inside = docker.exec("web", &["ip", "-o", "link", "show", "dev", "eth0"]);
    // `clean` wants to see all processes, so this happens on the real machine, with names of its own.
    private_run::enter_alone();
    let said = tool::must(machine.from_outside(&["link", "web"]));
    let expected = format!("web: web (inode {inode}), kept alive until ");
    assert!(said.starts_with(&expected), "{said}");
    tool::must(machine.from_outside(&["link", "docker:other", "by-hand"]));
    let mut names: Vec<String> = must("ip", &["netns", "list"])
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    assert_eq!(names, ["by-hand", "web"]);
    let by_ip = must("ip", &["-n", "web", "-o", "link", "show", "dev", "eth0"]);
    let address = |text: &str| {
        let mut words = text
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        words.nth(1).map(str::to_owned)
    };
    assert!(address(&by_ip).is_some());
    assert_eq!(address(&by_ip), address(&inside));

    let clean = |args: &[&str]| tool::must(machine.from_outside(&[&["clean"], args].concat()));
    assert_eq!(clean(&[]), "", "both live");
    docker.remove("web");
    let told = ": a name made by `link`, and no process lives in its namespace any more\n";
    assert_eq!(
        clean(&["--dry-run"]),
        format!("would remove /run/netns/web{told}")
    );
    assert!(must("ip", &["netns", "list"]).contains("web"));
    assert_eq!(clean(&[]), format!("removed /run/netns/web{told}"));
    assert_eq!(must("ip", &["netns", "list"]).trim(), "by-hand");
    assert!(docker.exec("other", &["ip", "link"]).contains("eth0"));
    docker.remove("other");
    clean(&[]);
    assert_eq!(must("ip", &["netns", "list"]), "");
}

/// `stat -L -c %i /proc/PID/ns/net` of two containers, compared.
#[test]
fn modes_of_the_network_are_compared() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &["httpd", "-f", "-p", "80"]);
    docker.run("side", &["--network", "container:web"], &[]);
    docker.run("open", &["--network", "host"], &[]);
    docker.run("shut", &["--network", "none"], &[]);
    let inode = |name: &str| machine.inode(docker.pid(name));
    let diff = |a: &str, b: &str| machine.json(&["inspect", a, "--diff", b, "--json"]);
    let inspect = |name: &str| machine.json(&["inspect", name, "--json"]);

    let (web, side) = (inspect("web"), inspect("side"));
    assert_eq!(web["inode"], inode("web"));
    assert_eq!(web["inode"], side["inode"]);
    assert_eq!(web["process_count"], 2);
    let open = inspect("open");
    assert_eq!(open["inode"], machine.host_inode());
    assert_eq!(open["host"], true);

    let same = diff("web", "side");
    assert_eq!(same["same_namespace"], true);
    assert_eq!(same["a"], "web");
    assert_eq!(same["b"], "side");
    let bridge_or_host = diff("docker:web", "docker:open");
    assert_eq!(bridge_or_host["same_namespace"], false);
    let topic = |name: &str| {
        let topics = bridge_or_host["topics"].as_array().expect("topics");
        let found = topics.iter().find(|topic| topic["topic"] == name);
        found.unwrap_or_else(|| panic!("{name}: {bridge_or_host}"))
    };
    let addresses = topic("addresses");
    let web_has = format!("{}/24 on eth0", docker.address("web"));
    assert_eq!(addresses["only_a"], serde_json::json!([web_has]));
    let only_host = addresses["only_b"].to_string();
    assert!(
        only_host.contains("10.201.0.1/24 on docker0"),
        "{only_host}"
    );
    let only_web = topic("listening sockets")["only_a"].to_string();
    assert!(only_web.contains(":80"), "{only_web}");
    let shut = inspect("shut");
    assert_eq!(shut["inode"], inode("shut"));
    assert_eq!(shut["interfaces"].as_array().map(Vec::len), Some(1));
    assert_eq!(diff("shut", "web")["same_namespace"], false);

    let all = list(machine);
    let shared = all.get(inode("web"));
    assert_eq!(names(shared), ["side", "web"]);
    assert_eq!(shared["shared"], true);
    let host = all.get(machine.host_inode());
    assert_eq!((names(host), &host["host"]), (vec!["open"], &true.into()));
    let alone = all.get(inode("shut"));
    assert_eq!(
        (names(alone), &alone["shared"]),
        (vec!["shut"], &false.into())
    );
    // Whose network it is, as Docker tells.
    let mode = |name: &str| listed(&all, name).expect("it is listed").1["network"]["mode"].clone();
    assert_eq!(
        mode("open"),
        docker.inspect("open")["HostConfig"]["NetworkMode"]
    );
}

/// `unshare`, `ip netns add` and veths by hand, on Docker's own bridge.
#[test]
fn a_container_built_by_hand_is_found() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &["httpd", "-f", "-p", "80"]);
    for line in [
        "netns add made",
        "link add vmade type veth peer name eth0 netns made",
        "link set vmade master docker0 up",
        "-n made addr add 10.201.0.200/24 dev eth0",
        "-n made link set eth0 up",
        "-n made link set lo up",
    ] {
        machine.line(&format!("ip {line}"));
    }
    // Without a name: a process alone, in the background as `docker run -d` leaves it.
    let unnamed = "unshare --net busybox sleep 2147483647 </dev/null >/dev/null 2>&1 & echo $!";
    let pid: u32 = machine
        .must("sh", &["-c", unnamed])
        .trim()
        .parse()
        .expect("a pid");
    let named = machine.line("stat -L -c %i /run/netns/made");
    let made: u64 = named.trim().parse().expect("an inode");
    let own = loop {
        // It is in its parent's namespace for a moment.
        let inode = machine.inode(pid);
        if inode != machine.host_inode() {
            break inode;
        }
        std::thread::yield_now();
    };

    let all = list(machine);
    assert_eq!(all.get(made)["names"], serde_json::json!(["netns:made"]));
    assert_eq!(all.get(made)["processes"], 0);
    let eth0 = all.interface(made, "eth0");
    assert_eq!(eth0["addresses"][0], "10.201.0.200/24");
    assert_eq!(eth0["peer"]["name"], "vmade");
    assert_eq!(eth0["peer"]["master"], "docker0");
    assert_eq!(eth0["peer"]["netns_inode"], machine.host_inode());
    assert_eq!(all.get(own)["pids"], serde_json::json!([pid]));
    assert_eq!(all.get(own)["containers"], serde_json::json!([]));
    let seen_by_lsns = machine.line("lsns -t net -n -o NS");
    for inode in seen_by_lsns.split_whitespace() {
        let inode: u64 = inode.parse().expect("an inode");
        assert!(all.find(inode).is_some(), "{inode}");
    }

    let report = machine.json(&["inspect", "made", "--json"]);
    assert_eq!(report["inode"], made);
    let file = machine.folder().join("made.pcapng").display().to_string();
    let words = format!("made --taps inside,veth -w {file}");
    let capture = machine.capture(&words, "listening on");
    let ask = "exec made -- curl -s -o /dev/null -w %{http_code}";
    let ask = format!("{ask} http://{}/", docker.address("web"));
    assert_eq!(tool::must(machine.netns_trace(ask.split(' '))), "404");
    assert!(capture.stop().status.success());
    let fields = "-T fields -e frame.interface_name -Y tcp.flags.syn==1";
    let mut tshark = vec!["-n", "-r", &file];
    tshark.extend(fields.split(' '));
    let seen = must("tshark", &tshark);
    let mut taps: Vec<&str> = seen.lines().collect();
    taps.sort_unstable();
    assert_eq!(taps, ["eth0@made", "eth0@made", "vmade@host", "vmade@host"]);
    machine.line(&format!("kill {pid}"));
}

#[test]
fn a_container_is_listed_as_it_comes_and_goes() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let state = |name: &str| {
        let all = list(machine);
        let (namespace, container) = listed(&all, name)?;
        let inode = namespace["inode"].as_u64().expect("an inode");
        Some((
            inode,
            container["state"].as_str().expect("a state").to_owned(),
        ))
    };
    let running = |name: &str| (machine.inode(docker.pid(name)), "running".to_owned());
    assert_eq!(state("web"), None);
    let id = docker.run("web", &[], &[]);
    let first = running("web");
    assert_eq!(state("web"), Some(first.clone()));
    docker.pause("web");
    assert_eq!(state("web"), Some((first.0, "paused".to_owned())));
    docker.cli(&["unpause", "web"]);
    docker.cli(&["rename", "web", "shop"]);
    assert_eq!(state("web"), None);
    assert_eq!(state("shop"), Some(first.clone()));
    docker.stop("shop");
    assert_eq!(state("shop"), None);
    assert!(list(machine).find(first.0).is_none(), "it ended with it");
    docker.start_again("shop");
    assert_eq!(state("shop"), Some(running("shop")));
    assert_eq!(docker.inspect("shop")["Id"], id.as_str());
    docker.cli(&["network", "disconnect", "bridge", "shop"]);
    let (inode, _) = running("shop");
    let names = |all: &Listed| all.get(inode)["interfaces"].as_array().map(Vec::len);
    assert_eq!(names(&list(machine)), Some(1), "loopback alone");
    docker.cli(&["network", "connect", "bridge", "shop"]);
    assert_eq!(names(&list(machine)), Some(2));
    docker.remove("shop");
    assert_eq!(state("shop"), None);
    assert!(list(machine).find(inode).is_none());
}
