//! Where a capture's records end up: each one in the output, or in the account with its cause.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use netns_trace_ebpf::{RecordHeader, record};

use super::{
    CaptureConfig,
    completed::Completed,
    hold::Verdict,
    names::Names,
    outline::Outline,
    processes::{Passage, Processes},
    signals::Signals,
};
use crate::{
    capture::{
        Account, HookLabel, HookTotals, InterfaceInfo, LinkType, LossCause, Output, OutputError,
        PacketBuilder, WallClock, monotonic_ns,
    },
    filter::Filter,
    helper::Channel,
    probe::{Hook, Makers, ProbeMaps},
};

/// How often the clock's offset is measured.
const RESAMPLE_AFTER: Duration = Duration::from_secs(1);
/// Above this bit of a packet id is the number of the generation that gave it: each counts from one.
const GENERATION_SHIFT: u32 = 48;

/// What a capture that runs keeps of a written tap: no namespace, which an open descriptor would keep
/// alive.
pub(super) struct TapInfo {
    /// Its number among its generation's taps.
    pub(super) number: u32,
    pub(super) label: String,
    /// Its interface in the file.
    interface: u32,
    link_type: LinkType,
    /// Its written hooks.
    hooks: Vec<WrittenHook>,
    /// The namespace whose sockets are behind its packets, where that is one.
    owner: Option<u64>,
}

/// A hook whose packets are written.
struct WrittenHook {
    hook: Hook,
    /// Its number in the account.
    account: u32,
    /// Its packets leave the target.
    leaving: bool,
}

impl TapInfo {
    fn hook_of(&self, flags: u16) -> Option<&WrittenHook> {
        let hook = if flags & record::EGRESS != 0 {
            Hook::Egress
        } else {
            Hook::Ingress
        };
        self.hooks.iter().find(|written| written.hook == hook)
    }
}

/// The written taps of one generation.
pub(super) struct Written {
    pub(super) taps: Vec<TapInfo>,
    /// Who makes sockets, where that is wanted and can be seen.
    pub(super) makers: Option<Makers>,
    /// Which generation it is, from 0.
    generation: u64,
    snaplen: u32,
}

impl Written {
    /// Says what is captured, once it is, in the words that scripts wait for.
    pub(super) fn announce(&self) {
        let labels: Vec<&str> = self.taps.iter().map(|tap| tap.label.as_str()).collect();
        let mut link_types: Vec<String> = self
            .taps
            .iter()
            .map(|tap| tap.link_type.to_string())
            .collect();
        link_types.dedup();
        eprintln!(
            "listening on {}, link-type {}, snapshot length {} bytes",
            labels.join(", "),
            link_types.join(", "),
            self.snaplen
        );
    }
}

/// Where records end up.
pub(super) struct Taken<'a> {
    pub(super) account: Account,
    pub(super) output: Output,
    /// The first failure to write.
    pub(super) failure: Option<OutputError>,
    /// What is run on files that are complete.
    pub(super) completed: Completed,
    /// All files that were asked for are there.
    has_all_files: bool,
    /// When the capture was started, nanoseconds since 1970.
    pub(super) start_ns: u64,
    signals: &'a Signals,
    clock: WallClock,
    sampled: Instant,
    builder: PacketBuilder,
    snaplen: u32,
    generations: u64,
    /// Taps in the account so far.
    taps: u32,
    /// Packets that the output has taken.
    accepted: u64,
    limit: Option<u64>,
    names: Names,
    /// Whose packets they are, where that is told.
    pub(super) processes: Option<Processes>,
    /// The filter's expression, for the file.
    filter: Option<String>,
}

impl<'a> Taken<'a> {
    /// Nothing yet, and as many packets as were asked for at most.
    pub(super) fn new(
        config: &CaptureConfig,
        signals: &'a Signals,
        output: Output,
        sockets: Option<Channel>,
    ) -> Result<Self> {
        let clock = WallClock::new().context("cannot read the clock")?;
        let start_ns = clock.time_ns(monotonic_ns().context("cannot read the clock")?);
        Ok(Self {
            account: Account::new(),
            output,
            failure: None,
            completed: Completed::default(),
            has_all_files: false,
            start_ns,
            signals,
            clock,
            sampled: Instant::now(),
            builder: PacketBuilder::default(),
            snaplen: config.snaplen,
            generations: 0,
            taps: 0,
            accepted: 0,
            limit: config.count,
            names: Names::default(),
            processes: (config.processes.clone().zip(sockets))
                .map(|(filter, helper)| Processes::new(filter, helper)),
            filter: match &config.filter {
                Some(Filter::Expression(expression)) => Some(expression.clone()),
                Some(Filter::Bytecode(_)) | None => None,
            },
        })
    }

    /// Gives the written taps of a plan their interfaces in the output and their lines in the
    /// account.
    ///
    /// # Errors
    ///
    /// An interface's description does not fit into a block.
    pub(super) fn admit(&mut self, plan: &Outline) -> Result<Written> {
        let mut taps = Vec::new();
        for tap in plan.written() {
            let label = tap.label.clone();
            let interface = self.output.interface(&InterfaceInfo {
                name: label.clone(),
                description: tap.description.clone(),
                link_type: tap.link_type,
                snaplen: self.snaplen,
                mac: tap.mac,
                filter: self.filter.clone(),
            })?;
            let told = match self.generations {
                0 => label.clone(),
                _ => format!("{label} (inode {})", tap.inode),
            };
            let hooks = tap.written.iter().map(|(hook, leaving)| {
                let label = HookLabel {
                    tap: self.taps + tap.number,
                    interface,
                    label: told.clone(),
                    ifname: tap.ifname.clone(),
                    netns_inode: tap.inode,
                    leaving: *leaving,
                };
                WrittenHook {
                    hook: *hook,
                    leaving: label.leaving,
                    account: self.account.add(label),
                }
            });
            taps.push(TapInfo {
                number: tap.number,
                interface,
                link_type: tap.link_type,
                hooks: hooks.collect(),
                owner: tap.owner.as_ref().map(|ns| ns.identity.inode),
                label,
            });
        }
        self.output.names(&self.names.of_targets(plan))?;
        if let Some(processes) = &mut self.processes {
            processes.admit(plan);
        }
        let generation = self.generations;
        self.generations += 1;
        self.taps += plan.taps.len() as u32;
        Ok(Written {
            taps,
            makers: None,
            generation,
            snaplen: self.snaplen,
        })
    }

    /// Asks for the names of the machine's addresses, where the output can hold them.
    pub(super) fn ask_names(&mut self) {
        if self.output.holds_names() {
            self.names.ask();
        }
    }

    /// Writes those names, if they come in this time.
    pub(super) fn write_names(&mut self, wait: Duration) -> Result<()> {
        Ok(self.output.names(&self.names.of_others(wait))?)
    }

    /// Whether all packets that were asked for are there.
    pub(super) fn is_complete(&self) -> bool {
        self.has_all_files || self.limit.is_some_and(|limit| self.accepted >= limit)
    }

    /// Notes whether the time of the last file is over.
    pub(super) fn look_at_files(&mut self) -> Result<()> {
        if self.output.current_file().is_none() {
            return Ok(());
        }
        let now_ns = self.now_ns()?;
        self.has_all_files |= self.output.is_over(now_ns);
        Ok(())
    }

    /// Goes on in the next file, where a packet of this time is to go there.
    fn rotate(&mut self, time_ns: u64) {
        if self.output.is_over(time_ns) {
            self.has_all_files = true;
            return;
        }
        let stop = Some(self.signals.as_fd());
        match self
            .output
            .rotate(&mut self.account, stop, self.start_ns, time_ns)
        {
            Ok(ended) => {
                if let Some(file) = ended {
                    self.completed.add(file);
                }
            }
            Err(why) => self.failure = Some(why),
        }
    }

    /// Whether there is no use in reading on.
    pub(super) fn is_over(&self) -> bool {
        self.is_complete() || self.failure.is_some()
    }

    /// Takes a record whose fate is decided.
    pub(super) fn take(
        &mut self,
        from: &Written,
        header: &RecordHeader,
        data: &[u8],
        verdict: Verdict,
    ) {
        let number = u32::from(header.tap);
        let Some(tap) = from.taps.iter().find(|tap| tap.number == number) else {
            return;
        };
        let Some(written) = tap.hook_of(header.flags) else {
            return;
        };
        let hook = written.account;
        match verdict {
            Verdict::Foreign => return self.account.foreign(hook),
            Verdict::Undecided => return self.account.lost(hook, LossCause::Undecided),
            Verdict::Wanted => {}
        }
        if self.is_complete() {
            return self.account.discarded(hook);
        }
        let id = match header.packet_id {
            0 => 0,
            id => id | from.generation << GENERATION_SHIFT,
        };
        let mut process = None;
        if let Some(processes) = &mut self.processes {
            let passage = Passage {
                owner: tap.owner,
                leaving: written.leaving,
                link_type: tap.link_type,
                packet: id,
            };
            process = processes.of(passage, header.socket, data, from.makers.as_ref());
            if !processes.takes(process.as_deref()) {
                return self.account.rejected(hook);
            }
        }
        let time = self.clock.time_ns(header.time_ns);
        if self.output.is_due(time) {
            self.rotate(time);
            if self.is_complete() {
                return self.account.discarded(hook);
            }
        }
        let mut packet = self.builder.build(
            header,
            data,
            tap.interface,
            tap.link_type,
            self.snaplen,
            time,
        );
        packet.process = process.as_deref();
        packet.id = id;
        self.output.packet(&packet, hook);
        self.accepted += 1;
    }

    /// Writes what waits. A failure is kept.
    pub(super) fn flush(&mut self) {
        let stop = Some(self.signals.as_fd());
        if let Err(why) = self.output.flush(&mut self.account, stop) {
            self.failure = Some(why.into());
        }
    }

    /// What the clock says now, nanoseconds since 1970.
    pub(super) fn now_ns(&mut self) -> Result<u64> {
        let now = monotonic_ns().context("cannot read the clock")?;
        Ok(self.clock.time_ns(now))
    }

    /// Measures the clock's offset again, where it is time, and notes a step in the file.
    pub(super) fn follow_clock(&mut self, now: Instant) -> Result<()> {
        if now - self.sampled < RESAMPLE_AFTER {
            return Ok(());
        }
        self.sampled = now;
        if let Some(note) = self.clock.resample().context("cannot read the clock")? {
            eprintln!("netns-trace: {note}");
            self.output.comment(note.to_string());
        }
        Ok(())
    }

    /// Takes over what the kernel side counted at the taps of a generation.
    pub(super) fn read_counts(&mut self, from: &Written, maps: &ProbeMaps) -> Result<()> {
        for tap in &from.taps {
            for written in &tap.hooks {
                let counters = maps.counters(tap.number, written.hook)?;
                let totals = HookTotals {
                    seen: counters.seen,
                    received: counters.received,
                    recorded: counters.recorded,
                    ring_full: counters.ring_full,
                    copy_failed: counters.copy_failed,
                    discarded: counters.discarded,
                    foreign: counters.foreign,
                    shed: counters.shed,
                    unsampled: counters.unsampled,
                };
                self.account.set_kernel(written.account, totals);
            }
        }
        Ok(())
    }
}
