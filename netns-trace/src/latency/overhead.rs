//! What the way from a container to its gateway costs over loopback, and where that goes: the
//! figures of round trips, their differences, and the split by segment.
//!
//! Plain data in and out: sends nothing and measures nothing.

mod text;

use serde::Serialize;

use super::{Direction, Figures, Report, TargetLabel};

/// Round trips of one kind to one address.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trips {
    /// Echoes sent.
    pub sent: u64,
    /// Those without a reply in time.
    pub lost: u64,
    /// How long the others took, exactly: no histogram is between.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The three kinds of round trips, made in turns by one thread. Nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Round {
    /// Over the target's own loopback.
    pub loopback: Option<Trips>,
    /// Over the host's loopback.
    pub host_loopback: Option<Trips>,
    /// From inside the target to its gateway.
    pub gateway: Option<Trips>,
}

/// A time by two measures, in nanoseconds, with a sign. Means add up, but one interruption moves
/// them; medians are what is usual, but add up only about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Centre {
    /// The mean.
    pub mean_ns: f64,
    /// The median.
    pub p50_ns: f64,
}

/// What one segment takes of a round trip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// `veth`, `bridge`, or both in one where there is no tap between.
    pub name: String,
    /// To the gateway, or back.
    pub direction: Direction,
    /// `web/eth0`.
    pub from: String,
    /// `host/vethce5c219`.
    pub to: String,
    /// Packets that passed it: those of the probed round trips, and whatever else the target sent
    /// or received meanwhile.
    pub count: u64,
    /// The time they took, as measured: it holds that of one tap.
    pub time: Option<Centre>,
}

/// Where the difference goes: segments were timed during further round trips, with probes on the
/// way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    /// The round trips under the probes. The loopbacks have none on their way: that they differ from
    /// those before is drift.
    pub probed: Round,
    /// The segments, on the way out and back.
    pub parts: Vec<Part>,
    /// What all taps cost a round trip by their own account, which is measured busy: cost of one x
    /// taps x 2.
    pub taps_account_ns: Option<f64>,
    /// What they cost by comparison of medians: how much slower the gateway's round trips became
    /// under them, less the drift of loopback.
    pub taps_observed_ns: Option<f64>,
    /// The taps' own time in the parts: the larger of the two figures, spread evenly over all
    /// passes. It is taken off.
    pub taps_in_parts_ns: f64,
    /// The difference less the parts, with the taps' own time put back: what the gateway's stack
    /// takes more than loopback's, and what is not explained. May be negative.
    pub rest: Option<Centre>,
    /// What the sockets and both IP stacks take of a probed round trip: it less the parts and the
    /// taps' time outside them. Derived, not measured.
    pub stacks: Option<Centre>,
}

/// Round trips of one rhythm, and what they come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// The round trips, with no probe attached: these are compared.
    #[serde(flatten)]
    pub plain: Round,
    /// Gateway less the target's loopback.
    pub difference: Option<Centre>,
    /// Where it goes.
    pub split: Option<Split>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All round trips were made.
    Done,
    /// A signal asked for the end.
    Interrupted,
    /// It took too long.
    TimeLimit,
}

/// All that one run of `overhead` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overhead {
    /// Of this form: 1.
    pub version: u32,
    /// The namespace.
    pub target: TargetLabel,
    /// Its interface on the way, safe to print.
    pub interface: String,
    /// The address that answered: the gateway's, or the one that was asked for.
    pub to: String,
    /// Whether `to` is the gateway of the default route.
    pub is_gateway: bool,
    /// The bytes of an echo with its ICMP header.
    pub echo_bytes: usize,
    /// `datagram` (the kernel's ping sockets) or `raw`.
    pub socket: String,
    /// The pause before each round trip that is not back to back, in nanoseconds.
    pub pause_ns: u64,
    /// How it ended.
    pub ended: Ended,
    /// What a tap costs each packet, in nanoseconds.
    pub probe_cost_ns: Option<f64>,
    /// The taps of the split: `eth0@web` and so on.
    pub taps: Vec<String>,
    /// Round trips back to back.
    pub busy: Comparison,
    /// Round trips with a pause before each.
    pub idle: Comparison,
    /// What could not be measured and why, in sentences.
    pub missing: Vec<String>,
}

impl Figures {
    /// The figures of single times in nanoseconds, exactly: the percentiles are times that occur.
    #[must_use]
    pub fn of(times: &[u64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let count = sorted.len();
        let rank = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            sorted.get(rank.max(1) - 1).copied()
        };
        let sum: u128 = sorted.iter().map(|ns| u128::from(*ns)).sum();
        Self {
            count: count as u64,
            min_ns: sorted.first().copied(),
            mean_ns: (count > 0).then(|| sum as f64 / count as f64),
            p50_ns: rank(0.5),
            p90_ns: rank(0.9),
            p99_ns: rank(0.99),
            p999_ns: rank(0.999),
            max_ns: sorted.last().copied(),
        }
    }
}

impl Trips {
    /// Round trips of which so many were sent and these came back, in nanoseconds.
    #[must_use]
    pub fn new(sent: u64, times: &[u64]) -> Self {
        Self {
            sent,
            lost: sent.saturating_sub(times.len() as u64),
            figures: Figures::of(times),
        }
    }
}

impl Comparison {
    /// Compares round trips without probes.
    #[must_use]
    pub fn new(plain: Round) -> Self {
        let difference = plain.difference();
        Self {
            plain,
            difference,
            split: None,
        }
    }

    /// Adds where the difference goes: the round trips under `taps` taps, and what the taps saw
    /// during these alone.
    pub fn split_by(&mut self, probed: Round, report: &Report, taps: usize) {
        let segments = report.segments.iter().filter(|segment| !segment.is_total());
        let parts: Vec<Part> = segments
            .map(|segment| {
                let figures = segment.all().figures();
                Part {
                    name: segment.name.clone(),
                    direction: segment.direction,
                    from: segment.from.clone(),
                    to: segment.to.clone(),
                    count: figures.count,
                    time: Centre::of(&figures),
                }
            })
            .collect();
        let times = || parts.iter().filter_map(|part| part.time);
        let sum = times().fold(Centre::default(), |sum, time| sum.plus(&time, 1.0));
        let passes = (taps * 2) as f64;
        let account = report.probe_cost_ns.map(|cost| cost * passes);
        let observed = self.plain.slower(&probed);
        let cost = account.unwrap_or(0.0).max(observed.unwrap_or(0.0));
        // A segment holds the time of one tap: the end of its first and the start of its second.
        let inside = if taps > 0 {
            cost * times().count() as f64 / passes
        } else {
            0.0
        };
        let less = |whole: Centre, taps: f64| {
            let taps = Centre {
                mean_ns: taps,
                p50_ns: taps,
            };
            whole.plus(&sum, -1.0).plus(&taps, 1.0)
        };
        self.split = Some(Split {
            rest: self.difference.map(|difference| less(difference, inside)),
            stacks: Centre::of_trips(probed.gateway.as_ref())
                .map(|whole| less(whole, inside - cost)),
            taps_account_ns: account,
            taps_observed_ns: observed,
            taps_in_parts_ns: inside,
            probed,
            parts,
        });
    }
}

impl Default for Centre {
    fn default() -> Self {
        Self {
            mean_ns: 0.0,
            p50_ns: 0.0,
        }
    }
}

impl Centre {
    fn of(figures: &Figures) -> Option<Self> {
        Some(Self {
            mean_ns: figures.mean_ns?,
            p50_ns: figures.p50_ns? as f64,
        })
    }

    fn of_trips(trips: Option<&Trips>) -> Option<Self> {
        Self::of(&trips?.figures)
    }

    fn plus(self, other: &Self, times: f64) -> Self {
        Self {
            mean_ns: self.mean_ns + other.mean_ns * times,
            p50_ns: self.p50_ns + other.p50_ns * times,
        }
    }
}

impl Round {
    /// How much more the gateway takes than the target's loopback.
    fn difference(&self) -> Option<Centre> {
        let near = Centre::of_trips(self.loopback.as_ref())?;
        Some(Centre::of_trips(self.gateway.as_ref())?.plus(&near, -1.0))
    }

    /// How much more the gateway takes in `later`, by median, less what a loopback takes more.
    fn slower(&self, later: &Self) -> Option<f64> {
        let grown = |then: &Option<Trips>, now: &Option<Trips>| {
            let (then, now) = (
                Centre::of_trips(then.as_ref())?,
                Centre::of_trips(now.as_ref())?,
            );
            Some(now.p50_ns - then.p50_ns)
        };
        let drift = grown(&self.loopback, &later.loopback)
            .or_else(|| grown(&self.host_loopback, &later.host_loopback))?;
        Some(grown(&self.gateway, &later.gateway)? - drift)
    }
}

impl Overhead {
    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|why| format!("{{\"error\":\"{why}\"}}"))
    }
}

#[cfg(test)]
mod tests;
