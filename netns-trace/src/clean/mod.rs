//! Removing what has no use any more: stale names in /run/netns, names that `link` gave, and what
//! killed runs of ours left behind. Never anything alive, and never what is not a namespace's name;
//! where that cannot be told, it stays.
//!
//! First all is looked at and decided, then done; with a dry run, only the first. Runtimes' own
//! directories are theirs: what is stale there is told and left.

mod kept;
mod names;
mod ours;
mod report;
mod sight;

use std::io;

pub use self::report::{Failure, Item, Kind, Report};
use self::{
    names::Stamp,
    report::{Act, Step},
    sight::Sight,
};
use crate::{
    lab,
    link::{Record, Register},
    privilege::{
        Capability, MissingCapabilities, is_confined, is_in_pid_namespace, missing, of_roots_file,
    },
    probe,
};

/// Why nothing is cleaned at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanError {
    /// Without them, what others use would not be seen.
    #[error("cannot clean: {0}")]
    Denied(MissingCapabilities),
    /// What others use is not seen from here.
    #[error(
        "cannot clean from within {0}: what lives outside of it is not seen (run it on the host)"
    )]
    Confined(&'static str),
    /// The register cannot be locked.
    #[error("cannot lock the register of names in /run/netns-trace: {}", of_roots_file(.0))]
    Register(#[source] io::Error),
}

/// Removes what has no use any more, or tells what would be removed.
///
/// # Errors
/// When not all users of a name could be seen from here; nothing was removed then. What cannot be
/// removed by itself is in the report, and the rest is done.
pub fn clean(dry_run: bool) -> Result<Report, CleanError> {
    if let Ok(Some(missing)) = missing(&[Capability::SysAdmin, Capability::SysPtrace]) {
        return Err(CleanError::Denied(missing));
    }
    if is_confined() {
        return Err(CleanError::Confined("a user namespace"));
    }
    if is_in_pid_namespace() {
        return Err(CleanError::Confined("a PID namespace"));
    }
    let mut report = Report::new(dry_run);
    if dry_run {
        for Step { item, .. } in plan(&mut report.kept) {
            report.removed.push(item);
        }
        return Ok(report);
    }
    // Before looking: nobody of ours can be between registering a name and mounting it then.
    let register = Register::lock().map_err(CleanError::Register)?;
    let steps = plan(&mut report.kept);
    for Step { item, act } in steps {
        match carry_out(&register, act) {
            Ok(()) => report.removed.push(item),
            Err(why) => report.failed.push(Failure {
                item,
                error: why.to_string(),
            }),
        }
    }
    ours::remove_empty_directories();
    Ok(report)
}

/// What is to be done. What is odd, and stays, is added to `kept`.
fn plan(kept: &mut Vec<Item>) -> Vec<Step> {
    // Our own leftovers come first: labs are names as well.
    let mut steps = ours::leftovers();
    let sight = Sight::look();
    let linked = ours::links(&sight, kept);
    // A stale name that is registered is told once, by its file.
    steps.extend(names::plan(&sight, kept));
    steps.extend(linked);
    kept.extend(sight.foreign());
    steps
}

fn carry_out(register: &Register, act: Act) -> io::Result<()> {
    match act {
        Act::Name(path, stamp) => names::remove(&path, &stamp),
        Act::Link(record) => remove_link(register, &record),
        Act::Record(path) => register.remove(&path),
        Act::Filters(path) => {
            let swept = probe::sweep();
            log::info!("took {swept} filters off");
            if path.exists() {
                return Err(io::Error::other(
                    "not all of its filters could be taken off",
                ));
            }
            Ok(())
        }
        Act::Lab(name) => {
            let swept = lab::sweep().into_iter().find(|(swept, _)| *swept == name);
            // Another of ours may have been there first, or an earlier step.
            swept.map_or(Ok(()), |(_, result)| result.map_err(io::Error::other))
        }
    }
}

/// The name first: without its record, it could not be removed later.
fn remove_link(register: &Register, record: &Record) -> io::Result<()> {
    names::unmount(record)?;
    if let Some(stamp) = Stamp::of(&record.path())? {
        names::remove(&record.path(), &stamp)?;
    }
    register.forget(&record.name)
}
