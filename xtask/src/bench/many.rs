//! Many namespaces at once: how long netns-trace takes with them, and how much memory. They hang by
//! veth pairs on one bridge in a namespace of their own, or on several where one is too small, each
//! with a process in it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use netns_trace::lab::{self, Lab, LabSpec, Topology};

use super::spread;

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

/// Commands that end by themselves.
const CASES: [(&str, &[&str]); 2] = [("list", &["list"]), ("list --json", &["list", "--json"])];

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.count > 0 && options.runs > 0, "nothing to run");
    let program = super::build()?;
    for count in [options.count, options.more] {
        if count == 0 {
            continue;
        }
        let started = Instant::now();
        let many = Many::up(count)?;
        println!(
            "{count} namespaces on {} (made in {:.1} s)",
            match many.labs.len() {
                1 => "one bridge".to_owned(),
                bridges => format!("{bridges} bridges"),
            },
            started.elapsed().as_secs_f64()
        );
        println!(
            "  {:<14} {:>9} {:>19} {:>12}",
            "", "time", "(lowest, highest)", "peak memory"
        );
        for (name, args) in CASES {
            let (mut times, mut peaks) = (vec![], vec![]);
            for _ in 0..options.runs {
                let (time, peak) = measure(&program, args)?;
                times.push(time);
                peaks.push(peak);
            }
            let (time, low, high) = spread(&mut times);
            println!(
                "  {name:<14} {time:>6.0} ms {:>19} {:>8.1} MiB",
                format!("({low:.0}, {high:.0})"),
                spread(&mut peaks).0
            );
        }
        many.down()?;
    }
    Ok(())
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
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pid is that of a child not waited for yet, and both pointers outlive the call.
    let ended = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut used) };
    let time = started.elapsed();
    ensure!(
        ended == child.id() as i32 && status == 0,
        "netns-trace {} failed ({status})",
        args.join(" ")
    );
    // Kibibytes; getrusage(2).
    Ok((time.as_secs_f64() * 1e3, used.ru_maxrss as f64 / 1024.0))
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
