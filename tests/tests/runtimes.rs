//! The container runtimes that tests start for themselves: that they run, and that nothing of them
//! stays behind.

use std::{fs, process::Command, sync::Arc};

use netns_trace_tests::{
    require_root,
    runtimes::{Containerd, Cri, Docker, Engine as _, Machine, Podman, User},
};

/// Cgroups of a name in any hierarchy.
fn cgroups(name: &str) -> String {
    let find = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", name])
        .output();
    String::from_utf8(find.expect("find").stdout).expect("text")
}

#[test]
fn docker_runs_in_a_machine_of_its_own_and_leaves_nothing() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &[]);
    docker.run("side", &["--network", "container:web"], &[]);
    docker.run("open", &["--network", "host"], &[]);
    docker.run("shut", &["--network", "none"], &[]);
    let inode = |name: &str| machine.inode(docker.pid(name));
    assert_eq!(inode("web"), inode("side"));
    assert_eq!(inode("open"), machine.host_inode());
    assert_ne!(inode("web"), machine.host_inode());
    assert_ne!(inode("shut"), inode("web"));
    assert!(docker.address("web").starts_with("10.201.0."));
    docker.exec("web", &["ping", "-c", "1", "-W", "5", "10.201.0.1"]);

    docker.pause("shut");
    let (folder, group) = (machine.folder().to_owned(), machine.cgroup().to_owned());
    let init = machine.path("/");
    drop(docker);
    assert!(!folder.exists());
    assert!(!init.exists());
    assert_eq!(cgroups(&group), "");
}

#[test]
fn containers_survive_their_daemon() {
    require_root!();
    let Some(mut docker) = Docker::private() else {
        return;
    };
    docker.run("web", &[], &[]);
    let pid = docker.pid("web");
    docker.kill_daemon();
    let process = docker.machine().path(&format!("/proc/{pid}/exe"));
    assert!(fs::read_link(&process).is_ok());
    assert!(docker.start_daemon());
    assert_eq!(docker.pid("web"), pid);
    assert!(fs::read_link(&process).is_ok());
}

#[test]
fn podman_runs_with_root_and_without_in_one_machine() {
    require_root!();
    let Some(machine) = Machine::start().map(Arc::new) else {
        return;
    };
    for user in [User::Root, User::Lodger] {
        let Some(mut podman) = Podman::start(&machine, user) else {
            return;
        };
        podman.run("web", &[], &[]);
        let inode = machine.inode(podman.pid("web"));
        assert_ne!(inode, machine.host_inode());
        let links = podman.exec("web", &["ip", "link"]);
        let name = if user == User::Root { "eth0" } else { "tap0" };
        assert!(links.contains(name), "{links}");
        podman.serve();
        assert!(machine.path(podman.socket()).exists());
    }
}

#[test]
fn containerd_runs_containers_and_pods() {
    require_root!();
    let Some(containerd) = Containerd::private() else {
        return;
    };
    let machine = containerd.machine();
    containerd.run("default", "plain", &[]);
    containerd.run("default", "open", &["--net-host"]);
    let inode = |pid| machine.inode(pid);
    assert_ne!(
        inode(containerd.pid("default", "plain")),
        machine.host_inode()
    );
    assert_eq!(
        inode(containerd.pid("default", "open")),
        machine.host_inode()
    );

    let cri = Cri::of(&containerd);
    let pod = cri.run_pod("shop", "web", false);
    let app = cri.run_container(&pod, "app");
    let pids = [&pod.id, &app].map(|id| containerd.pid("k8s.io", id));
    assert_eq!(inode(pids[0]), inode(pids[1]));
    assert_ne!(inode(pids[0]), machine.host_inode());
    let node = cri.run_pod("kube-system", "proxy", true);
    assert_eq!(
        inode(containerd.pid("k8s.io", &node.id)),
        machine.host_inode()
    );
    cri.remove_pod(&pod);
    assert!(!machine.path(&format!("/proc/{}", pids[1])).exists());
    containerd.remove("default", "plain");
}
