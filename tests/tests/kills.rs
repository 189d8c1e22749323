//! SIGKILL at any moment, from the first to the last: what others have stays as it is, and of ours
//! nothing stays that the next start does not take.
//!
//! Each test has a /run, a folder for temporary files and mounts of its own, and compares them, and
//! what is attached to interfaces, with how they were.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::Bed,
    classifier::{Classifier, NEXT, Place},
    held::Held,
    kernel,
    long::times,
    patience::patience,
    private_run,
    programs::Chance,
    require_root, tcx,
    tool::{Running, netns_trace},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// In the environment of all that a test starts, to find what outlives its parent.
const MARK: &str = "NETNS_TRACE_TEST_OF";
const INTERFACES: [(&str, &str); 3] = [("a", "eth0"), ("r", "va"), ("r", "br0")];

/// What the machine is like as far as we touch it.
#[derive(Debug, PartialEq, Eq)]
struct State {
    attached: Vec<String>,
    files: BTreeSet<PathBuf>,
    /// Those of names, where we make some.
    mounts: Vec<String>,
}

/// A bed on which others have programs and filters, with traffic.
struct Site {
    bed: Bed,
    temporary: PathBuf,
    _theirs: Vec<Classifier>,
    _ping: Pinging,
}

/// A ping, which goes with this value.
struct Pinging(Child);

impl Drop for Pinging {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

impl Site {
    fn new() -> Self {
        private_run::enter_alone();
        let bed = Bed::quiet();
        let temporary = bed.file("tmp");
        fs::create_dir(&temporary).expect("a folder");
        let theirs = if kernel::has_tcx() {
            INTERFACES[..2]
                .iter()
                .flat_map(|(ns, interface)| {
                    let both = bed.open(ns).run(|| {
                        tcx::HOOKS
                            .map(|hook| Classifier::attach(interface, hook, Place::Tail, NEXT))
                    });
                    both.expect("entered").map(|one| one.expect("attached"))
                })
                .collect()
        } else {
            Vec::new()
        };
        bed.in_ns("r", "tc", &["qdisc", "add", "dev", "va", "clsact"]);
        for (hook, priority) in [("ingress", "7"), ("ingress", "60000"), ("egress", "7")] {
            let filter = ["filter", "add", "dev", "va", hook, "prio", priority];
            let program = ["bpf", "bytecode", "1,6 0 0 0,"];
            bed.in_ns("r", "tc", &[&filter[..], &program].concat());
        }
        let ping = bed
            .command("a", "ping")
            .args(["-q", "-i", "0.002", "10.9.0.3"])
            .stdout(Stdio::null())
            .spawn()
            .expect("ping starts");
        Self {
            bed,
            temporary,
            _theirs: theirs,
            _ping: Pinging(ping),
        }
    }

    fn attached(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (ns, interface) in INTERFACES {
            for (hook, ids) in ["ingress", "egress"]
                .iter()
                .zip(self.bed.tcx(ns, interface))
            {
                all.extend(ids.iter().map(|id| format!("{interface} {hook} tcx {id}")));
                let filters = ["filter", "show", "dev", interface, hook];
                let filters = self.bed.in_ns(ns, "tc", &filters);
                all.extend(
                    filters
                        .lines()
                        .map(|line| format!("{interface} {hook} {line}")),
                );
            }
            let qdiscs = self
                .bed
                .in_ns(ns, "tc", &["qdisc", "show", "dev", interface]);
            all.extend(qdiscs.lines().map(|line| format!("{interface} {line}")));
        }
        all
    }

    fn state(&self) -> State {
        let mut files = BTreeSet::new();
        for folder in ["/run", self.temporary.to_str().expect("a path")] {
            list(Path::new(folder), &mut files);
        }
        State {
            attached: self.attached(),
            files,
            mounts: fs::read_to_string("/proc/thread-self/mountinfo")
                .expect("mounts")
                .lines()
                .filter(|line| line.contains(" /run") || line.contains("cgroup2"))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// A command whose processes can be found.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = netns_trace(args);
        command
            .env(MARK, self.bed.name("x"))
            .env("TMPDIR", &self.temporary)
            .stdout(Stdio::null());
        command
    }

    /// The processes that came of commands of this site.
    fn processes(&self) -> Vec<i32> {
        let wanted = format!("{MARK}={}", self.bed.name("x"));
        let has_mark = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
        };
        fs::read_dir("/proc")
            .expect("processes")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(has_mark)
            .collect()
    }

    /// Starts a command, kills it after a while, and waits for what it had started; what it held.
    /// One that is stopped first can be told what it holds at its end. With its helper process killed before it, there
    /// is nobody who could clean up.
    fn kill(&self, args: &[&str], after: Duration, how: How) -> Held {
        let mut child = self
            .command(args)
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let pid = Pid::from_raw(child.id() as i32);
        thread::sleep(after);
        let mut held = Held::default();
        if how != How::AtOnce {
            // It may be over: then it is a zombie, which takes signals too.
            kill(pid, Signal::SIGSTOP).expect("it is ours");
            wait_for_stop(pid);
            self.processes()
                .into_iter()
                .for_each(|pid| held.add(Held::by(pid)));
        }
        if how == How::WithHelper {
            let all = self.processes().into_iter().map(Pid::from_raw);
            for helper in all.filter(|other| *other != pid) {
                // It may have ended meanwhile.
                kill(helper, Signal::SIGKILL).ok();
            }
        }
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        until(
            "all its processes are gone",
            || self.processes(),
            Vec::is_empty,
        );
        held
    }
}

/// How a command is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    AtOnce,
    Stopped,
    WithHelper,
}

impl How {
    const ALL: [Self; 3] = [Self::AtOnce, Self::Stopped, Self::WithHelper];
}

fn list(folder: &Path, all: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), all);
        }
        all.insert(entry.path());
    }
}

fn wait_for_stop(pid: Pid) {
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    until("it has stopped", state, |stat| {
        let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
        matches!(rest.trim_start().chars().next(), None | Some('T' | 'Z'))
    });
}

/// Waits until something is so.
fn until<T: std::fmt::Debug>(what: &str, ask: impl Fn() -> T, is_so: impl Fn(&T) -> bool) {
    let start = Instant::now();
    loop {
        let now = ask();
        if is_so(&now) {
            return;
        }
        assert!(start.elapsed() < patience(), "{what}: {now:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether all of these are among those, in their order.
fn are_in_order(these: &[String], those: &[String]) -> bool {
    let mut those = those.iter();
    these.iter().all(|one| those.any(|other| other == one))
}

/// Kills a command once it has begun, and at moments spread over the time that this took and half
/// as long again; what it held. `up` tells when it has begun; without it, it is run to its end.
fn at_any_moment(
    site: &Site,
    count: usize,
    args: &[&str],
    up: Option<&str>,
    check: impl Fn(&State, &Held, How),
) -> Held {
    let before = site.state();
    let start = Instant::now();
    let mut running = Running::start(site.command(args));
    let mut all = Held::default();
    let took = if let Some(up) = up {
        running.wait_for(up);
        let took = start.elapsed();
        all.add(Held::by(running.pid()));
        running.signal(Signal::SIGKILL);
        drop(running.wait());
        took
    } else {
        let done = running.wait();
        assert!(done.status.success(), "{done:?}");
        start.elapsed()
    };
    let mut chance = Chance::new(std::process::id().into());
    for number in 0..count {
        let part = (number as f64 + f64::from(chance.below(1000)) / 1000.0) / count as f64;
        let after = took.mul_f64(part * 1.5);
        let how = How::ALL[number % How::ALL.len()];
        let held = site.kill(args, after, how);
        let now = site.attached();
        assert!(
            are_in_order(&before.attached, &now),
            "{after:?}: {args:?}: others' were\n{:#?}\nand are\n{now:#?}",
            before.attached
        );
        check(&before, &held, how);
        all.add(held);
    }
    all
}

/// The next start of something takes what is left.
fn sweep(site: &Site, args: &[&str], before: &State) {
    let done = netns_trace_tests::tool::done(site.command(args));
    assert!(done.status.success(), "{done:?}");
    until("all is as it was", || site.state(), |now| now == before);
}

/// Kills what attaches programs. With TCX, nothing is left even before the next start; nor with clsact, unless the helper
/// process was killed, too.
fn kill_what_attaches(count: usize, make: impl Fn(&Site, &str) -> Vec<String>, up: &str) {
    let site = Site::new();
    let (a, b) = (site.bed.target("a"), site.bed.target("b"));
    for method in kernel::methods() {
        let args = make(&site, method);
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.extend([a.as_str(), "--attach", method]);
        let before = site.state();
        let held = at_any_moment(&site, count, &args, Some(up), |before, held, how| {
            if *method == "tcx" || how != How::WithHelper {
                until(
                    "nothing is left",
                    || site.attached(),
                    |now| *now == before.attached,
                );
                until("nothing is held", || held.left(), Vec::is_empty);
            }
        });
        assert!(
            held.len() >= 5,
            "programs, maps and links were there: {held:?}"
        );
        let next = [
            "capture",
            &b,
            "--duration",
            "30ms",
            "-w",
            "/dev/null",
            "--no-latency",
        ];
        sweep(&site, &next, &before);
        until("nothing is held", || held.left(), Vec::is_empty);
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn of_a_capture_nothing_stays() {
    require_root!();
    let all = |_: &Site, _: &str| words("capture --taps all -w /dev/null");
    kill_what_attaches(times(20, 100), all, "listening on");
}

#[test]
fn of_a_capture_that_tells_processes_nothing_stays() {
    require_root!();
    let with_processes = |_: &Site, _: &str| words("capture --process --follow -w /dev/null");
    kill_what_attaches(times(10, 100), with_processes, "listening on");
}

#[test]
fn of_a_measurement_nothing_stays() {
    require_root!();
    let latency = |site: &Site, _: &str| {
        let folder = site.bed.file("hgrm");
        let folder = folder.to_str().expect("a path");
        words(&format!("latency --taps all --hgrm {folder}"))
    };
    kill_what_attaches(times(20, 100), latency, "measuring between");
}

#[test]
fn of_a_demo_the_next_takes_all() {
    require_root!();
    let site = Site::new();
    let dir = site.bed.file("kept");
    let args = ["demo", "--dir", dir.to_str().expect("a path")];
    let before = site.state();
    at_any_moment(&site, times(10, 100), &["demo"], None, |_, _, _| {});
    // The first demo was not killed: its result is here.
    let result = |state: &State| -> Vec<PathBuf> {
        let is_new = |path: &&PathBuf| !before.files.contains(*path);
        state.files.iter().filter(is_new).cloned().collect()
    };
    let done = netns_trace_tests::tool::done(site.command(&args));
    assert!(done.status.success(), "{done:?}");
    let after = site.state();
    let files = result(&after);
    let is_result = |path: &PathBuf| {
        path.ends_with("demo.pcapng") || site.temporary == path.parent().expect("a folder")
    };
    assert!(
        !files.is_empty() && files.iter().all(is_result),
        "results alone: {files:#?}"
    );
    for file in files.iter().filter(|path| path.is_file()) {
        // Killed once it was over, or not killed at all.
        let folder = file.parent().expect("a folder");
        assert!(!folder.join("unfinished").exists(), "{folder:?}");
    }
    assert_eq!(
        (after.attached, after.mounts),
        (before.attached, before.mounts)
    );
}

#[test]
fn of_a_lab_the_next_takes_all() {
    require_root!();
    let site = Site::new();
    let before = site.state();
    let up = ["lab", "up", "nat", "--name", "shot"];
    let down = ["lab", "down", "shot"];
    let sweep_it = || {
        // One that was complete when its maker was killed is a lab as any other.
        let done = netns_trace_tests::tool::done(site.command(&down));
        let unknown = done.stderr.contains("no lab");
        assert!(done.status.success() || unknown, "{done:?}");
    };
    let mut chance = Chance::new(std::process::id().into());
    let timed = |args: &[&str]| {
        let start = Instant::now();
        let done = netns_trace_tests::tool::done(site.command(args));
        assert!(done.status.success(), "{done:?}");
        start.elapsed().as_micros() as u32
    };
    let (to_build, to_remove) = (timed(&up), timed(&down));
    for number in 0..times(20, 100) {
        // While it is built, or while it is removed.
        let (args, took) = if number % 2 == 0 {
            (&up[..], to_build)
        } else {
            timed(&up);
            (&down[..], to_remove)
        };
        let after = Duration::from_micros((chance.below(took + took / 4)).into());
        site.kill(args, after, How::AtOnce);
        sweep_it();
        sweep(&site, &["lab", "list"], &before);
    }
}

#[test]
fn of_a_watch_nothing_stays() {
    require_root!();
    let site = Site::new();
    let args = ["watch", "--exec", "true"];
    at_any_moment(
        &site,
        times(20, 100),
        &args,
        Some("watching"),
        |before, held, _| {
            assert_eq!(site.state(), *before);
            until("nothing is held", || held.left(), Vec::is_empty);
        },
    );
}
