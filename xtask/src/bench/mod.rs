//! Benchmarks: each case side by side with doing without, A B A B, in a private lab. Figures are
//! ratios within one run; a machine that does something else meanwhile spoils them.

mod capture;
mod filter;
mod latency;
mod many;
mod page;
mod running;
mod scale;
mod start;
mod tool;
mod traffic;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    case: Case,
}

#[derive(Subcommand)]
enum Case {
    /// All of these, as they are by default
    All,
    /// What capturing costs the traffic, and what is lost, beside tcpdump and dumpcap
    Capture(capture::Options),
    /// What a filter costs packets that it leaves out, beside tcpdump's
    Filter(filter::Options),
    /// What measuring latencies costs the sender of a 64-byte UDP flood
    Latency(latency::Options),
    /// Time and memory that many namespaces take
    Many(many::Options),
    /// How costs grow with CPUs and targets
    Scale(scale::Options),
    /// Time until a capture listens, and to its end
    Start(start::Options),
}

/// Runs it, and puts what came of it into docs/benchmarks.md.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = build()?;
    match &options.case {
        Case::All => {
            capture::run(&program, &defaults()?)?.write()?;
            latency::run(&program, &defaults()?)?.write()?;
            write_all(&filter::run(&program, &defaults()?)?)?;
            write_all(&scale::run(&program, &defaults()?)?)?;
            start::run(&program, &defaults()?)?.write()?;
            many::run(&program, &defaults()?)?.write()
        }
        Case::Capture(options) => capture::run(&program, options)?.write(),
        Case::Filter(options) => write_all(&filter::run(&program, options)?),
        Case::Latency(options) => latency::run(&program, options)?.write(),
        Case::Many(options) => many::run(&program, options)?.write(),
        Case::Scale(options) => write_all(&scale::run(&program, options)?),
        Case::Start(options) => start::run(&program, options)?.write(),
    }
}

fn write_all(sections: &[page::Section]) -> Result<()> {
    sections.iter().try_for_each(page::Section::write)
}

/// Options as they are when none is given.
fn defaults<T: clap::Args>() -> Result<T> {
    #[derive(Parser)]
    struct Alone<T: clap::Args> {
        #[command(flatten)]
        options: T,
    }
    Ok(Alone::try_parse_from(["bench"])?.options)
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

/// The middle with so many digits behind the point, and the smallest and largest.
fn range(figures: &mut [f64], digits: usize) -> String {
    let (middle, low, high) = spread(figures);
    format!("{middle:.digits$} ({low:.digits$}-{high:.digits$})")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(super::spread(&mut [3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert!(super::spread(&mut []).0.is_nan());
        assert_eq!(super::range(&mut [3.0, 1.0, 2.26], 1), "2.3 (1.0-3.0)");
    }

    #[test]
    fn there_are_defaults() {
        let defaults = super::defaults::<super::start::Options>();
        assert!(defaults.is_ok());
    }
}
