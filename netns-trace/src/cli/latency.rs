//! `netns-trace latency`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::{ArgAction, Args};

use super::{
    capture::{TapChoice, roles, taps},
    filter::{FilterArgs, Targets},
    logger,
    out::print,
    units,
};
use crate::{
    latency::{bars, hgrm, html, svg, table},
    place::{Folder, Place, PlaceError, differ},
    privilege::User,
    probe::AttachMethod,
    session::{self, IDLE_GAP, LatencyConfig, Told},
    topology::Role,
};

/// What `latency` takes.
#[derive(Debug, Args)]
pub(super) struct LatencyArgs {
    /// A container's name or id, NAMESPACE/POD, docker:NAME, podman:NAME, ctr:ID, pod:NAMESPACE/NAME,
    /// netns:NAME, pid:N, inode:N, /a/path, host or all; several with commas
    #[arg(value_name = "TARGET")]
    targets: Targets,
    #[command(flatten)]
    filter: FilterArgs,

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

    /// Write one self-contained page with diagram, figures and charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the diagram and the charts as one picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write HdrHistogram percentile distributions, a file for each segment, in microseconds
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,

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
        let paths = [&self.html, &self.svg, &self.hgrm].map(Option::as_deref);
        differ(&paths)?;
        let user = if self.writes_files() {
            User::behind_sudo()?
        } else {
            None
        };
        let check = || {
            let [page, picture] = [paths[0], paths[1]].map(|path| path.map(Place::check));
            let folder = paths[2].map(Folder::check).transpose()?;
            Ok::<_, PlaceError>((page.transpose()?, picture.transpose()?, folder))
        };
        let (page, picture, folder) = match &user {
            Some(user) => user.run(check)?.with_context(|| user.as_whom(None))?,
            None => check()?,
        };
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
        let config = self.configure(user);
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
        // One that fails keeps none of the others back.
        let written = [
            page.map(|page| page.write(&html(&report))),
            picture.map(|picture| picture.write(&svg(&report))),
            folder.map(|folder| folder.write(&hgrm(&report))),
        ];
        print(&text)?;
        written.into_iter().flatten().collect::<Result<(), _>>()?;
        Ok(())
    }

    fn writes_files(&self) -> bool {
        self.html.is_some() || self.svg.is_some() || self.hgrm.is_some()
    }

    fn configure(self, user: Option<User>) -> LatencyConfig {
        let mut taps = roles(&self.taps);
        taps.insert(Role::Inside);
        let writes_files = self.writes_files();
        LatencyConfig {
            targets: self.targets.0,
            filter: self.filter.filter(),
            interface: self.interface,
            taps,
            duration: self.duration,
            interval: self.interval,
            idle_gap: self.idle_gap.unwrap_or(IDLE_GAP),
            max_segments: self.max_segments.unwrap_or_else(session::max_segments),
            attach: self.attach,
            writes_files,
            user,
            verbose: self.verbose > 0,
        }
    }
}
