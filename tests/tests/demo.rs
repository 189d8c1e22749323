//! The demo, as a newcomer runs it: it works, tells the truth, and leaves nothing, however it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netns_trace_tests::{
    command::ip,
    names::unique,
    packets,
    patience::patience,
    require_root,
    tool::{Done, Running, binary, netns_trace, run},
};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// Starts the demo in a process group of its own. What it prints on stdout comes on stderr too,
/// where it can be waited for.
fn start(dir: &Path) -> Running {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$@\" 1>&2", "sh"])
        .arg(binary())
        .args(["demo", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .process_group(0);
    Running::start(command)
}

/// What is there of the lab of the demo that ran as this process: namespaces, files, processes.
fn remains(pid: i32) -> Vec<String> {
    let name = format!("demo{pid}");
    let is_of_it = |text: &str| {
        text.split(&name)
            .skip(1)
            .any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    let mut found: Vec<String> = ip("netns list").lines().map(str::to_owned).collect();
    for folder in ["/run/netns", "/run/netns-trace/labs"] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().to_string_lossy().into_owned()));
    }
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    found.extend(processes.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    }));
    found.retain(|text| is_of_it(text));
    found
}

/// Waits until nothing is there of it.
fn assert_gone(pid: i32, what: &str, done: &Done) {
    let end = Instant::now() + patience();
    while !remains(pid).is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(remains(pid), [""; 0], "{what}: {done:?}");
}

/// The rows of the report that begin with a word: received, captured, dropped, lost, after the end.
fn rows(text: &str, first: &str) -> Vec<[u64; 5]> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&first));
    let counts = |words: Vec<&str>| -> Option<[u64; 5]> {
        let numbers: Vec<u64> = words[1..]
            .iter()
            .filter_map(|word| word.parse().ok())
            .collect();
        numbers.try_into().ok()
    };
    lines.filter_map(counts).collect()
}

#[test]
fn it_works_and_its_figures_are_true() {
    require_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let demo = start(folder.path());
    let pid = demo.pid();
    let done = demo.wait();
    assert!(done.status.success(), "{done:?}");
    let [all] = rows(&done.stderr, "all")[..] else {
        panic!("one row of sums: {done:?}")
    };
    let [received, captured, dropped, lost, after_end] = all;
    assert!(captured > 1000, "{done:?}");
    assert_eq!((dropped, lost), (0, 0), "{done:?}");
    assert_eq!(received, captured + after_end, "{done:?}");
    // The host side's name is made of the container's.
    let veth = format!("vdemo{pid}-a");
    let taps = ["eth0", &veth, "br0", "up0"].map(|tap| rows(&done.stderr, tap));
    for tap in &taps {
        assert!(
            tap.len() == 2 && tap.iter().all(|row| row[1] > 0),
            "{taps:?}: {done:?}"
        );
    }
    for column in 0..5 {
        let sum: u64 = taps.iter().flatten().map(|row| row[column]).sum();
        assert_eq!(sum, all[column], "column {column} of {taps:?}: {done:?}");
    }
    for said in [
        "checksums agree",
        "1000 datagrams, 1000 answered",
        "100 datagrams, 100 answered",
    ] {
        assert!(done.stderr.contains(said), "{said:?} in {done:?}");
    }
    let file = folder.path().join("demo.pcapng");
    assert!(
        done.stderr.contains(file.to_str().expect("a path")),
        "{done:?}"
    );
    assert_eq!(packets::read(&file).len() as u64, captured, "{done:?}");
    for (program, args) in [("tshark", &["-n", "-q", "-r"][..]), ("capinfos", &[])] {
        let output = Command::new(program)
            .args(args)
            .arg(&file)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains("Running as user"))
            .collect();
        assert!(
            output.status.success() && complaints.is_empty(),
            "{program}: {output:?}"
        );
    }
    assert_gone(pid, "after its end", &done);
}

/// When a signal comes: after a text that the demo says, and then a time, for what happens
/// between two things that it says.
const MOMENTS: [(&str, u64); 8] = [
    ("", 0),
    ("", 20),
    ("A lab of its own", 0),
    ("$ netns-trace capture", 0),
    ("$ netns-trace capture", 20),
    ("listening on", 0),
    ("listening on", 60),
    ("listening on", 300),
];

/// Starts the demo, and waits for a moment.
fn start_until(folder: &Path, (text, delay): (&str, u64)) -> Running {
    let mut demo = start(folder);
    if !text.is_empty() {
        demo.wait_for(text);
    }
    std::thread::sleep(Duration::from_millis(delay));
    demo
}

#[test]
fn an_interruption_at_any_moment_leaves_nothing() {
    require_root!();
    for moment in MOMENTS {
        // To the demo alone, as `kill` does, or to all that it started, as Ctrl-C does.
        for to_all in [false, true] {
            let what = format!("SIGINT at {moment:?}, to all: {to_all}");
            let folder = tempfile::tempdir().expect("a folder");
            let demo = start_until(folder.path(), moment);
            let pid = Pid::from_raw(demo.pid());
            let sent = if to_all {
                killpg(pid, Signal::SIGINT)
            } else {
                kill(pid, Signal::SIGINT)
            };
            sent.unwrap_or_else(|why| panic!("{what}: {why}"));
            let done = demo.wait();
            // Before it is ready for signals, one ends it at once: nothing is made by then.
            let at_once = moment.0.is_empty() && done.status.code().is_none();
            assert!(done.status.success() || at_once, "{what}: {done:?}");
            assert_gone(pid.as_raw(), &what, &done);
        }
    }
}

#[test]
fn what_a_killed_one_leaves_is_swept_by_the_next_command() {
    require_root!();
    for moment in MOMENTS {
        let what = format!("SIGKILL at {moment:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let demo = start_until(folder.path(), moment);
        let pid = demo.pid();
        demo.signal(Signal::SIGKILL);
        let done = demo.wait();
        let next = unique('n');
        let swept = run(["lab", "up", "direct", "--name", &next]);
        let down = run(["lab", "down", &next]);
        assert!(
            swept.status.success() && down.status.success(),
            "{what}: {swept:?} {down:?}"
        );
        assert_gone(pid, &what, &done);
    }
    // The next demo works.
    let folder = tempfile::tempdir().expect("a folder");
    let next = netns_trace(["demo", "--dir"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    assert!(next.status.success(), "{next:?}");
}
