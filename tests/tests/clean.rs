//! What `clean` removes, and above all what it does not. Each test has a /run of its own, where nobody
//! else's names are.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::channel,
    time::SystemTime,
};

use netns_trace_tests::{
    command::ip,
    dweller::Dweller,
    namespaces::TestNs,
    private_run,
    refusal::{as_nobody, refused, without_capability},
    require_root,
    tool::{Done, Running, binary, netns_trace, run},
};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use serde_json::Value;

const REGISTER: &str = "/run/netns-trace/names";
const NONE: Option<&str> = None;

fn clean(options: &[&str]) -> Done {
    let done = run([&["clean"], options].concat());
    assert!(done.status.success(), "{done:?}");
    done
}

/// The lines that are printed, sorted.
fn cleaned() -> Vec<String> {
    let mut lines: Vec<String> = clean(&[]).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn name(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// A file among the names that was made long ago.
fn old_file(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    age(path);
}

fn age(path: &Path) {
    let file = File::open(path).expect("the file");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
}

fn old_link(to: &str, path: &Path) {
    symlink(to, path).expect("a link");
    let status = Command::new("touch")
        .args(["--no-dereference", "--date=@0"])
        .arg(path)
        .status();
    assert!(status.expect("touch").success());
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// All that is in /run, with what kind of file it is and when it was last changed.
fn everything() -> Vec<String> {
    let found = Command::new("find")
        .args(["/run", "-printf", "%p %y %i %s %T@ %l\n"])
        .output()
        .expect("find");
    let mut lines: Vec<String> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

fn link(dweller: &Dweller, name: &str) {
    let done = run(["link", &dweller.target(), name]);
    assert!(done.status.success(), "{done:?}");
}

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

#[test]
fn a_linked_name_goes_once_no_process_lives_there() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    link(&dweller, "web");
    let done = clean(&[]);
    assert_eq!(
        (done.stdout.as_str(), done.stderr.trim()),
        ("", "there is nothing to clean")
    );
    // Another process keeps it as well as the first.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "web"]);
    let second = Dweller::start(command);
    drop(dweller);
    assert_eq!(clean(&[]).stdout, "");
    drop(second);
    let line =
        "/run/netns/web: a name made by `link`, and no process lives in its namespace any more\n";
    assert_eq!(clean(&["--dry-run"]).stdout, format!("would remove {line}"));
    assert_eq!(clean(&[]).stdout, format!("removed {line}"));
    assert!(!is_there(&name("web")));
    assert_eq!(ip("netns list"), "");
    assert!(!is_there(Path::new("/run/netns-trace")));
    assert_eq!(clean(&[]).stdout, "");
}

/// A thread alone keeps a namespace as a process does.
#[test]
fn a_linked_name_stays_while_a_thread_lives_there() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    link(&dweller, "web");
    let ns = netns_trace::netns::NetNs::open(&name("web")).expect("its name");
    drop(dweller);
    let (entered, wait_for_it) = channel();
    let (leave, wait_for_word) = channel::<()>();
    std::thread::scope(|scope| {
        let ns = &ns;
        let inside = scope.spawn(move || {
            ns.run(move || {
                entered.send(()).expect("somebody waits");
                drop(wait_for_word.recv()); // an error is the word
            })
        });
        wait_for_it.recv().expect("a thread inside");
        assert_eq!(clean(&[]).stdout, "");
        drop(leave);
        inside.join().expect("its end").expect("entered");
    });
    drop(ns);
    assert!(clean(&[]).stdout.starts_with("removed /run/netns/web"));
}

#[test]
fn what_was_linked_without_a_process_stays() {
    require_root!();
    private_run::enter_alone();
    let ns = TestNs::new();
    let done = run(["link", &format!("netns:{}", ns.name), "router"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(
        clean(&[]).stdout,
        "kept /run/netns/router: no process lives there, as when it was linked; `ip netns delete \
         router` removes it\n"
    );
    ip("netns delete router");
    let record = format!("{REGISTER}/router");
    assert_eq!(
        clean(&[]).stdout,
        format!("removed {record}: a record of a name made by `link` that is gone\n")
    );
    assert!(!is_there(Path::new(REGISTER)));
    ns.open();
}

/// Somebody else's namespace has the name by now: it is not ours to remove.
#[test]
fn another_s_name_stays_when_ours_was_the_same() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    link(&dweller, "web");
    ip("netns delete web");
    drop(dweller);
    ip("netns add web");
    let done = clean(&["--json"]);
    let json: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(json["removed"][0]["kind"], "record", "{json}");
    assert_eq!(json["removed"].as_array().map(Vec::len), Some(1), "{json}");
    assert_eq!(json["dry_run"], false);
    netns_trace::netns::NetNs::open(&name("web")).expect("still there");
    ip("netns delete web");
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
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation=private", "sh", "-ec"])
            .arg(format!("{script}; exec \"$@\""))
            .arg("sh");
        let elsewhere = Dweller::start(command);
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
    let status = Command::new("unshare")
        .args(["--mount=/run/a b.mnt", "--propagation=private"])
        .args(["ip", "netns", "add", "inside"])
        .status();
    assert!(status.expect("unshare").success());
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
fn damaged_records_go_and_harm_nothing() {
    require_root!();
    private_run::enter_alone();
    let ns = TestNs::new();
    fs::create_dir_all(REGISTER).expect("a directory");
    let at = |name: &str| Path::new(REGISTER).join(name);
    let hostile = format!(
        r#"{{"version":1,"name":"../netns/{}","namespace":{{"device":4,"inode":{},"cookie":null,"process":null}},"lived_in":true}}"#,
        ns.name,
        ns.open().inode()
    );
    old_file(&at("hostile"), &hostile);
    old_file(&at("cut"), &hostile[..40]);
    old_file(&at("\x1b[2J"), "");
    fs::write(at("new"), "").expect("a file");
    fs::create_dir(at("dir")).expect("a directory");
    let removed =
        |name: &str| format!("removed {REGISTER}/{name}: a record of `link` that cannot be read");
    assert_eq!(
        cleaned(),
        [removed("\\u{1b}[2J"), removed("cut"), removed("hostile")]
    );
    ns.open();
    assert!(is_there(&at("dir")) && is_there(&at("new")));
}

#[test]
fn what_killed_runs_left_goes() {
    require_root!();
    private_run::enter_alone();
    fs::create_dir_all("/run/netns-trace/filters").expect("a directory");
    let list = Path::new("/run/netns-trace/filters/4194305");
    fs::write(list, "").expect("a list");
    let up = run(["lab", "up", "direct", "--name", "kept"]);
    assert!(up.status.success(), "{up:?}");
    let up = run(["lab", "up", "direct", "--name", "killed"]);
    assert!(up.status.success(), "{up:?}");
    // As the file of a lab is whose maker was killed before it was complete.
    let state = Path::new("/run/netns-trace/labs/killed.json");
    let text = fs::read_to_string(state).expect("its file");
    let text = text.replace("\"complete\": true", "\"complete\": false");
    fs::write(state, text).expect("written");

    let before = everything();
    let lines = "remove /run/netns-trace/filters/4194305: filters of a capture that was killed\n\
                 remove /run/netns-trace/labs/killed.json: a lab whose owner was killed\n";
    assert_eq!(
        clean(&["--dry-run"]).stdout,
        lines.replace("remove ", "would remove ")
    );
    assert_eq!(everything(), before);
    assert_eq!(clean(&[]).stdout, lines.replace("remove ", "removed "));
    assert!(!is_there(list) && !is_there(state));
    let names = ip("netns list");
    assert!(
        names.contains("kept") && !names.contains("killed"),
        "{names}"
    );
    let down = run(["lab", "down", "kept"]);
    assert!(down.status.success(), "{down:?}");
}

/// On kernels without TCX, a filter outlives the capture that added it.
#[test]
fn the_filters_of_a_killed_capture_go() {
    require_root!();
    private_run::enter_alone();
    let ns = TestNs::new();
    let filters = || ns_tc(&ns, "filter show dev lo ingress");
    let target = format!("netns:{}", ns.name);
    let capture = ["--attach", "clsact", &target, "-i", "lo", "-w", "/dev/null"];
    let capture = Running::capture(capture);
    let pid = capture.pid();
    assert_eq!(clean(&[]).stdout, "", "it runs");
    assert!(filters().contains("netns_trace"), "{}", filters());
    capture.signal(Signal::SIGKILL);
    assert_eq!(capture.wait().status.signal(), Some(libc::SIGKILL));
    assert!(filters().contains("netns_trace"), "{}", filters());
    let line = format!("/run/netns-trace/filters/{pid}: filters of a capture that was killed\n");
    assert_eq!(clean(&["--dry-run"]).stdout, format!("would remove {line}"));
    assert!(filters().contains("netns_trace"), "{}", filters());
    assert_eq!(clean(&[]).stdout, format!("removed {line}"));
    assert_eq!(filters(), "");
    assert_eq!(ns_tc(&ns, "qdisc show dev lo clsact"), "");
    assert!(!is_there(Path::new("/run/netns-trace")));
}

fn ns_tc(ns: &TestNs, arguments: &str) -> String {
    let start = ["-n", &ns.name];
    let arguments: Vec<&str> = start.into_iter().chain(arguments.split(' ')).collect();
    netns_trace_tests::command::run("tc", &arguments)
}

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_goes() {
    require_root!();
    private_run::enter_alone();
    let dweller = Dweller::alone();
    link(&dweller, "web");
    drop(dweller);
    old_file(&name("plain"), "");
    set_names(MsFlags::MS_RDONLY);
    let done = run(["clean"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let read_only = "Read-only file system (os error 30)";
    let lines = format!(
        "cannot remove /run/netns/plain: no namespace is mounted there any more; {read_only}\n\
         cannot remove /run/netns/web: a name made by `link`, and no process lives in its namespace \
         any more; {read_only}\n"
    );
    assert_eq!(done.stdout, lines);
    assert_eq!(done.stderr, "netns-trace: 2 things could not be removed\n");
    set_names(MsFlags::empty());
    age(&name("web"));
    let done = cleaned();
    assert_eq!(done.len(), 3, "both names and the record: {done:#?}");
    assert!(!is_there(&name("web")) && !is_there(&name("plain")));
}

/// Makes the directory of names read-only, or writable again.
fn set_names(flags: MsFlags) {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
    mount(NONE, "/run/netns", NONE, flags, NONE).expect("set");
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
            "cannot clean: CAP_SYS_ADMIN, CAP_SYS_PTRACE are missing (run as root)"
        );
        let mut command = netns_trace(&args);
        assert_eq!(
            refused(without_capability(&mut command, 19), 1),
            "cannot clean: CAP_SYS_PTRACE is missing (run as root)"
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
