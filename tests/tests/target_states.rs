//! Containers that are paused, ended, starting, or share a network, and names without a daemon: what
//! a target's name leads to then, with real Docker.

use std::sync::atomic::{AtomicBool, Ordering};

use netns_trace_tests::{
    lookup::{found, refusal, refused},
    require_root,
    runtimes::{Docker, Engine as _},
    tool,
};
use serde_json::Value;

#[test]
fn modes_and_states_of_docker_containers_are_told() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &[]);
    docker.run("side", &["--network", "container:web"], &[]);
    docker.run("open", &["--network", "host"], &[]);
    docker.run("still", &[], &[]);
    docker.pause("still");
    docker.run("old", &[], &[]);
    docker.stop("old");

    let (label, shared, said) = found(machine, "side");
    assert_eq!(label, "side");
    assert_eq!(shared, machine.inode(docker.pid("web")));
    assert!(
        said.contains("docker container side shares its network with web"),
        "{said}"
    );
    let (_, _, said) = found(machine, "web");
    assert!(
        said.contains("docker container web shares its network with side"),
        "{said}"
    );
    let (label, paused, said) = found(machine, "still");
    assert_eq!(
        (label.as_str(), paused),
        ("still", machine.inode(docker.pid("still")))
    );
    assert!(said.contains("docker container still is paused"), "{said}");
    let error = refusal(machine, "old");
    assert!(
        error.contains("docker container old is not running"),
        "{error}"
    );
    assert!(error.contains("--follow"), "{error}");
    // Which of the host's interfaces nobody says here; that it is the host's is said before.
    let done = machine.run(["latency", "open", "--duration", "1ms"]);
    let note = "docker container open uses the host's network";
    assert!(done.stderr.contains(note), "{}", done.stderr);

    machine.must("ip", &["netns", "add", "made"]);
    for line in [
        "link add vmade type veth peer name eth0 netns made",
        "link set vmade up",
        "-n made link set eth0 up",
    ] {
        machine.must("ip", &line.split(' ').collect::<Vec<_>>());
    }
    let done = machine.run(["latency", "all", "--duration", "1ms", "--json"]);
    let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let targets = report["targets"].as_array().expect("targets").iter();
    let mut labels: Vec<_> = targets.map(|one| one["label"].as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, [Some("made"), Some("still"), Some("web")]);

    // A name of both, of different namespaces, is none; and of the same one it is.
    machine.must("ip", &["netns", "add", "still"]);
    let error = refusal(machine, "still");
    assert!(
        error.contains("name docker:still or netns:still instead"),
        "{error}"
    );
    let pid = docker.pid("web").to_string();
    machine.must("ip", &["netns", "attach", "web", &pid]);
    assert_eq!(found(machine, "web").1, shared);
    // Without a container of that name that runs, it is the other.
    docker.remove("still");
    let error = refusal(machine, "still");
    assert!(!error.contains("more than one"), "{error}");
}

#[test]
fn a_container_that_is_being_made_is_not_the_host() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let id = docker.run("web", &[], &[]);
    docker.stop("web");
    // As runc does first: into the container's cgroup, and not yet into its namespaces.
    let script = r#"
        top=/sys/fs/cgroup
        [ -d $top/pids ] && top=$top/pids
        mkdir -p "$top/$0"
        (echo 0 >"$top/$0/cgroup.procs"; exec sleep 2147483647) </dev/null >/dev/null 2>&1 &
        until grep -q . "$top/$0/cgroup.procs"; do sleep 0.01; done
    "#;
    let group = format!("{}/docker/{id}", machine.cgroup());
    machine.must("sh", &["-c", script, &group]);
    let error = refusal(machine, "web");
    assert!(
        error.contains("container web is starting or ending"),
        "{error}"
    );
}

#[test]
fn a_container_that_restarts_is_never_another_namespace() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &[]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // While it starts, its process is in the host's namespace for a moment.
            for _ in 0..8 {
                docker.cli(&["restart", "-t", "0", "web"]);
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut times = 0;
        while !over.load(Ordering::Relaxed) {
            let done = machine.run(["latency", "docker:web", "--duration", "1ms", "--json"]);
            if let Ok(report) = serde_json::from_str::<Value>(&done.stdout) {
                assert_eq!(report["targets"][0]["label"], "web");
                assert_ne!(report["targets"][0]["inode"], machine.host_inode());
            }
            assert!(
                !done.stderr.contains("the host's network"),
                "{}",
                done.stderr
            );
            times += 1;
        }
        assert!(times > 8, "{times} looks at 8 starts are too few");
    });
    assert_eq!(found(machine, "web").1, machine.inode(docker.pid("web")));
}

#[test]
fn without_docker_its_files_tell_the_names() {
    require_root!();
    let Some(mut docker) = Docker::private() else {
        return;
    };
    docker.run("web", &[], &[]);
    docker.run("open", &["--network", "host"], &[]);
    let pid = docker.pid("web");
    docker.kill_daemon();
    let machine = docker.machine().clone();
    let (label, found_web, _) = found(&machine, "web");
    assert_eq!((label.as_str(), found_web), ("web", machine.inode(pid)));
    let error = refusal(&machine, "wbe");
    assert!(
        error.contains("nobody listens on \"/run/docker.sock\""),
        "{error}"
    );
    assert!(
        error.contains("names are from \"/var/lib/docker\""),
        "{error}"
    );
    assert!(error.contains("did you mean docker:web"), "{error}");

    // Who may do all but read root's files and write to its socket.
    let mut command = machine.command("setpriv");
    let all = "-all,+sys_admin,+net_admin,+bpf,+perfmon,+sys_ptrace";
    command
        .args(["--reuid=4711", "--regid=4711", "--clear-groups"])
        .args([format!("--inh-caps={all}"), format!("--ambient-caps={all}")])
        .arg(tool::binary())
        .args(["latency", "web", "--duration", "1ms"]);
    let error = refused(&tool::done(command));
    assert!(
        error.contains("no permission to ask \"/run/docker.sock\""),
        "{error}"
    );
}
