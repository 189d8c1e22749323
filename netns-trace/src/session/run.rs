//! A capture from start to end: attach, read the ring, write, drain, account.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use netns_trace_ebpf::RecordHeader;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{MissedTickBehavior, interval},
};

use super::{
    CaptureConfig, IDLE_GAP, OutputTo, SummaryFormat,
    hold::{Hold, Verdict},
    meter::Meter,
    plan::Plan,
    signals::{Signals, Wish},
    taken::{Taken, announce},
    taps::Taps,
    targets::{check_wishes, plan_capture},
};
use crate::{
    capture::{Account, HookTotals, InterfaceInfo, Output, SinkError, WallClock, monotonic_ns},
    latency::table,
    probe::{
        Hook, Probe, ProbeMaps, ProbeOptions, check_kernel, check_privileges, measure_cost, sweep,
    },
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
    check_wishes(config)?;
    check_kernel()?;
    check_privileges()?;
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
        .block_on(run(config, &signals))
}

async fn run(config: &CaptureConfig, signals: &Signals) -> Result<Report> {
    let plan = plan_capture(config)?;
    let mut probe = Probe::new(ProbeOptions {
        ring_bytes: config.ring_bytes,
        taps: plan.taps.len() as u32,
        segments: plan.ways.segments().len() as u32,
        pairs: plan.ways.pairs(plan.taps.len() as u32 * 2),
        verbose: config.verbose,
    })?;
    let mut output = open_output(config, &plan)?;
    let mut account = Account::new();
    // The file's head goes out first: what takes no byte is refused before anything is attached.
    let failure = output.flush(&mut account, Some(signals.as_fd())).err();
    if let Some(why) = failure.as_ref().filter(|why| !why.is_closed_pipe()) {
        bail!("{why}");
    }
    let clock = WallClock::new().context("cannot read the clock")?;
    let mut taps = Taps::new();
    let mut maps = None;
    for tap in plan.taps.iter().filter(|tap| tap.is_first()) {
        taps.bring_up(&mut probe, tap, config.attach)?;
        if maps.is_none() {
            maps = Some(probe.take_maps()?);
        }
    }
    let Some(maps) = maps else {
        bail!("there is nothing to capture")
    };
    for why in &plan.missing {
        eprintln!("netns-trace: {why}");
    }
    let infos = announce(config, &plan, &mut account);
    let meter = Meter::new(&plan, IDLE_GAP.as_nanos() as u64);
    let tellers = plan.tellers();
    // From here on no namespace is held open but by the thread that attaches the rest.
    let rest = plan.taps.into_iter().filter(|tap| !tap.is_first());
    taps.bring_up_behind(probe, rest.collect(), config.attach)?;
    let mut capture = Capture {
        config,
        signals,
        start_ns: clock.time_ns(monotonic_ns().context("cannot read the clock")?),
        clock,
        hold: plan.holds.then(Hold::default),
        tellers,
        meter,
        taken: Taken::new(infos, account, output, config.count),
        failure,
    };
    let mut maps = capture.pump(maps, &mut taps).await?;
    capture.end(&mut maps, taps)
}

fn open_output(config: &CaptureConfig, plan: &Plan) -> Result<Output> {
    let mut output = match &config.output {
        OutputTo::Text => Output::text()?,
        OutputTo::Stdout => Output::create(Path::new("-"), config.format)?,
        OutputTo::File(path) => Output::create(path, config.format)?,
    };
    for tap in plan.taps.iter().filter(|tap| tap.is_written()) {
        output.interface(&InterfaceInfo {
            name: tap.site.to_string(),
            description: tap.description(),
            link_type: tap.link_type,
            snaplen: config.snaplen,
            mac: tap.site.link.mac,
            filter: None,
        })?;
    }
    Ok(output)
}

/// Waits for a descriptor that its owner keeps using.
fn readable(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` keeps its descriptor open and the same for as long as it lives.
    unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.map_err(io::Error::from)
}

/// A capture that runs.
struct Capture<'a> {
    config: &'a CaptureConfig,
    signals: &'a Signals,
    clock: WallClock,
    start_ns: u64,
    hold: Option<Hold>,
    /// Hooks whose word on a packet the held records wait for.
    tellers: Vec<(u32, Hook)>,
    meter: Meter,
    taken: Taken,
    failure: Option<SinkError>,
}

impl Capture<'_> {
    /// Reads the ring until the capture is over.
    async fn pump(&mut self, maps: ProbeMaps, taps: &mut Taps) -> Result<ProbeMaps> {
        let mut maps = maps;
        let ready = readable(maps.ring.as_fd()).context("cannot wait for the ring")?;
        let signalled = readable(self.signals.as_fd()).context("cannot wait for signals")?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let (mut flushed, mut sampled, mut looked) = (start, start, start);
        let mut complete = false;
        loop {
            let emptied = self.read_ring(&mut maps);
            if self.taken.is_complete() || self.failure.is_some() {
                return Ok(maps);
            }
            let now = Instant::now();
            let is_live = self.config.unbuffered || self.taken.output.is_live();
            if (emptied && is_live) || now - flushed >= FLUSH_AFTER {
                self.flush();
                flushed = now;
            }
            if self
                .config
                .duration
                .is_some_and(|duration| now - start >= duration)
            {
                return Ok(maps);
            }
            while let Some(wish) = self.signals.next()? {
                match wish {
                    Wish::End => return Ok(maps),
                    Wish::Counts => self.print_counts(&maps)?,
                }
            }
            if now - sampled >= RESAMPLE_AFTER {
                sampled = now;
                if let Some(note) = self.clock.resample().context("cannot read the clock")? {
                    eprintln!("netns-trace: {note}");
                    self.taken.output.comment(note.to_string());
                }
            }
            if now - looked >= LOOK_AFTER {
                looked = now;
                if !complete && taps.is_complete() {
                    complete = true;
                    self.meter.mark(&maps)?;
                }
                taps.take_in();
                if self.lost_all_taps(taps) {
                    return Ok(maps);
                }
            }
            if let Some(log) = &mut maps.log {
                log.flush();
            }
            if !emptied {
                continue;
            }
            tokio::select! {
                guard = ready.readable() => guard.context("cannot wait for the ring")?.clear_ready(),
                guard = signalled.readable() => {
                    guard.context("cannot wait for signals")?.clear_ready();
                }
                _ = tick.tick() => {}
            }
        }
    }

    /// Takes a batch of records; says whether the ring was emptied.
    fn read_ring(&mut self, maps: &mut ProbeMaps) -> bool {
        for _ in 0..BATCH {
            let Some(bytes) = maps.ring.take() else {
                self.release_held();
                return true;
            };
            match RecordHeader::split(&bytes) {
                Ok((header, data)) => {
                    let (taken, clock, snaplen) =
                        (&mut self.taken, &self.clock, self.config.snaplen);
                    let mut take = |header: &RecordHeader, data: &[u8], verdict| {
                        taken.take(header, data, verdict, clock, snaplen);
                    };
                    match &mut self.hold {
                        Some(hold) => hold.push(header, data, take),
                        None => take(&header, data, Verdict::Wanted),
                    }
                }
                Err(why) => log::error!("{why}: the kernel side and this program do not fit"),
            }
            drop(bytes);
            if self.taken.output.is_full() || self.config.unbuffered {
                self.flush();
            }
            if self.taken.is_complete() || self.failure.is_some() {
                return false;
            }
        }
        false
    }

    /// Decides what has waited too long, also when nothing new comes.
    fn release_held(&mut self) {
        let Some(hold) = &mut self.hold else { return };
        if hold.is_empty() {
            return;
        }
        let Ok(now) = monotonic_ns() else { return };
        let (taken, clock, snaplen) = (&mut self.taken, &self.clock, self.config.snaplen);
        hold.release(now, &mut |header, data, verdict| {
            taken.take(header, data, verdict, clock, snaplen);
        });
    }

    fn flush(&mut self) {
        let stop = Some(self.signals.as_fd());
        if let Err(why) = self.taken.output.flush(&mut self.taken.account, stop) {
            self.failure = Some(why);
        }
    }

    /// Says which taps' interfaces are gone; true once no written one is left, or none of the
    /// targets', without whose word shared taps have nothing to write.
    fn lost_all_taps(&mut self, taps: &mut Taps) -> bool {
        for number in taps.take_gone() {
            if let Some(tap) = self.taken.infos.iter().find(|tap| tap.number == number) {
                eprintln!("netns-trace: {} is gone", tap.label);
            }
        }
        let written = self.taken.infos.iter().any(|tap| taps.has(tap.number));
        let told = self.hold.is_none() || self.tellers.iter().any(|(tap, _)| taps.has(*tap));
        !(written && told)
    }

    /// Ends the capture at all taps, takes what is still in the ring, detaches, counts, and writes
    /// the file's end and the summary.
    fn end(mut self, maps: &mut ProbeMaps, mut taps: Taps) -> Result<Report> {
        let ended = maps.end();
        if !self.taken.is_complete() {
            self.drain(maps);
        }
        taps.bring_down();
        self.drain(maps);
        ended?;
        let untold = self.has_untold_losses(maps)?;
        if let Some(hold) = &mut self.hold {
            if untold {
                hold.note_loss(u64::MAX);
            }
            let (taken, clock, snaplen) = (&mut self.taken, &self.clock, self.config.snaplen);
            hold.release(u64::MAX, &mut |header, data, verdict| {
                taken.take(header, data, verdict, clock, snaplen);
            });
        }
        self.flush();
        self.read_counts(maps)?;
        let end_ns = self
            .clock
            .time_ns(monotonic_ns().context("cannot read the clock")?);
        let taken = &mut self.taken;
        let finished = taken
            .output
            .finish(&mut taken.account, self.start_ns, end_ns);
        if let Some(log) = &mut maps.log {
            log.flush();
        }
        self.print_summary(maps)?;
        if let Err(why) = self.taken.account.check() {
            eprintln!("netns-trace: {why}: please report this");
        }
        match self.failure {
            Some(why) if !why.is_closed_pipe() => Err(why.into()),
            Some(_) => Ok(Report {
                account: self.taken.account,
            }),
            None => {
                finished?;
                Ok(Report {
                    account: self.taken.account,
                })
            }
        }
    }

    /// Takes all that is in the ring. What comes after the count, or cannot be written any more, is
    /// counted.
    fn drain(&mut self, maps: &mut ProbeMaps) {
        while let Some(bytes) = maps.ring.take() {
            let Ok((header, data)) = RecordHeader::split(&bytes) else {
                continue;
            };
            let (taken, clock, snaplen) = (&mut self.taken, &self.clock, self.config.snaplen);
            let mut take = |header: &RecordHeader, data: &[u8], verdict| {
                taken.take(header, data, verdict, clock, snaplen);
            };
            match &mut self.hold {
                Some(hold) => hold.push(header, data, take),
                None => take(&header, data, Verdict::Wanted),
            }
            drop(bytes);
            if self.taken.output.is_full() {
                self.flush();
            }
        }
    }

    /// Whether a word on a packet was lost that no later record has told of.
    fn has_untold_losses(&self, maps: &ProbeMaps) -> Result<bool> {
        for (tap, hook) in &self.tellers {
            if maps.counters(*tap, *hook)?.pending_drops > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_counts(&mut self, maps: &ProbeMaps) -> Result<()> {
        for tap in &self.taken.infos {
            for (hook, number) in &tap.hooks {
                let counters = maps.counters(tap.number, *hook)?;
                let totals = HookTotals {
                    seen: counters.seen,
                    received: counters.received,
                    recorded: counters.recorded,
                    ring_full: counters.ring_full,
                    copy_failed: counters.copy_failed,
                    discarded: counters.discarded,
                };
                self.taken.account.set_kernel(*number, totals);
            }
        }
        Ok(())
    }

    /// The counts so far, as SIGUSR1 asks for them.
    fn print_counts(&mut self, maps: &ProbeMaps) -> Result<()> {
        self.flush();
        self.read_counts(maps)?;
        let account = &self.taken.account;
        eprintln!(
            "netns-trace: {} packets captured, {} packets received by filter, {} packets dropped \
             by kernel",
            account.total_captured(),
            account.total_received(),
            account.total_dropped()
        );
        Ok(())
    }

    fn print_summary(&mut self, maps: &ProbeMaps) -> Result<()> {
        let account = &self.taken.account;
        let latency = if self.meter.is_empty() {
            None
        } else {
            self.meter.set_probe_cost(measure_cost());
            Some(self.meter.report(maps)?)
        };
        match self.config.summary {
            SummaryFormat::Text => {
                eprint!("{}", account.text());
                if let Some(report) = latency {
                    eprint!("\n{}", table(&report));
                }
            }
            SummaryFormat::Json => {
                let file = match &self.config.output {
                    OutputTo::File(path) => Some(path.as_path()),
                    OutputTo::Text | OutputTo::Stdout => None,
                };
                let mut summary = account.json(file);
                if let Some(report) = latency {
                    summary["latency"] = serde_json::to_value(report)?;
                }
                eprintln!("{summary}");
            }
        }
        Ok(())
    }
}
