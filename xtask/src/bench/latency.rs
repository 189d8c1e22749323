//! What measuring latencies costs: the sender's rate in a flood of 64-byte datagrams from one
//! container to another, with nothing attached (A) and with taps at both ends of both veths (B).

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};

use super::{flooded::Flooded, running::Running, spread};

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
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.pairs > 0 && options.seconds > 0, "nothing to run");
    let program = super::build()?;
    let flooded = Flooded::new(Duration::from_secs(options.seconds))?;
    let targets = flooded.targets().join(",");
    let cases: [(&str, &[&str]); 1] = [(
        "latency at 4 taps",
        &["latency", &targets, "--taps", "inside,veth", "--json"],
    )];
    println!(
        "{:<20} {:>12} {:>12} {:>8} {:>17} {:>10}",
        "64-byte UDP flood", "alone", "with", "ratio", "(lowest, highest)", "ns a tap"
    );
    for (name, args) in cases {
        let (mut alone, mut with, mut ratios, mut cost) = (vec![], vec![], vec![], vec![]);
        for _ in 0..options.pairs {
            let a = flooded.rate()?;
            let mut command = Command::new(&program);
            let running = Running::start(command.args(args), "measuring between")?;
            let b = flooded.rate()?;
            let _ended = running.stop()?;
            alone.push(a);
            with.push(b);
            ratios.push(b / a);
            cost.push((1e9 / b - 1e9 / a) / TAPS);
        }
        let (ratio, low, high) = spread(&mut ratios);
        println!(
            "{name:<20} {:>10.0}/s {:>10.0}/s {ratio:>8.3} {:>17} {:>10.0}",
            spread(&mut alone).0,
            spread(&mut with).0,
            format!("({low:.3}, {high:.3})"),
            spread(&mut cost).0
        );
    }
    flooded.down()
}
