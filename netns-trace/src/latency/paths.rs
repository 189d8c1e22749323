//! Puts segments back in order: which taps a packet passes one after the other.
//!
//! Knows labels alone, so a path is made of what the segments tell: where they start, end, and lead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Direction, Report, Segment};

/// A tap of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    /// The namespace's label.
    pub(super) namespace: &'a str,
    /// The interface.
    pub(super) interface: &'a str,
    /// Whether it is a target's own interface.
    pub(super) is_inside: bool,
}

/// What was timed between a tap of a path and the next one, there and back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) forth: Option<&'a Segment>,
    pub(super) back: Option<&'a Segment>,
}

/// What was timed over several steps: between which of the path's taps, by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) segment: &'a Segment,
}

/// Taps in the order in which a packet passes them.
#[derive(Clone, Debug)]
pub(super) struct Path<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    /// One fewer than the taps.
    pub(super) steps: Vec<Step<'a>>,
    /// Those with samples.
    pub(super) spans: Vec<Span<'a>>,
}

impl Path<'_> {
    /// Whether it leads on, to where nothing is timed.
    pub(super) fn leads_on(&self) -> bool {
        let inside = |node: Option<&Node<'_>>| node.is_some_and(|node| node.is_inside);
        inside(self.nodes.first()) && !inside(self.nodes.last())
    }

    /// Whether it is a target's way to the world, or a packet took all of it.
    fn is_worth_it(&self) -> bool {
        let last = self.nodes.len() - 1;
        let is_whole = |span: &Span<'_>| span.from.abs_diff(span.to) == last;
        let has_samples = |segment: &&Segment| segment.all().count() > 0;
        let mut steps = self.steps.iter().flat_map(|step| [step.forth, step.back]);
        self.leads_on()
            || self.spans.iter().any(is_whole)
            || (last == 1 && steps.any(|step| step.as_ref().is_some_and(has_samples)))
    }

    /// What it is, for people.
    pub(super) fn title(&self) -> String {
        match (self.nodes.first(), self.nodes.last()) {
            (Some(first), Some(last)) if first.is_inside && last.is_inside => {
                format!("Between {} and {}", first.namespace, last.namespace)
            }
            (Some(first), Some(_)) if first.is_inside => {
                format!("From {} to the world, and back", first.namespace)
            }
            (Some(first), Some(last)) => {
                format!("Between {} and {}", first.interface, last.interface)
            }
            _ => String::new(),
        }
    }
}

/// The namespace and the interface of a tap's label.
fn parts(label: &str) -> (&str, &str) {
    label.rsplit_once('/').unwrap_or(("", label))
}

/// All paths of a report: each target's to the world, then those between targets, then steps that
/// are on none of them.
pub(super) fn paths(report: &Report) -> Vec<Path<'_>> {
    let map = Map::new(report);
    let ways_out = map.insides.iter().map(|inside| map.way_out(inside));
    let mut chains: Vec<Vec<&str>> = ways_out.filter(|chain| chain.len() > 1).collect();
    for (n, from) in map.insides.iter().enumerate() {
        for to in &map.insides[n + 1..] {
            chains.extend(map.between(from, to));
        }
    }
    let mut drawn: BTreeSet<(&str, &str)> = BTreeSet::new();
    for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
        drawn.extend([(pair[0], pair[1]), (pair[1], pair[0])]);
    }
    for segment in report.segments.iter().filter(|segment| !segment.is_total()) {
        let (from, to) = (segment.from.as_str(), segment.to.as_str());
        if drawn.insert((from, to)) {
            drawn.insert((to, from));
            chains.push(vec![from, to]);
        }
    }
    let mut paths: Vec<Path<'_>> = chains.iter().map(|chain| map.path(chain)).collect();
    // Of many targets, most have nothing to do with each other.
    if paths.iter().any(Path::is_worth_it) {
        paths.retain(Path::is_worth_it);
    }
    paths
}

/// Segments by where they start and end.
struct Map<'a> {
    steps: BTreeMap<(&'a str, &'a str), &'a Segment>,
    spans: BTreeMap<(&'a str, &'a str), &'a Segment>,
    /// The targets' own interfaces, in the order of the report.
    insides: Vec<&'a str>,
}

impl<'a> Map<'a> {
    fn new(report: &'a Report) -> Self {
        let mut map = Self {
            steps: BTreeMap::new(),
            spans: BTreeMap::new(),
            insides: Vec::new(),
        };
        for segment in &report.segments {
            let kind = if segment.is_total() {
                &mut map.spans
            } else {
                &mut map.steps
            };
            let key = (segment.from.as_str(), segment.to.as_str());
            kind.entry(key).or_insert(segment);
        }
        for segment in &report.segments {
            let at = segment.from.as_str();
            let in_target = |target: &super::TargetLabel| target.label == parts(at).0;
            if map.goes_out(at)
                && report.targets.iter().any(in_target)
                && !map.insides.contains(&at)
            {
                map.insides.push(at);
            }
        }
        map
    }

    /// Whether packets start at a tap: they leave it, and what comes out to it comes from another
    /// start.
    fn goes_out(&self, at: &str) -> bool {
        let is_out = |from: &str, to: &str| {
            let segment = self.steps.get(&(from, to));
            segment.is_some_and(|segment| segment.direction == Direction::Out)
        };
        let mut steps = self.steps.keys();
        let passes_on = self
            .steps
            .keys()
            .any(|(from, to)| *to == at && is_out(from, at) && !is_out(at, from));
        steps.any(|(from, to)| *from == at && is_out(at, to)) && !passes_on
    }

    /// From a target's interface outwards, as long as no other target's side begins.
    fn way_out(&self, inside: &'a str) -> Vec<&'a str> {
        let is_others = |tap: &str| {
            let mut owners = self
                .insides
                .iter()
                .filter(|i| self.steps.contains_key(&(**i, tap)));
            self.insides.contains(&tap)
                || (owners.clone().count() > 0 && !owners.any(|owner| *owner == inside))
        };
        let mut chain = vec![inside];
        while let Some(at) = chain.last().copied() {
            let next = self.steps.iter().find(|((from, to), segment)| {
                *from == at
                    && segment.direction == Direction::Out
                    && !chain.contains(to)
                    && !is_others(to)
            });
            match next {
                Some(((_, to), _)) => chain.push(to),
                None => break,
            }
        }
        chain
    }

    /// The shortest way from one target's interface to another's, if packets were timed on it.
    fn between(&self, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
        let timed = |a, b| self.spans.contains_key(&(a, b)) || self.steps.contains_key(&(a, b));
        if !timed(from, to) && !timed(to, from) {
            return None;
        }
        let mut before = BTreeMap::from([(from, from)]);
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for (_, next) in self.steps.keys().filter(|(from, _)| *from == at) {
                if !before.contains_key(next) {
                    before.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        let mut chain = vec![to];
        while *chain.last()? != from {
            chain.push(before.get(chain.last()?)?);
        }
        chain.reverse();
        Some(chain)
    }

    fn path(&self, chain: &[&'a str]) -> Path<'a> {
        let node = |label: &&'a str| {
            let (namespace, interface) = parts(label);
            Node {
                namespace,
                interface,
                is_inside: self.insides.contains(label),
            }
        };
        let steps = chain.windows(2).map(|pair| Step {
            forth: self.steps.get(&(pair[0], pair[1])).copied(),
            back: self.steps.get(&(pair[1], pair[0])).copied(),
        });
        let at = |label: &str| chain.iter().position(|other| *other == label);
        let spans = self.spans.iter().filter_map(|((from, to), segment)| {
            let (from, to) = (at(from)?, at(to)?);
            let has_samples = segment.all().count() > 0;
            has_samples.then_some(Span { from, to, segment })
        });
        let mut spans: Vec<Span<'_>> = spans.collect();
        spans.sort_by_key(|span| (span.from > span.to, span.from.abs_diff(span.to)));
        Path {
            nodes: chain.iter().map(node).collect(),
            steps: steps.collect(),
            spans,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::two_targets, *};

    fn names(path: &Path<'_>) -> String {
        let taps: Vec<&str> = path.nodes.iter().map(|node| node.interface).collect();
        taps.join(" ")
    }

    #[test]
    fn the_ways_of_two_targets() {
        let report = two_targets();
        let paths = paths(&report);
        let all: Vec<String> = paths.iter().map(names).collect();
        assert_eq!(
            all,
            ["eth0 va br0 up0", "eth0 vb br0 up0", "eth0 va vb eth0"]
        );
        assert!(paths[0].leads_on() && !paths[2].leads_on());
        assert_eq!(paths[0].title(), "From a to the world, and back");
        assert_eq!(paths[2].title(), "Between a and b");
        let insides: Vec<bool> = paths[2].nodes.iter().map(|node| node.is_inside).collect();
        assert_eq!(insides, [true, false, false, true]);
        let spans: Vec<_> = paths[0].spans.iter().map(|s| (s.from, s.to)).collect();
        assert_eq!(spans, [(0, 2), (0, 3), (3, 0)], "those with samples");
        for step in paths.iter().flat_map(|path| &path.steps) {
            assert!(step.forth.is_some() && step.back.is_some());
        }
    }

    #[test]
    fn a_host_that_is_a_target_too_hides_no_path() {
        let mut report = two_targets();
        let mut host = report.targets[0].clone();
        host.label = "host".to_owned();
        report.targets.push(host);
        let all: Vec<String> = paths(&report).iter().map(names).collect();
        assert_eq!(
            all,
            ["eth0 va br0 up0", "eth0 vb br0 up0", "eth0 va vb eth0"]
        );
    }

    #[test]
    fn what_fits_no_path_is_one_by_itself() {
        let mut report = two_targets();
        report.targets.clear();
        let all = paths(&report);
        assert!(all.iter().all(|path| path.nodes.len() == 2), "{all:?}");
        assert_eq!(
            all.len(),
            4,
            "there and back in one, without the silent ones"
        );
        report.segments.clear();
        assert!(paths(&report).is_empty());
    }

    #[test]
    fn silence_is_drawn_where_there_is_nothing_else() {
        let mut report = two_targets();
        for segment in &mut report.segments {
            segment.busy = super::super::Samples::default();
        }
        let all: Vec<String> = paths(&report).iter().map(names).collect();
        assert_eq!(all, ["eth0 va br0 up0", "eth0 vb br0 up0"]);
        report
            .segments
            .retain(|s| s.from != "host/br0" && s.to != "host/br0");
        report
            .segments
            .retain(|s| s.to != "host/up0" && s.from != "host/up0");
        assert!(!paths(&report).is_empty());
    }

    #[test]
    fn a_loop_ends() {
        let mut report = two_targets();
        report.segments.truncate(3);
        report.segments[2].to = "a/eth0".to_owned();
        report.segments[1].to = "host/va".to_owned();
        assert!(!paths(&report).is_empty());
    }
}
