//! Captures that tell the processes behind packets, and processes to tell.

use std::{process::Stdio, thread, time::Duration};

use serde_json::Value;

use crate::{
    bed::Bed,
    summary::{self, assert_balanced, number, taps},
    tool::{Done, Running, netns_trace},
};

/// Runs something in a namespace of a bed.
///
/// # Panics
///
/// If it cannot be entered.
pub fn inside<T: Send>(bed: &Bed, name: &str, work: impl FnOnce() -> T + Send) -> T {
    bed.open(name).run(work).expect("entered")
}

/// A capture of `a` that tells processes, as text without times.
#[must_use]
pub fn text(bed: &Bed, more: &[&str]) -> Running {
    let target = bed.target("a");
    let mut command = netns_trace(["capture", &target, "-nt", "--process", "--summary", "json"]);
    command.args(more).stdout(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("listening on");
    running
}

/// Ends a capture: its lines, and its summary, in which every packet is told or counted.
///
/// # Panics
///
/// If it failed, or the counts do not agree.
pub fn end(running: Running) -> (Vec<String>, Value) {
    thread::sleep(Duration::from_millis(100));
    told(&running.stop())
}

fn told(done: &Done) -> (Vec<String>, Value) {
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(done);
    assert_balanced(&summary);
    let process = &summary["process"];
    let counted = number(&process["attributed"]) + number(&process["unknown"]);
    let seen: u64 = taps(&summary)
        .iter()
        .map(|tap| number(&tap["received"]) + number(&tap["filtered"]))
        .sum();
    assert_eq!(counted, seen, "every packet is told or counted: {summary}");
    (done.stdout.lines().map(str::to_owned).collect(), summary)
}

/// A shell in `a` that runs a script to its end; its pid.
///
/// # Panics
///
/// If the script fails.
pub fn shell(bed: &Bed, script: &str) -> u32 {
    let mut child = bed
        .command("a", "bash")
        .args(["-c", script])
        .spawn()
        .expect("bash starts");
    // nsenter becomes the shell.
    assert!(child.wait().expect("its end").success(), "{script}");
    child.id()
}

/// The lines that hold something.
#[must_use]
pub fn with<'a>(lines: &'a [String], what: &str) -> Vec<&'a String> {
    lines.iter().filter(|line| line.contains(what)).collect()
}
