//! Looks at one process, or one file: a few system calls each, nothing is opened or entered but for a
//! namespace's cookie.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    container::{self, ContainerKey},
    netns::{NetNs, command},
};

/// Most tables of cgroups whose container is remembered.
const MOST_TABLES: usize = 1024;

/// The inode of a process's network namespace; `None` when it has ended, and when we may not look.
pub(super) fn inode(pid: u32) -> Option<u64> {
    inode_in_link(&fs::read_link(process_path(pid)).ok()?)
}

/// As /proc has it: `net:[4026531840]`.
pub(super) fn inode_in_link(link: &Path) -> Option<u64> {
    let link = link.to_str()?;
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Where a process's namespace can be opened.
pub(super) fn process_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// What is mounted at a name, told apart from what was mounted there before: the inode of a namespace
/// that is mounted is made once, so its time of change tells it from a later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) inode: u64,
    pub(super) device: u64,
    pub(super) changed: (i64, i64),
}

/// The network namespace at a path, if there is one. `nsfs` is the device of namespaces.
pub(super) fn mounted(path: &Path, nsfs: u64) -> io::Result<Option<Mounted>> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev() == nsfs).then(|| Mounted {
        inode: meta.ino(),
        device: meta.dev(),
        changed: (meta.ctime(), meta.ctime_nsec()),
    }))
}

/// The cookie of the namespace at a path, if it is still the one with that inode.
pub(super) fn cookie(path: &Path, inode: u64) -> Option<u64> {
    let ns = NetNs::open(path).ok()?;
    ns.identity().cookie.filter(|_| ns.inode() == inode)
}

/// Whether a process still runs the OCI runtime, which joins the container's cgroup before its
/// namespaces: it is not the container's yet.
fn is_oci_runtime(pid: u32) -> bool {
    let program = match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(program) => program,
        // It has ended: whatever it was, it is no container's own program.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return true,
        Err(_) => return false,
    };
    let name = program.to_string_lossy();
    // runc may run from a mount that is nowhere any more, which leaves no path.
    if name == "/" {
        return command(pid).is_some_and(|command| command.starts_with("runc:["));
    }
    ["runc", "crun", "youki"].iter().any(|runtime| {
        name.ends_with(&format!("/{runtime}")) || name.contains(&format!("memfd:{runtime}"))
    })
}

/// The containers of processes, remembered by their cgroups: many processes share few of those.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    tables: HashMap<Vec<u8>, Option<ContainerKey>>,
}

impl Cgroups {
    /// The container that a process runs in, with its own program.
    pub(super) fn container(&mut self, pid: u32) -> Option<ContainerKey> {
        let table = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        let key = match self.tables.get(&table) {
            Some(known) => known.clone(),
            None => {
                let key = container::of_process(pid);
                if self.tables.len() >= MOST_TABLES {
                    self.tables.clear();
                }
                self.tables.insert(table, key.clone());
                key
            }
        };
        key.filter(|_| !is_oci_runtime(pid))
    }

    /// Forgets all: a cgroup may have become a container's.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_seen() {
        let meta = fs::metadata("/proc/self/ns/net").expect("our namespace");
        assert_eq!(inode(std::process::id()), Some(meta.ino()));
        assert_eq!(inode(u32::MAX), None);
    }

    #[test]
    fn other_links_are_none() {
        for link in ["mnt:[1]", "net:[x]", "net:[1", "socket:[1]", ""] {
            assert_eq!(inode_in_link(Path::new(link)), None, "{link}");
        }
        assert_eq!(
            inode_in_link(Path::new("net:[4026531840]")),
            Some(4_026_531_840)
        );
    }
}
