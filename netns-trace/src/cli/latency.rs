//! `netns-trace latency`.

use std::time::Duration;

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{
    capture::{TapChoice, roles, taps},
    logger,
    out::print,
    units,
};
use crate::{
    latency::{bars, table},
    probe::AttachMethod,
    session::{self, IDLE_GAP, LatencyConfig, Told},
    target::TargetSpec,
    topology::Role,
};

/// What `latency` takes.
#[derive(Debug, Args)]
pub(super) struct LatencyArgs {
    /// Namespaces: netns:NAME, pid:N, inode:N, /a/path or host; several with commas
    #[arg(value_name = "TARGET", required = true, value_delimiter = ',')]
    targets: Vec<TargetSpec>,

    /// Interface in the namespace [default: eth0, else the only one]
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    interface: Option<String>,

    /// End after this time (500ms, 5s, 2m) [default: when interrupted]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    duration: Option<Duration>,

    /// Watch it on the terminal: figures and a map of latencies over time; ? shows the keys
    #[arg(long)]
    live: bool,

    /// Print what has come since, each time this time has passed; with --live, draw it [default
    /// with --live: 1s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    interval: Option<Duration>,

    /// Taps to measure between: inside, veth, bridge, uplink, with commas
    #[arg(long, value_name = "TAPS", default_value = "all", value_delimiter = ',', value_parser = taps)]
    taps: Vec<TapChoice>,

    /// A packet counts as idle when nothing has passed its tap for so long [default: 10ms]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    idle_gap: Option<Duration>,

    /// Most segments (pairs of taps) that get a histogram [default: as many as take 64 MiB]
    #[arg(long, value_name = "N")]
    max_segments: Option<usize>,

    /// One line of JSON, also for each interval
    #[arg(long)]
    json: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,

    /// How programs are attached
    #[arg(
        long,
        value_name = "auto|tcx|clsact",
        default_value = "auto",
        hide = true
    )]
    attach: AttachMethod,
}

impl LatencyArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let (json, live) = (self.json, self.live);
        let tell = |told: Told<'_>| {
            match told {
                Told::Started { taps, missing } => {
                    for why in missing {
                        eprintln!("netns-trace: {why}");
                    }
                    eprintln!("measuring between {}", taps.join(", "));
                }
                Told::Interval(report) if json => print(&(report.json() + "\n"))?,
                Told::Interval(report) => print(&(table(report) + "\n"))?,
            }
            Ok(())
        };
        let config = self.configure();
        let report = if live {
            session::live(&config, tell)?
        } else {
            session::latency(&config, tell)?
        };
        let text = if json {
            report.json() + "\n"
        } else {
            format!("{}\n{}", table(&report), bars(&report))
        };
        Ok(print(&text)?)
    }

    fn configure(self) -> LatencyConfig {
        let mut taps = roles(&self.taps);
        taps.insert(Role::Inside);
        LatencyConfig {
            targets: self.targets,
            interface: self.interface,
            taps,
            duration: self.duration,
            interval: self.interval,
            idle_gap: self.idle_gap.unwrap_or(IDLE_GAP),
            max_segments: self.max_segments.unwrap_or_else(session::max_segments),
            attach: self.attach,
            verbose: self.verbose > 0,
        }
    }
}
