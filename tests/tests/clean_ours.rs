//! What `clean` removes of our own: names that `link` gave, their records, and what killed runs left.
//! Each test has a /run of its own.

use std::{
    fs, os::unix::process::ExitStatusExt as _, path::Path, process::Command, sync::mpsc::channel,
};

use netns_trace_tests::{
    cleaning::{age, clean, cleaned, everything, is_there, name, old_file},
    command::ip,
    dweller::Dweller,
    namespaces::TestNs,
    private_run, require_root,
    tool::{Running, run},
};
use nix::mount::{MsFlags, mount};
use serde_json::Value;

const REGISTER: &str = "/run/netns-trace/names";
const NONE: Option<&str> = None;

fn link(dweller: &Dweller, name: &str) {
    let done = run(["link", &dweller.target(), name]);
    assert!(done.status.success(), "{done:?}");
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
                wait_for_word.recv().expect_err("its end is the word");
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
    let done = capture.kill_with_helper();
    assert_eq!(done.status.signal(), Some(libc::SIGKILL));
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
