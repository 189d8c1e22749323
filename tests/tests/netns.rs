//! Opening, entering and knowing namespaces, against `ip netns` and `lsns` as witnesses.

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use netns_trace::netns::{NetNs, NetNsError, label_of};
use netns_trace_tests::{
    command::{ip, run},
    names::unique,
    namespaces::TestNs,
    refusal::withheld,
    require_root,
};

/// A process in the namespace, waiting until it is dropped.
struct Inside(Child);

impl Inside {
    fn new(ns: &TestNs) -> Self {
        let child = Command::new("ip")
            .args(["netns", "exec", &ns.name, "sleep", "300"])
            .stdout(Stdio::null())
            .spawn()
            .expect("ip netns exec");
        let inside = Self(child);
        let inode = ns.open().inode();
        // `ip` enters the namespace and becomes `sleep`: the process is the child itself.
        let path = format!("/proc/{}/ns/net", inside.0.id());
        while fs::metadata(&path).expect("the child").ino() != inode {
            std::thread::yield_now();
        }
        inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(|_| ())) {
            eprintln!("cannot end the process inside: {error}");
        }
    }
}

#[test]
fn a_named_namespace_is_the_one_that_ip_and_lsns_know() {
    require_root!();
    let test = TestNs::new();
    let ns = test.open();
    assert!(!ns.is_current());
    assert!(!ns.is_host());
    assert_eq!(label_of(&ns), test.name);
    assert!(
        ip("netns list")
            .lines()
            .any(|line| line.starts_with(&test.name))
    );
    let _process = Inside::new(&test);
    let listed = run("lsns", &["-t", "net", "-n", "-o", "NS"]);
    let inode = ns.inode().to_string();
    assert!(
        listed.lines().any(|line| line.trim() == inode),
        "{inode} in {listed}"
    );
}

#[test]
fn work_runs_inside_and_only_there() {
    require_root!();
    let test = TestNs::new();
    let ns = test.open();
    let here = fs::read_link("/proc/thread-self/ns/net").expect("our namespace");
    let there = ns
        .run(|| fs::read_link("/proc/thread-self/ns/net"))
        .expect("entering")
        .expect("its namespace");
    assert_eq!(there.to_string_lossy(), format!("net:[{}]", ns.inode()));
    assert_eq!(
        fs::read_link("/proc/thread-self/ns/net").expect("ours"),
        here
    );
    assert!(ns.run(|| ns.is_current()).expect("entering"));
}

#[test]
fn a_socket_stays_in_the_namespace_that_it_was_opened_in() {
    require_root!();
    let (a, b) = (TestNs::new(), TestNs::new());
    let bind = |ns: &TestNs| {
        let socket = ns.open().run(|| UdpSocket::bind("127.0.0.1:4711"));
        socket.expect("entering").expect("the port is free there")
    };
    let (in_a, _in_b) = (bind(&a), bind(&b));
    in_a.send_to(b"x", "127.0.0.1:4711").expect("sending");
    let mut byte = [0];
    assert_eq!(in_a.recv(&mut byte).expect("its own packet"), 1);
}

#[test]
fn a_panic_inside_reaches_the_caller() {
    require_root!();
    let ns = NetNs::current().expect("our namespace");
    let result = std::panic::catch_unwind(|| ns.run(|| panic!("from inside")));
    let cause = result.expect_err("a panic");
    assert_eq!(cause.downcast_ref::<&str>(), Some(&"from inside"));
}

#[test]
fn cookies_differ_and_prove_identity() {
    require_root!();
    let (a, b) = (TestNs::new(), TestNs::new());
    let (a, b) = (a.open(), b.open());
    assert_ne!(a.inode(), b.inode());
    if let (Some(a), Some(b)) = (a.identity().cookie, b.identity().cookie) {
        assert_ne!(a, b);
    }
    let mut other = a.identity().clone();
    other.cookie = other.cookie.map(|cookie| cookie + 1);
    match NetNs::reopen(a.path(), &other) {
        Err(NetNsError::Gone { .. }) => {}
        // A kernel without cookies cannot tell.
        other => assert!(a.identity().cookie.is_none(), "{other:?}"),
    }
}

#[test]
fn a_namespace_in_the_same_place_is_another_one() {
    require_root!();
    let test = TestNs::new();
    let (path, identity) = (test.path(), test.open().identity().clone());
    assert!(NetNs::reopen(&path, &identity).is_ok());
    ip(&format!("netns del {}", test.name));
    let error = NetNs::reopen(&path, &identity).expect_err("gone");
    assert!(matches!(error, NetNsError::Gone { .. }), "{error}");
    ip(&format!("netns add {}", test.name));
    let error = NetNs::reopen(&path, &identity).expect_err("another one");
    assert!(matches!(error, NetNsError::Gone { .. }), "{error}");
}

#[test]
fn a_process_leads_to_its_namespace() {
    require_root!();
    let test = TestNs::new();
    let process = Inside::new(&test);
    let pid = process.0.id();
    let ns = NetNs::of_process(pid).expect("its namespace");
    assert!(ns.is_same(&test.open()));
    assert_eq!(ns.identity().process.map(|p| p.pid), Some(pid));
    let (path, identity) = (ns.path().to_owned(), ns.identity().clone());
    drop(process);
    let error = NetNs::reopen(&path, &identity).expect_err("a dead process");
    assert!(matches!(error, NetNsError::Gone { .. }), "{error}");
}

#[test]
fn a_plain_file_among_the_names_is_stale() {
    require_root!();
    drop(TestNs::new()); // so that the directory is there
    let path = Path::new("/run/netns").join(unique('s'));
    fs::write(&path, "").expect("a file");
    let error = NetNs::open(&path);
    fs::remove_file(&path).expect("removing it");
    let error = error.expect_err("a stale name");
    assert!(matches!(error, NetNsError::Stale { .. }), "{error}");
    assert!(error.to_string().contains("stale"), "{error}");
}

#[test]
fn an_open_namespace_is_not_kept_alive_once_dropped() {
    require_root!();
    let (a, b) = (TestNs::new(), TestNs::new());
    a.join("eth0", &b, "vother");
    let ns = a.open();
    ns.run(|| ()).expect("entering");
    drop(ns);
    drop(a);
    // The kernel takes a namespace apart in its own time.
    for _ in 0..200 {
        if !b.ip("link show").contains("vother") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!(
        "the other end outlived its namespace:\n{}",
        b.ip("link show")
    );
}

/// Not a test by itself: what the next test runs without capabilities.
#[test]
fn try_without_capabilities() {
    let Ok(pid) = std::env::var("NETNS_TRACE_TEST_PID") else {
        return;
    };
    let other = NetNs::of_process(pid.parse().expect("a pid")).expect_err("not allowed");
    eprintln!("{other}");
    let own = NetNs::current().expect("our own namespace");
    eprintln!("{}", own.run(|| ()).expect_err("not allowed"));
}

#[test]
fn a_missing_capability_is_named() {
    require_root!();
    let test = TestNs::new();
    let process = Inside::new(&test);
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-sys_ptrace,-sys_admin"])
        .args(["--inh-caps", "-sys_ptrace,-sys_admin"])
        .arg(program)
        .args(["--exact", "try_without_capabilities", "--nocapture"])
        .env("NETNS_TRACE_TEST_PID", process.0.id().to_string())
        .output()
        .expect("setpriv");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!(
            "of another user's process: {}",
            withheld(&["CAP_SYS_PTRACE"])
        )),
        "{said}"
    );
    assert!(said.contains(&withheld(&["CAP_SYS_ADMIN"])), "{said}");
}
