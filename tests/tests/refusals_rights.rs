//! Rights and kernels that do not do, and how that is refused: what is missing is named, before
//! anything is made.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

use netns_trace_tests::{
    bed::{Bed, must},
    refusal::{
        as_nobody, assert_untouched, failing, missing, refused, refused_early, treasure, withheld,
        without_bpf_use, without_capability,
    },
    tool::{Running, binary, netns_trace},
};

/// A namespace with `lo` alone.
fn bare() -> (Bed, String) {
    let mut bed = Bed::empty();
    bed.add_namespace("a");
    let target = bed.target("a");
    (bed, target)
}

#[test]
fn a_missing_capability_is_named() {
    let (bed, target) = bare();
    let file = treasure(&bed, "x.pcapng");
    for (number, name) in [
        (39, "CAP_BPF"),
        (38, "CAP_PERFMON"),
        (12, "CAP_NET_ADMIN"),
        (21, "CAP_SYS_ADMIN"),
    ] {
        let expected = format!("cannot load the eBPF programs: {}", withheld(&[name]));
        for args in [
            &["capture", &target, "-i", "lo", "-w", &file][..],
            &["demo"],
        ] {
            let mut command = netns_trace(args);
            let said = refused(without_capability(&mut command, number), 1);
            assert_eq!(said, expected);
        }
    }
    let mut command = netns_trace(["capture", &target, "-w", &file]);
    without_capability(&mut command, 12);
    let said = refused(without_capability(&mut command, 39), 1);
    assert_eq!(
        said,
        format!(
            "cannot load the eBPF programs: {}",
            withheld(&["CAP_BPF", "CAP_NET_ADMIN"])
        )
    );
    assert_untouched(&file);
}

#[test]
fn another_user_is_told_all_that_is_missing() {
    let (bed, target) = bare();
    let file = treasure(&bed, "x.pcapng");
    for args in [
        &["capture", &target, "-w", &file][..],
        &["latency", &target],
        &["demo"],
    ] {
        let (mut command, _program) = as_nobody(args);
        let all = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"];
        assert_eq!(
            refused(&mut command, 1),
            format!("cannot load the eBPF programs: {}", missing(&all))
        );
    }
    for args in [&["inspect", &target][..], &["overhead", &target]] {
        let (mut command, _program) = as_nobody(args);
        let said = refused(&mut command, 1);
        assert!(
            said.starts_with("cannot enter the network namespace "),
            "{said}"
        );
        assert!(said.ends_with(&missing(&["CAP_SYS_ADMIN"])), "{said}");
    }
    assert_untouched(&file);
}

/// [`refused_early`] takes a program that is killed as the proof that something was loaded.
#[test]
fn a_capture_does_not_go_without_bpf() {
    let (_bed, target) = bare();
    let mut command = netns_trace(["capture", &target, "-i", "lo", "-w", "/dev/null"]);
    let done = without_bpf_use(&mut command).output().expect("it runs");
    assert_eq!(done.status.signal(), Some(libc::SIGSYS), "{done:?}");
}

/// Its own way out differs from that of the others: the namespace cannot even be looked at.
#[test]
fn another_users_process_needs_a_capability_too() {
    let mut sleeper = Command::new("setpriv");
    sleeper.args(["--reuid=65534", "--clear-groups", "cat"]);
    let mut sleeper = Running::start({
        sleeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        sleeper
    });
    // Its answer shows that it runs, as the other user.
    let child = sleeper.child();
    std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), b"!").expect("written");
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut [0]).expect("read");
    let target = format!("pid:{}", sleeper.pid());
    let mut command = netns_trace(["capture", &target, "-i", "lo"]);
    assert_eq!(
        refused(without_capability(&mut command, 19), 1),
        format!(
            "cannot open \"/proc/{}/ns/net\" of another user's process: {}",
            sleeper.pid(),
            withheld(&["CAP_SYS_PTRACE"])
        )
    );
}

/// Some machines protect process 1 even from root, who must not be told to become root.
#[test]
fn a_protected_process_is_told_apart_from_a_missing_right() {
    let path = "/proc/1/ns/net";
    let denied = |why: &std::io::Error| why.kind() == std::io::ErrorKind::PermissionDenied;
    if !File::open(path).is_err_and(|why| denied(&why)) {
        eprintln!("skipped: root may open {path} here");
        return;
    }
    assert_eq!(
        refused_early(&["capture", "pid:1", "-i", "lo"], 1),
        format!(
            "cannot open \"{path}\": permission denied, also with CAP_SYS_PTRACE: the process is \
             protected; name the namespace in another way, such as host, inode:N or another pid:N"
        )
    );
}

#[test]
fn a_kernel_without_bpf_is_told_what_is_needed() {
    let (bed, target) = bare();
    let file = treasure(&bed, "x.pcapng");
    let release = must("uname", &["-r"]);
    let expected = format!(
        "cannot capture on this kernel: the bpf system call (CONFIG_BPF_SYSCALL=y, \
         CONFIG_NET_CLS_BPF) is needed, and this is Linux {}, which does not have it (or a seccomp \
         filter hides it)",
        release.trim()
    );
    for args in [
        &["capture", &target, "-i", "lo", "-w", &file][..],
        &["demo"],
    ] {
        let mut command = netns_trace(args);
        let said = refused(failing(&mut command, libc::SYS_bpf, libc::ENOSYS), 1);
        assert_eq!(said, expected);
    }
    assert_untouched(&file);
}

/// As in a container without its seccomp filter for bpf(2) lifted.
#[test]
fn a_forbidden_bpf_is_told_apart_from_a_missing_capability() {
    let (_bed, target) = bare();
    for (errno, way_out) in [
        (
            libc::EPERM,
            "Operation not permitted (os error 1); no capability is missing: a seccomp filter, a \
             security module or the kernel's lockdown forbids bpf(2) here",
        ),
        (
            libc::ENOMEM,
            "Cannot allocate memory (os error 12); a smaller --buffer takes less memory",
        ),
    ] {
        let mut command = netns_trace(["capture", &target, "-i", "lo"]);
        let said = refused(failing(&mut command, libc::SYS_bpf, errno), 1);
        assert!(said.starts_with("cannot load the eBPF object: "), "{said}");
        assert!(said.ends_with(way_out), "{said}");
    }
}

/// Root there has all capabilities, and none of them counts.
#[test]
fn a_user_namespace_is_told() {
    let (bed, target) = bare();
    let file = treasure(&bed, "x.pcapng");
    for args in [&["capture", &target, "-w", &file][..], &["demo"]] {
        let mut command = Command::new("unshare");
        command.arg("--map-root-user").arg(binary()).args(args);
        assert_eq!(
            refused(&mut command, 1),
            "cannot load the eBPF programs: the capabilities are those of a user namespace, which \
             do not count for the machine (run as root outside of it)"
        );
    }
    assert_untouched(&file);
}
