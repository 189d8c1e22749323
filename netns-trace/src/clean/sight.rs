//! What can be seen of those who use namespaces, and how far that goes.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use super::{Item, Kind, kept};
use crate::{
    inventory::{References, Scope, StaleReason},
    netns::{NETNS_DIRS, pids},
};

/// Process 1 of the machine is in its initial namespaces, whether or not it lets us look.
const INIT: u32 = 1;

/// Who uses which namespace, looked at once.
pub(super) struct Sight {
    references: References,
    /// Names that are mounted in mount namespaces without a process, and where those are kept.
    kept: Vec<(OsString, PathBuf)>,
    /// Why something may be in use without our seeing it.
    pub(super) blind: Option<String>,
}

impl Sight {
    pub(super) fn look() -> Self {
        let references = References::scan(Scope {
            threads: true,
            other_mounts: true,
            descriptors: false,
            containers: false,
        });
        let (inhabited, hidden) = mount_namespaces();
        let (kept, unseen) = kept::names(&inhabited);
        let blind = hidden
            .map(|pid| format!("process {pid} may not be looked at, and perhaps uses it"))
            .or(unseen)
            .or_else(|| references.notes.first().cloned());
        Self {
            references,
            kept,
            blind,
        }
    }

    /// Whether a process or a thread is in the namespace.
    pub(super) fn is_lived_in(&self, inode: u64) -> bool {
        let found = self.references.get(inode);
        found.is_some_and(crate::inventory::Reference::is_lived_in)
    }

    /// The names that something is mounted on in another mount namespace, wherever that has their
    /// directory, and which one that is: with the file, such a mount would go as well.
    pub(super) fn mounted_elsewhere(&self) -> HashMap<&OsStr, String> {
        let mounts = self.references.namespaces.iter();
        let mounts = mounts.flat_map(|one| &one.mounts);
        let by_process = mounts
            .filter_map(|path| Some((path.file_name()?, process_of(path)?)))
            .chain(self.references.stale.iter().filter_map(|stale| {
                let StaleReason::MountedElsewhere { pid } = stale.reason else {
                    return None;
                };
                Some((stale.path.file_name()?, pid))
            }))
            .map(|(name, pid)| (name, format!("the mount namespace of process {pid}")));
        let kept = self.kept.iter().map(|(name, place)| {
            let place = place.to_string_lossy();
            let place = place.escape_debug();
            (name.as_os_str(), format!("the mount namespace at {place}"))
        });
        by_process.chain(kept).collect()
    }

    /// What is stale in directories of runtimes.
    pub(super) fn foreign(&self) -> impl Iterator<Item = Item> {
        let stale = self.references.stale.iter();
        let foreign = stale.filter(|stale| {
            let parent = stale.path.parent();
            !NETNS_DIRS.iter().any(|dir| parent == Some(Path::new(dir)))
        });
        foreign.map(|stale| {
            let why = format!("{}, but it is its runtime's to remove", stale.reason);
            Item::new(Kind::Name, &stale.path, why)
        })
    }
}

/// The process in a path /proc/PID/root/….
fn process_of(path: &Path) -> Option<u32> {
    let mut parts = path.components().map(Component::as_os_str);
    let [_, proc, pid, root] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let pid = pid.to_str()?.parse().ok()?;
    (proc == "proc" && root == "root").then_some(pid)
}

/// The mount namespaces of all processes; and a process that does not let us see its own, though we
/// have the right to.
fn mount_namespaces() -> (HashSet<u64>, Option<u32>) {
    let mut inhabited = HashSet::new();
    let mut hidden = None;
    for pid in pids() {
        match fs::metadata(format!("/proc/{pid}/ns/mnt")) {
            Ok(ns) => drop(inhabited.insert(ns.ino())),
            Err(why) if pid != INIT && why.kind() == io::ErrorKind::PermissionDenied => {
                hidden = hidden.or(Some(pid));
            }
            Err(_) => {} // it has ended
        }
    }
    (inhabited, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_through_processes_are_known() {
        let process = |path: &str| process_of(Path::new(path));
        assert_eq!(process("/proc/7/root/run/netns/a"), Some(7));
        for path in [
            "/proc/x/root/a",
            "/run/7/root/a",
            "/proc/7/cwd/a",
            "/proc/7",
        ] {
            assert_eq!(process(path), None, "{path}");
        }
    }
}
