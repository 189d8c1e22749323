//! Which names in /run/netns `clean` removes, and above all which not. Each test has a /run of its own,
//! where nobody else's names are.

use std::{fs, path::Path, process::Command};

use netns_trace_tests::{
    cleaning::{age, clean, cleaned, everything, is_there, name, old_file, old_link},
    command::{self, ip},
    dweller::Dweller,
    namespaces::TestNs,
    private_run,
    refusal::{as_nobody, missing, refused, withheld, without_capability},
    require_root,
    tool::{binary, netns_trace},
};
use nix::mount::{MsFlags, mount};

const NONE: Option<&str> = None;

#[test]
fn stale_names_of_each_kind_go_and_nothing_else() {
    require_root!();
    private_run::enter_alone();
    let (alive, dweller) = (TestNs::new(), Dweller::alone());
    old_file(&name("plain"), "");
    ip("netns add unmounted");
    nix::mount::umount(&name("unmounted")).expect("unmounted");
    age(&name("unmounted"));
    old_link("/proc/0/ns/net", &name("dangling"));
    old_link("loop", &name("loop"));

    let by_link = format!("/proc/{}/ns/net", dweller.pid());
    old_link(&by_link, &name("by-link"));
    fs::create_dir(name("dir")).expect("a directory");
    old_file(&name("full"), "x");
    old_link("/etc/passwd", &name("passwd"));
    old_link("/run/netns/plain", &name("to-plain"));
    old_file(&name("twice"), "");
    fs::hard_link(name("twice"), name("again")).expect("a link");
    old_file(&name("mounted"), "");
    old_file(Path::new("/run/other"), "");
    mount(
        Some("/run/other"),
        &name("mounted"),
        NONE,
        MsFlags::MS_BIND,
        NONE,
    )
    .expect("mounted");
    old_file(&name("null"), "");
    mount(
        Some("/dev/null"),
        &name("null"),
        NONE,
        MsFlags::MS_BIND,
        NONE,
    )
    .expect("mounted");
    fs::write(name("new"), "").expect("a file");

    let before = everything();
    let would: Vec<String> = clean(&["--dry-run"])
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(everything(), before);
    let removed = |did: &str, name: &str, why: &str| format!("{did} /run/netns/{name}: {why}");
    let unmounted = "no namespace is mounted there any more";
    let dangling = "it is a link to what does not exist";
    let gone = [
        ("dangling", dangling),
        ("loop", dangling),
        ("plain", unmounted),
        ("unmounted", unmounted),
    ];
    for (name, why) in gone {
        let line = removed("would remove", name, why);
        assert!(would.contains(&line), "{line} in {would:#?}");
    }
    let no_name = "it is no namespace's name: ";
    let kept = [
        ("again", "the file has other names, too"),
        ("dir", "neither a file nor a link"),
        ("full", "the file is not empty"),
        ("null", "neither a file nor a link"),
        ("passwd", "a link to something that is no namespace"),
        ("to-plain", "a link to something that is no namespace"),
        ("twice", "the file has other names, too"),
    ];
    let done = cleaned();
    for (name, why) in gone {
        assert!(
            done.contains(&removed("removed", name, why)),
            "{name} in {done:#?}"
        );
        assert!(!is_there(&self::name(name)), "{name}");
    }
    for (name, why) in kept {
        let line = removed("kept", name, &format!("{no_name}{why}"));
        assert!(done.contains(&line), "{line} in {done:#?}");
    }
    assert!(
        done.contains(&removed(
            "kept",
            "new",
            "it was made just now, perhaps for a namespace that is still to come"
        )),
        "{done:#?}"
    );
    for name in [
        "again", "by-link", "dir", "full", "mounted", "new", "null", "passwd", "to-plain", "twice",
    ] {
        assert!(is_there(&self::name(name)), "{name}");
    }
    alive.open();
    assert!(
        !done
            .iter()
            .any(|line| line.contains(&alive.name) || line.contains("by-link"))
    );
    // What is left is as before: nothing more goes.
    assert!(
        !cleaned()
            .iter()
            .any(|line| line.starts_with("removed ") && !line.contains("to-plain"))
    );
}

/// A process with mounts of its own, where a script has run.
fn apart(script: &str) -> Dweller {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "sh", "-ec"])
        .arg(format!("{script}; exec \"$@\""))
        .arg("sh");
    Dweller::start(command)
}

#[test]
fn a_name_that_is_mounted_elsewhere_stays() {
    require_root!();
    private_run::enter_alone();
    ip("netns add first"); // so that the directory is there
    for (inside, script) in [
        ("a", "ip netns add a"),
        // At another path, of the same file.
        (
            "b",
            "mkdir /run/x; mount --bind /run/netns /run/x; touch /run/x/b; \
             mount --bind /proc/self/ns/net /run/x/b",
        ),
    ] {
        let elsewhere = apart(script);
        age(&name(inside));
        assert_eq!(
            clean(&[]).stdout,
            format!(
                "kept /run/netns/{inside}: its namespace is mounted in the mount namespace of \
                 process {}\n",
                elsewhere.pid()
            )
        );
        assert!(is_there(&name(inside)));
        drop(elsewhere);
        assert_eq!(
            clean(&[]).stdout,
            format!("removed /run/netns/{inside}: no namespace is mounted there any more\n")
        );
    }
    ip("netns delete first");
}

/// As snapd keeps one for each snap.
#[test]
fn a_name_that_is_mounted_where_no_process_is_stays() {
    require_root!();
    private_run::enter_alone();
    ip("netns add first"); // so that the directory is there
    let keep = Path::new("/run/a b.mnt");
    fs::write(keep, "").expect("a file");
    // Against loops, the kernel refuses namespaces with a lower number than ours; from 6.18, numbers
    // come from each CPU's own store, so that a newer one may have a lower one.
    let is_kept = (0..100).any(|_| {
        let inside = apart(":");
        let of_inside = format!("/proc/{}/ns/mnt", inside.pid());
        mount(Some(&*of_inside), keep, NONE, MsFlags::MS_BIND, NONE).is_ok()
    });
    assert!(is_kept, "no mount namespace can be kept");
    let inside = ["--mount=/run/a b.mnt", "ip", "netns", "add", "inside"];
    command::run("nsenter", &inside);
    age(&name("inside"));
    assert_eq!(
        clean(&[]).stdout,
        "kept /run/netns/inside: its namespace is mounted in the mount namespace at /run/a b.mnt\n"
    );
    nix::mount::umount(keep).expect("unmounted");
    assert_eq!(
        clean(&[]).stdout,
        "removed /run/netns/inside: no namespace is mounted there any more\n"
    );
    ip("netns delete first");
}

#[test]
fn a_runtime_s_own_names_are_told_and_left() {
    require_root!();
    private_run::enter_alone();
    let path = Path::new("/run/docker/netns/0a1b2c3d4e5f");
    fs::create_dir_all("/run/docker/netns").expect("a directory");
    old_file(path, "");
    assert_eq!(
        clean(&[]).stdout,
        format!(
            "kept {}: no namespace is mounted there any more, but it is its runtime's to remove\n",
            path.display()
        )
    );
    assert!(is_there(path));
}

#[test]
fn who_cannot_see_all_users_removes_nothing() {
    require_root!();
    private_run::enter_alone();
    fs::create_dir("/run/netns").expect("a directory");
    old_file(&name("plain"), "");
    for options in [&[][..], &["--dry-run"]] {
        let args = [&["clean"], options].concat();
        let (mut command, _program) = as_nobody(&args);
        assert_eq!(
            refused(&mut command, 1),
            format!(
                "cannot clean: {}",
                missing(&["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"])
            )
        );
        let mut command = netns_trace(&args);
        assert_eq!(
            refused(without_capability(&mut command, 19), 1),
            format!("cannot clean: {}", withheld(&["CAP_SYS_PTRACE"]))
        );
        for (ns, what) in [("--map-root-user", "user"), ("--fork", "PID")] {
            let mut command = Command::new("unshare");
            command.arg(ns);
            if what == "PID" {
                command.args(["--pid", "--mount-proc"]);
            }
            command.arg(binary()).args(&args);
            assert_eq!(
                refused(&mut command, 1),
                format!(
                    "cannot clean from within a {what} namespace: what lives outside of it is not \
                     seen (run it on the host)"
                )
            );
        }
    }
    assert!(is_there(&name("plain")));
}
