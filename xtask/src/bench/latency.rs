//! What measuring latencies costs: the sender's rate in a flood of 64-byte datagrams from one
//! container to another, with nothing attached (A) and with taps at both ends of both veths (B).

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use netns_trace::probe::RunTime;

use super::{
    page::Section,
    range,
    running::Running,
    spread,
    traffic::{Containers, SMALL},
};

/// What `cargo xtask bench latency` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Pairs of runs
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// eth0 and its host side, of both containers: what a packet passes.
const TAPS: f64 = 4.0;

/// Runs it.
pub(crate) fn run(program: &Path, options: &Options) -> Result<Section> {
    ensure!(options.pairs > 0 && options.seconds > 0, "nothing to run");
    let containers = Containers::new(Duration::from_secs(options.seconds))?;
    let targets = containers.targets().join(",");
    let mut section = Section::new(
        "Measuring times",
        "At eth0 and the host side of the veth of both containers. *ns a tap*: what the sender loses, by its rate.",
        &[
            "64-byte UDP flood",
            "alone",
            "with",
            "ratio",
            "ns a tap",
            "BPF ns",
        ],
    );
    let (mut alone, mut with, mut ratios, mut cost) = (vec![], vec![], vec![], vec![]);
    let start = || {
        let mut command = Command::new(program);
        command.args(["latency", &targets, "--taps", "inside,veth", "--json"]);
        Running::start(&mut command, "measuring between")
    };
    for _ in 0..options.pairs {
        let a = containers.send(SMALL)?;
        let running = start()?;
        let b = containers.send(SMALL)?;
        drop(running.stop()?);
        alone.push(a);
        with.push(b);
        ratios.push(b / a);
        cost.push((1e9 / b - 1e9 / a) / TAPS);
    }
    let running = start()?;
    let account = RunTime::account()?;
    containers.send(SMALL)?;
    let bpf_ns = account.of_each_packet()?.unwrap_or(f64::NAN);
    drop(running.stop()?);
    section.row(&[
        "latency at 4 taps".to_owned(),
        format!("{:.0} k/s", spread(&mut alone).0 / 1e3),
        format!("{:.0} k/s", spread(&mut with).0 / 1e3),
        range(&mut ratios, 3),
        range(&mut cost, 0),
        format!("{bpf_ns:.0}"),
    ]);
    containers.down()?;
    Ok(section)
}
