//! What was found and done, for people and programs.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use super::names::Stamp;
use crate::link::Record;

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A file or link among the names of namespaces.
    Name,
    /// A name that `link` gave.
    Link,
    /// A record of such a name, which is gone.
    Record,
    /// Filters of a capture that was killed.
    Filters,
    /// A lab whose owner was killed.
    Lab,
}

/// One thing, and why it goes or stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Where it is. Not safe to print; in JSON, bytes that are no text are replaced.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Why. Safe to print.
    pub why: String,
}

impl Item {
    pub(super) fn new(kind: Kind, path: &Path, why: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// Something that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What it is.
    #[serde(flatten)]
    pub item: Item,
    /// Why not.
    pub error: String,
}

/// What was done, or with a dry run would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// What was removed, or would be.
    pub removed: Vec<Item>,
    /// What looks as if it should go, and stays.
    pub kept: Vec<Item>,
    /// What could not be removed.
    pub failed: Vec<Failure>,
}

/// Something that is to go, and how.
pub(super) struct Step {
    pub(super) item: Item,
    pub(super) act: Act,
}

pub(super) enum Act {
    Name(PathBuf, Stamp),
    Link(Record),
    Record(PathBuf),
    Filters(PathBuf),
    Lab(String),
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            removed: Vec::new(),
            kept: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Whether there was nothing to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.kept.is_empty() && self.failed.is_empty()
    }

    /// A line for each thing, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |did: &str, item: &Item, end: &str| {
            let path = item.path.to_string_lossy();
            let path = path.escape_debug();
            writeln!(text, "{did} {path}: {}{end}", item.why).expect("a String takes all");
        };
        let did = if self.dry_run {
            "would remove"
        } else {
            "removed"
        };
        for item in &self.removed {
            line(did, item, "");
        }
        for item in &self.kept {
            line("kept", item, "");
        }
        for failure in &self.failed {
            let end = format!("; {}", failure.error.escape_debug());
            line("cannot remove", &failure.item, &end);
        }
        text
    }
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    use super::*;

    #[test]
    fn odd_names_are_told_as_text() {
        let mut report = Report::new(false);
        let odd = OsStr::from_bytes(b"/run/netns/\x1b[2J\xff\n");
        report
            .removed
            .push(Item::new(Kind::Name, Path::new(odd), "it is stale"));
        report.failed.push(Failure {
            item: Item::new(Kind::Link, Path::new("/run/netns/a"), "no process"),
            error: "busy".into(),
        });
        assert_eq!(
            report.text(),
            "removed /run/netns/\\u{1b}[2J\u{fffd}\\n: it is stale\n\
             cannot remove /run/netns/a: no process; busy\n"
        );
        report.dry_run = true;
        assert!(report.text().starts_with("would remove "));
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["removed"][0]["kind"], "name");
        assert_eq!(json["failed"][0]["path"], "/run/netns/a");
        assert_eq!(json["failed"][0]["error"], "busy");
    }
}
