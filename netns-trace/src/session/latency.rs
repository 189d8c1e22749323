//! A measurement from start to end: attach, wait, read the histograms.

use std::{
    collections::BTreeSet,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use netns_trace_ebpf::MAX_SNAPLEN;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    LatencyConfig,
    config::Direction,
    helper::{self, Jobs},
    meter::Meter,
    outline::Outline,
    plan::{self, Plan, Wishes},
    rights,
    signals::{Signals, Wish},
    taps::Taps,
    targets::{are_all, find_paths, find_targets},
};
use crate::{
    helper::Helper,
    latency::Report,
    probe::{
        Probe, ProbeMaps, ProbeOptions, check_kernel, check_memory, check_privileges, measure_cost,
        prepare, sweep,
    },
    topology::Role,
};

/// The ring is not used; the kernel wants a page at least.
const RING_BYTES: u32 = 4096;
/// How often the taps are asked whether their interface is still there.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// What is told while a measurement runs.
pub enum Told<'a> {
    /// All taps are up; what could not be tapped, in sentences.
    Started {
        /// `eth0@web`, in the order of the path.
        taps: Vec<String>,
        /// What could not be tapped.
        missing: &'a [String],
    },
    /// An interval is over: what has come in it.
    Interval(&'a Report),
}

/// A measurement that runs.
pub struct Measurement {
    meter: Meter,
    maps: ProbeMaps,
    taps: Taps,
    labels: Vec<String>,
    missing: Vec<String>,
    numbers: Vec<(u32, String)>,
    /// Takes filters off. It goes last, after the taps.
    helper: Option<Helper>,
}

impl Measurement {
    /// Attaches everywhere. Signals should be blocked already.
    ///
    /// # Errors
    ///
    /// What cannot be found, loaded or attached.
    pub fn start(config: &LatencyConfig) -> Result<Self> {
        prepare();
        check_kernel()?;
        check_privileges()?;
        check_memory(RING_BYTES)?;
        let swept = sweep();
        if swept > 0 {
            log::info!("swept {swept} filters that an earlier run had left behind");
        }
        let plan = plan_latency(config)?;
        let mut probe = Probe::new(ProbeOptions {
            ring_bytes: RING_BYTES,
            taps: plan.taps.len() as u32,
            segments: plan.ways.segments().len() as u32,
            pairs: plan.ways.pairs(plan.taps.len() as u32 * 2),
            makers: false,
            verbose: config.verbose,
        })?;
        let mut taps = Taps::new();
        for tap in &plan.taps {
            taps.bring_up(&mut probe, tap, config.attach)?;
        }
        let maps = probe.take_maps()?.open()?;
        let mut meter = Meter::new(&Outline::of(&plan), config.idle_gap.as_nanos() as u64);
        meter.set_probe_cost(measure_cost());
        meter.mark(&maps)?;
        Ok(Self {
            meter,
            maps,
            taps,
            labels: plan.taps.iter().map(|tap| tap.site.to_string()).collect(),
            numbers: plan
                .taps
                .iter()
                .filter(|tap| tap.site.role == Role::Inside)
                .map(|tap| (tap.number, tap.site.to_string()))
                .collect(),
            missing: plan.missing,
            helper: None,
        })
    }

    /// Attaches, then gives up what is not needed any more.
    ///
    /// # Errors
    ///
    /// As [`Measurement::start`], and the rights that stay.
    pub(super) fn start_and_give_up(config: &LatencyConfig) -> Result<Self> {
        check_kernel()?;
        check_privileges()?;
        let left = helper::start(Jobs {
            attach: config.attach,
            ..Jobs::default()
        })?;
        let mut run = Self::start(config)?;
        run.helper = left.helper;
        let user = config.user.as_ref();
        let opens_files = config.writes_files && user.is_none();
        rights::give_up_after_attaching(opens_files, user)?;
        rights::confine_reader(config.writes_files);
        Ok(run)
    }

    /// `eth0@web` and so on: where it measures.
    #[must_use]
    pub fn taps(&self) -> &[String] {
        &self.labels
    }

    /// What could not be tapped, in sentences.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// What was recorded so far.
    ///
    /// # Errors
    ///
    /// The maps cannot be read.
    pub fn report(&self) -> Result<Report> {
        self.meter.report(&self.maps)
    }

    /// The targets' interfaces that are gone since the last call; whether none is left.
    pub fn take_gone(&mut self) -> (Vec<String>, bool) {
        let gone = self.taps.take_gone();
        let label = |number: &u32| {
            let found = self.numbers.iter().find(|(other, _)| other == number);
            found.map(|(_, label)| label.clone())
        };
        let labels = gone.iter().filter_map(label).collect();
        let ended = !self
            .numbers
            .iter()
            .any(|(number, _)| self.taps.has(*number));
        (labels, ended)
    }

    /// Prints what the kernel side has logged.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.maps.log {
            log.flush();
        }
    }

    /// Detaches, and reads what was recorded in all.
    ///
    /// # Errors
    ///
    /// The maps cannot be read.
    pub fn end(mut self) -> Result<Report> {
        let report = self.meter.report(&self.maps);
        self.taps.bring_down();
        report
    }
}

fn plan_latency(config: &LatencyConfig) -> Result<Plan> {
    let targets = find_targets(&config.targets, false)?;
    let paths = find_paths(&targets, config.interface.as_deref())?;
    let wishes = Wishes {
        written: BTreeSet::new(),
        timed: config.taps.clone(),
        direction: Direction::Inout,
        count: None,
        snaplen: 1,
        idle_gap_ns: config.idle_gap.as_nanos() as u64,
        max_segments: config.max_segments,
        sockets: false,
        wake_bytes: 0,
        shed: None,
        sample: 1,
        optional: are_all(&config.targets),
    };
    let mut plan = plan::plan(&paths, &wishes)?;
    if let Some(filter) = &config.filter {
        plan = plan.filtered(filter, MAX_SNAPLEN)?;
    }
    if plan.ways.segments().is_empty() {
        bail!(
            "there is no pair of taps to measure between: {}",
            plan.missing.join("; ")
        );
    }
    Ok(plan)
}

/// Measures until a signal, the time, or the targets' end, and leaves nothing behind. `tell` is
/// called when it starts and after each interval.
///
/// # Errors
///
/// What could not be set up, and errors of `tell`.
pub fn latency(
    config: &LatencyConfig,
    mut tell: impl FnMut(Told<'_>) -> Result<()>,
) -> Result<Report> {
    let signals = Signals::new()?;
    let mut run = Measurement::start_and_give_up(config)?;
    tell(Told::Started {
        taps: run.taps().to_vec(),
        missing: run.missing(),
    })?;
    let start = Instant::now();
    let end = config.duration.map(|duration| start + duration);
    let mut next = config.interval.map(|interval| start + interval);
    let mut last = run.report()?;
    loop {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            break;
        }
        if let (Some(due), Some(interval)) = (next, config.interval)
            && now >= due
        {
            let report = run.report()?;
            tell(Told::Interval(&report.since(&last)))?;
            last = report;
            next = Some(due + interval);
        }
        let until = [end, next].into_iter().flatten().min();
        let wait = until.map_or(LOOK_AFTER, |until| {
            until.saturating_duration_since(now).min(LOOK_AFTER)
        });
        if asked_to_end(&signals, wait)? {
            break;
        }
        run.flush_log();
        let (gone, ended) = run.take_gone();
        for label in gone {
            eprintln!("netns-trace: {label} is gone");
        }
        if ended {
            break;
        }
    }
    run.end()
}

/// Waits for a signal that asks for the end, at most so long.
fn asked_to_end(signals: &Signals, wait: Duration) -> Result<bool> {
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("cannot wait for signals"),
    }
    while let Some(wish) = signals.next()? {
        if wish == Wish::End {
            return Ok(true);
        }
    }
    Ok(false)
}
