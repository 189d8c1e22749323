//! Containers and pods by their names, with the real runtimes.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, net::UnixListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use netns_trace_tests::{
    namespaces::TestNs,
    require_root,
    runtimes::{Containerd, Cri, Docker, Engine as _, IMAGE, Machine, Podman, User},
    tool::{self, Done},
};
use serde_json::Value;

/// The inode of the network namespace of a process inside a machine.
fn inode(machine: &Machine, pid: u32) -> u64 {
    let path = machine.path(&format!("/proc/{pid}/ns/net"));
    fs::metadata(path).expect("the process").ino()
}

/// What a target leads to: how it is called, its inode, and what is said besides.
fn found(machine: &Machine, target: &str) -> (String, u64, String) {
    let done = machine.run(["latency", target, "--duration", "1ms", "--json"]);
    assert!(done.status.success(), "{target}: {}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let target = &report["targets"][0];
    let label = target["label"].as_str().expect("a label").to_owned();
    (
        label,
        target["inode"].as_u64().expect("an inode"),
        done.stderr,
    )
}

/// Why a target leads nowhere: one line.
fn refusal(machine: &Machine, target: &str) -> String {
    refused(&machine.run(["latency", target, "--duration", "1ms"]))
}

fn refused(done: &Done) -> String {
    assert_eq!(
        done.status.code(),
        Some(1),
        "{}{}",
        done.stdout,
        done.stderr
    );
    let line = done.stderr.trim_end();
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}

#[test]
fn docker_containers_are_found_by_name_and_id() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    let id = docker.run("web", &[], &[]);
    docker.run("host", &[], &[]);
    for target in [
        "web",
        "docker:web",
        "name:web",
        &id,
        &id[..12],
        &format!("docker:{id}"),
    ] {
        let (label, found, said) = found(machine, target);
        assert_eq!(label, "web", "{target}");
        assert_eq!(found, inode(machine, docker.pid("web")), "{target}");
        let is_short = target == &id[..12];
        assert_eq!(said.contains("is docker container web"), is_short, "{said}");
    }
    let by_pid = found(machine, &format!("pid:{}", docker.pid("web")));
    assert_eq!(by_pid.0, "web");
    // A name that means something else by itself.
    let (label, found_host, _) = found(machine, "name:host");
    assert_eq!(label, "host");
    assert_eq!(found_host, inode(machine, docker.pid("host")));

    let error = refusal(machine, "wbe");
    assert!(
        error.contains("there is no container, pod or namespace \"wbe\""),
        "{error}"
    );
    assert!(error.contains("did you mean docker:web"), "{error}");
    let error = refusal(machine, "podman:web");
    assert!(
        error.contains("there is no podman container \"web\""),
        "{error}"
    );

    // Of seventeen ids, two begin with the same digit.
    let mut ids = vec![id];
    while ids.len() < 17 {
        ids.push(docker.cli(&["create", IMAGE]));
    }
    let twice = ids.iter().enumerate().find_map(|(at, id)| {
        let digit = &id[..1];
        let rest = &ids[at + 1..];
        rest.iter()
            .any(|other| other.starts_with(digit))
            .then_some(digit)
    });
    let digit = twice.expect("two of seventeen");
    let error = refusal(machine, &format!("docker:{digit}"));
    assert!(error.contains("is more than one: name docker:"), "{error}");
    assert!(error.contains(" or docker:"), "{error}");
}

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
    assert_eq!(shared, inode(machine, docker.pid("web")));
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
        ("still", inode(machine, docker.pid("still")))
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
    assert_eq!(found(machine, "web").1, inode(machine, docker.pid("web")));
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
    assert_eq!((label.as_str(), found_web), ("web", inode(&machine, pid)));
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

#[test]
fn podman_containers_are_found_with_its_api_and_without() {
    require_root!();
    let Some(machine) = Machine::start().map(Arc::new) else {
        return;
    };
    let Some(mut podman) = Podman::start(&machine, User::Root) else {
        return;
    };
    let id = podman.run("web", &[], &[]);
    podman.run("side", &["--network", "container:web"], &[]);
    podman.run("old", &[], &[]);
    podman.stop("old");
    let web = inode(&machine, podman.pid("web"));
    let parent = format!("--cgroup-parent=/{}", machine.cgroup());
    let infra = [
        "--infra-image",
        IMAGE,
        "--infra-command",
        "sleep 2147483647",
    ];
    podman.cli(&[&["pod", "create", "--name", "pair", &parent][..], &infra].concat());
    podman.cli(&["run", "-d", "--pod", "pair", "--name", "member", IMAGE]);
    for served in [false, true] {
        if served {
            podman.serve();
        }
        let (label, _, said) = found(&machine, "member");
        assert_eq!(label, "member");
        assert!(
            said.contains("container member shares its network with"),
            "{said}"
        );
        assert!(said.contains("-infra"), "{said}");
        for target in ["web", "podman:web", &id[..12]] {
            let (label, found, said) = found(&machine, target);
            assert_eq!((label.as_str(), found), ("web", web), "{target}, {served}");
            assert!(said.contains("shares its network with side"), "{said}");
        }
        let error = refusal(&machine, "old");
        assert!(
            error.contains("podman container old is not running"),
            "{error}"
        );
    }
}

#[test]
fn rootless_podman_containers_are_found_with_its_api_and_without() {
    require_root!();
    let Some(mut podman) = Podman::private(User::Lodger) else {
        return;
    };
    let machine = podman.machine().clone();
    podman.run("web", &[], &[]);
    for served in [false, true] {
        if served {
            podman.serve();
        }
        // It has no veth: this names what it has, in whose namespace.
        let error = refusal(&machine, "podman:web");
        assert!(
            error.contains("no veth tap for tap0@web"),
            "{served}: {error}"
        );
        let error = refusal(&machine, "docker:web");
        assert!(error.contains("there is no docker container"), "{error}");
    }
}

#[test]
fn containerd_containers_are_found_by_id_and_namespace() {
    require_root!();
    let Some(containerd) = Containerd::private() else {
        return;
    };
    let machine = containerd.machine();
    for name in ["one", "two"] {
        machine.must("ip", &["netns", "add", name]);
        for line in [
            format!("link add v{name} type veth peer name eth0 netns {name}"),
            format!("link set v{name} up"),
            format!("-n {name} link set eth0 up"),
        ] {
            machine.must("ip", &line.split(' ').collect::<Vec<_>>());
        }
    }
    let in_one = ["--with-ns", "network:/run/netns/one"];
    let image = machine.folder().join("image.tar").display().to_string();
    containerd.ctr(
        "shop",
        &["image", "import", "--snapshotter", "native", &image],
    );
    containerd.run("default", "web", &in_one);
    containerd.run("default", "db", &["--with-ns", "network:/run/netns/two"]);
    containerd.run("shop", "db", &in_one);
    let of = |namespace: &str, id: &str| inode(machine, containerd.pid(namespace, id));
    for (target, namespace, id) in [
        ("web", "default", "web"),
        ("ctr:web", "default", "web"),
        ("ctr:default/db", "default", "db"),
        ("shop/db", "shop", "db"),
    ] {
        let (label, found, _) = found(machine, target);
        assert_eq!((label.as_str(), found), (id, of(namespace, id)), "{target}");
    }
    let error = refusal(machine, "db");
    assert!(error.contains("ctr:default/db"), "{error}");
    assert!(error.contains("ctr:shop/db"), "{error}");
}

#[test]
fn pods_are_found_by_their_names() {
    require_root!();
    let Some(containerd) = Containerd::private() else {
        return;
    };
    let machine = containerd.machine();
    let cri = Cri::of(&containerd);
    let pod = cri.run_pod("shop", "web-7", false);
    let container = cri.run_container(&pod, "nginx");
    let web = inode(machine, containerd.pid("k8s.io", &pod.id));
    for target in [
        "shop/web-7",
        "pod:shop/web-7",
        "web-7",
        &container[..12],
        &pod.id,
    ] {
        let (label, found, said) = found(machine, target);
        assert_eq!((label.as_str(), found), ("shop/web-7", web), "{target}");
        assert!(!said.contains("shares"), "one pod is one thing: {said}");
    }
    let error = refusal(machine, "shop/web-8");
    assert!(error.contains("did you mean pod:shop/web-7"), "{error}");
    let _open = cri.run_pod("kube", "proxy", true);
    let done = machine.run(["latency", "kube/proxy", "--duration", "1ms"]);
    let note = "pod kube/proxy uses the host's network";
    assert!(done.stderr.contains(note), "{}", done.stderr);
}

#[test]
fn a_runtime_that_does_not_answer_costs_a_second() {
    require_root!();
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("docker.sock");
    // The kernel takes connections for it; nobody else does.
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let test = TestNs::new();
    let latency = |target: &str| {
        let mut command = tool::netns_trace(["latency", target, "--duration", "1ms"]);
        let places = format!("docker={0}:podman={0}", socket.display());
        command.env("NETNS_TRACE_RUNTIMES", places);
        let start = Instant::now();
        (refused(&tool::done(command)), start.elapsed())
    };
    let (error, took) = latency("nobody-has-this-name");
    for runtime in ["docker", "podman"] {
        let note = format!("{runtime}: no answer from {socket:?} within 1 s");
        assert!(error.contains(&note), "{error}");
    }
    assert!(took < Duration::from_secs(3), "{took:?}");
    // Who names a namespace asks no runtime.
    let (error, took) = latency(&format!("netns:{}", test.name));
    assert!(!error.contains("no answer"), "{error}");
    assert!(took < Duration::from_millis(900), "{took:?}");
}
