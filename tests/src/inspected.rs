//! Reads what `inspect --json` says.

use serde_json::Value;

use crate::tool::run;

/// Reads JSON.
///
/// # Panics
///
/// If it is none.
#[must_use]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// Runs `inspect --json` with these arguments, which must succeed.
///
/// # Panics
///
/// If it does not.
#[must_use]
pub fn inspect(args: &[&str]) -> Value {
    let done = run(["inspect", "--json"].iter().chain(args));
    assert!(done.status.success(), "{args:?}: {}", done.stderr);
    json(&done.stdout)
}

/// The list of this name in an object.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn list<'a>(value: &'a Value, what: &str) -> &'a Vec<Value> {
    value[what]
        .as_array()
        .unwrap_or_else(|| panic!("{what}: {value}"))
}

/// The interface of this name in a report.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn interface<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut all = list(report, "interfaces").iter();
    all.find(|one| one["name"] == name)
        .unwrap_or_else(|| panic!("{name}: {report}"))
}

/// What a report says is missing, but for a process that no root on this machine may look at.
#[must_use]
pub fn missing(report: &Value) -> Vec<&str> {
    let sentences = list(report, "missing").iter().filter_map(Value::as_str);
    sentences
        .filter(|why| !why.contains("protects it even"))
        .collect()
}

/// A string as it is, another value as JSON writes it.
#[must_use]
pub fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
