//! Many namespaces at once: how long netns-trace takes with them, and how much memory. They hang by
//! veth pairs on one bridge in a namespace of their own, or on several where one is too small, each
//! with a process in it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use netns_trace::lab::{self, Lab, LabSpec, Topology};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{page::Section, range, spread};

/// What `cargo xtask bench many` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Namespaces on one bridge
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Namespaces for a second round, on as many bridges as it takes; 0 for none
    #[arg(long, default_value_t = 1000)]
    more: usize,
    /// Runs of each command
    #[arg(long, default_value_t = 9)]
    runs: usize,
}

/// Containers in one lab at most.
const LAB: usize = 250;
/// Most namespaces that are captured at once.
const CAPTURED_AT_MOST: usize = 250;

/// Commands that end by themselves.
const CASES: [(&str, &[&str]); 2] = [("list", &["list"]), ("list --json", &["list", "--json"])];

/// Runs it.
pub(crate) fn run(program: &Path, options: &Options) -> Result<Section> {
    ensure!(options.count > 0 && options.runs > 0, "nothing to run");
    let mut section = Section::new(
        "Many namespaces",
        "Each with a process in it.",
        &["namespaces", "what", "time", "peak memory"],
    );
    for count in [options.count, options.more] {
        if count == 0 {
            continue;
        }
        let many = Many::up(count)?;
        for (name, args) in CASES {
            let mut runs = Runs::default();
            for _ in 0..options.runs {
                let (time, peak) = measure(program, args)?;
                runs.times.push(time);
                runs.peaks.push(peak);
            }
            section.row(&runs.row(count, name));
        }
        // Taps are limited in number, and each costs two grace periods of RCU.
        if count <= CAPTURED_AT_MOST {
            let (mut starts, mut ends) = (Runs::default(), Runs::default());
            for _ in 0..options.runs.div_ceil(3) {
                let (start, end, peak) = measure_capture(program, &many.targets())?;
                starts.times.push(start);
                ends.times.push(end);
                ends.peaks.push(peak);
            }
            section.row(&starts.row(count, "capture of all at eth0: until it listens"));
            section.row(&ends.row(count, "the same: to end"));
        }
        let mut told = Runs::default();
        let (delays, peak) = measure_watch(program, options.runs)?;
        told.times = delays;
        told.peaks.push(peak);
        section.row(&told.row(count, "watch: to tell of a new one"));
        many.down()?;
    }
    Ok(section)
}

/// The figures of one case.
#[derive(Default)]
struct Runs {
    /// Milliseconds.
    times: Vec<f64>,
    /// Mebibytes, where they are known.
    peaks: Vec<f64>,
}

impl Runs {
    fn row(mut self, count: usize, name: &str) -> [String; 4] {
        let peak = spread(&mut self.peaks).0;
        let memory = match peak.is_nan() {
            true => String::new(),
            false => format!("{peak:.0} MiB"),
        };
        [
            count.to_string(),
            name.to_owned(),
            format!("{} ms", range(&mut self.times, 0)),
            memory,
        ]
    }
}

/// Milliseconds until a capture of all of them listens, and from an interrupt to its end; and mebibytes.
///
/// They are named one by one: `all` would tap what else the machine has.
fn measure_capture(program: &Path, targets: &str) -> Result<(f64, f64, f64)> {
    let args = ["capture", targets, "--no-latency", "-w", "/dev/null"];
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run netns-trace")?;
    let stderr = child.stderr.take().context("it has a stderr")?;
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let listens = lines.any(|line| line.starts_with("listening on "));
    let start = started.elapsed();
    let told = Instant::now();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    // To its end, so that it is not held up.
    lines.for_each(drop);
    let peak = wait(&child, &args)?;
    let end = told.elapsed();
    ensure!(listens, "netns-trace capture did not listen");
    Ok((start.as_secs_f64() * 1e3, end.as_secs_f64() * 1e3, peak))
}

/// Milliseconds from the beginning of each `ip netns add` to when a watch tells of it; and mebibytes.
fn measure_watch(program: &Path, times: usize) -> Result<(Vec<f64>, f64)> {
    let args = ["watch", "--json"];
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run netns-trace")?;
    let stderr = child.stderr.take().context("it has a stderr")?;
    let mut said = BufReader::new(stderr).lines().map_while(Result::ok);
    ensure!(
        said.any(|line| line.starts_with("watching")),
        "netns-trace watch did not begin"
    );
    let stdout = child.stdout.take().context("it has a stdout")?;
    let mut events = BufReader::new(stdout).lines().map_while(Result::ok);
    let mut delays = Vec::new();
    for at in 0..times {
        let name = format!("bench{}-{at}", std::process::id());
        let ip = |what: &str| {
            let done = Command::new("ip").args(["netns", what, &name]).status();
            done.context("cannot run ip")
        };
        let started = Instant::now();
        ensure!(ip("add")?.success(), "cannot make the namespace {name}");
        let told = format!("\"netns:{name}\"");
        let is_told = events.any(|event| event.contains(&told));
        delays.push(started.elapsed().as_secs_f64() * 1e3);
        ip("delete")?;
        ensure!(is_told, "netns-trace watch has ended");
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    events.for_each(drop);
    Ok((delays, wait(&child, &args)?))
}

/// Milliseconds and mebibytes of a command.
fn measure(program: &Path, args: &[&str]) -> Result<(f64, f64)> {
    let started = Instant::now();
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run netns-trace")?;
    let peak = wait(&child, args)?;
    Ok((started.elapsed().as_secs_f64() * 1e3, peak))
}

/// Waits for a command's end, which must be a good one; its peak in mebibytes.
fn wait(child: &Child, args: &[&str]) -> Result<f64> {
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pid is that of a child not waited for yet, and both pointers outlive the call.
    let ended = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut used) };
    ensure!(
        ended == child.id() as i32 && status == 0,
        "netns-trace {} failed ({status})",
        args.join(" ")
    );
    // Kibibytes; getrusage(2).
    Ok(used.ru_maxrss as f64 / 1024.0)
}

/// Labs, and a process in each of their containers. What is made goes with its value.
struct Many {
    labs: Vec<Lab>,
    dwellers: Vec<Child>,
}

impl Many {
    fn up(count: usize) -> Result<Self> {
        let mut many = Self {
            labs: Vec::new(),
            dwellers: Vec::new(),
        };
        let mut left = count;
        while left > 0 {
            // A lab on a bridge has two containers at least.
            let here = left.clamp(2, LAB);
            left = left.saturating_sub(here);
            let name = format!("many{}-{}", std::process::id(), many.labs.len());
            let mut spec = LabSpec::new(Topology::Bridge, name);
            spec.count = Some(here);
            let lab = lab::up_private(&spec)?;
            for node in lab.containers() {
                let spawn = || Command::new("sleep").arg("infinity").spawn();
                let child = node.open()?.run(spawn)?.context("cannot run sleep")?;
                many.dwellers.push(child);
            }
            many.labs.push(lab);
        }
        Ok(many)
    }

    /// As the command line names them.
    fn targets(&self) -> String {
        let pids = self
            .dwellers
            .iter()
            .map(|child| format!("pid:{}", child.id()));
        pids.collect::<Vec<_>>().join(",")
    }

    fn down(mut self) -> Result<()> {
        self.evict();
        for lab in self.labs.drain(..) {
            lab.down()?;
        }
        Ok(())
    }

    fn evict(&mut self) {
        for child in &mut self.dwellers {
            if child.kill().is_ok() {
                drop(child.wait());
            }
        }
        self.dwellers.clear();
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        self.evict();
    }
}
