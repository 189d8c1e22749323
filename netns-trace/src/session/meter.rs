//! Reads the kernel side's histograms as a report.

use std::time::Instant;

use anyhow::Result;

use super::plan::{Plan, PlannedTap};
use crate::{
    latency::{Direction, Report, Samples, Segment, TargetLabel},
    probe::{GroupSum, Hook, HookCounters, ProbeMaps},
};

/// Everything of a run that its reports need.
pub(super) struct Meter {
    segments: Vec<MeteredSegment>,
    targets: Vec<TargetLabel>,
    probe_cost_ns: Option<f64>,
    idle_gap_ns: u64,
    start: Instant,
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
    fn new(number: u32, taps: &[PlannedTap]) -> Self {
        let (tap, hook) = (number / 2, Hook::BOTH[(number % 2) as usize]);
        let label = taps.get(tap as usize).map_or_else(String::new, |tap| {
            format!("{}/{}", tap.site.ns_label, tap.site.link.printable_name())
        });
        Self { tap, hook, label }
    }
}

impl Meter {
    /// For the segments of a plan.
    pub(super) fn new(plan: &Plan, idle_gap_ns: u64) -> Self {
        let segments = plan.ways.segments().iter().map(|segment| MeteredSegment {
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

    /// What was recorded so far.
    ///
    /// # Errors
    ///
    /// The maps cannot be read.
    pub(super) fn report(&self, maps: &ProbeMaps) -> Result<Report> {
        let mut segments = Vec::new();
        for (number, segment) in self.segments.iter().enumerate() {
            let [busy, idle] = maps.histogram(number as u32)?.map(samples);
            let counters = |at: &HookOf| maps.counters(at.tap, at.hook);
            let from: HookCounters = counters(&segment.from)?;
            let unmatched = counters(&segment.to)?.unmatched;
            segments.push(Segment {
                name: segment.name.clone(),
                direction: segment.direction,
                from: segment.from.label.clone(),
                to: segment.to.label.clone(),
                unmatched,
                left: from.stamped.saturating_sub(from.matched + from.overwritten),
                overwritten: from.overwritten,
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

fn samples(sum: GroupSum) -> Samples {
    Samples::new(sum.sum_ns, sum.min_ns, sum.max_ns, sum.buckets)
}
