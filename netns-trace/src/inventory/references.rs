//! Who refers to a network namespace: processes, single threads, names, mounts, descriptors and
//! containers. Nothing is entered, and all may vanish while it is looked at.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    mounts::{self, Mount},
    names::{self, Stale},
    processes,
};
use crate::{
    container::ContainerKey,
    netns::{NetNs, NetNsError},
};

/// Most paths by which a namespace is tried: one with thousands of processes that all end is not tried
/// for ever.
const MOST_TRIED: usize = 16;

/// How far to look. Each part costs a few system calls a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Threads that are in another namespace than their process.
    pub threads: bool,
    /// Mounts in the mount namespaces of other processes.
    pub other_mounts: bool,
    /// Open descriptors, by far the dearest.
    pub descriptors: bool,
    /// The containers of the processes.
    pub containers: bool,
}

impl Scope {
    /// Everything.
    pub const ALL: Self = Self {
        threads: true,
        other_mounts: true,
        descriptors: true,
        containers: true,
    };
    /// Processes, their containers, names, and mounts in our own mount namespace.
    pub const QUICK: Self = Self {
        threads: false,
        other_mounts: false,
        descriptors: false,
        containers: true,
    };
}

/// A name in /run/netns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The file's name, as `ip netns` lists it. Not safe to print; bytes that are no text are
    /// replaced.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What the kernel calls it, 15 bytes at most (`comm`). Not safe to print.
    ///
    /// Not its arguments: they are read from the process's own memory, which can make a reader wait
    /// for ever (pages that a userfaultfd or a FUSE server holds back).
    pub command: String,
}

/// A thread in another namespace than its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Thread {
    /// Its process.
    pub pid: u32,
    /// Its own number.
    pub tid: u32,
}

/// An open descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Descriptor {
    /// The process that has it open.
    pub pid: u32,
    /// Its number there.
    pub fd: u32,
}

/// A network namespace and who refers to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// The device number of the namespace file system, the same for all.
    pub device: u64,
    /// The inode, as `lsns` and `readlink /proc/PID/ns/net` print it.
    pub inode: u64,
    /// Whether it is the machine's initial one.
    pub is_host: bool,
    /// Its names in /run/netns, sorted.
    pub names: Vec<Name>,
    /// Where else it is mounted, such as `/run/docker/netns/0a1b2c3d4e5f`. In the mount namespace of
    /// another process: `/proc/PID/root/…`.
    pub mounts: Vec<PathBuf>,
    /// The processes in it, kernel threads among them, by number.
    pub processes: Vec<u32>,
    /// The process with the lowest number that is no kernel thread.
    pub main: Option<Process>,
    /// Single threads in it.
    pub threads: Vec<Thread>,
    /// Descriptors that are open on it, the first of them.
    pub descriptors: Vec<Descriptor>,
    /// The containers of its processes.
    pub containers: BTreeSet<ContainerKey>,
}

impl Reference {
    /// The paths by which it can be opened, the lasting ones first. A path means this namespace only
    /// as long as device and inode are the same there.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let names = self.names.iter().map(|name| name.path.clone());
        let (others, own): (Vec<&PathBuf>, Vec<&PathBuf>) = self
            .mounts
            .iter()
            .partition(|path| path.starts_with("/proc"));
        let main = self.main.as_ref().map(|main| main.pid);
        let others_of = self.processes.iter().copied();
        let processes = main
            .into_iter()
            .chain(others_of.filter(move |pid| Some(*pid) != main))
            .map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
        let threads = self
            .threads
            .iter()
            .map(|Thread { pid, tid }| PathBuf::from(format!("/proc/{pid}/task/{tid}/ns/net")));
        let descriptors = self
            .descriptors
            .iter()
            .map(|Descriptor { pid, fd }| PathBuf::from(format!("/proc/{pid}/fd/{fd}")));
        names
            .chain(own.into_iter().cloned())
            .chain(processes)
            .chain(threads)
            .chain(others.into_iter().cloned())
            .chain(descriptors)
    }

    /// Opens it by the first path that still leads to it.
    ///
    /// # Errors
    /// That of the first path that led elsewhere or to nothing, when all did.
    pub fn open(&self) -> Result<NetNs, NetNsError> {
        self.open_with(NetNs::open)
    }

    /// Opens it by the first path that still leads to it, in one way or another.
    pub(super) fn open_with(
        &self,
        open: impl Fn(&Path) -> Result<NetNs, NetNsError>,
    ) -> Result<NetNs, NetNsError> {
        let mut first = None;
        for path in self.paths().take(MOST_TRIED) {
            let error = match open(&path) {
                Ok(ns) if (ns.identity().device, ns.inode()) == (self.device, self.inode) => {
                    return Ok(ns);
                }
                Ok(ns) => self.gone(&path, format!("its path leads to inode {} now", ns.inode())),
                Err(error) => error,
            };
            first = first.or(Some(error));
        }
        Err(first.unwrap_or_else(|| self.gone(Path::new(""), "nothing leads to it".into())))
    }

    /// Does some work in it, on a thread of its own; without entering where we are in it anyway.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        let here = fs::metadata("/proc/thread-self/ns/net");
        if here.is_ok_and(|here| (here.dev(), here.ino()) == (self.device, self.inode)) {
            return Ok(work());
        }
        self.open_with(NetNs::open_plain)?.run(work)
    }

    fn gone(&self, path: &Path, why: String) -> NetNsError {
        NetNsError::Gone {
            path: path.to_owned(),
            inode: self.inode,
            why,
        }
    }

    /// Whether a path still leads to it, also when it may not be opened.
    pub(super) fn is_there(&self) -> bool {
        self.paths().take(MOST_TRIED).any(|path| {
            fs::metadata(path)
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == (self.device, self.inode))
        })
    }

    /// Whether something lives in it, rather than only refers to it.
    #[must_use]
    pub fn is_lived_in(&self) -> bool {
        !self.processes.is_empty() || !self.threads.is_empty()
    }
}

/// All network namespaces of the machine that something refers to.
#[derive(Debug, Clone, Default)]
pub struct References {
    /// Each namespace once: the host's first, then by inode.
    pub namespaces: Vec<Reference>,
    /// The names whose namespace has gone, by path.
    pub stale: Vec<Stale>,
    /// How many processes may not be looked at.
    pub denied: usize,
    /// What else could not be looked at, in sentences for people.
    pub notes: Vec<String>,
}

impl References {
    /// Looks once at everything in `scope`.
    #[must_use]
    pub fn scan(scope: Scope) -> Self {
        let mut scan = Scan::new();
        let own = mounts::own();
        processes::add_all(&mut scan, scope);
        let others = std::mem::take(&mut scan.other_mounts);
        names::add_all(&mut scan, &own, &others);
        for mount in own.into_iter().chain(others) {
            scan.add_mount(mount);
        }
        scan.finish()
    }

    /// The namespace with this inode.
    #[must_use]
    pub fn get(&self, inode: u64) -> Option<&Reference> {
        self.namespaces.iter().find(|one| one.inode == inode)
    }
}

/// What has been found so far.
pub(super) struct Scan {
    pub(super) device: u64,
    found: BTreeMap<u64, Reference>,
    pub(super) stale: Vec<Stale>,
    pub(super) denied: usize,
    pub(super) notes: Vec<String>,
    /// The mount namespaces whose tables have been read.
    pub(super) mount_namespaces: HashSet<u64>,
    /// Mounts in other mount namespaces than ours.
    pub(super) other_mounts: Vec<Mount>,
    /// Each mount point once for each namespace that is mounted there: most tables are copies of ours.
    mount_points: HashSet<(u64, PathBuf)>,
}

impl Scan {
    fn new() -> Self {
        let inode = |path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        let mut mount_namespaces = HashSet::new();
        mount_namespaces.extend(inode("/proc/self/ns/mnt").ok().map(|(_, inode)| inode));
        Self {
            device: inode("/proc/self/ns/net").map_or(0, |(device, _)| device),
            found: BTreeMap::new(),
            stale: Vec::new(),
            denied: 0,
            notes: Vec::new(),
            mount_namespaces,
            other_mounts: Vec::new(),
            mount_points: HashSet::new(),
        }
    }

    pub(super) fn get(&self, inode: u64) -> Option<&Reference> {
        self.found.get(&inode)
    }

    pub(super) fn entry(&mut self, inode: u64) -> &mut Reference {
        let device = self.device;
        self.found.entry(inode).or_insert_with(|| Reference {
            device,
            inode,
            ..Reference::default()
        })
    }

    pub(super) fn add_name(&mut self, inode: u64, path: PathBuf) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.into_owned();
        self.mount_points.insert((inode, path.clone()));
        self.entry(inode).names.push(Name { name, path });
    }

    fn add_mount(&mut self, mount: Mount) {
        if self.mount_points.insert((mount.inode, mount.point.clone())) {
            self.entry(mount.inode).mounts.push(mount.path());
        }
    }

    fn finish(mut self) -> References {
        if let Ok(host) = NetNs::host() {
            self.entry(host.inode()).is_host = true;
        }
        let mut namespaces: Vec<Reference> = self.found.into_values().collect();
        for one in &mut namespaces {
            one.names.sort();
            one.main = processes::main_of(&one.processes);
        }
        namespaces.sort_by_key(|one| (!one.is_host, one.inode));
        self.stale.sort();
        References {
            namespaces,
            stale: self.stale,
            denied: self.denied,
            notes: self.notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_found_by_our_process() {
        let own = fs::metadata("/proc/self/ns/net").expect("our namespace");
        for scope in [Scope::ALL, Scope::QUICK] {
            let all = References::scan(scope);
            let one = all.get(own.ino()).expect("our namespace");
            assert_eq!(one.device, own.dev());
            assert!(one.processes.contains(&std::process::id()), "{one:?}");
            assert!(one.is_lived_in());
            let opened = one.open().expect("our namespace opens");
            assert_eq!(opened.inode(), own.ino());
            let inodes: HashSet<u64> = all.namespaces.iter().map(|one| one.inode).collect();
            assert_eq!(inodes.len(), all.namespaces.len(), "each once");
        }
    }

    #[test]
    fn the_lasting_paths_come_first() {
        let one = Reference {
            names: vec![Name {
                name: "a".into(),
                path: "/run/netns/a".into(),
            }],
            mounts: vec!["/proc/7/root/x".into(), "/x".into()],
            processes: vec![2, 9],
            main: Some(Process {
                pid: 9,
                command: "sh".into(),
            }),
            threads: vec![Thread { pid: 3, tid: 4 }],
            descriptors: vec![Descriptor { pid: 5, fd: 6 }],
            ..Reference::default()
        };
        let paths: Vec<PathBuf> = one.paths().collect();
        let expected = [
            "/run/netns/a",
            "/x",
            "/proc/9/ns/net",
            "/proc/2/ns/net",
            "/proc/3/task/4/ns/net",
            "/proc/7/root/x",
            "/proc/5/fd/6",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
    }

    #[test]
    fn what_nothing_leads_to_cannot_be_opened() {
        let error = Reference::default().open().expect_err("no path");
        assert!(error.is_gone(), "{error}");
    }
}
