//! Containers and pods by their names, with the real runtimes.

use std::{
    os::unix::net::UnixListener,
    sync::Arc,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    lookup::{found, refusal, refused},
    namespaces::TestNs,
    patience::slowed,
    require_root,
    runtimes::{Containerd, Cri, Docker, Engine as _, IMAGE, Machine, Podman, User},
    tool,
};

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
        assert_eq!(found, machine.inode(docker.pid("web")), "{target}");
        let is_short = target == &id[..12];
        assert_eq!(said.contains("is docker container web"), is_short, "{said}");
    }
    let by_pid = found(machine, &format!("pid:{}", docker.pid("web")));
    assert_eq!(by_pid.0, "web");
    // A name that means something else by itself.
    let (label, found_host, _) = found(machine, "name:host");
    assert_eq!(label, "host");
    assert_eq!(found_host, machine.inode(docker.pid("host")));

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
    let web = machine.inode(podman.pid("web"));
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
    let of = |namespace: &str, id: &str| machine.inode(containerd.pid(namespace, id));
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
    let web = machine.inode(containerd.pid("k8s.io", &pod.id));
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
    assert!(took < slowed(Duration::from_secs(3)), "{took:?}");
    // Who names a namespace asks no runtime.
    let (error, took) = latency(&format!("netns:{}", test.name));
    assert!(!error.contains("no answer"), "{error}");
    assert!(took < slowed(Duration::from_millis(900)), "{took:?}");
}
