//! The ways of packets through the planned taps: which hooks are neighbours, and which pairs of them
//! get a histogram.
//!
//! Decides on plain data: numbers of taps and their roles.

use std::collections::BTreeMap;

use netns_trace_ebpf::{EGRESS, INGRESS, Pair, feature, hook_index, pair_index};

use crate::latency::Direction;

/// The taps of one target, by number, as far as they are planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetTaps {
    pub(super) inside: Option<u32>,
    pub(super) veth: Option<u32>,
    pub(super) bridge: Option<u32>,
    pub(super) uplink: Option<u32>,
    /// Which namespace the host side is in, and which bridge it is a port of: targets where both
    /// agree reach each other without a router, those with one namespace through it.
    pub(super) outside: Option<u64>,
    pub(super) port_of: Option<u32>,
}

/// A step of a way: a hook, by number, and what lies between it and the step before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    hook: u32,
    at_bridge: bool,
    passed: Vec<&'static str>,
}

/// A place on a way: its tap, if it has one, the hook there, and what lies before it.
type Place = (Option<u32>, u32, &'static str, bool);

/// Two hooks between which times are recorded.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct WaySegment {
    /// `veth`, `bridge`, `route`, several joined by `+`, or `total`.
    pub(super) name: String,
    pub(super) direction: Direction,
    /// The hooks' numbers.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// All that is to know of the planned taps' ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ways {
    /// Neighbours, by the hooks' numbers, with the segment's number if there is a histogram.
    neighbours: BTreeMap<(u32, u32), Option<u32>>,
    totals: BTreeMap<(u32, u32), u32>,
    /// Those of single targets first, then those between targets.
    segments: Vec<WaySegment>,
    /// How many are of single targets.
    own: usize,
}

impl Ways {
    /// What programs at a hook that is on no way must know: nothing comes before or after it.
    pub(super) const OFF_WAYS: u32 = feature::LAST | feature::ORIGIN;

    /// Finds the ways of these targets' packets. `is_timed` tells of a tap whether its times are
    /// wanted.
    pub(super) fn find(targets: &[TargetTaps], is_timed: impl Fn(u32) -> bool) -> Self {
        let mut ways = Self::default();
        // What a target's own interface sends leaves it, also where it enters another one.
        let owned: Vec<u32> = targets.iter().filter_map(|target| target.inside).collect();
        let mut add = |way: &[Place], direction| {
            ways.add(&steps(way), direction, &owned, &is_timed);
        };
        for target in targets {
            add(&target.out(), Direction::Out);
            add(&target.into(), Direction::In);
        }
        let own = ways.segments.len();
        let mut add = |way: &[Place], direction| {
            ways.add(&steps(way), direction, &owned, &is_timed);
        };
        for (n, from) in targets.iter().enumerate() {
            for (m, to) in targets.iter().enumerate() {
                if n != m
                    && let Some(way) = between(from, to)
                {
                    add(&way, Direction::Out);
                }
            }
        }
        ways.own = own;
        ways
    }

    fn add(
        &mut self,
        way: &[Step],
        direction: Direction,
        owned: &[u32],
        is_timed: &impl Fn(u32) -> bool,
    ) {
        let direction_of = |from: &Step| {
            let is_own = owned.contains(&(from.hook / 2)) && from.hook % 2 == EGRESS;
            if is_own { Direction::Out } else { direction }
        };
        let timed = |a: &Step, b: &Step| is_timed(a.hook / 2) && is_timed(b.hook / 2);
        for pair in way.windows(2) {
            let (from, to) = (&pair[0], &pair[1]);
            let known = self.neighbours.get(&(from.hook, to.hook));
            if from.hook == to.hook || known.is_some_and(Option::is_some) {
                continue;
            }
            let name = to.passed.join("+");
            let segment = timed(from, to)
                .then(|| self.segment(&name, direction_of(from), from.hook, to.hook));
            self.neighbours.insert((from.hook, to.hook), segment);
        }
        // A tap in between may not be up yet, or gone: its neighbours know each other all the same.
        for (at, from) in way.iter().enumerate() {
            for to in way.iter().skip(at + 2).filter(|to| to.hook != from.hook) {
                self.neighbours.entry((from.hook, to.hook)).or_insert(None);
            }
        }
        for (at, end) in way.iter().enumerate() {
            if !is_end(way, at) {
                continue;
            }
            for (first_at, first) in way[..at.saturating_sub(1)].iter().enumerate() {
                let key = (first.hook, end.hook);
                if is_start(way, first_at) && timed(first, end) && !self.totals.contains_key(&key) {
                    let (name, direction) = (crate::latency::TOTAL, direction_of(first));
                    let number = self.segment(name, direction, first.hook, end.hook);
                    self.totals.insert(key, number);
                }
            }
        }
    }

    fn segment(&mut self, name: &str, direction: Direction, from: u32, to: u32) -> u32 {
        self.segments.push(WaySegment {
            name: name.to_owned(),
            direction,
            from,
            to,
        });
        (self.segments.len() - 1) as u32
    }

    /// The segments, by number.
    pub(super) fn segments(&self) -> &[WaySegment] {
        &self.segments
    }

    /// Leaves out the histograms between targets: their packets are recognised all the same.
    pub(super) fn own_alone(self) -> Self {
        let own = self.own;
        self.first(own)
    }

    /// Leaves out all histograms: packets are only recognised.
    pub(super) fn untimed(self) -> Self {
        self.first(0)
    }

    /// Keeps so many histograms.
    fn first(mut self, most: usize) -> Self {
        let is_kept = |segment: u32| (segment as usize) < most;
        self.segments.truncate(most);
        self.own = self.own.min(most);
        self.totals.retain(|_, segment| is_kept(*segment));
        for segment in self.neighbours.values_mut() {
            *segment = segment.filter(|segment| is_kept(*segment));
        }
        self
    }

    /// What the programs at each hook that is on a way must know: bits of [`feature`].
    pub(super) fn features(&self) -> BTreeMap<u32, u32> {
        let mut features = BTreeMap::new();
        let mut change = |hook: u32, off: u32, on: u32| {
            let bits = features.entry(hook).or_insert(Self::OFF_WAYS);
            *bits = *bits & !off | on;
        };
        for (from, to) in self.neighbours.keys() {
            change(*from, feature::LAST, 0);
            change(*to, feature::ORIGIN, 0);
        }
        for (_, to) in self.totals.keys() {
            change(*to, 0, feature::END);
        }
        for segment in &self.segments {
            change(segment.from, 0, feature::LATENCY);
            change(segment.to, 0, feature::LATENCY | feature::EXPECT);
        }
        features
    }

    /// The entries of the map of pairs, by index, for so many hooks.
    pub(super) fn pairs(&self, hooks: u32) -> BTreeMap<u32, Pair> {
        let mut pairs = BTreeMap::<u32, Pair>::new();
        for ((from, to), segment) in &self.neighbours {
            let pair = pairs.entry(pair_index(*from, *to, hooks)).or_default();
            pair.segment = segment.map_or(Pair::NO_HISTOGRAM, |number| number + 1);
        }
        for ((from, to), segment) in &self.totals {
            pairs
                .entry(pair_index(*from, *to, hooks))
                .or_default()
                .total = segment + 1;
        }
        pairs
    }
}

impl TargetTaps {
    /// The way out: to the world.
    fn out(&self) -> Vec<Place> {
        let mut way = vec![
            (self.inside, EGRESS, "", false),
            (self.veth, INGRESS, "veth", false),
        ];
        if self.port_of.is_some() {
            way.push((self.bridge, INGRESS, "bridge", true));
        }
        way.push((self.uplink, EGRESS, "route", false));
        way
    }

    /// The way in: from the world.
    fn into(&self) -> Vec<Place> {
        let mut way = vec![(self.uplink, INGRESS, "", false)];
        if self.port_of.is_some() {
            way.push((self.bridge, EGRESS, "route", true));
            way.push((self.veth, EGRESS, "bridge", false));
        } else {
            way.push((self.veth, EGRESS, "route", false));
        }
        way.push((self.inside, INGRESS, "veth", false));
        way
    }
}

/// The way from one target to another, if they share a bridge or a router.
fn between(from: &TargetTaps, to: &TargetTaps) -> Option<Vec<Place>> {
    if from.outside.is_none() || from.outside != to.outside {
        return None;
    }
    let (mut way, mut down) = (from.out(), to.into());
    // Not by the uplink.
    way.pop();
    down.remove(0);
    if from.port_of.is_some() && from.port_of == to.port_of {
        way.pop();
        down.remove(0);
    }
    way.extend(down);
    Some(way)
}

/// The places that have a tap.
fn steps(way: &[Place]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut passed = Vec::new();
    for (tap, hook, before, at_bridge) in way {
        passed.push(*before);
        if let Some(tap) = tap {
            steps.push(Step {
                hook: hook_index(*tap, *hook),
                at_bridge: *at_bridge,
                passed: std::mem::take(&mut passed),
            });
        }
    }
    steps
}

/// Whether ways end at a step: at the last one, and where the host itself may be meant.
fn is_end(way: &[Step], at: usize) -> bool {
    at == way.len() - 1 || (way[at].at_bridge && way[at].hook % 2 == INGRESS)
}

/// Whether ways start at a step: at the first one, and where the host itself may send.
fn is_start(way: &[Step], at: usize) -> bool {
    at == 0 || (way[at].at_bridge && way[at].hook % 2 == EGRESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ways: &Ways) -> Vec<String> {
        ways.segments
            .iter()
            .map(|segment| {
                let (from, to) = (segment.from, segment.to);
                format!("{} {} {from}>{to}", segment.name, segment.direction)
            })
            .collect()
    }

    fn target(taps: [Option<u32>; 4], port_of: Option<u32>) -> TargetTaps {
        let [inside, veth, bridge, uplink] = taps;
        TargetTaps {
            inside,
            veth,
            bridge,
            uplink,
            outside: Some(1),
            port_of,
        }
    }

    #[test]
    fn one_target_to_the_world_and_back() {
        let ways = Ways::find(
            &[target([Some(0), Some(1), Some(2), Some(3)], Some(9))],
            |_| true,
        );
        assert_eq!(
            names(&ways),
            [
                "veth out 1>2",
                "bridge out 2>4",
                "route out 4>7",
                "total out 1>4",
                "total out 1>7",
                "route in 6>5",
                "bridge in 5>3",
                "veth in 3>0",
                "total in 6>0",
                "total in 5>0",
            ]
        );
        let starts = feature::LATENCY | feature::ORIGIN;
        let features = ways.features();
        assert_eq!(features[&1], starts, "where packets start");
        let ends = feature::LAST | feature::END | feature::LATENCY | feature::EXPECT;
        assert_eq!([features[&0], features[&7]], [ends, ends]);
        let pairs = ways.pairs(8);
        assert_eq!(
            pairs[&pair_index(1, 2, 8)],
            Pair {
                segment: 1,
                total: 0
            }
        );
        assert_eq!(
            pairs[&pair_index(1, 7, 8)],
            Pair {
                segment: Pair::NO_HISTOGRAM,
                total: 5
            }
        );
    }

    #[test]
    fn two_targets_on_one_bridge() {
        let taps = [
            target([Some(0), Some(1), None, None], Some(9)),
            target([Some(2), Some(3), None, None], Some(9)),
        ];
        let ways = Ways::find(&taps, |_| true);
        assert_eq!(
            names(&ways),
            [
                "veth out 1>2",
                "veth in 3>0",
                "veth out 5>6",
                "veth in 7>4",
                "bridge out 2>7",
                "total out 1>4",
                "bridge out 6>3",
                "total out 5>0",
            ]
        );
        let own = ways.clone().own_alone();
        assert_eq!(names(&own), names(&ways)[..4]);
        let between = pair_index(2, 7, 8);
        assert_eq!(own.pairs(8).len(), ways.pairs(8).len());
        assert_eq!(own.pairs(8)[&between].segment, Pair::NO_HISTOGRAM);
        assert!(own.features()[&2] & feature::LATENCY != 0, "its veth's end");
    }

    #[test]
    fn two_targets_joined_directly_share_their_taps() {
        let taps = [
            TargetTaps {
                outside: Some(2),
                ..target([Some(0), Some(1), None, None], None)
            },
            TargetTaps {
                outside: Some(1),
                ..target([Some(1), Some(0), None, None], None)
            },
        ];
        let ways = Ways::find(&taps, |_| true);
        assert_eq!(names(&ways), ["veth out 1>2", "veth out 3>0"]);
    }

    #[test]
    fn what_is_not_timed_is_recognised_all_the_same() {
        let ways = Ways::find(&[target([Some(0), None, Some(1), None], Some(9))], |tap| {
            tap == 0
        });
        assert!(ways.segments().is_empty());
        assert!(ways.features().into_keys().eq(0..4));
        let pair = ways.pairs(4)[&pair_index(1, 2, 4)];
        assert_eq!(
            pair,
            Pair {
                segment: Pair::NO_HISTOGRAM,
                total: 0
            }
        );
        let all = Ways::find(&[target([Some(0), None, Some(1), None], Some(9))], |_| true);
        assert_eq!(names(&all), ["veth+bridge out 1>2", "bridge+veth in 3>0"]);
        assert_eq!(all.untimed(), ways);
    }
}
