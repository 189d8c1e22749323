//! The summary at the end of a capture, and what must be true of each.

use serde_json::Value;

use crate::tool::Done;

/// The summary that `--summary json` prints last.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn of(done: &Done) -> Value {
    let line = done.stderr.lines().rev().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("a summary: {done:?}"))).expect("JSON")
}

/// A count.
///
/// # Panics
///
/// If it is none.
#[must_use]
pub fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("a number, not {value}"))
}

/// The sum of an object's counts.
///
/// # Panics
///
/// If it holds anything else.
#[must_use]
pub fn sum(value: &Value) -> u64 {
    let counts = value
        .as_object()
        .unwrap_or_else(|| panic!("an object, not {value}"));
    counts.values().map(number).sum()
}

/// The taps, each direction by itself.
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn taps(summary: &Value) -> &[Value] {
    summary["taps"]
        .as_array()
        .unwrap_or_else(|| panic!("taps in {summary}"))
}

/// Asserts `received = captured + dropped + lost + discarded` for every tap and direction, and that
/// the sums at the top are the sums of the taps.
///
/// # Panics
///
/// With what does not agree.
pub fn assert_balanced(summary: &Value) {
    for tap in taps(summary) {
        let accounted = number(&tap["captured"])
            + sum(&tap["dropped"])
            + sum(&tap["lost"])
            + number(&tap["discarded"]);
        assert_eq!(number(&tap["received"]), accounted, "{tap}");
    }
    for (name, of) in [
        ("captured", number as fn(&Value) -> u64),
        ("received", number),
        ("dropped", sum),
    ] {
        let total: u64 = taps(summary).iter().map(|tap| of(&tap[name])).sum();
        assert_eq!(number(&summary[name]), total, "{name} in {summary}");
    }
}

/// Asserts that nothing was dropped or lost.
///
/// # Panics
///
/// With the tap where something was.
pub fn assert_lossless(summary: &Value) {
    for tap in taps(summary) {
        assert_eq!(sum(&tap["dropped"]) + sum(&tap["lost"]), 0, "{tap}");
    }
}
