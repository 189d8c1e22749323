//! Paths as the runtimes make them, and as somebody else might.

use super::*;

/// A container of one process, with no cgroup of its own.
pub(in super::super) fn shown(key: ContainerKey, user: Option<u32>, pid: u32) -> Shown {
    let place = Place {
        key,
        user,
        path: "/no/such/cgroup".to_owned(),
        is_freezer: false,
    };
    Shown::new(place, pid)
}

fn id() -> String {
    "0123456789abcdef".repeat(4)
}

/// As if containerd had these tasks.
fn find(path: &str, had: &[(&str, &str)]) -> Option<(Runtime, String, Option<u32>)> {
    let tasks = |namespace: Option<&str>, id: &str| {
        had.iter()
            .find(|(of, task)| namespace.is_none_or(|namespace| namespace == *of) && *task == id)
            .map(|(of, _)| (*of).to_owned())
    };
    let (key, user) = of_path(path, &tasks)?;
    Some((key.runtime, key.id, user))
}

#[test]
fn runtime_and_id_are_in_the_path() {
    let id = id();
    for (path, runtime, user) in [
        ("/system.slice/docker-ID.scope", Runtime::Docker, None),
        ("/docker/ID", Runtime::Docker, None),
        ("/docker/ID/init.scope", Runtime::Docker, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope",
            Runtime::Docker,
            Some(1000),
        ),
        ("/machine.slice/libpod-ID.scope", Runtime::Podman, None),
        (
            "/machine.slice/libpod-ID.scope/container",
            Runtime::Podman,
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            Runtime::Podman,
            Some(1000),
        ),
        (
            "/user.slice/user-0.slice/user@0.service/libpod-ID.scope",
            Runtime::Podman,
            None,
        ),
        ("/libpod_parent/libpod-ID", Runtime::Podman, None),
        ("/libpod_parent/libpod-ID/ctr", Runtime::Podman, None),
        (
            "/machine.slice/machine-libpod_pod_X.slice/libpod-ID.scope",
            Runtime::Podman,
            None,
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU.slice/\
             cri-containerd-ID.scope",
            Runtime::Cri,
            None,
        ),
        (
            "/kubepods.slice/kubepods-podU.slice/crio-ID.scope/container",
            Runtime::Cri,
            None,
        ),
        ("/kubepods/besteffort/podU/ID", Runtime::Cri, None),
        ("/kubepods/besteffort/podU/crio-ID", Runtime::Cri, None),
        ("/../docker/ID", Runtime::Docker, None),
    ] {
        let path = path.replace("ID", &id);
        assert_eq!(
            find(&path, &[]),
            Some((runtime, id.clone(), user)),
            "{path}"
        );
    }
}

#[test]
fn what_belongs_to_no_container_is_none() {
    for path in [
        "/",
        "",
        "/user.slice/user-0.slice/session-1.scope",
        "/docker/short",
        "/docker",
        "/system.slice/docker-ID.service/ID.scope",
        "/machine.slice/libpod-conmon-ID.scope",
        "/libpod_parent/conmon",
        "/libpod_parent/libpod-ID/conmon",
        "/machine.slice/libpod-ID.scope/supervisor",
        "/kubepods/podU/crio-conmon-ID.scope",
        "/some/ID",
        "/default/web",
    ] {
        let path = path.replace("ID", &id());
        assert_eq!(find(&path, &[]), None, "{path}");
    }
}

#[test]
fn a_task_of_containerds_is_believed_where_containerd_has_it() {
    let id = id();
    let had = [("default", "web"), ("shop", id.as_str()), ("moby", "x")];
    let of =
        |path: &str| find(&path.replace("ID", &id), &had).map(|(runtime, id, _)| (runtime, id));
    let ctr = |id: String| Some((Runtime::Containerd, id));
    assert_eq!(of("/default/web"), ctr("default/web".into()));
    assert_eq!(of("/default/web/child"), ctr("default/web".into()));
    assert_eq!(of("/other/web"), None);
    assert_eq!(of("/a/default/web"), ctr("default/web".into()));
    assert_eq!(of("/user.slice/user-7.slice/default/web"), None);
    assert_eq!(of("/default"), None);
    assert_eq!(
        of("/system.slice/nerdctl-ID.scope"),
        ctr(format!("shop/{id}"))
    );
    assert_eq!(of("/any/parent/ID"), ctr(format!("shop/{id}")));
    assert_eq!(of("/moby/x"), Some((Runtime::Docker, "x".into())));
    let unknown = id.replace('0', "f");
    assert_eq!(
        find(&format!("/system.slice/nerdctl-{unknown}.scope"), &had),
        Some((Runtime::Containerd, unknown, None))
    );
}

#[test]
fn a_container_in_a_container_is_not_taken_for_the_machines_own() {
    let (outer, inner) = (id(), id().replace('0', "f"));
    let path = format!("/docker/{outer}/kubelet/kubepods/podU/{inner}");
    assert_eq!(
        find(&path, &[]),
        Some((Runtime::Cri, format!("{outer}/{inner}"), None))
    );
    let path = format!("/docker/{outer}/default/web");
    assert_eq!(
        find(&path, &[("default", "web")]),
        Some((Runtime::Docker, outer, None))
    );
}

#[test]
fn of_the_lines_of_a_table_the_freezers_counts_first() {
    let id = id();
    let place = |table: &str| of_table(table.replace("ID", &id).as_bytes(), &|_, _| None);
    let v1 = place("9:cpu:/docker/ID\n6:freezer:/docker/ID\n1:name=systemd:/x\n0::/docker/ID\n")
        .expect("a container");
    assert!(v1.is_freezer);
    let v2 = place("0::/system.slice/docker-ID.scope\n").expect("a container");
    assert!(!v2.is_freezer);
    assert_eq!(v2.path, format!("/system.slice/docker-{id}.scope"));
    let hybrid = place("9:pids:/docker/ID\n0::/\n").expect("a container");
    assert_eq!(hybrid.key.id, id);
    for junk in ["", "\n", "0\n0:\n", "0::", "::::\n", "\u{fffd}"] {
        assert_eq!(place(junk), None, "{junk:?}");
    }
}

#[test]
fn the_first_process_counts_and_the_machines_own_before_a_users() {
    let key = ContainerKey {
        runtime: Runtime::Docker,
        id: id(),
    };
    let place = |user| Place {
        key: key.clone(),
        user,
        path: String::new(),
        is_freezer: false,
    };
    let started = |pid: u32| Some(u64::from(100 - pid));
    let mut found = BTreeMap::new();
    add(&mut found, 5, place(Some(1000)), started);
    add(&mut found, 6, place(Some(1000)), started);
    assert_eq!(found[&key].pid, 6, "started before 5, by a smaller number");
    add(&mut found, 3, place(None), started);
    assert_eq!(found[&key].pid, 3);
    add(&mut found, 9, place(Some(1000)), started);
    assert_eq!(found[&key].pid, 3, "a user's claim counts last");
}

#[test]
fn our_own_process_has_a_table() {
    // Whatever it is, reading it is no panic.
    let _: Option<Place> = place_of(std::process::id());
    assert_eq!(place_of(u32::MAX), None);
}
