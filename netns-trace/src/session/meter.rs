//! Reads the kernel side's histograms as a report.

use std::time::Instant;

use anyhow::Result;

use super::outline::{Outline, OutlinedTap};
use crate::{
    latency::{Direction, Report, Samples, Segment, TargetLabel},
    probe::{GroupSum, Hook, ProbeMaps},
};

/// Everything of a run that its reports need.
pub(super) struct Meter {
    segments: Vec<MeteredSegment>,
    targets: Vec<TargetLabel>,
    probe_cost_ns: Option<f64>,
    idle_gap_ns: u64,
    start: Instant,
    /// What was missed while taps were still coming up, by segment.
    before: Vec<Missed>,
}

/// Packets of a segment that have no sample.
#[derive(Clone, Copy, Default)]
struct Missed {
    unmatched: u64,
    left: u64,
    overwritten: u64,
}

struct MeteredSegment {
    name: String,
    direction: Direction,
    from: HookOf,
    to: HookOf,
}

struct HookOf {
    tap: u32,
    hook: Hook,
    label: String,
}

impl HookOf {
    fn new(number: u32, taps: &[OutlinedTap]) -> Self {
        let (tap, hook) = (number / 2, Hook::BOTH[(number % 2) as usize]);
        let tap_there = taps.get(tap as usize);
        let label = tap_there.map_or_else(String::new, OutlinedTap::end_label);
        Self { tap, hook, label }
    }
}

impl Meter {
    /// For the segments of a plan.
    pub(super) fn new(plan: &Outline, idle_gap_ns: u64) -> Self {
        let segments = plan.segments.iter().map(|segment| MeteredSegment {
            name: segment.name.clone(),
            direction: segment.direction,
            from: HookOf::new(segment.from, &plan.taps),
            to: HookOf::new(segment.to, &plan.taps),
        });
        let targets = plan.targets.iter().map(|(label, inode)| TargetLabel {
            label: label.clone(),
            inode: *inode,
        });
        Self {
            segments: segments.collect(),
            targets: targets.collect(),
            probe_cost_ns: None,
            idle_gap_ns,
            start: Instant::now(),
            before: Vec::new(),
        }
    }

    /// What a tap costs, where it is known.
    pub(super) fn set_probe_cost(&mut self, ns: Option<f64>) {
        self.probe_cost_ns = ns;
    }

    /// Whether there is anything to report.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// All taps are up: what was missed until now, since a tap was not there yet, does not count.
    ///
    /// # Errors
    ///
    /// The maps cannot be read.
    pub(super) fn mark(&mut self, maps: &ProbeMaps) -> Result<()> {
        let missed = self.segments.iter().map(|segment| segment.missed(maps));
        self.before = missed.collect::<Result<_>>()?;
        Ok(())
    }

    /// What was recorded so far.
    ///
    /// # Errors
    ///
    /// The maps cannot be read.
    pub(super) fn report(&self, maps: &ProbeMaps) -> Result<Report> {
        let mut segments = Vec::new();
        for (number, segment) in self.segments.iter().enumerate() {
            let [busy, idle] = maps.histogram(number as u32)?.map(samples);
            let missed = segment.missed(maps)?;
            let before = self.before.get(number).copied().unwrap_or_default();
            segments.push(Segment {
                name: segment.name.clone(),
                direction: segment.direction,
                from: segment.from.label.clone(),
                to: segment.to.label.clone(),
                unmatched: missed.unmatched.saturating_sub(before.unmatched),
                left: missed.left.saturating_sub(before.left),
                overwritten: missed.overwritten.saturating_sub(before.overwritten),
                busy,
                idle,
            });
        }
        Ok(Report {
            version: 1,
            duration_ns: self.start.elapsed().as_nanos() as u64,
            probe_cost_ns: self.probe_cost_ns,
            idle_gap_ns: self.idle_gap_ns,
            targets: self.targets.clone(),
            segments,
        })
    }
}

impl MeteredSegment {
    fn missed(&self, maps: &ProbeMaps) -> Result<Missed> {
        let counters = |at: &HookOf| maps.counters(at.tap, at.hook);
        let (from, to) = (counters(&self.from)?, counters(&self.to)?);
        Ok(Missed {
            unmatched: to.unmatched,
            left: from.stamped.saturating_sub(from.matched + from.overwritten),
            overwritten: from.overwritten,
        })
    }
}

fn samples(sum: GroupSum) -> Samples {
    Samples::new(sum.sum_ns, sum.min_ns, sum.max_ns, sum.buckets)
}
