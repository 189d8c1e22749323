//! One generation of a capture's taps: they are attached together, share one set of maps, and end
//! together.
//!
//! A capture that does not follow its targets has one. One that does starts another whenever a target
//! comes back: a new namespace has new interfaces, and its records come through a ring of its own,
//! which nobody has to read before it is known whose they are.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use netns_trace_ebpf::{RecordHeader, TapConfig};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    CaptureConfig, IDLE_GAP,
    handing::{Behind, Recipient},
    hold::{Hold, Verdict},
    meter::Meter,
    outline::Outline,
    plan::{FilterCode, Plan, PlannedTap},
    taken::{Taken, Written},
    taps::Taps,
};
use crate::{
    capture::monotonic_ns,
    latency::Report,
    privilege::is_in_pid_namespace,
    probe::{AttachMethod, Hook, LoadedTap, Probe, ProbeMaps, ProbeOptions, SharedMaps, TapSite},
};

/// Most records taken from a ring before signals and timers get their turn.
const BATCH: usize = 1024;

/// What decides how a plan's programs are loaded: plans alike in this can take each other's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    probe: ProbeOptions,
    taps: Vec<(TapConfig, Vec<Hook>, Option<FilterCode>)>,
}

impl Shape {
    pub(super) fn of(plan: &Plan, config: &CaptureConfig) -> Self {
        Self {
            probe: ProbeOptions {
                ring_bytes: config.ring_bytes,
                taps: plan.taps.len() as u32,
                segments: plan.ways.segments().len() as u32,
                pairs: plan.ways.pairs(plan.taps.len() as u32 * 2),
                // They are known by their numbers on the whole machine.
                makers: config.processes.is_some() && !is_in_pid_namespace(),
                verbose: config.verbose,
            },
            taps: (plan.taps.iter())
                .map(|tap| (tap.config, tap.hooks.clone(), tap.filter.clone()))
                .collect(),
        }
    }
}

/// The programs of a plan's first tap, loaded before it is known where that is.
pub(super) struct Loaded {
    shape: Shape,
    probe: Probe,
    maps: SharedMaps,
    tap: LoadedTap,
}

impl Loaded {
    /// Loads them.
    ///
    /// # Errors
    ///
    /// What the kernel refuses, or a plan without taps.
    pub(super) fn load(shape: Shape) -> Result<Self> {
        let mut probe = Probe::new(shape.probe.clone())?;
        let (config, _, filter) = shape.taps.first().context("there is nothing to capture")?;
        let tap = probe.load(*config, filter.as_ref().map(|filter| filter.as_slice()))?;
        Ok(Self {
            maps: probe.take_maps()?,
            probe,
            tap,
            shape,
        })
    }

    /// Whether they can be those of a plan of this shape.
    pub(super) fn fits(&self, shape: &Shape) -> bool {
        self.shape == *shape
    }

    /// Attaches them to an interface.
    ///
    /// # Errors
    ///
    /// It is gone, or the kernel refuses.
    pub(super) fn attach(self, site: &TapSite, method: AttachMethod) -> Result<Attached> {
        let mut taps = Taps::new();
        taps.attach(0, self.tap, site, &self.shape.taps[0].1, method)?;
        Ok(Attached {
            shape: self.shape,
            probe: self.probe,
            maps: self.maps,
            taps,
        })
    }
}

/// Taps that see packets, whose records nobody reads yet.
pub(super) struct Attached {
    shape: Shape,
    probe: Probe,
    maps: SharedMaps,
    taps: Taps,
}

impl Attached {
    /// Loads and attaches the taps that a plan starts with.
    ///
    /// # Errors
    ///
    /// What the kernel refuses, or an interface that is gone. Nothing stays attached then.
    pub(super) fn attach(plan: &Plan, config: &CaptureConfig) -> Result<Self> {
        let shape = Shape::of(plan, config);
        let mut probe = Probe::new(shape.probe.clone())?;
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
        Ok(Self {
            shape,
            probe,
            maps,
            taps,
        })
    }

    /// Whether they can be those of a plan of this shape.
    pub(super) fn fits(&self, shape: &Shape) -> bool {
        self.shape == *shape
    }

    /// Brings up the plan's other taps: here what is still missing of those that it starts with, the others behind,
    /// on a thread that has the rights of this one. No namespace is held open afterwards but by that thread.
    ///
    /// # Errors
    ///
    /// There is no thread.
    pub(super) fn bring_up_rest(mut self, plan: &Plan, config: &CaptureConfig) -> Result<Rising> {
        let rest = self.missing(plan);
        self.taps.bring_up_behind(self.probe, rest, config.attach)?;
        Ok(Rising {
            maps: self.maps,
            taps: self.taps,
        })
    }

    fn missing(&self, plan: &Plan) -> Vec<PlannedTap> {
        let is_missing = |tap: &&PlannedTap| !self.taps.has(tap.number);
        plan.taps.iter().filter(is_missing).cloned().collect()
    }

    /// Brings up what is still missing of the taps that a plan starts with, and lets the capture have what is up, with
    /// the maps. What is left is to be brought up behind.
    ///
    /// # Errors
    ///
    /// The capture has ended.
    pub(super) fn hand_over(
        mut self,
        plan: &Plan,
        config: &CaptureConfig,
        note: Option<String>,
        to: &Recipient,
    ) -> io::Result<Behind> {
        let missing = self.missing(plan).into_iter();
        let (first, rest): (Vec<_>, Vec<_>) = missing.partition(PlannedTap::is_first);
        for tap in &first {
            if let Err(why) = self.taps.bring_up(&mut self.probe, tap, config.attach) {
                log::warn!("a tap is missing: {why:#}");
            }
        }
        for (number, tap) in self.taps.take_live() {
            to.tap(number, Ok(tap))?;
        }
        let (maps, fds) = self.maps.handed();
        to.arrived(plan, maps, &fds, note)?;
        drop(fds);
        Ok(Behind {
            log: self.maps.take_log(),
            probe: self.probe,
            taps: rest,
        })
    }
}

/// Taps of which the last may still come up.
pub(super) struct Rising {
    maps: SharedMaps,
    taps: Taps,
}

impl Rising {
    pub(super) fn new(maps: SharedMaps, taps: Taps) -> Self {
        Self { maps, taps }
    }
}

/// What became of a generation's taps.
pub(super) struct Looked {
    /// Targets of which no interface is left, by their namespaces' inodes.
    pub(super) lost: Vec<u64>,
    /// No written tap is left, or none of the targets', without whose word shared taps have nothing to
    /// write.
    pub(super) is_over: bool,
}

/// A generation whose records are read.
pub(super) struct Generation {
    maps: ProbeMaps,
    taps: Taps,
    ready: AsyncFd<OwnedFd>,
    hold: Option<Hold>,
    /// Hooks whose word on a packet the held records wait for.
    tellers: Vec<(u32, Hook)>,
    meter: Meter,
    all_up: bool,
    written: Written,
    /// The targets' own taps, with the inodes of their namespaces.
    inside: Vec<(u32, u64)>,
}

impl Generation {
    /// Reads what the taps record from now on.
    ///
    /// # Errors
    ///
    /// The ring cannot be waited for.
    pub(super) fn new(rising: Rising, plan: &Outline, mut written: Written) -> Result<Self> {
        let Rising { maps, taps } = rising;
        let mut maps = maps.open()?;
        written.makers = maps.makers.take();
        Ok(Self {
            ready: readable(maps.ring.as_fd()).context("cannot wait for the ring")?,
            maps,
            taps,
            hold: plan.holds.then(Hold::default),
            tellers: plan.tellers(),
            meter: Meter::new(plan, IDLE_GAP.as_nanos() as u64),
            all_up: false,
            written,
            inside: plan.inside(),
        })
    }

    /// What becomes readable when records come.
    pub(super) fn ready(&self) -> &AsyncFd<OwnedFd> {
        &self.ready
    }

    /// Takes a batch of records; says whether the ring was emptied.
    pub(super) fn read(&mut self, taken: &mut Taken<'_>, unbuffered: bool) -> bool {
        for _ in 0..BATCH {
            if !self.take_one(taken) {
                self.release_held(taken);
                return true;
            }
            if taken.output.is_full() || unbuffered {
                taken.flush();
            }
            if taken.is_over() {
                return false;
            }
        }
        false
    }

    /// Takes the next record, if there is one.
    fn take_one(&mut self, taken: &mut Taken<'_>) -> bool {
        let Some(bytes) = self.maps.ring.take() else {
            return false;
        };
        match RecordHeader::split(bytes) {
            Ok((header, data)) => {
                let written = &self.written;
                let take = |header: &RecordHeader, data: &[u8], verdict| {
                    taken.take(written, header, data, verdict);
                };
                match &mut self.hold {
                    Some(hold) => hold.push(header, data, take),
                    None => taken.take(written, &header, data, Verdict::Wanted),
                }
            }
            Err(why) => log::error!("{why}: the kernel side and this program do not fit"),
        }
        true
    }

    /// Decides what has waited too long, also when nothing new comes.
    fn release_held(&mut self, taken: &mut Taken<'_>) {
        let Some(hold) = &mut self.hold else { return };
        if hold.is_empty() {
            return;
        }
        let Ok(now) = monotonic_ns() else { return };
        hold.release(now, &mut |header, data, verdict| {
            taken.take(&self.written, header, data, verdict);
        });
    }

    /// Looks after taps: takes in those that came up, and says which are gone.
    pub(super) fn look_after(&mut self) -> Result<Looked> {
        self.taps.take_in();
        if !self.all_up && self.taps.is_complete() {
            self.all_up = true;
            self.meter.mark(&self.maps)?;
        }
        let mut lost = Vec::new();
        for number in self.taps.take_gone() {
            if let Some(tap) = self.written.taps.iter().find(|tap| tap.number == number) {
                eprintln!("netns-trace: {} is gone", tap.label);
            }
            let inside = self.inside.iter().find(|(tap, _)| *tap == number);
            lost.extend(inside.map(|(_, inode)| *inode));
        }
        let is_up = |number| self.taps.has(number);
        let is_left = |inode| {
            let mut taps = self.inside.iter().filter(|(_, other)| *other == inode);
            taps.any(|(tap, _)| is_up(*tap))
        };
        lost.retain(|inode| !is_left(*inode));
        let written = self.written.taps.iter().any(|tap| is_up(tap.number));
        let told = self.hold.is_none() || self.tellers.iter().any(|(tap, _)| is_up(*tap));
        Ok(Looked {
            lost,
            is_over: !(written && told),
        })
    }

    /// Prints what the kernel side has logged.
    pub(super) fn flush_log(&mut self) {
        if let Some(log) = &mut self.maps.log {
            log.flush();
        }
    }

    /// Takes over the counts so far.
    pub(super) fn read_counts(&self, taken: &mut Taken<'_>) -> Result<()> {
        taken.read_counts(&self.written, &self.maps)
    }

    /// Lets no more packets in: what the taps see from now on is discarded.
    pub(super) fn close(&mut self) -> Result<()> {
        Ok(self.maps.end()?)
    }

    /// Takes what is still in the ring, detaches, counts; and reports the times, where any were
    /// recorded.
    ///
    /// # Errors
    ///
    /// The maps cannot be read; all else is done.
    pub(super) fn end(mut self, taken: &mut Taken<'_>) -> Result<Option<Report>> {
        let closed = self.close();
        if !taken.is_complete() {
            self.drain(taken);
        }
        self.taps.bring_down();
        self.drain(taken);
        closed?;
        let untold = self.has_untold_losses()?;
        if let Some(hold) = &mut self.hold {
            if untold {
                hold.note_loss(u64::MAX);
            }
            hold.release(u64::MAX, &mut |header, data, verdict| {
                taken.take(&self.written, header, data, verdict);
            });
        }
        taken.flush();
        self.read_counts(taken)?;
        self.flush_log();
        if self.meter.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.meter.report(&self.maps)?))
    }

    /// Takes all that is in the ring. What comes after the count, or cannot be written any more, is
    /// counted.
    fn drain(&mut self, taken: &mut Taken<'_>) {
        while self.take_one(taken) {
            if taken.output.is_full() {
                taken.flush();
            }
        }
    }

    /// Whether a word on a packet was lost that no later record has told of.
    fn has_untold_losses(&self) -> Result<bool> {
        for (tap, hook) in &self.tellers {
            if self.maps.counters(*tap, *hook)?.pending_drops > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Waits for a descriptor that its owner keeps using.
pub(super) fn readable(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` keeps its descriptor open and the same for as long as it lives.
    unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.map_err(io::Error::from)
}
