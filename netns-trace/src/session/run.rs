//! A capture from start to end: attach, read the ring, write, drain, account.

use std::{
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use netns_trace_ebpf::{RecordHeader, record};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{MissedTickBehavior, interval},
};

use super::{
    CaptureConfig, OutputTo, SummaryFormat,
    hold::{Hold, Verdict},
    plan::{self, Plan, PlannedTap},
    signals::{Signals, Wish},
    taps::Taps,
};
use crate::{
    capture::{Account, Format, HookTotals, InterfaceInfo, LinkType, Output, WallClock},
    probe::{Hook, Probe, ProbeMaps, ProbeOptions, sweep},
    target, topology,
};

/// How often the session looks after what no event tells of.
const TICK: Duration = Duration::from_millis(50);
/// How long packets may lie in the file's buffer.
const FLUSH_AFTER: Duration = Duration::from_millis(250);
/// How often the clock's offset is measured.
const RESAMPLE_AFTER: Duration = Duration::from_secs(1);
/// How often the taps are asked whether their interface is still there.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// Most records taken from the ring before signals and timers get their turn.
const BATCH: usize = 1024;

/// What a capture came to.
#[derive(Debug)]
pub struct Report {
    /// The counts.
    pub account: Account,
}

/// Captures until a signal, the count, the time, the reader's or the namespace's end, prints the
/// summary, and leaves nothing behind.
///
/// # Errors
///
/// What could not be set up, or a file that could not be written to its end. The summary is
/// printed in the latter case too.
pub fn capture(config: &CaptureConfig) -> Result<Report> {
    let signals = Signals::new()?;
    let swept = sweep();
    if swept > 0 {
        log::info!("swept {swept} filters that an earlier run had left behind");
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the event loop")?
        .block_on(run(config, signals))
}

/// What the session keeps of a tap: no namespace, which an open descriptor would keep alive.
struct TapInfo {
    number: u32,
    label: String,
    /// Its interface in the file, where it is written.
    interface: Option<u32>,
    link_type: LinkType,
    /// The hooks whose packets are written.
    hooks: Vec<Hook>,
}

async fn run(config: &CaptureConfig, signals: Signals) -> Result<Report> {
    let plan = plan_taps(config)?;
    let mut output = open_output(config, &plan)?;
    let mut probe = Probe::new(ProbeOptions {
        ring_bytes: config.ring_bytes,
        taps: plan.taps.len() as u32,
        verbose: config.verbose,
    })?;
    let mut taps = Taps::new();
    let mut maps = None;
    for tap in plan.taps.iter().filter(|tap| tap.is_written()) {
        if let Err(why) = taps.bring_up(&mut probe, tap, config.attach) {
            // A file that holds nothing is of no use to anybody.
            output.abandon();
            return Err(why);
        }
        if maps.is_none() {
            maps = Some(probe.take_maps()?);
        }
    }
    let Some(maps) = maps else { bail!("there is nothing to capture") };
    for why in &plan.missing {
        eprintln!("netns-trace: {why}");
    }
    let infos = announce(config, &plan);
    let (_, rest): (Vec<_>, Vec<_>) = plan.taps.into_iter().partition(PlannedTap::is_written);
    taps.bring_up_behind(probe, rest, config.attach)?;

    let mut capture = Capture {
        config,
        signals: &signals,
        account: Account::new(),
        clock: WallClock::new()?,
        hold: plan.holds.then(Hold::default),
        infos,
        output,
        accepted: 0,
        over: None,
    };
    let mut maps = capture.pump(maps, &mut taps).await?;
    capture.end(&mut maps, &mut taps)
}

/// Resolves the targets, finds their paths, and plans the taps.
fn plan_taps(config: &CaptureConfig) -> Result<Plan> {
    crate::probe::check_kernel()?;
    crate::probe::check_privileges()?;
    let mut paths = Vec::new();
    for spec in &config.targets {
        let target = target::resolve(spec)?;
        paths.push(topology::discover(&target, config.interface.as_deref())?);
    }
    let plan = plan::plan(&paths, config)?;
    let link_types = plan::link_types(&plan);
    if link_types.len() > 1 && config.output != OutputTo::Text {
        if config.format == Format::Pcap {
            return Err(crate::cli::Usage(
                "the taps have different link types, which a pcap file cannot hold: use --format pcapng, or name fewer taps".to_owned(),
            )
            .into());
        }
        eprintln!(
            "netns-trace: the taps have different link types: only Wireshark's tools read this file, tcpdump does not"
        );
    }
    Ok(plan)
}

fn open_output(config: &CaptureConfig, plan: &Plan) -> Result<Output> {
    let mut output = match &config.output {
        OutputTo::Text => Output::text()?,
        OutputTo::Stdout => Output::create(Path::new("-"), config.format)?,
        OutputTo::File(path) => Output::create(path, config.format)?,
    };
    for tap in plan.taps.iter().filter(|tap| tap.is_written()) {
        output.interface(&InterfaceInfo {
            name: tap.site.label(),
            description: tap.site.description(),
            link_type: tap.link_type,
            snaplen: config.snaplen,
            mac: tap.site.link.mac,
            filter: None,
        })?;
    }
    Ok(output)
}

/// Says what is captured, once it is, and keeps what is needed of each tap.
fn announce(config: &CaptureConfig, plan: &Plan) -> Vec<TapInfo> {
    let mut infos = Vec::new();
    let mut interface = 0;
    for tap in &plan.taps {
        infos.push(TapInfo {
            number: tap.number,
            label: tap.site.label(),
            interface: tap.is_written().then(|| {
                interface += 1;
                interface - 1
            }),
            link_type: tap.link_type,
            hooks: tap.written.clone(),
        });
    }
    let written: Vec<&TapInfo> = infos.iter().filter(|tap| tap.interface.is_some()).collect();
    let labels: Vec<&str> = written.iter().map(|tap| tap.label.as_str()).collect();
    let mut link_types: Vec<String> =
        written.iter().map(|tap| tap.link_type.to_string()).collect();
    link_types.dedup();
    eprintln!(
        "listening on {}, link-type {}, snapshot length {} bytes",
        labels.join(", "),
        link_types.join(", "),
        config.snaplen
    );
    infos
}

/// Why a capture is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// A signal, the time, or the count.
    Asked,
    /// Nothing is left to capture at.
    Gone,
    /// The output takes no more.
    Output,
}

/// A capture that runs.
struct Capture<'a> {
    config: &'a CaptureConfig,
    signals: &'a Signals,
    infos: Vec<TapInfo>,
    account: Account,
    clock: WallClock,
    hold: Option<Hold>,
    output: Output,
    /// Packets that the output has taken.
    accepted: u64,
    over: Option<Over>,
}
