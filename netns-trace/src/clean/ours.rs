//! What is ours: names that `link` gave and their records, filters and labs of runs that were killed.

use std::{fs, path::Path};

use super::{
    Item, Kind,
    report::{Act, Step},
    sight::Sight,
};
use crate::{
    lab,
    link::{Entry, Record, entries},
    netns::{NetNs, NetNsError, is_settled},
    probe,
};

/// What killed runs left behind.
pub(super) fn leftovers() -> Vec<Step> {
    let filters = probe::leftovers().into_iter().map(|path| Step {
        item: Item::new(Kind::Filters, &path, "filters of a capture that was killed"),
        act: Act::Filters(path),
    });
    let marks = probe::orphaned_marks().into_iter().map(|path| Step {
        item: Item::new(
            Kind::Filters,
            &path,
            "the mark of a qdisc that a capture added",
        ),
        act: Act::Filters(path),
    });
    let labs = lab::orphans().into_iter().map(|(name, path)| Step {
        item: Item::new(Kind::Lab, &path, "a lab whose owner was killed"),
        act: Act::Lab(name),
    });
    filters.chain(marks).chain(labs).collect()
}

/// Names that `link` gave, and records of such as are gone.
pub(super) fn links(sight: &Sight, kept: &mut Vec<Item>) -> Vec<Step> {
    let mut steps = Vec::new();
    for Entry { path, record } in entries() {
        let of_record = |why: &str| Step {
            item: Item::new(Kind::Record, &path, why),
            act: Act::Record(path.clone()),
        };
        let Some(record) = record else {
            if is_settled(&path) {
                steps.push(of_record("a record of `link` that cannot be read"));
            }
            continue;
        };
        match state(&record) {
            State::Ours => match verdict(sight, &record) {
                Ok(why) => steps.push(Step {
                    item: Item::new(Kind::Link, &record.path(), why),
                    act: Act::Link(record),
                }),
                Err(Some(why)) => kept.push(Item::new(Kind::Link, &record.path(), why)),
                Err(None) => {}
            },
            State::Gone => steps.push(of_record("a record of a name made by `link` that is gone")),
            State::Unknown(why) => kept.push(Item::new(Kind::Link, &record.path(), why)),
        }
    }
    steps
}

enum State {
    /// The name still means the namespace that it was given to.
    Ours,
    /// There is no such name, or it is another's.
    Gone,
    Unknown(String),
}

fn state(record: &Record) -> State {
    match NetNs::open(&record.path()) {
        Ok(ns) if record.is_of(ns.identity()) => State::Ours,
        Ok(_) => State::Gone,
        Err(why) if why.is_gone() => State::Gone,
        Err(NetNsError::NotANamespace { .. } | NetNsError::WrongType { .. }) => State::Gone,
        Err(why) => State::Unknown(why.to_string()),
    }
}

/// Why the name goes, or else stays, if there is something to be said of that.
fn verdict(sight: &Sight, record: &Record) -> Result<&'static str, Option<String>> {
    if sight.is_lived_in(record.namespace.inode) {
        Err(None)
    } else if !record.lived_in {
        let name = record.name.escape_debug();
        Err(Some(format!(
            "no process lives there, as when it was linked; `ip netns delete {name}` removes it"
        )))
    } else if let Some(blind) = &sight.blind {
        Err(Some(blind.clone()))
    } else {
        Ok("a name made by `link`, and no process lives in its namespace any more")
    }
}

/// Those of labs; the others see to their own.
pub(super) fn remove_empty_directories() {
    if fs::remove_dir(Path::new(lab::LABS_DIR)).is_ok() {
        log::debug!("{} was empty", lab::LABS_DIR);
    }
}
