//! Where namespaces are found: by name, by process, by mount.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use super::{NetNs, process};

/// Where `ip netns` keeps its names; the second is the first's older path, and the same
/// directory on nearly every system.
pub const NETNS_DIRS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// The path of a named namespace, whether or not it is a good one; `None` when no file has the
/// name.
pub fn named(name: &str) -> Option<PathBuf> {
    NETNS_DIRS
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.symlink_metadata().is_ok())
}

/// The name of `ip netns` that a path is, if it is one.
pub(crate) fn name_at(path: &Path) -> Option<&OsStr> {
    let parent = path.parent()?;
    let is_one = NETNS_DIRS.iter().any(|dir| parent == Path::new(dir));
    path.file_name().filter(|_| is_one)
}

/// The names in /run/netns, sorted, stale ones among them. They may hold any character but `/`.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = name_paths()
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn name_paths() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = NETNS_DIRS
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// What a namespace is called: `host`, else its name in /run/netns. Safe to print: control characters
/// are escaped.
pub(crate) fn name_of(ns: &NetNs) -> Option<String> {
    if ns.is_host() {
        return Some("host".into());
    }
    let key = (ns.identity().device, ns.identity().inode);
    let path = name_paths()
        .into_iter()
        .find(|path| key_of(path) == Some(key))?;
    let name = path.file_name()?.to_string_lossy();
    Some(name.escape_debug().to_string())
}

/// How a namespace is named to people: `host`, else its name in /run/netns, else `pid:N`, else
/// `inode:N`. Safe to print: control characters are escaped.
pub fn label_of(ns: &NetNs) -> String {
    if let Some(name) = name_of(ns) {
        return name;
    }
    let key = (ns.identity().device, ns.identity().inode);
    let found_by = ns.identity().process.map(|process| process.pid);
    let member = || pids().find(|pid| key_of(&process_path(*pid)) == Some(key));
    match found_by.or_else(member) {
        Some(pid) => format!("pid:{pid}"),
        None => format!("inode:{}", ns.inode()),
    }
}

/// The paths under which the machine's network namespaces can be opened, each namespace once:
/// named ones first, then those of processes, of other mounts, and of single threads.
///
/// What we may not look at is left out, and `denied` says that there was such.
#[derive(Debug)]
pub struct Candidates {
    stage: u8,
    queue: std::vec::IntoIter<PathBuf>,
    seen: HashSet<(u64, u64)>,
    nsfs: Option<u64>,
    threads: bool,
    /// Whether a process's namespace could not be looked at for want of CAP_SYS_PTRACE.
    pub denied: bool,
}

impl Candidates {
    /// Starts looking.
    pub fn new() -> Self {
        Self {
            stage: 0,
            queue: Vec::new().into_iter(),
            seen: HashSet::new(),
            nsfs: fs::metadata("/proc/self/ns/net").map(|m| m.dev()).ok(),
            threads: true,
            denied: false,
        }
    }

    /// As [`Candidates::new`], without looking at single threads, of which there are many.
    pub(crate) fn quick() -> Self {
        Self {
            threads: false,
            ..Self::new()
        }
    }

    fn refill(&mut self) -> bool {
        let paths = match self.stage {
            0 => name_paths(),
            1 => pids().map(process_path).collect(),
            2 => own_mounts(),
            3 if self.threads => pids().flat_map(thread_paths).collect(),
            _ => return false,
        };
        self.stage += 1;
        self.queue = paths.into_iter();
        true
    }
}

impl Default for Candidates {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Candidates {
    type Item = (PathBuf, u64);

    /// The next path and the inode that is there.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(path) = self.queue.next() else {
                if self.refill() {
                    continue;
                }
                return None;
            };
            match fs::metadata(&path) {
                Ok(meta)
                    if Some(meta.dev()) == self.nsfs
                        && self.seen.insert((meta.dev(), meta.ino())) =>
                {
                    return Some((path, meta.ino()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    // Some processes deny even those who have the right: no way out to tell of.
                    self.denied |= !process::may_look_at_all();
                }
                _ => {} // a stale name, or a process that ended meanwhile
            }
        }
    }
}

fn key_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn process_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

fn thread_paths(pid: u32) -> Vec<PathBuf> {
    threads(pid)
        .filter(|&tid| tid != pid)
        .map(|tid| PathBuf::from(format!("/proc/{pid}/task/{tid}/ns/net")))
        .collect()
}

/// The inode of the network namespace that a process is in.
pub(crate) fn inode_of_process(pid: u32) -> Option<u64> {
    key_of(&process_path(pid)).map(|(_, inode)| inode)
}

/// The threads of a process, its first among them.
pub(crate) fn threads(pid: u32) -> impl Iterator<Item = u32> {
    numbers(Path::new(&format!("/proc/{pid}/task"))).into_iter()
}

/// The processes that are in a namespace.
pub(crate) fn pids_in(ns: &NetNs) -> impl Iterator<Item = u32> {
    let key = (ns.identity().device, ns.identity().inode);
    pids().filter(move |pid| key_of(&process_path(*pid)) == Some(key))
}

pub(crate) fn pids() -> impl Iterator<Item = u32> {
    numbers(Path::new("/proc")).into_iter()
}

fn numbers(dir: &Path) -> Vec<u32> {
    let mut numbers: Vec<u32> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// The network namespaces in a /proc/PID/mountinfo table: inode and mount point;
/// proc_pid_mountinfo(5).
pub(crate) fn mounts(table: &[u8]) -> impl Iterator<Item = (u64, PathBuf)> {
    mounts_of(table, "net")
}

/// As [`mounts`], of namespaces of another kind, such as `mnt`.
pub(crate) fn mounts_of(table: &[u8], kind: &str) -> impl Iterator<Item = (u64, PathBuf)> {
    table.split(|&byte| byte == b'\n').filter_map(move |line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = fields.nth(3)?;
        let point = fields.next()?;
        let file_system = fields.skip_while(|field| *field != b"-").nth(1)?;
        let inode = root.strip_prefix(kind.as_bytes())?;
        let inode = inode.strip_prefix(b":[")?.strip_suffix(b"]")?;
        let inode = std::str::from_utf8(inode).ok()?.parse().ok()?;
        (file_system == b"nsfs")
            .then(|| (inode, PathBuf::from(OsString::from_vec(unescape(point)))))
    })
}

/// The mount points of network namespaces, as this process sees them. Something else may be mounted over
/// them.
pub(crate) fn own_mounts() -> Vec<PathBuf> {
    fs::read("/proc/self/mountinfo")
        .map(|table| mounts(&table).map(|(_, point)| point).collect())
        .unwrap_or_default()
}

/// Blanks in a path are written in octal, as `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

/// Whether `name` can be a file's name in /run/netns.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= 255
        && !Path::new(name)
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|b| matches!(b, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_network_namespaces_are_found() {
        let table = b"22 1 0:20 / /proc rw - proc proc rw\n\
            90 1 0:4 net:[4026532211] /run/netns/a\\040b rw shared:7 - nsfs nsfs rw\n\
            91 1 0:4 mnt:[4026532212] /run/x rw - nsfs nsfs rw\n\
            junk\n\n";
        let found: Vec<(u64, PathBuf)> = mounts(table).collect();
        assert_eq!(found, [(4_026_532_211, PathBuf::from("/run/netns/a b"))]);
        let found: Vec<(u64, PathBuf)> = mounts_of(table, "mnt").collect();
        assert_eq!(found, [(4_026_532_212, PathBuf::from("/run/x"))]);
    }

    #[test]
    fn odd_escapes_stay_as_they_are() {
        assert_eq!(unescape(b"a\\040b"), b"a b");
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\999\\"), b"\\999\\");
        assert_eq!(unescape(b"\\777"), b"\\777");
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        for name in ["web", "a.b", "...", "ä"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn our_own_namespace_is_among_the_candidates_once() {
        let own = fs::metadata("/proc/self/ns/net")
            .expect("our own namespace")
            .ino();
        let found = Candidates::new().filter(|(_, inode)| *inode == own).count();
        assert_eq!(found, 1);
    }
}
