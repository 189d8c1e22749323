//! What came in each of the last intervals, coarsely: enough to draw it, and bounded.

use std::{collections::VecDeque, rc::Rc};

use super::model::Kind;
use crate::latency::{Report, Samples};

/// Each power of two of time is split into so many cells.
pub(super) const CELLS_PER_OCTAVE: u32 = 4;
/// Most intervals that are kept: no terminal is wider.
const INTERVALS: usize = 512;
/// Most cells that are kept, at 8 bytes each.
const CELLS: usize = 4 << 20;

/// How often a cell was met.
type Cells = Vec<(u32, u32)>;

/// One interval.
#[derive(Debug)]
struct Interval {
    duration_ns: u64,
    /// Of each segment: busy, idle.
    segments: Vec<[Cells; 2]>,
    cells: usize,
}

/// The last intervals, the oldest first. A clone of it is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    intervals: VecDeque<Rc<Interval>>,
    cells: usize,
}

/// The cell of a time.
pub(super) fn cell(ns: u64) -> u32 {
    ((ns.max(1) as f64).log2() * f64::from(CELLS_PER_OCTAVE)).floor() as u32
}

/// The time at which a cell starts.
pub(super) fn cell_start(cell: u32) -> f64 {
    (f64::from(cell) / f64::from(CELLS_PER_OCTAVE)).exp2()
}

fn cells(samples: &Samples) -> Cells {
    let mut cells = Cells::new();
    for (start, end, count) in samples.buckets() {
        let (at, count) = (
            cell(start + (end - start) / 2),
            u32::try_from(count).unwrap_or(u32::MAX),
        );
        match cells.last_mut() {
            Some((last, sum)) if *last == at => *sum = sum.saturating_add(count),
            _ => cells.push((at, count)),
        }
    }
    cells
}

impl History {
    /// Adds an interval, and forgets the oldest ones when there are too many.
    pub(super) fn add(&mut self, interval: &Report) {
        let segments: Vec<[Cells; 2]> = interval
            .segments
            .iter()
            .map(|segment| [cells(&segment.busy), cells(&segment.idle)])
            .collect();
        let interval = Interval {
            duration_ns: interval.duration_ns,
            cells: segments.iter().flatten().map(|cells| cells.len() + 3).sum(),
            segments,
        };
        self.cells += interval.cells;
        self.intervals.push_back(Rc::new(interval));
        self.forget(CELLS);
    }

    fn forget(&mut self, most_cells: usize) {
        while self.intervals.len() > INTERVALS || self.cells > most_cells {
            let Some(oldest) = self.intervals.pop_front() else {
                break;
            };
            self.cells -= oldest.cells;
        }
    }

    /// How many intervals there are.
    pub(super) fn len(&self) -> usize {
        self.intervals.len()
    }

    /// How long ago the last `count` intervals began, in nanoseconds.
    pub(super) fn age_ns(&self, count: usize) -> u64 {
        let last = self.intervals.iter().rev().take(count);
        last.map(|interval| interval.duration_ns).sum()
    }

    /// What the last `count` intervals saw of a segment: number of the interval, the oldest being
    /// 0, cell, and how often it was met.
    pub(super) fn met(
        &self,
        segment: usize,
        kind: Kind,
        count: usize,
    ) -> impl Iterator<Item = (usize, u32, u64)> + '_ {
        let skipped = self.intervals.len().saturating_sub(count);
        let shown = self.intervals.iter().skip(skipped).enumerate();
        shown.flat_map(move |(at, interval)| {
            let groups = interval.segments.get(segment);
            let groups = groups.into_iter().flatten().enumerate();
            groups
                .filter(move |(group, _)| kind.includes(*group))
                .flat_map(move |(_, cells)| {
                    cells
                        .iter()
                        .map(move |(cell, count)| (at, *cell, u64::from(*count)))
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    #[test]
    fn cells_are_in_order_and_know_their_start() {
        assert_eq!((cell(0), cell(1), cell(2), cell(1024)), (0, 0, 4, 40));
        for ns in [1, 3, 999, 123_456, u64::from(u32::MAX)] {
            assert!(cell_start(cell(ns)) <= ns as f64, "{ns}");
            assert!(cell_start(cell(ns) + 1) > ns as f64, "{ns}");
        }
    }

    #[test]
    fn an_interval_is_kept_by_cell() {
        let mut history = History::default();
        history.add(&fixture::report(1));
        let met = |kind| -> u64 {
            let met = history.met(0, kind, 10);
            met.map(|(at, _, count)| at as u64 * 1_000_000 + count)
                .sum()
        };
        let report = fixture::report(1);
        let segment = &report.segments[0];
        assert_eq!(met(Kind::Busy), segment.busy.count());
        assert_eq!(met(Kind::Idle), segment.idle.count());
        assert_eq!(met(Kind::All), segment.all().count());
        assert_eq!(history.met(99, Kind::All, 10).count(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let mut history = History::default();
        let report = fixture::report(1);
        (0..INTERVALS + 10).for_each(|_| history.add(&report));
        assert_eq!(history.len(), INTERVALS);
        let each = history.cells / INTERVALS;
        history.forget(each * 20 + 1);
        assert_eq!(history.len(), 20);
        let sum: usize = history
            .intervals
            .iter()
            .map(|interval| interval.cells)
            .sum();
        assert_eq!(sum, history.cells);
    }
}
