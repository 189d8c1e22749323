//! What holds without root.

use super::*;

#[test]
fn the_current_namespace_is_itself() {
    let ns = NetNs::current().expect("our own namespace");
    assert!(ns.is_current());
    assert!(ns.is_same(&ns.try_clone().expect("a second handle")));
    assert_eq!(
        ns.identity().process.map(|p| p.pid),
        Some(std::process::id())
    );
}

#[test]
fn another_type_is_named() {
    let error = NetNs::open(Path::new("/proc/self/ns/mnt")).expect_err("a mount namespace");
    assert_eq!(
        error.to_string(),
        "\"/proc/self/ns/mnt\" is a mount namespace, not a network namespace"
    );
}

#[test]
fn what_is_no_namespace_is_refused() {
    for path in ["/", "/etc/passwd", "/dev/null", "/proc/self/stat"] {
        let error = NetNs::open(Path::new(path)).expect_err(path);
        assert!(
            matches!(error, NetNsError::NotANamespace { .. }),
            "{path}: {error}"
        );
    }
    let error = NetNs::open(Path::new("/no/such/file")).expect_err("nothing there");
    assert!(matches!(error, NetNsError::NotFound { .. }), "{error}");
}

#[test]
fn a_pipe_does_not_make_us_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    let error = NetNs::open(&pipe).expect_err("a pipe");
    assert!(matches!(error, NetNsError::NotANamespace { .. }), "{error}");
}

#[test]
fn a_dangling_link_is_stale() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("old");
    std::os::unix::fs::symlink("/proc/0/ns/net", &link).expect("a link");
    let error = NetNs::open(&link).expect_err("a dangling link");
    assert!(matches!(error, NetNsError::Stale { .. }), "{error}");
}

#[test]
fn a_pid_that_nobody_has_is_named() {
    // One more than the highest pid that the kernel hands out; proc_sys_kernel(5).
    let error = NetNs::of_process(4_194_305).expect_err("no such process");
    assert_eq!(
        error.to_string(),
        "there is no process with pid 4194305 (it may have ended)"
    );
}

#[test]
fn a_zombie_is_told_from_a_process_that_never_was() {
    let mut child = std::process::Command::new("true").spawn().expect("a child");
    let pid = child.id();
    // WNOWAIT returns once the child has ended, and leaves it a zombie.
    nix::sys::wait::waitid(
        nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid as i32)),
        nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
    )
    .expect("the child's end");
    let error = NetNs::of_process(pid).expect_err("a zombie");
    assert!(matches!(error, NetNsError::Zombie { .. }), "{error}");
    child.wait().expect("the child's status");
    let error = NetNs::of_process(pid).expect_err("a dead process");
    assert!(matches!(error, NetNsError::NoSuchProcess { .. }), "{error}");
}

#[test]
fn an_older_namesake_is_refused() {
    let ns = NetNs::current().expect("our own namespace");
    let mut other = ns.identity().clone();
    other.process = Some(ProcessStamp {
        pid: std::process::id(),
        start_time: 0,
    });
    let error = NetNs::reopen(ns.path(), &other).expect_err("another process");
    assert!(matches!(error, NetNsError::Gone { .. }), "{error}");
    other = ns.identity().clone();
    other.inode += 1;
    let error = NetNs::reopen(ns.path(), &other).expect_err("another inode");
    assert!(matches!(error, NetNsError::Gone { .. }), "{error}");
    assert!(NetNs::reopen(ns.path(), ns.identity()).is_ok());
}
