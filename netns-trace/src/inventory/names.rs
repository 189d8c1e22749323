//! Names of namespaces, good and stale: files in /run/netns, and in the directories where runtimes
//! keep theirs.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{mounts::Mount, references::Scan};
use crate::netns::{NETNS_DIRS, NetNs};

/// Where Docker keeps its names, also when there is none.
const DOCKER: &str = "/run/docker/netns";

/// A file that looks like a namespace's name and is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stale {
    /// Where it is. Not safe to print.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: StaleReason,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StaleReason {
    /// A plain file, as `ip netns add` makes to mount a namespace on, and nothing is mounted on it
    /// anywhere that we can see.
    NotMounted,
    /// A link to what does not exist, such as /proc/PID/ns/net of a process that has ended.
    Dangling,
    /// Nothing is mounted there in our mount namespace, but something is in that of this process: the
    /// name is in use.
    MountedElsewhere {
        /// A process in that mount namespace.
        pid: u32,
    },
}

/// As in "NAME is stale: …".
impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted => f.write_str("no namespace is mounted there any more"),
            Self::Dangling => f.write_str("it is a link to a file that does not exist"),
            Self::MountedElsewhere { pid } => write!(
                f,
                "its namespace is mounted in the mount namespace of process {pid} alone"
            ),
        }
    }
}

/// Adds the names in /run/netns, and what is stale there and in the runtimes' directories.
pub(super) fn add_all(scan: &mut Scan, own: &[Mount], others: &[Mount]) {
    let known = Known {
        network: own.iter().chain(others).map(|mount| mount.inode).collect(),
        elsewhere: others
            .iter()
            .filter_map(|mount| Some((mount.point.as_path(), mount.pid?)))
            .collect(),
    };
    let mut looked_at = HashSet::new();
    for dir in NETNS_DIRS.map(Path::new) {
        for (path, found) in entries(scan, dir, &mut looked_at) {
            match found {
                Found::Namespace(inode) => {
                    if known.is_network(scan, inode, &path) {
                        scan.add_name(inode, path);
                    }
                }
                Found::Stale(reason) => scan.stale.push(known.stale(path, reason)),
            }
        }
    }
    // Runtimes' own mounts are told as such; here it is the files without one that matter.
    let runtimes: BTreeSet<&Path> = own
        .iter()
        .filter_map(|mount| mount.point.parent())
        .filter(|dir| dir.file_name().is_some_and(|name| name == "netns"))
        .chain([Path::new(DOCKER)])
        .collect();
    for dir in runtimes {
        for (path, found) in entries(scan, dir, &mut looked_at) {
            if let Found::Stale(reason) = found {
                scan.stale.push(known.stale(path, reason));
            }
        }
    }
}

/// What the mount tables told.
struct Known<'a> {
    network: HashSet<u64>,
    /// Mount points in other mount namespaces, and a process in each.
    elsewhere: HashMap<&'a Path, u32>,
}

impl Known<'_> {
    /// Whether it is a network namespace, and none of another type.
    fn is_network(&self, scan: &Scan, inode: u64, path: &Path) -> bool {
        self.network.contains(&inode)
            || scan.get(inode).is_some()
            || NetNs::open_plain(path).is_ok_and(|ns| ns.inode() == inode)
    }

    fn stale(&self, path: PathBuf, reason: StaleReason) -> Stale {
        let reason = match self.elsewhere.get(path.as_path()) {
            Some(&pid) => StaleReason::MountedElsewhere { pid },
            None => reason,
        };
        Stale { path, reason }
    }
}

enum Found {
    Namespace(u64),
    Stale(StaleReason),
}

/// What is in a directory, each directory once under whatever path. Anything but files and links is
/// nobody's name.
fn entries(
    scan: &mut Scan,
    dir: &Path,
    looked_at: &mut HashSet<(u64, u64)>,
) -> Vec<(PathBuf, Found)> {
    let Ok(meta) = fs::metadata(dir) else {
        return Vec::new();
    };
    if !looked_at.insert((meta.dev(), meta.ino())) {
        return Vec::new();
    }
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                Some((path.clone(), look(&path, scan.device)?))
            })
            .collect(),
        Err(why) => {
            if why.kind() != io::ErrorKind::NotFound {
                scan.notes.push(format!("cannot read {dir:?}: {why}"));
            }
            Vec::new()
        }
    }
}

fn look(path: &Path, nsfs: u64) -> Option<Found> {
    match fs::metadata(path) {
        Ok(meta) if meta.dev() == nsfs => Some(Found::Namespace(meta.ino())),
        // A link that leads to a file of another kind is odd, but not a name that has gone.
        Ok(meta) if meta.is_file() && !path.is_symlink() => {
            Some(Found::Stale(StaleReason::NotMounted))
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Some(Found::Stale(StaleReason::Dangling))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_and_dangling_links_are_stale() {
        let nsfs = fs::metadata("/proc/self/ns/net").expect("ours").dev();
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").expect("a file");
        symlink("/proc/0/ns/net", at("dangling")).expect("a link");
        symlink("/proc/self/ns/net", at("good")).expect("a link");
        symlink(at("file"), at("odd")).expect("a link");
        fs::create_dir(at("dir")).expect("a directory");
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        let stale = |name: &str| match look(&at(name), nsfs) {
            Some(Found::Stale(reason)) => Some(reason),
            _ => None,
        };
        assert_eq!(stale("file"), Some(StaleReason::NotMounted));
        assert_eq!(stale("dangling"), Some(StaleReason::Dangling));
        for name in ["good", "odd", "dir", "pipe", "absent"] {
            assert_eq!(stale(name), None, "{name}");
        }
        assert!(matches!(look(&at("good"), nsfs), Some(Found::Namespace(_))));
    }

    #[test]
    fn a_name_that_is_mounted_elsewhere_is_in_use() {
        let known = Known {
            network: HashSet::new(),
            elsewhere: HashMap::from([(Path::new("/run/netns/a"), 7)]),
        };
        let reason = |path: &str| known.stale(path.into(), StaleReason::NotMounted).reason;
        assert_eq!(
            reason("/run/netns/a"),
            StaleReason::MountedElsewhere { pid: 7 }
        );
        assert_eq!(reason("/run/netns/b"), StaleReason::NotMounted);
    }
}
