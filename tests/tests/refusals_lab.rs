//! Labs and demos that cannot be built, and how they are refused: nothing of them is left.

use std::{fs, process::Stdio};

use netns_trace::lab::{self, Lab, LabSpec, Topology};
use netns_trace_tests::{
    bed::{Bed, must},
    names::unique,
    refusal::{
        as_nobody, failing, missing, refused, refused_early, with_read_only, withheld,
        without_capability,
    },
    require_root,
    tool::{netns_trace, run},
};

/// The rights that building needs, by number and name.
const RIGHTS: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

fn built() -> Lab {
    lab::up_private(&LabSpec::new(Topology::Direct, unique('l'))).expect("a lab")
}

/// Nothing of a lab is there: no state file, no draft of it, no name of its namespaces.
fn assert_nothing_of(lab: &str) {
    for folder in ["/run/netns", "/run/netns-trace/labs"] {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        for name in names.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
            assert!(!name.starts_with(lab), "{name} is left in {folder}");
        }
    }
}

#[test]
fn a_missing_capability_is_named_before_anything_is_made() {
    require_root!();
    let name = unique('l');
    for (number, name_of) in RIGHTS {
        for args in [&["lab", "up", "--name", &name][..], &["lab", "down", &name]] {
            let mut command = netns_trace(args);
            let said = refused(without_capability(&mut command, number), 1);
            assert_eq!(
                said,
                format!("cannot build or remove a lab: {}", withheld(&[name_of]))
            );
        }
    }
    for args in [
        &["lab", "up", "--name", &name][..],
        &[
            "lab",
            "up",
            "--name",
            &name,
            "--bridge",
            "br0",
            "--address",
            "10.0.0.2/8",
        ],
        &["lab", "down", &name],
    ] {
        let (mut command, _program) = as_nobody(args);
        assert_eq!(
            refused(&mut command, 1),
            format!(
                "cannot build or remove a lab: {}",
                missing(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN"])
            )
        );
    }
    assert_nothing_of(&name);
}

#[test]
fn a_lab_that_cannot_be_removed_for_want_of_a_right_stays_whole() {
    let mut bed = Bed::empty();
    let name = bed.name("l");
    let removed = RemovedAtLast(&name);
    let done = run(["lab", "up", "direct", "--name", &name]);
    assert!(done.status.success(), "{done:?}");
    for (number, _) in RIGHTS {
        refused(
            without_capability(&mut netns_trace(["lab", "down", &name]), number),
            1,
        );
    }
    let said = must("ip", &["-n", &format!("{name}-a"), "-br", "addr"]);
    assert!(said.contains("10.77.0.1/24"), "{said}");
    drop(removed);
    assert_nothing_of(&name);
    bed.add_namespace("l-a"); // the name is free again
}

struct RemovedAtLast<'a>(&'a str);

impl Drop for RemovedAtLast<'_> {
    fn drop(&mut self) {
        let status = netns_trace(["lab", "down", self.0]).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("lab {} stays behind", self.0);
        }
    }
}

#[test]
fn names_that_no_lab_can_have() {
    require_root!();
    let long = "a".repeat(65);
    for (name, shown) in [
        ("../x", "../x"),
        ("", ""),
        ("a b", "a b"),
        (".hidden", ".hidden"),
        ("\x1b[2J\n", "\\u{1b}[2J\\n"),
        (&long, &long),
    ] {
        let expected = format!(
            "\"{shown}\" cannot be a lab's name: it takes up to 64 letters, digits, '-', '_' and \
             '.', and begins with a letter or digit"
        );
        assert_eq!(refused_early(&["lab", "up", "--name", name], 2), expected);
        assert_eq!(refused_early(&["lab", "down", name], 2), expected);
    }
}

#[test]
fn a_name_that_is_taken_stays_its_owners() {
    require_root!();
    let lab = built();
    let name = lab.name();
    assert_eq!(
        refused_early(&["lab", "up", "--name", name], 1),
        format!(
            "lab \"{name}\" exists already; remove it with `netns-trace lab down {name}` or choose \
             --name"
        )
    );
    assert_eq!(
        refused_early(&["lab", "down", name], 1),
        format!(
            "lab \"{name}\" is in use by process {}; end that first",
            std::process::id()
        )
    );
    assert!(lab.nodes().iter().all(|node| node.open().is_ok()));
    let mut bed = Bed::empty();
    bed.add_namespace("l-b");
    let (taken, name) = (bed.name("l-b"), bed.name("l"));
    assert_eq!(
        refused_early(&["lab", "up", "direct", "--name", &name], 1),
        format!(
            "namespace \"{taken}\" exists already; remove it with `ip netns del {taken}` or choose \
             --name"
        )
    );
    let links = bed.in_ns("l-b", "ip", &["-o", "link"]);
    assert_eq!(links.lines().count(), 1, "{links}");
    bed.remove("l-b");
    assert_nothing_of(&name);
}

#[test]
fn what_no_lab_can_look_like() {
    require_root!();
    let name = unique('l');
    for (args, said) in [
        (
            "star",
            "'star' for '[TOPOLOGY]' [possible values: bridge, nat, direct, ring, mesh]",
        ),
        (
            "--subnet 10.0.0.0",
            "\"10.0.0.0\" is no address with a prefix length",
        ),
        (
            "--subnet 10.0.0.0/33",
            "\"10.0.0.0/33\" is no address with a prefix length",
        ),
        (
            "--subnet 10.0.0.1/24",
            "--subnet 10.0.0.1/24: it has bits beyond its prefix length",
        ),
        (
            "--subnet 10.0.0.0/30",
            "the prefix length must be from 8 to 29",
        ),
        ("--subnet 127.0.0.0/8", "no host can have its addresses"),
        (
            "--subnet fd00::/64",
            "it must be of IPv4; --subnet6 takes the one of IPv6",
        ),
        (
            "--subnet6 fd00::1/64",
            "it must be a /64 of IPv6, such as fd00:77::/64",
        ),
        (
            "--subnet6 10.0.0.0/24",
            "it must be a /64 of IPv6, such as fd00:77::/64",
        ),
        ("-n 0", "a bridge lab has at least 1 namespaces, not 0"),
        ("-n -1", "'-1' for '--count <N>'"),
        (
            "-n 300",
            "300 namespaces are too many for 10.77.0.0/24 in a bridge lab (at most 250",
        ),
        ("ring -n 2", "a ring lab has at least 3 namespaces, not 2"),
        (
            "direct -n 3",
            "a direct lab has exactly 2 namespaces, not 3",
        ),
        ("--bridge br0", "not provided: --address <CIDR>"),
        (
            "--gateway 10.0.0.1",
            "not provided: --address <CIDR> --bridge <BRIDGE>",
        ),
        (
            "nat --bridge br0 --address 10.0.0.2/8",
            "cannot be used with",
        ),
    ] {
        let mut all = vec!["lab", "up", "--name", &name];
        all.extend(args.split(' '));
        let refusal = refused_early(&all, 2);
        assert!(refusal.contains(said), "{args}: {refusal}");
    }
    let all = [
        "lab",
        "up",
        "--name",
        &name,
        "--bridge",
        "lo",
        "--address",
        "10.0.0.2/8",
    ];
    let said = refused_early(&all, 1);
    assert!(
        said.starts_with("\"lo\" is no bridge of this namespace"),
        "{said}"
    );
    assert_nothing_of(&name);
}

#[test]
fn unknown_labs_are_told_in_one_line() {
    require_root!();
    let lab = built();
    let (one, other) = (unique('l'), unique('l'));
    let said = refused_early(&["lab", "down", &one], 1);
    assert!(
        said.starts_with(&format!("there is no lab \"{one}\" (there are: ")),
        "{said}"
    );
    assert!(said.contains(lab.name()), "{said}");
    let mut command = netns_trace(["lab", "down", &one, &other]);
    let done = command.stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&format!("; there is no lab \"{other}\"")),
        "{said}"
    );
    let said = refused_early(&["lab", "down"], 2);
    assert!(said.contains("not provided: <NAME>..."), "{said}");
}

/// The kernel refuses the first namespace, and even to unmount what was not mounted.
#[test]
fn a_refused_namespace_leaves_no_name() {
    require_root!();
    let name = unique('l');
    let mut command = netns_trace(["lab", "up", "--name", &name]);
    failing(&mut command, libc::SYS_unshare, libc::ENOSPC);
    let said = refused(failing(&mut command, libc::SYS_umount2, libc::EPERM), 1);
    assert_eq!(
        said,
        format!(
            "cannot make the namespace \"/run/netns/{name}-a\": there are as many as the sysctl \
             user.max_net_namespaces allows"
        )
    );
    assert_nothing_of(&name);
}

#[test]
fn a_demo_that_cannot_write_builds_no_lab() {
    let bed = Bed::empty();
    let file = bed.file("file");
    fs::write(&file, "").expect("a file");
    let below = file.join("x");
    for (path, why) in [
        (file.as_path(), "it is a file"),
        (&below, "what is above it is a file and no directory"),
    ] {
        let text = path.to_str().expect("a path");
        assert_eq!(
            refused_early(&["demo", "--dir", text], 1),
            format!("cannot write to the directory {path:?}: {why}; name another one with --dir")
        );
    }
    let read_only = bed.file("ro");
    fs::create_dir(&read_only).expect("a folder");
    let mut command = netns_trace(["demo", "--dir"]);
    assert_eq!(
        refused(with_read_only(command.arg(&read_only), &read_only), 1),
        format!(
            "cannot write to the directory {read_only:?}: its file system is mounted read-only; \
             name another one with --dir"
        )
    );
    let mut command = netns_trace(["demo"]);
    let said = refused(command.env("TMPDIR", bed.file("none")), 1);
    assert!(
        said.contains("what is above it does not exist; name another one"),
        "{said}"
    );
}

#[test]
fn a_demo_whose_lab_is_refused_leaves_no_directory() {
    let bed = Bed::empty();
    let folder = bed.file("tmp");
    fs::create_dir(&folder).expect("a folder");
    let mut command = netns_trace(["demo"]);
    command.env("TMPDIR", &folder);
    let said = refused(failing(&mut command, libc::SYS_unshare, libc::ENOSPC), 1);
    assert!(
        said.starts_with("cannot make the namespace \"/run/netns/demo"),
        "{said}"
    );
    let left = fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(left, 0);
}
