//! `netns-trace latency` as a measurement of one test, and its segments.

use std::process::Stdio;

use serde_json::Value;

use crate::tool::{Running, netns_trace};

/// A measurement that runs.
pub struct Timing(Running);

/// What it came to.
pub struct Timed {
    /// The report.
    pub report: Value,
    /// What it said on stderr.
    pub stderr: String,
}

impl Timing {
    /// Starts it with these arguments, and waits until it measures.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        let mut command = netns_trace(["latency", "--json"]);
        command.args(args).stdout(Stdio::piped());
        let mut running = Running::start(command);
        running.wait_for("measuring between");
        Self(running)
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[must_use]
    pub fn stop(self) -> Timed {
        let done = self.0.stop();
        assert!(done.status.success(), "{done:?}");
        let report =
            serde_json::from_str(&done.stdout).unwrap_or_else(|why| panic!("{why}: {done:?}"));
        Timed {
            report,
            stderr: done.stderr,
        }
    }
}

impl Timed {
    /// The segments.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[must_use]
    pub fn segments(&self) -> &[Value] {
        self.report["segments"].as_array().expect("segments")
    }

    /// The one segment of this name and direction between taps that end so.
    ///
    /// # Panics
    ///
    /// If there is none, or several.
    #[must_use]
    pub fn segment(&self, name: &str, direction: &str, from: &str, to: &str) -> &Value {
        let is_meant = |segment: &&Value| {
            let ends = |key: &str, end: &str| {
                segment[key]
                    .as_str()
                    .is_some_and(|text| text.ends_with(end))
            };
            segment["name"] == name
                && segment["direction"] == direction
                && ends("from", from)
                && ends("to", to)
        };
        let found: Vec<&Value> = self.segments().iter().filter(is_meant).collect();
        let [only] = found[..] else {
            panic!(
                "{name} {direction} {from} -> {to}, {} of them: {}",
                found.len(),
                self.report
            );
        };
        only
    }
}

/// A number of a segment.
///
/// # Panics
///
/// If it is none.
#[must_use]
pub fn figure(segment: &Value, key: &str) -> f64 {
    segment[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} of {segment}"))
}

/// How many samples a segment has.
#[must_use]
pub fn count(segment: &Value) -> u64 {
    figure(segment, "count") as u64
}

/// Sum of a segment's times, in nanoseconds.
#[must_use]
pub fn sum_ns(segment: &Value) -> f64 {
    if count(segment) == 0 {
        0.0
    } else {
        figure(segment, "mean_ns") * figure(segment, "count")
    }
}
