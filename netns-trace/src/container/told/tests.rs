//! What is believed of what is told.

use super::{super::cgroup, *};

fn key(digit: char) -> ContainerKey {
    ContainerKey {
        runtime: Runtime::Docker,
        id: digit.to_string().repeat(64),
    }
}

fn told(digit: char, name: &str) -> Told {
    let mut told = Told::new(Runtime::Docker, key(digit).id);
    told.name = Some(name.to_owned());
    told
}

fn answer(user: Option<u32>, told: Vec<Told>) -> Answer {
    Answer {
        told,
        user,
        notes: Vec::new(),
    }
}

/// As if our own process were the container's.
fn shown(digit: char, user: Option<u32>) -> BTreeMap<ContainerKey, Shown> {
    let shown = cgroup::tests::shown(key(digit), user, std::process::id());
    BTreeMap::from([(key(digit), shown)])
}

#[test]
fn a_told_pid_is_not_believed_against_the_kernel() {
    let mut one = told('1', "web");
    one.pid = Some(1);
    one.state = State::Stopped;
    let mut two = told('2', "db");
    two.pid = Some(std::process::id());
    two.state = State::Running;
    let list = merge(shown('1', None), vec![answer(None, vec![one, two])]);
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].name.as_deref(), Some("web"));
    assert_eq!(list[0].pid, Some(std::process::id()), "the kernel's");
    assert_eq!(list[0].state, State::Running);
    assert_eq!(list[1].name.as_deref(), Some("db"));
    assert_eq!((list[1].pid, list[1].state), (None, State::Stopped));
}

#[test]
fn a_user_names_its_own_containers_alone() {
    let mut claim = told('1', "web");
    claim.netns = Some("/proc/1/ns/net".into());
    let machines = merge(
        shown('1', None),
        vec![answer(Some(1000), vec![claim.clone()])],
    );
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].name, None, "told by somebody else");
    let own = merge(
        shown('1', Some(1000)),
        vec![answer(Some(1000), vec![claim])],
    );
    assert_eq!(own[0].name.as_deref(), Some("web"));
    assert_ne!(own[0].netns, Some("/proc/1/ns/net".into()));
    let other = merge(
        shown('1', Some(1001)),
        vec![answer(Some(1000), vec![told('1', "x")])],
    );
    assert_eq!(other[0].name, None);
}

#[test]
fn two_sources_complete_each_other() {
    let mut tasks = Told::new(Runtime::Docker, key('1').id);
    tasks.pid = Some(4711);
    let mut named = told('1', "web");
    named.network = Network::Container("other".into());
    for order in [[&tasks, &named], [&named, &tasks]] {
        let answers = order.map(|one| answer(None, vec![one.clone()]));
        let list = merge(shown('1', None), answers.into());
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].name.as_deref(), Some("web"));
        assert_eq!(list[0].network, Network::Container("other".into()));
    }
}

#[test]
fn what_nobody_says_of_a_network_the_namespace_says() {
    let own = crate::netns::NetNs::current().expect("our own namespace");
    let list = merge(shown('1', None), Vec::new());
    let is_host = own.is_host();
    let expected = if is_host { Network::Host } else { Network::Own };
    assert_eq!(list[0].network, expected);
}

#[test]
fn a_container_that_is_being_made_is_not_in_the_hosts_network() {
    let with = |network| Container {
        key: key('1'),
        name: None,
        pod: None,
        state: State::Running,
        pid: Some(7),
        network,
        netns: None,
    };
    let (runs, made) = (|_| false, |_| true);
    for network in [Network::Own, Network::None] {
        assert!(is_being_made(&with(network.clone()), runs));
        assert!(is_being_made(&with(network), made));
    }
    let other = Network::Container("web".into());
    for network in [Network::Host, Network::Unknown, other] {
        assert!(!is_being_made(&with(network.clone()), runs));
        assert!(is_being_made(&with(network), made));
    }
    assert!(!is_oci_runtime(std::process::id()));
}

#[test]
fn modes_of_docker_are_read() {
    for (mode, network) in [
        ("", Network::Unknown),
        ("ns:/run/netns/x", Network::Unknown),
        ("default", Network::Own),
        ("bridge", Network::Own),
        ("my-net", Network::Own),
        ("none", Network::None),
        ("host", Network::Host),
        ("container:web", Network::Container("web".into())),
    ] {
        assert_eq!(super::network(mode), network, "{mode}");
    }
}

#[test]
fn a_name_has_a_length() {
    assert_eq!(name("/web"), Some("web".into()));
    assert_eq!(name(""), None);
    assert_eq!(name("/"), None);
    assert_eq!(name(&"x".repeat(256)), None);
}
