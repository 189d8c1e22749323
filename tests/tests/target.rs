//! From what a user writes to a namespace.

use std::{fs, os::unix::fs::symlink};

use netns_trace::target::{Target, TargetError, TargetSpec, resolve};
use netns_trace_tests::{names::unique, namespaces::TestNs, require_root};

fn target(text: &str) -> Result<Target, TargetError> {
    resolve(&text.parse::<TargetSpec>().expect("a target"))
}

fn refusal(text: &str) -> String {
    target(text).expect_err("no such target").to_string()
}

#[test]
fn every_form_leads_to_the_same_namespace() {
    require_root!();
    let test = TestNs::new();
    let ns = test.open();
    for text in [
        format!("netns:{}", test.name),
        format!("inode:{}", ns.inode()),
        test.path().display().to_string(),
        format!("/var{}", test.path().display()),
    ] {
        let found = target(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(found.ns.is_same(&ns), "{text}");
        assert_eq!(found.label, test.name, "{text}");
        assert_eq!(found.spec.to_string(), text);
    }
}

#[test]
fn host_is_the_initial_namespace() {
    require_root!();
    let host = target("host").expect("the initial namespace");
    assert_eq!(host.label, "host");
    assert!(host.ns.is_host());
    let by_inode = target(&format!("inode:{}", host.ns.inode())).expect("the same");
    assert_eq!(by_inode.label, "host");
}

#[test]
fn a_name_that_is_not_there_is_told_with_its_neighbours() {
    require_root!();
    let test = TestNs::new();
    let error = refusal(&format!("netns:{}x", test.name));
    assert!(error.contains("there is no namespace"), "{error}");
    assert!(
        error.contains(&format!("did you mean netns:{}", test.name)),
        "{error}"
    );
    let bare = target(&test.name).expect("a name in /run/netns");
    assert!(bare.ns.is_same(&test.open()));
    assert_eq!(bare.label, test.name);
    let error = refusal(&format!("{}x", test.name));
    assert!(
        error.contains("there is no container, pod or namespace"),
        "{error}"
    );
    assert!(
        error.contains(&format!("did you mean netns:{}", test.name)),
        "{error}"
    );
}

#[test]
fn a_dead_pid_and_a_path_that_is_no_namespace_are_told() {
    require_root!();
    let mut child = std::process::Command::new("true").spawn().expect("a child");
    let pid = child.id();
    child.wait().expect("its end");
    assert_eq!(
        refusal(&format!("pid:{pid}")),
        format!("there is no process with pid {pid} (it may have ended)")
    );
    let error = refusal("/etc/passwd");
    assert!(
        error.contains("\"/etc/passwd\" is not a namespace"),
        "{error}"
    );
    let error = refusal("/proc/self/ns/uts");
    assert!(
        error.contains("is a UTS namespace, not a network namespace"),
        "{error}"
    );
    let error = refusal("inode:4000000000");
    assert!(
        error.contains("no network namespace with inode 4000000000"),
        "{error}"
    );
}

#[test]
fn stale_names_are_told() {
    require_root!();
    drop(TestNs::new()); // so that the directory is there
    let (plain, dangling) = (unique('s'), unique('s'));
    let path = |name: &str| format!("/run/netns/{name}");
    fs::write(path(&plain), "").expect("a file");
    symlink("/proc/0/ns/net", path(&dangling)).expect("a link");
    let errors = [&plain, &dangling].map(|name| refusal(&format!("netns:{name}")));
    fs::remove_file(path(&plain)).expect("removing the file");
    fs::remove_file(path(&dangling)).expect("removing the link");
    for error in &errors {
        assert!(error.contains("is a stale name"), "{error}");
        assert!(error.contains("delete the file"), "{error}");
    }
}
