//! Benchmarks: each case side by side with doing without, A B A B, in a private lab. Figures are
//! ratios within one run; a machine that does something else meanwhile spoils them.

mod capture;
mod filter;
mod flooded;
mod latency;
mod many;
mod page;
mod running;
mod tool;
mod traffic;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    case: Case,
}

#[derive(Subcommand)]
enum Case {
    /// What capturing costs the traffic, and what is lost, beside tcpdump and dumpcap
    Capture(capture::Options),
    /// What a filter costs packets that it leaves out, beside tcpdump's
    Filter(filter::Options),
    /// What measuring latencies costs the sender of a 64-byte UDP flood
    Latency(latency::Options),
    /// Time and memory that many namespaces take
    Many(many::Options),
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.case {
        Case::Capture(options) => capture::run(options)?.write(),
        Case::Filter(options) => filter::run(options),
        Case::Latency(options) => latency::run(options),
        Case::Many(options) => many::run(options),
    }
}

/// Builds netns-trace as users do; its path.
fn build() -> Result<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "netns-trace"])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "netns-trace does not build");
    Ok(crate::root().join("target/release/netns-trace"))
}

/// The middle of some figures, and their smallest and largest.
fn spread(figures: &mut [f64]) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (figures.first(), figures.last()) else {
        return (f64::NAN, f64::NAN, f64::NAN);
    };
    (figures[figures.len() / 2], *first, *last)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(super::spread(&mut [3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert!(super::spread(&mut []).0.is_nan());
    }
}
