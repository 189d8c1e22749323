//! Marks of clsact qdiscs that captures added: what becomes of those that nobody's list names. Each test has a
//! /run of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use netns_trace::netns::Identity;
use netns_trace_tests::{
    bed::Bed,
    cleaning::clean,
    kernel, packets, private_run,
    raw::frame,
    require_root,
    tool::{Running, netns_trace, run},
};

const FOLDER: &str = "/run/netns-trace/qdiscs";

/// Two namespaces, `a` and `b`.
fn bed() -> Bed {
    private_run::enter_alone();
    Bed::quiet()
}

/// A start of another capture, elsewhere.
fn start_another(bed: &Bed) {
    let args = ["--duration", "20ms", "-w", "/dev/null"];
    let done = run([&["capture", &bed.target("b")], &args[..]].concat());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(done.stderr.matches("is not swept").count(), 0, "{done:?}");
}

fn clsact(bed: &Bed) -> [String; 3] {
    let target = bed.target("a");
    [target, "--attach".to_owned(), "clsact".to_owned()]
}

/// A capture that adds a clsact qdisc to eth0 of `a`, and no other one.
fn capture(bed: &Bed) -> Running {
    let more = ["--taps", "inside", "--no-latency", "-w", "/dev/null"];
    let args = clsact(bed);
    Running::capture(args.iter().map(String::as_str).chain(more))
}

fn marks() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn identity(bed: &Bed) -> Identity {
    let ns = bed.open("a");
    Identity {
        process: None,
        ..ns.identity().clone()
    }
}

/// The mark of eth0 of `a`, as a capture writes it.
fn mark_of(bed: &Bed, inode: u64) -> PathBuf {
    let index = bed.link("a", "eth0")["ifindex"].as_u64().expect("an index");
    Path::new(FOLDER).join(format!("{inode}-{index}"))
}

fn write_mark(path: &Path, ns: &Identity) {
    fs::create_dir_all(FOLDER).expect("a folder");
    let process = ns.process.map(|_| ());
    let text = serde_json::json!({
        "device": ns.device, "inode": ns.inode, "cookie": ns.cookie, "process": process,
    });
    fs::write(path, text.to_string()).expect("a mark");
}

fn has_qdisc(bed: &Bed) -> bool {
    let shown = bed.in_ns("a", "tc", &["qdisc", "show", "dev", "eth0"]);
    shown.contains("clsact")
}

fn tc(bed: &Bed, words: &str) {
    bed.in_ns("a", "tc", &words.split(' ').collect::<Vec<_>>());
}

/// Others' filters keep the qdisc. Whoever starts once they are gone takes it.
#[test]
fn a_qdisc_that_others_used_goes_once_they_are_gone() {
    require_root!();
    let bed = bed();
    let mark = mark_of(&bed, identity(&bed).inode);
    let first = capture(&bed);
    let filter = ["filter", "add", "dev", "eth0", "ingress", "prio", "7"];
    let program = ["bpf", "bytecode", "1,6 0 0 0,"];
    bed.in_ns("a", "tc", &[&filter[..], &program].concat());
    assert!(first.stop().status.success());
    assert!(has_qdisc(&bed), "a filter of others' is on it");
    assert_eq!(marks(), std::slice::from_ref(&mark));

    start_another(&bed);
    if !kernel::is_at_least((5, 14)) {
        // Namespaces have no cookie: the qdisc may be anybody's.
        assert!(has_qdisc(&bed) && !mark.exists());
        return;
    }
    assert!(has_qdisc(&bed) && mark.exists());
    assert!(!clean(&["--dry-run"]).stdout.contains(FOLDER));

    tc(&bed, "filter del dev eth0 ingress prio 7");
    let line = format!(
        "would remove {}: the mark of a qdisc that a capture added\n",
        mark.display()
    );
    let said = clean(&["--dry-run"]).stdout;
    assert!(said.contains(&line), "{said}");
    assert!(has_qdisc(&bed) && mark.exists(), "nothing was done");
    start_another(&bed);
    assert!(!has_qdisc(&bed) && !mark.exists());
    assert!(!Path::new(FOLDER).exists());
}

/// A namespace has the inode of one that is gone, and on it is a qdisc of somebody's.
#[test]
fn a_qdisc_that_is_not_known_to_be_ours_stays() {
    require_root!();
    let bed = bed();
    let own = identity(&bed);
    let mark = mark_of(&bed, own.inode);
    tc(&bed, "qdisc add dev eth0 clsact");
    let cookie = own.cookie.map(|cookie| cookie + (1 << 40));
    // Of another namespace; and of one of a kernel that tells them apart by nothing.
    for cookie in [cookie, None] {
        write_mark(
            &mark,
            &Identity {
                cookie,
                ..own.clone()
            },
        );
        start_another(&bed);
        assert!(has_qdisc(&bed) && !mark.exists(), "{cookie:?}");
    }

    // Nor does a capture in it take the old mark for its own.
    write_mark(&mark, &Identity { cookie, ..own });
    let running = capture(&bed);
    assert!(running.stop().status.success());
    assert!(has_qdisc(&bed) && marks().is_empty());
}

#[test]
fn a_mark_of_nothing_goes() {
    require_root!();
    let bed = bed();
    let own = identity(&bed);
    let mark = mark_of(&bed, own.inode);
    let path = |name: &str| Path::new(FOLDER).join(name);
    let none_is_left = || {
        start_another(&bed);
        assert_eq!(marks(), Vec::<PathBuf>::new());
    };
    // A qdisc that is gone; an interface; a namespace.
    write_mark(&mark, &own);
    none_is_left();
    write_mark(&path(&format!("{}-4000", own.inode)), &own);
    none_is_left();
    let gone = Identity {
        inode: 1,
        ..own.clone()
    };
    write_mark(&path("1-2"), &gone);
    none_is_left();
    // What says nothing, or of another namespace than its name.
    tc(&bed, "qdisc add dev eth0 clsact");
    for text in ["", "{\"device\":4", "\u{1b}[2J"] {
        fs::create_dir_all(FOLDER).expect("a folder");
        fs::write(&mark, text).expect("a mark");
        none_is_left();
    }
    write_mark(&mark, &gone);
    none_is_left();
    assert!(has_qdisc(&bed));
    // What is no mark is none of our business.
    write_mark(&path("notes"), &own);
    start_another(&bed);
    assert_eq!(marks(), [path("notes")]);
    fs::remove_file(path("notes")).expect("removed");
}

#[test]
fn a_living_captures_mark_stays() {
    require_root!();
    let bed = bed();
    let mark = mark_of(&bed, identity(&bed).inode);
    let file = bed.file("x.pcapng");
    let more = ["--taps", "inside", "-w", file.to_str().expect("a path")];
    let args = clsact(&bed);
    let running = Running::capture(args.iter().map(String::as_str).chain(more));
    start_another(&bed);
    assert!(has_qdisc(&bed) && mark.exists());
    assert!(!clean(&["--dry-run"]).stdout.contains(FOLDER));
    let frames: Vec<Vec<u8>> = (0..50).map(|n| frame(None, n, 200)).collect();
    bed.send_frames("a", "eth0", &frames);
    assert!(running.stop().status.success());
    assert_eq!(packets::read(&file).len(), 50);
    assert!(!has_qdisc(&bed) && marks().is_empty());
}

/// Each start sweeps, while others add and remove the same qdisc.
#[test]
fn many_at_once_leave_nothing_and_miss_nothing() {
    const AT_ONCE: usize = 6;
    const ROUNDS: usize = 4;
    require_root!();
    let bed = bed();
    let args = clsact(&bed);
    let more = ["--no-latency", "--duration", "30ms", "-w", "/dev/null"];
    let args: Vec<&str> = ["capture"]
        .into_iter()
        .chain(args.iter().map(String::as_str))
        .chain(more)
        .collect();
    // Threads of this one have its /run.
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let done = netns_trace_tests::tool::done(netns_trace(&args));
                    assert!(done.status.success(), "{done:?}");
                    assert!(!done.stderr.contains("stays"), "{done:?}");
                }
            });
        }
    });
    assert!(!has_qdisc(&bed) && marks().is_empty(), "{:?}", marks());
    assert!(!Path::new("/run/netns-trace/filters").exists());
}
