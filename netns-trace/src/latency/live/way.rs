//! The way that a segment lies on, found from the names of taps alone.

use crate::latency::{Direction, Segment};

/// Steps of a way, by the numbers of their segments, and which of them the selected segment
/// spans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) steps: Vec<usize>,
    pub(super) selected: std::ops::Range<usize>,
}

/// The way through the selected segment. Where ways fork, it keeps its direction if it can, and
/// takes the first one.
pub(super) fn way(segments: &[Segment], selected: usize) -> Way {
    let Some(segment) = segments.get(selected) else {
        return Way::default();
    };
    let mut steps = if segment.is_total() {
        between(segments, segment)
    } else {
        vec![selected]
    };
    if steps.is_empty() {
        return Way::default();
    }
    let length = steps.len();
    let mut passed = vec![segments[steps[0]].from.as_str()];
    passed.extend(steps.iter().map(|step| segments[*step].to.as_str()));
    let (mut first, mut last) = (segment.from.as_str(), segment.to.as_str());
    while let Some(step) = pick(segments, segment.direction, |step| {
        step.from == last && !passed.contains(&step.to.as_str())
    }) {
        last = &segments[step].to;
        passed.push(last);
        steps.push(step);
    }
    let mut before = Vec::new();
    while let Some(step) = pick(segments, segment.direction, |step| {
        step.to == first && !passed.contains(&step.from.as_str())
    }) {
        first = &segments[step].from;
        passed.push(first);
        before.push(step);
    }
    before.reverse();
    let start = before.len();
    before.append(&mut steps);
    Way {
        steps: before,
        selected: start..start + length,
    }
}

/// The first step that fits, rather one of this direction.
fn pick(
    segments: &[Segment],
    direction: Direction,
    fits: impl Fn(&Segment) -> bool,
) -> Option<usize> {
    let fitting = |same: bool| {
        segments.iter().position(|step| {
            !step.is_total() && (!same || step.direction == direction) && fits(step)
        })
    };
    fitting(true).or_else(|| fitting(false))
}

/// The fewest steps from one end of a segment to the other.
fn between(segments: &[Segment], whole: &Segment) -> Vec<usize> {
    // How each tap was reached first.
    let mut reached: Vec<(&str, Option<usize>)> = vec![(&whole.from, None)];
    let mut at = 0;
    while let Some((tap, _)) = reached.get(at).copied() {
        at += 1;
        if tap == whole.to {
            break;
        }
        for direction in [whole.direction, Direction::Out, Direction::In] {
            for (number, step) in segments.iter().enumerate() {
                let fits = !step.is_total() && step.direction == direction && step.from == tap;
                if fits && !reached.iter().any(|(other, _)| *other == step.to) {
                    reached.push((&step.to, Some(number)));
                }
            }
        }
    }
    let mut steps = Vec::new();
    let mut tap = whole.to.as_str();
    while let Some((_, Some(step))) = reached.iter().find(|(other, _)| *other == tap) {
        steps.push(*step);
        tap = &segments[*step].from;
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    fn shown(segments: &[Segment], selected: usize) -> (String, std::ops::Range<usize>) {
        let way = way(segments, selected);
        let mut text = String::new();
        for step in &way.steps {
            let segment = &segments[*step];
            if text.is_empty() {
                text.push_str(&segment.from);
            }
            text.push_str(&format!(" > {}", segment.to));
        }
        (text, way.selected)
    }

    #[test]
    fn one_target_to_the_world_and_back() {
        let segments = fixture::report(1).segments;
        let (out, back) = (
            "web/eth0 > host/vweb > host/br0 > host/up0",
            "host/up0 > host/br0 > host/vweb > web/eth0",
        );
        let expected = [
            (out, 0..1),
            (out, 1..2),
            (out, 2..3),
            (out, 0..2),
            (out, 0..3),
            (back, 0..1),
            (back, 1..2),
            (back, 2..3),
            (back, 0..3),
            (back, 1..3),
        ];
        assert_eq!(segments.len(), expected.len());
        for (at, (text, range)) in expected.into_iter().enumerate() {
            assert_eq!(shown(&segments, at), (text.to_owned(), range), "{at}");
        }
    }

    #[test]
    fn from_one_target_to_another() {
        use Direction::{In, Out};
        let segments = fixture::segments(&[
            ("veth", Out, "a/eth0", "host/va"),
            ("veth", In, "host/va", "a/eth0"),
            ("veth", Out, "b/eth0", "host/vb"),
            ("veth", In, "host/vb", "b/eth0"),
            ("bridge", Out, "host/va", "host/vb"),
            ("total", Out, "a/eth0", "b/eth0"),
            ("bridge", Out, "host/vb", "host/va"),
            ("total", Out, "b/eth0", "a/eth0"),
        ]);
        let there = "a/eth0 > host/va > host/vb > b/eth0";
        assert_eq!(shown(&segments, 0), (there.to_owned(), 0..1));
        assert_eq!(shown(&segments, 4), (there.to_owned(), 1..2));
        assert_eq!(shown(&segments, 5), (there.to_owned(), 0..3));
        let back = "b/eth0 > host/vb > host/va > a/eth0";
        assert_eq!(shown(&segments, 7), (back.to_owned(), 0..3));
    }

    #[test]
    fn odd_segments_have_no_way() {
        use Direction::Out;
        assert_eq!(way(&[], 0), Way::default());
        let lone = fixture::segments(&[("total", Out, "a/eth0", "b/eth0")]);
        assert_eq!(way(&lone, 0), Way::default());
        let ring = fixture::segments(&[("veth", Out, "a/x", "a/y"), ("veth", Out, "a/y", "a/x")]);
        assert_eq!(way(&ring, 0).steps, [0]);
        let own = fixture::segments(&[("total", Out, "a/x", "a/x")]);
        assert_eq!(way(&own, 0), Way::default());
    }
}
