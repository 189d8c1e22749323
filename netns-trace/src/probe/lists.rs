//! The lists of clsact filters: each process of ours keeps one of those that it has added, in a file that it holds locked
//! for as long as it lives. Whoever starts next takes off what a free list names.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::fcntl::Flock;

use super::{
    Hook, ProbeError, TapSite,
    clsact::{Filter, forget_mark, remove},
    marks,
};
use crate::{
    locked::{self, Locked},
    netns::{NetNs, may_look_at_all},
    privilege::is_in_pid_namespace,
};

/// Where lists and marks are kept.
const FOLDER: &str = "/run/netns-trace";

/// This process's list, which is there as long as one of its filters is. One serves all of its runs: a lock belongs to
/// an open file, so a second one would wait for the first for ever.
static LIST: Mutex<List> = Mutex::new(List {
    file: None,
    filters: 0,
    places: BTreeMap::new(),
    shared: None,
});

pub(super) struct List {
    file: Option<Flock<File>>,
    /// Filters that are on it and not taken off.
    filters: usize,
    /// How many filters have been at a hook, by its namespace's inode and its interface's index.
    places: BTreeMap<(u64, u32, bool), u32>,
    /// A helper process has it, too: that removes it.
    shared: Option<Shared>,
}

/// A list that two processes have, with one lock, which is there as long as one of them.
struct Shared {
    path: PathBuf,
    /// What this process has taken off.
    off: Vec<Filter>,
}

/// This process's.
pub(super) fn own() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl List {
    /// A number that no other filter has at a hook: the process's own, and one that tells the times apart where this
    /// process is there more than once.
    pub(super) fn new_handle(&mut self, site: &TapSite, hook: Hook) -> u32 {
        /// No process has a larger number: <https://github.com/torvalds/linux/blob/v6.12/include/linux/threads.h#L34>
        const PID_BITS: u32 = 22;
        let place = (site.ns.inode(), site.ifindex, hook == Hook::Egress);
        let times = self.places.entry(place).or_default();
        let number = *times % (1 << (31 - PID_BITS));
        *times += 1;
        number << PID_BITS | std::process::id()
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            self.file = Some(locked::file(
                &own_list(),
                options.append(true).create(true),
            )?);
        }
        Ok(())
    }

    /// Adds a filter; the list is made with the first one.
    pub(super) fn write_down(&mut self, filter: &Filter) -> io::Result<()> {
        self.open()?;
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_string(filter)?;
            line.push('\n');
            file.write_all(line.as_bytes())?;
        }
        self.filters += 1;
        Ok(())
    }

    /// One of them is off; the list goes with the last.
    pub(super) fn cross_off(&mut self, filter: &Filter) {
        if let Some(shared) = &mut self.shared {
            shared.off.push(filter.clone());
            return;
        }
        self.filters = self.filters.saturating_sub(1);
        if self.filters == 0 && self.file.is_some() {
            remove_file(&own_list());
            self.file = None;
            remove_empty_folders();
        }
    }
}

fn own_list() -> PathBuf {
    Path::new(FOLDER)
        .join("filters")
        .join(std::process::id().to_string())
}

/// Makes this process's list for a helper process that is about to be started, and that will remove it.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn share() -> Result<(), ProbeError> {
    let path = own_list();
    let mut list = own();
    list.open().map_err(|source| ProbeError::Write {
        what: path.display().to_string(),
        source,
    })?;
    list.shared = Some(Shared {
        path,
        off: Vec::new(),
    });
    Ok(())
}

/// In the helper process: takes off what is on the list and is not off yet, and removes it.
pub(super) fn close_shared() {
    let Some(shared) = own().shared.take() else {
        return;
    };
    let all = fs::read(&shared.path).map(|text| listed(&text));
    let left = all.map(|mut all| {
        all.retain(|filter| !shared.off.contains(filter));
        all
    });
    match left.and_then(|left| take_off(&left)) {
        Ok(_) => {
            remove_file(&shared.path);
            own().file = None;
            remove_empty_folders();
        }
        Err(why) => log::warn!("{} stays: {why}", shared.path.display()),
    }
}

/// Takes off what processes of ours left behind that ended without doing it themselves. Tells how
/// many filters there were.
///
/// # Errors
///
/// None: what cannot be swept is logged and stays listed for the next time.
pub fn sweep() -> usize {
    let mut swept = 0;
    for list in lists() {
        match sweep_list(&list) {
            Ok(count) => swept += count,
            Err(why) => log::warn!("{} is not swept: {why}", list.display()),
        }
    }
    marks::sweep();
    remove_empty_folders();
    swept
}

/// The lists of processes of ours that ended without taking their filters off: what [`sweep`] would
/// deal with.
pub fn leftovers() -> Vec<PathBuf> {
    let is_free = |path: &PathBuf| {
        let tried = File::open(path).and_then(|file| locked::try_lock(file, path));
        matches!(tried, Ok(Locked::Ours(_)))
    };
    lists().filter(is_free).collect()
}

/// The lists of all processes of ours.
fn lists() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(Path::new(FOLDER).join("filters"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|list| list.path())
}

/// Whether a list names an interface, by its namespace's inode and its own index: its owner lives, or has left
/// filters that are not swept yet.
pub(super) fn is_listed(inode: u64, ifindex: u32) -> bool {
    lists()
        .flat_map(|path| listed(&fs::read(path).unwrap_or_default()))
        .any(|filter| (filter.ns.inode, filter.ifindex) == (inode, ifindex))
}

fn sweep_list(path: &Path) -> io::Result<usize> {
    let file = match File::open(path) {
        Ok(file) => file,
        // Its owner closed it meanwhile.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(why) => return Err(why),
    };
    let lock = match locked::try_lock(file, path)? {
        Locked::Ours(lock) => lock,
        // Its owner lives, or another one has swept it meanwhile.
        Locked::Taken | Locked::Gone => return Ok(0),
    };
    let swept = take_off(&listed(&fs::read(path)?))?;
    remove_file(path);
    drop(lock);
    Ok(swept)
}

/// Takes filters off, wherever their namespaces are by now; says of how many these are still there.
fn take_off(filters: &[Filter]) -> io::Result<usize> {
    let mut off = 0;
    for filter in filters {
        let Some(ns) = find(filter) else {
            if may_be_unseen() {
                let why = "its namespace may be there, and is not seen from here";
                return Err(io::Error::other(format!("{}: {why}", filter.label)));
            }
            forget_mark(filter);
            continue;
        };
        ns.run(|| remove(filter))
            .map_err(io::Error::other)?
            .map_err(|why| io::Error::other(format!("{}: {why}", filter.label)))?;
        off += 1;
    }
    Ok(off)
}

/// The filters of a list. A line that was cut off names one that was not added yet.
pub(crate) fn listed(list: &[u8]) -> Vec<Filter> {
    list.split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// The namespace of a filter whose owner is gone: by its path, or wherever else it is still
/// referenced.
fn find(filter: &Filter) -> Option<NetNs> {
    NetNs::reopen(&filter.ns_path, &filter.ns)
        .ok()
        .or_else(|| NetNs::find(&filter.ns))
}

/// Whether there may be namespaces that [`NetNs::find`] does not find.
pub(super) fn may_be_unseen() -> bool {
    !may_look_at_all() || is_in_pid_namespace()
}

pub(super) fn remove_file(path: &Path) {
    if let Err(why) = fs::remove_file(path)
        && why.kind() != io::ErrorKind::NotFound
    {
        log::warn!("{} stays: {why}", path.display());
    }
}

/// Removes our folders where they hold nothing; a folder in use is none of our business.
fn remove_empty_folders() {
    for folder in ["filters", "qdiscs", ""] {
        let folder = Path::new(FOLDER).join(folder);
        if let Err(why) = fs::remove_dir(&folder) {
            log::trace!("{} stays: {why}", folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters stay attached where their list is not read.
    #[test]
    fn a_damaged_line_hides_no_other() {
        let line = r#"{"ns_path":"/run/netns/a","ns":{"device":4,"inode":5,"cookie":6,"process":null},
            "ifname":"eth0","ifindex":2,"egress":true,"handle":7,"label":"eth0@a"}"#;
        let line = line.replace(['\n', ' '], "");
        let mut list = line.clone().into_bytes();
        list.extend(b"\n\xff\x1b[2J\n{\"ns_path\n\n");
        list.extend(line.bytes());
        let handles: Vec<u32> = listed(&list).iter().map(|filter| filter.handle).collect();
        assert_eq!(handles, [7, 7]);
    }
}
