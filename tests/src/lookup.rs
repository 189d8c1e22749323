//! What a target's name leads to inside a machine: asked of `latency`, which opens it and ends at
//! once.

use serde_json::Value;

use crate::{runtimes::Machine, tool::Done};

/// What a target leads to: how it is called, its inode, and what is said besides.
///
/// # Panics
///
/// If it leads nowhere.
#[must_use]
pub fn found(machine: &Machine, target: &str) -> (String, u64, String) {
    let done = machine.run(["latency", target, "--duration", "1ms", "--json"]);
    assert!(done.status.success(), "{target}: {}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let target = &report["targets"][0];
    let label = target["label"].as_str().expect("a label").to_owned();
    (
        label,
        target["inode"].as_u64().expect("an inode"),
        done.stderr,
    )
}

/// Why a target leads nowhere: one line.
///
/// # Panics
///
/// If it leads somewhere.
#[must_use]
pub fn refusal(machine: &Machine, target: &str) -> String {
    refused(&machine.run(["latency", target, "--duration", "1ms"]))
}

/// Why a command was refused: exit status 1 and one line.
///
/// # Panics
///
/// If it was not.
#[must_use]
pub fn refused(done: &Done) -> String {
    assert_eq!(
        done.status.code(),
        Some(1),
        "{}{}",
        done.stdout,
        done.stderr
    );
    let line = done.stderr.trim_end();
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}
