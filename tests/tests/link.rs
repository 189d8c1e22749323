//! Names for namespaces, as `ip netns` sees them. Each test has a /run of its own.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Stdio,
};

use netns_trace_tests::{
    command::{ip, run as witness},
    dweller::Dweller,
    namespaces::TestNs,
    private_run,
    refusal::{as_nobody, failing, missing, refused, with_read_only},
    require_root,
    tool::{netns_trace, run},
};
use serde_json::Value;

const REGISTER: &str = "/run/netns-trace/names";

/// Links, and gives what is said.
fn linked(args: &[&str]) -> String {
    let done = run([&["link"], args].concat());
    assert!(done.status.success(), "{args:?}: {done:?}");
    assert_eq!(done.stderr, "");
    done.stdout
}

fn refusal(args: &[&str], status: i32) -> String {
    refused(&mut netns_trace([&["link"], args].concat()), status)
}

fn listed() -> Vec<String> {
    let list = ip("netns list");
    let names = list.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn a_linked_namespace_is_one_of_ip_netns() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    let (target, inode) = (dweller.target(), dweller.inode());
    assert_eq!(
        linked(&[&target, "web"]),
        format!(
            "web: {target} (inode {inode}), kept alive until `netns-trace clean` (once no process \
             lives there) or `ip netns delete web`\n"
        )
    );
    assert_eq!(listed(), ["web"]);
    let inside = witness(
        "ip",
        &["netns", "exec", "web", "readlink", "/proc/self/ns/net"],
    );
    assert_eq!(inside, format!("net:[{inode}]\n"));
    let pids = ip("netns pids web");
    assert_eq!(pids.trim(), dweller.pid().to_string());
    // It is made as `ip netns add` makes its own.
    ip("netns add other");
    let about = |path: &str| {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("a table");
        // The last: the machine's own are there too, under this /run.
        let line = table
            .lines()
            .rev()
            .find(|line| line.split(' ').nth(4) == Some(path));
        let line = line
            .unwrap_or_else(|| panic!("{path} is no mount"))
            .to_owned();
        (line.contains(" shared:"), line.contains(" - nsfs "))
    };
    assert_eq!(about("/run/netns/web"), about("/run/netns/other"));
    assert_eq!(about("/run/netns"), (true, false));
    let mode = fs::metadata("/run/netns")
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
    ip("netns delete web");
    assert_eq!(listed(), ["other"]);
    ip("netns delete other");
}

#[test]
fn a_name_keeps_the_namespace_alive() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    let inode = dweller.inode();
    linked(&[&dweller.target(), "web"]);
    drop(dweller);
    let there = fs::metadata("/run/netns/web").expect("still there");
    assert_eq!(there.ino(), inode);
    assert_eq!(ip("-n web -br link").split(' ').next(), Some("lo"));
}

#[test]
fn without_a_name_it_is_called_by_its_label_or_inode() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    let name = format!("netns-{}", dweller.inode());
    let json: Value = serde_json::from_str(&linked(&[&dweller.target(), "--json"])).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!({
            "name": name,
            "path": format!("/run/netns/{name}"),
            "target": dweller.target(),
            "inode": dweller.inode(),
            "lived_in": true,
        })
    );
    assert_eq!(
        refusal(&[&dweller.target()], 1),
        format!(
            "the namespace (inode {}) already has the name {name:?}",
            dweller.inode()
        )
    );
    linked(&["host"]);
    assert_eq!(listed().len(), 2);
    assert!(listed().contains(&"host".to_owned()));
}

#[test]
fn a_taken_name_is_told_by_what_has_it() {
    require_root!();
    private_run::enter_alone();
    let (dweller, ns) = (Dweller::alone(), TestNs::new());
    let target = dweller.target();
    let taken = |name: &str| refusal(&[&target, name], 1);
    assert_eq!(
        taken(&ns.name),
        format!(
            "the name {:?} is taken by another namespace (inode {}); give another NAME, or remove \
             it with `ip netns delete`",
            ns.name,
            ns.open().inode()
        )
    );
    let stale = fs::File::create("/run/netns/stale").expect("a file");
    assert_eq!(
        taken("stale"),
        "the name \"stale\" is taken by a name that was made just now, and has no namespace yet; \
         try again"
    );
    stale.set_modified(std::time::UNIX_EPOCH).expect("set");
    assert_eq!(
        taken("stale"),
        "the name \"stale\" is taken by a stale name; `netns-trace clean` removes it"
    );
    fs::create_dir("/run/netns/dir").expect("a directory");
    std::os::unix::fs::symlink("/etc/passwd", "/run/netns/odd").expect("a link");
    for name in ["dir", "odd"] {
        let said = taken(name);
        assert!(
            said.contains(&format!("the name {name:?} is taken by ")),
            "{said}"
        );
        assert!(fs::symlink_metadata(format!("/run/netns/{name}")).is_ok());
    }
    for name in ["a/b", "..", "", "-x", "a\x1b[2J"] {
        let said = refusal(&[&target, "--", name], 2);
        assert!(said.starts_with("cannot give the name "), "{said}");
    }
    assert!(fs::metadata(REGISTER).is_err(), "nothing is registered");
}

#[test]
fn of_several_at_once_one_gets_the_name() {
    require_root!();
    private_run::enter_alone();
    let dwellers: Vec<Dweller> = (0..8).map(|_| Dweller::alone()).collect();
    let started: Vec<_> = dwellers
        .iter()
        .map(|dweller| {
            let mut command = netns_trace(["link", &dweller.target(), "web"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            (dweller, command.spawn().expect("netns-trace starts"))
        })
        .collect();
    let mut winners = Vec::new();
    for (dweller, child) in started {
        let output = child.wait_with_output().expect("its end");
        if output.status.success() {
            winners.push(dweller.inode());
        } else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("is taken by another namespace"), "{said}");
        }
    }
    let there = fs::metadata("/run/netns/web").expect("a name");
    assert_eq!(winners, [there.ino()]);
    let record = fs::read_to_string(format!("{REGISTER}/web")).expect("a record");
    assert!(record.contains(&there.ino().to_string()), "{record}");
}

#[test]
fn nothing_is_left_of_a_link_that_fails() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    let args = ["link", &dweller.target(), "web"];
    ip("netns add other");
    let (mut command, _program) = as_nobody(&["link", "netns:other", "web"]);
    assert_eq!(
        refused(&mut command, 1),
        format!("cannot give a name: {}", missing(&["CAP_SYS_ADMIN"]))
    );
    let mut command = netns_trace(args);
    let said = refused(failing(&mut command, libc::SYS_mount, libc::EPERM), 1);
    assert!(said.contains("/run/netns/web"), "{said}");
    let mut command = netns_trace(args);
    refused(with_read_only(&mut command, "/run/netns".as_ref()), 1);
    assert_eq!(listed(), ["other"]);
    assert!(fs::metadata("/run/netns/web").is_err());
    assert!(fs::metadata("/run/netns-trace").is_err());
    ip("netns delete other");
}

#[test]
fn a_namespace_that_is_gone_is_told() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    let target = dweller.target();
    drop(dweller);
    let said = refusal(&[&target, "web"], 1);
    assert!(said.starts_with("there is no process with pid "), "{said}");
    assert!(fs::metadata("/run/netns").is_err());
}
