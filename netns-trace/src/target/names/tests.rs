//! Names, prefixes and who is meant, by containers that were never there.

use super::*;
use crate::container::{ContainerKey, Network, Pod, State};

/// A container whose place is its pid.
fn container(runtime: Runtime, id: &str, name: &str, place: u32) -> Container {
    Container {
        key: ContainerKey {
            runtime,
            id: id.to_owned(),
        },
        name: (!name.is_empty()).then(|| name.to_owned()),
        pod: None,
        state: State::Unknown,
        pid: (place > 0).then_some(place),
        network: Network::Unknown,
        netns: None,
    }
}

fn in_pod(id: &str, name: &str, sandbox: bool, place: u32) -> Container {
    Container {
        pod: Some(Pod {
            namespace: "shop".into(),
            name: "web-7".into(),
            sandbox,
        }),
        ..container(Runtime::Cri, id, name, place)
    }
}

fn id(start: &str) -> String {
    format!("{start:0<64}")
}

fn machine() -> Containers {
    let list = vec![
        container(Runtime::Docker, &id("abc1"), "web", 1),
        container(Runtime::Docker, &id("abc2"), "db", 2),
        container(Runtime::Docker, &id("dead"), "old", 0),
        container(Runtime::Docker, &id("f00d"), "cafe", 3),
        container(Runtime::Podman, &id("cafe"), "db", 4),
        container(Runtime::Podman, &id("b0b0"), "old", 5),
        container(Runtime::Podman, &id("b0b1"), "we\x1bb", 6),
        container(Runtime::Containerd, "default/task", "task", 7),
        container(Runtime::Containerd, "other/task", "task", 8),
        container(
            Runtime::Docker,
            &format!("{}/{}", id("abc1"), id("1e55")),
            "",
            9,
        ),
        in_pod(&id("7001"), "nginx", false, 10),
        in_pod(&id("7002"), "", true, 10),
    ];
    Containers::of(
        list,
        vec!["podman: no answer from \"/x\" within 1 s".into()],
    )
}

/// The beginning of the id of who is meant, or the error.
fn meant(runtime: Option<Runtime>, name: &str) -> Result<Option<String>, String> {
    let containers = machine();
    let place = |container: &Container| container.pid.map(u64::from);
    match find(runtime, name, &containers, &place) {
        Ok(meant) => Ok(meant.map(|meant| meant.container.key.id.chars().take(12).collect())),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_name_means_one_container() {
    for (runtime, name, id) in [
        (None, "web", Some("abc1")),
        (Some(Runtime::Docker), "web", Some("abc1")),
        (Some(Runtime::Podman), "web", None),
        (Some(Runtime::Podman), "db", Some("cafe")),
        // A name before the beginning of an id.
        (None, "cafe", Some("f00d")),
        (Some(Runtime::Podman), "caf", Some("cafe")),
        (None, "dea", Some("dead")),
        // Who runs before who does not.
        (None, "old", Some("b0b0")),
        (Some(Runtime::Docker), "old", Some("dead")),
        (None, "we\x1bb", Some("b0b1")),
        (Some(Runtime::Containerd), "other/task", Some("other/task")),
        (None, "1e55", Some("abc1")),
        // A pod is its sandbox, by whichever container it is found.
        (None, "shop/web-7", Some("7002")),
        (None, "web-7", Some("7002")),
        (Some(Runtime::Cri), "shop/web-7", Some("7002")),
        (Some(Runtime::Docker), "shop/web-7", None),
        (None, "shop/nginx", None),
        (None, "nginx", None),
        (None, "700", Some("7002")),
        (None, "", None),
        (None, "/", None),
        (None, "nobody", None),
    ] {
        let expected = id.map(|id| {
            let whole = if id.contains('/') {
                id.into()
            } else {
                super::tests::id(id)
            };
            whole.chars().take(12).collect::<String>()
        });
        assert_eq!(meant(runtime, name), Ok(expected), "{runtime:?} {name:?}");
    }
}

#[test]
fn what_means_several_lists_them_in_forms_that_work() {
    for (runtime, name, said) in [
        (
            None,
            "db",
            "\"db\" is more than one: name docker:db or podman:db instead",
        ),
        (None, "b0b", "name podman:old or podman:we\\u{1b}b instead"),
        (
            Some(Runtime::Containerd),
            "task",
            "name ctr:default/task (task) or ctr:other/task (task) instead",
        ),
    ] {
        let error = meant(runtime, name).expect_err(name);
        assert!(error.contains(said), "{error}");
        assert!(!error.contains(char::is_control), "{error}");
    }
    // One of these is not named, and by its id's first twelve digits it is the outer one, too.
    let error = meant(None, "abc").expect_err("two");
    assert!(
        error.contains("docker:web") && error.contains("docker:db"),
        "{error}"
    );
}

#[test]
fn the_forms_that_are_listed_mean_that_container() {
    let containers = machine();
    for one in containers.iter() {
        let form = form(one, &containers);
        let form = form
            .split(" (")
            .next()
            .expect("a form")
            .replace("\\u{1b}", "\x1b");
        let (runtime, name) = form.split_once(':').expect("a runtime");
        assert_eq!(runtime, one.key.runtime.to_string());
        let place = |container: &Container| container.pid.map(u64::from);
        let found = find(Some(one.key.runtime), name, &containers, &place)
            .unwrap_or_else(|error| panic!("{form}: {error}"))
            .unwrap_or_else(|| panic!("{form} means nothing"));
        assert_eq!(place(found.container), place(one), "{form}");
    }
}

#[test]
fn near_misses_and_who_could_not_be_asked_are_told() {
    let said = |runtime, name: &str| none(runtime, name, &machine()).to_string();
    let error = said(None, "wbe");
    assert!(
        error.contains("no container, pod or namespace \"wbe\""),
        "{error}"
    );
    assert!(error.contains("did you mean docker:web"), "{error}");
    assert!(error.contains("(podman: no answer"), "{error}");
    let error = said(Some(Runtime::Docker), "wbe");
    assert!(error.contains("no docker container"), "{error}");
    assert!(!error.contains("podman"), "{error}");
    assert!(said(None, "shop/web-8").contains("pod:shop/web-7"));
    assert!(said(None, "4711").contains("did you mean pid:4711"));
    assert!(!said(None, "a\x1b").contains('\x1b'));
}

#[test]
fn followed_names_are_not_the_beginning_of_an_id_that_is_to_come() {
    let one = container(Runtime::Docker, &id("cafe"), "web", 1);
    for (target, means) in [
        ("web", true),
        ("docker:web", true),
        ("podman:web", false),
        ("cafe", false),
        ("cafe00000000", true),
        ("netns:web", false),
        ("all", false),
    ] {
        let spec: super::super::TargetSpec = target.parse().expect(target);
        assert_eq!(spec.means(&one), means, "{target}");
    }
}
