//! `watch`: namespaces and containers as they come and go, told by what `ip netns`, `unshare`, `mount` and
//! Docker do.

use std::{
    collections::HashSet,
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::must,
    dweller::Dweller,
    namespaces::TestNs,
    patience::patience,
    require_root,
    runtimes::{Docker, Engine as _},
    tool::{self, Running, netns_trace},
    watching::{Watching, has_name},
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::Signal,
};

fn watch() -> Watching {
    Watching::start(netns_trace(["watch", "--json"]))
}

#[test]
fn a_name_comes_and_goes() {
    require_root!();
    let mut watching = watch();
    let ns = TestNs::new();
    let inode = ns.open().inode();
    let name = format!("netns:{}", ns.name);
    let came = watching.named(&name);
    assert_eq!(
        (&came["inode"], &came["host"]),
        (&inode.into(), &false.into())
    );
    assert_eq!(came["path"], ns.path().to_str().expect("text"));
    // The kernel's own number for it, where it has one.
    let cookie = ns.open().identity().cookie;
    assert_eq!(came["cookie"].as_u64(), cookie);
    drop(ns);
    let went = watching.event("namespace-removed", |event| has_name(event, &name));
    assert_eq!(went["inode"], inode);
    assert_eq!(went["cookie"], came["cookie"]);
    let lived = went["lived_ns"].as_u64().expect("a time");
    let times = [&came, &went].map(|event| event["monotonic_ns"].as_u64().expect("a time"));
    assert!(times[0] + lived <= times[1], "{came} {went}");
    let (_, done) = watching.stop();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_process_without_a_name_comes_and_goes() {
    require_root!();
    let mut watching = watch();
    let dweller = Dweller::alone();
    let (pid, inode) = (dweller.pid(), dweller.inode());
    let came = watching.event("namespace-added", |event| event["inode"] == inode);
    assert_eq!(came["process"]["pid"], pid);
    assert_eq!(came["names"], serde_json::json!([]));
    // Given a name, and no process any more: it lives on.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("text");
    must("mount", &["--bind", &format!("/proc/{pid}/ns/net"), path]);
    let named = watching.event("name-added", |event| event["inode"] == inode);
    assert_eq!(named["name"], path);
    drop(dweller);
    must("umount", &[path]);
    let went = watching.event("namespace-removed", |event| event["inode"] == inode);
    assert!(has_name(&went, path), "{went}");
    let (seen, _) = watching.stop();
    // The kernel hands the inode out again at once, perhaps to another test.
    let of_it = seen
        .iter()
        .filter(|event| event["cookie"] == came["cookie"]);
    let words: Vec<&str> = of_it.filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(
        words,
        ["namespace-added", "name-added", "namespace-removed"]
    );
}

#[test]
fn a_second_name_is_told_as_one() {
    require_root!();
    let first = TestNs::new();
    let mut watching = watch();
    let inode = first.open().inode();
    let second = format!("{}b", first.name);
    must(
        "ip",
        &["netns", "attach", &second, &std::process::id().to_string()],
    );
    // The test's own namespace has got a name, and loses it.
    let name = format!("netns:{second}");
    let came = watching.event("name-added", |event| event["name"] == name.as_str());
    must("ip", &["netns", "del", &second]);
    assert_ne!(came["inode"], inode);
    let went = watching.event("name-removed", |event| event["name"] == name.as_str());
    assert_eq!(went["inode"], came["inode"]);
    assert_eq!(went["host"], came["host"]);
}

#[test]
fn what_is_there_already_is_told_where_that_is_wanted() {
    require_root!();
    let ns = TestNs::new();
    let name = format!("netns:{}", ns.name);
    let mut watching = Watching::start(netns_trace(["watch", "--json", "--existing"]));
    let there = watching.event("namespace-added", |event| has_name(event, &name));
    assert_eq!(there["existing"], true);
    let host = watching.stop().0;
    assert!(host.iter().any(|event| event["host"] == true), "{host:?}");
}

#[test]
fn a_command_is_run_for_each_event() {
    require_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    // What others do meanwhile has files of its own.
    let command = format!(
        "printf %s \"$NETNS_TRACE_JSON\" >'{at}'/${{NETNS_TRACE_NAME#*:}}.$NETNS_TRACE_EVENT; exit 3"
    );
    let mut watching = Watching::start(netns_trace(["watch", "--json", "--exec", &command]));
    let ns = TestNs::new();
    let target = format!("netns:{}", ns.name);
    let came = watching.named(&target);
    let name = ns.name.clone();
    drop(ns);
    let went = watching.event("namespace-removed", |event| has_name(event, &target));
    for event in [came, went] {
        let word = event["event"].as_str().expect("a word");
        let file = folder.path().join(format!("{name}.{word}"));
        let end = Instant::now() + patience();
        let told = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(told) => break told,
                Err(why) => assert!(Instant::now() < end, "{}: {why}", file.display()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(told, event);
    }
    let (_, done) = watching.stop();
    assert!(done.status.success(), "{done:?}");
    assert!(
        done.stderr
            .contains("the command of --exec: exit status: 3"),
        "{done:?}"
    );
}

#[test]
fn text_is_a_line_for_each_event() {
    require_root!();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut command = netns_trace(["watch"]);
    command.stdout(file.reopen().expect("the file"));
    let mut running = Running::start(command);
    running.wait_for("watching; there are ");
    let ns = TestNs::new();
    let (name, inode) = (ns.name.clone(), ns.open().inode());
    let wait_for = |lines: &[String]| {
        let end = Instant::now() + patience();
        loop {
            let told = fs::read_to_string(file.path()).expect("text");
            if lines.iter().any(|line| told.contains(line)) {
                return;
            }
            assert!(Instant::now() < end, "{lines:?} in {told}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(&[
        // The process that made it may be told, too.
        format!(" + namespace {inode}  netns:{name}"),
        format!(" + name      {inode}  netns:{name}\n"),
    ]);
    drop(ns);
    wait_for(&[format!(" - namespace {inode}  netns:{name}  lived ")]);
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_reader_that_leaves_ends_it_and_one_that_is_slow_does_not_hold_it_up() {
    require_root!();
    let start = |stdout: Stdio| {
        let mut command = netns_trace(["watch", "--json", "--existing"]);
        command.stdout(stdout);
        let mut running = Running::start(command);
        running.wait_for("watching; there are ");
        running
    };
    let mut left = start(Stdio::piped());
    drop(left.child().stdout.take());
    // Nothing needs to happen for that.
    let done = left.wait();
    assert!(done.status.success(), "{done:?}");
    assert!(!done.stderr.contains("rror"), "{done:?}");

    let (reader, pipe) = std::io::pipe().expect("a pipe");
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let slow = start(pipe.into());
    for _ in 0..20 {
        drop(TestNs::new());
    }
    slow.signal(Signal::SIGINT);
    let done = slow.wait();
    assert!(done.status.success(), "{done:?}");
    drop(reader);
}

#[test]
fn a_thousand_short_lives_leave_nothing() {
    require_root!();
    let mut watching = watch();
    let pid = watching.running().pid();
    let sizes = || {
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{pid}/{what}"));
            entries.expect("it runs").count()
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.split_whitespace().next());
        let rss: usize = rss.and_then(|rss| rss.parse().ok()).expect("kibibytes");
        (count("fd"), count("task"), rss)
    };
    // A look at everything has a file open now and then: what stays is the least of some counts.
    let sizes = || {
        let mut least = sizes();
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(5));
            let (files, threads, kib) = sizes();
            least = (least.0.min(files), least.1.min(threads), least.2.min(kib));
        }
        least
    };
    let churn = |times: usize| {
        let script = format!("for n in $(seq {times}); do unshare --net true; done");
        must("sh", &["-ec", &script]);
        // The last one has been told of when a later one has.
        drop(TestNs::new());
    };
    churn(100);
    let marker = TestNs::new();
    let inode = marker.open().inode();
    watching.event("namespace-added", |event| event["inode"] == inode);
    let before = sizes();
    churn(1000);
    drop(marker);
    watching.event("namespace-removed", |event| event["inode"] == inode);
    let after = sizes();
    assert_eq!(after.0, before.0, "descriptors");
    assert_eq!(after.1, before.1, "threads");
    assert!(after.2 < before.2 + 2048, "KiB: {before:?} {after:?}");
    let (seen, done) = watching.stop();
    assert!(done.status.success(), "{done:?}");
    // Whatever was told to come was told to go, and never twice without the other.
    let mut there = HashSet::new();
    let mut short = 0;
    for event in &seen {
        match event["event"].as_str().expect("a word") {
            "namespace-added" => assert!(there.insert(event["inode"].as_u64()), "{event}"),
            "namespace-removed" => {
                short += 1;
                let was_told = there.remove(&event["inode"].as_u64());
                assert!(was_told || event["lived_ns"].is_null(), "{event}");
            }
            _ => {}
        }
    }
    assert!(short > 0, "{seen:?}");
}

#[test]
fn dockers_containers_are_told_by_name() {
    require_root!();
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("base", &[], &[]);
    let base = machine.inode(docker.pid("base"));
    // On the real machine, where the kernel tells of processes.
    let mut watching = Watching::start(machine.from_outside(&["watch", "--json"]));
    let id = docker.run("web", &[], &[]);
    let inode = machine.inode(docker.pid("web"));
    let started =
        |id: String| move |event: &serde_json::Value| event["container"]["id"] == id.as_str();
    let came = watching.event("container-started", started(id.clone()));
    assert_eq!(came["container"]["runtime"], "docker");
    assert_eq!(came["inode"], inode);
    assert_eq!(came["process"]["command"], "sleep");
    // A runtime that takes longer than the watch waits is heard all the same.
    let named = match came["container"]["name"].is_null() {
        true => watching.event("container-named", started(id.clone())),
        false => came,
    };
    assert_eq!(named["container"]["name"], "web", "{named}");
    let side = docker.run("side", &["--network", "container:base"], &[]);
    let came = watching.event("container-started", started(side));
    assert_eq!(came["inode"], base);
    let open = docker.run("open", &["--network", "host"], &[]);
    let came = watching.event("container-started", started(open));
    assert_eq!(came["inode"], machine.host_inode());
    docker.remove("web");
    let went = watching.event("container-stopped", started(id));
    assert_eq!(went["container"]["name"], "web");
    watching.event("namespace-removed", |event| event["inode"] == inode);
}

#[test]
fn without_the_kernels_word_it_looks_often() {
    require_root!();
    // The kernel tells of processes in its first pid namespace alone.
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--mount-proc", "--propagation", "slave"])
        .args(["--fork", "--kill-child"])
        .arg(tool::binary())
        .args(["watch", "--json"]);
    let mut watching = Watching::start(command);
    let ns = TestNs::new();
    let name = format!("netns:{}", ns.name);
    let came = watching.named(&name);
    drop(ns);
    let went = watching.event("namespace-removed", |event| has_name(event, &name));
    assert_eq!(went["inode"], came["inode"]);
    let said = watching.said();
    let limit = "the kernel does not tell of processes";
    assert!(said.iter().any(|line| line.contains(limit)), "{said:?}");
}
