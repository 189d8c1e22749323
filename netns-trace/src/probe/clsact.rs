//! Filters of the clsact qdisc, for kernels before 6.6, and what it takes to leave none behind.
//!
//! A filter outlives the process that added it. So each owner keeps a list of its filters in a
//! file under [`FOLDER`], locked for as long as it lives; whoever starts next takes the filters
//! off that a free list names. A qdisc that we added is marked by a file of its own (`marks`), and goes
//! with the last filter on it, whichever of our processes that belongs to.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::programs::{
    SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions, TcHandle},
};
use nix::{errno::Errno, fcntl::Flock, net::if_::if_nametoindex};
use serde::{Deserialize, Serialize};

use super::{
    Hook, ProbeError, TapSite, error,
    keeper::keeper,
    marks::{self, Mark},
    tc,
};
use crate::{
    locked::{self, Locked},
    netns::{Identity, NetNs, may_look_at_all},
    privilege::{is_in_pid_namespace, of_roots_file},
    topology::NetlinkError,
};

/// Where lists and marks are kept.
const FOLDER: &str = "/run/netns-trace";
/// First in line, as far as priorities go.
const PRIORITY: u16 = 1;

/// A filter of ours, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// How its namespace was found, to enter it again.
    ns_path: PathBuf,
    /// Which namespace that was.
    ns: Identity,
    ifname: String,
    ifindex: u32,
    egress: bool,
    handle: u32,
    /// `eth0@web`.
    label: String,
}

impl Filter {
    /// `eth0@web`.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    fn hook(&self) -> Hook {
        if self.egress {
            Hook::Egress
        } else {
            Hook::Ingress
        }
    }
}

/// This process's list, which is there as long as one of its filters is. One serves all of its runs: a lock belongs to
/// an open file, so a second one would wait for the first for ever.
static LIST: Mutex<List> = Mutex::new(List {
    file: None,
    filters: 0,
    places: BTreeMap::new(),
    shared: None,
});

struct List {
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

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl List {
    /// A number that no other filter has at a hook: the process's own, and one that tells the times apart where this
    /// process is there more than once.
    fn new_handle(&mut self, site: &TapSite, hook: Hook) -> u32 {
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
    fn write_down(&mut self, filter: &Filter) -> io::Result<()> {
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
    fn cross_off(&mut self, filter: &Filter) {
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
pub(crate) fn share_list() -> Result<(), ProbeError> {
    let path = own_list();
    let mut list = list();
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
pub(super) fn close_shared_list() {
    let Some(shared) = list().shared.take() else {
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
            list().file = None;
            remove_empty_folders();
        }
        Err(why) => log::warn!("{} stays: {why}", shared.path.display()),
    }
}

/// Adds a filter, on a thread that is in the site's namespace.
pub(super) fn attach(
    program: &mut SchedClassifier,
    site: &TapSite,
    hook: Hook,
) -> Result<Filter, ProbeError> {
    let filter = Filter {
        ns_path: site.ns.path().to_owned(),
        ns: site.ns.identity().clone(),
        ifname: site.ifname.clone(),
        ifindex: site.ifindex,
        egress: hook == Hook::Egress,
        handle: list().new_handle(site, hook),
        label: site.label.clone(),
    };
    // Written down first: what is not there after all is no harm to the sweep.
    let written = list().write_down(&filter);
    written.map_err(|why| failed_file(&filter, "write its list", &why))?;
    let attached = attach_listed(program, &filter, hook);
    if attached.is_err() {
        list().cross_off(&filter);
    }
    attached.map(|()| filter)
}

fn attach_listed(
    program: &mut SchedClassifier,
    filter: &Filter,
    hook: Hook,
) -> Result<(), ProbeError> {
    let mark = Mark::lock(&filter.ns, filter.ifindex)
        .map_err(|why| failed_file(filter, "mark its qdisc", &why))?;
    if !tc::has_clsact(filter.ifindex).map_err(|why| failed(filter, "list its qdiscs", &why))? {
        mark.set(&filter.ns)
            .map_err(|why| failed_file(filter, "mark its qdisc", &why))?;
        match tc::add_clsact(filter.ifindex) {
            Ok(()) => {}
            Err(why) if why.errno() == Some(Errno::EEXIST as i32) => mark.clear(),
            Err(why) => {
                mark.clear();
                return Err(failed(filter, "add a clsact qdisc", &why));
            }
        }
    }
    let attach_type = match hook {
        Hook::Ingress => TcAttachType::Ingress,
        Hook::Egress => TcAttachType::Egress,
    };
    let options = NlOptions {
        priority: PRIORITY,
        handle: TcHandle::from(filter.handle),
        classid: None,
    };
    let attached = program
        .attach_with_options(
            &filter.ifname,
            attach_type,
            TcAttachOptions::Netlink(options),
        )
        .and_then(|id| program.take_link(id));
    match attached {
        Ok(link) => {
            // Dropping it would detach it, wherever that thread happens to be.
            std::mem::forget(link);
            Ok(())
        }
        Err(why) => {
            let why = ProbeError::Attach {
                interface: filter.label.clone(),
                why: format!("clsact {hook}: {}", error::chain(&why)),
            };
            if let Err(also) = release_qdisc(filter, &mark) {
                log::warn!("{}: {also}", filter.label);
            }
            Err(why)
        }
    }
}

/// Removes a filter, on a thread that is in its namespace.
pub(super) fn detach_here(filter: &Filter) -> Result<(), ProbeError> {
    remove(filter).map_err(|why| failed(filter, "remove our filter", &why))?;
    list().cross_off(filter);
    Ok(())
}

/// Enters a filter's namespace and removes it. One that went with its interface or its namespace is no error.
pub(super) fn detach(filter: &Filter) -> Result<(), ProbeError> {
    if let Some(keeper) = keeper() {
        return keeper.detach(filter);
    }
    match NetNs::reopen(&filter.ns_path, &filter.ns) {
        Ok(ns) => ns.run(|| detach_here(filter))?,
        Err(why) if why.is_gone() => {
            forget_mark(filter);
            list().cross_off(filter);
            Ok(())
        }
        Err(why) => Err(why.into()),
    }
}

/// Whether the interface of a filter is gone, by itself or with its namespace.
pub(super) fn is_gone(filter: &Filter) -> bool {
    if let Some(keeper) = keeper() {
        return keeper.is_gone(filter);
    }
    let there = NetNs::reopen(&filter.ns_path, &filter.ns)
        .and_then(|ns| ns.run(|| if_nametoindex(filter.ifname.as_str())));
    match there {
        Ok(Ok(index)) => index != filter.ifindex,
        Ok(Err(errno)) => errno == Errno::ENODEV,
        Err(why) => why.is_gone(),
    }
}

fn failed(filter: &Filter, what: &str, why: &dyn std::error::Error) -> ProbeError {
    ProbeError::Attach {
        interface: filter.label.clone(),
        why: format!("clsact: cannot {what}: {}", error::chain(why)),
    }
}

fn failed_file(filter: &Filter, what: &str, why: &io::Error) -> ProbeError {
    ProbeError::Attach {
        interface: filter.label.clone(),
        why: format!("clsact: cannot {what}: {}", of_roots_file(why)),
    }
}

/// Removes a filter, if it is there and ours, and the qdisc, if that is ours and empty now.
fn remove(filter: &Filter) -> Result<(), NetlinkError> {
    let mark = Mark::lock(&filter.ns, filter.ifindex)?;
    let hook = filter.hook();
    let ours = tc::filters(filter.ifindex, hook);
    let ours = match ours {
        Ok(filters) => filters.into_iter().any(|found| {
            found.priority == PRIORITY
                && found.handle == filter.handle
                && found.name.as_deref() == Some(hook.program())
        }),
        // The interface, or its qdisc, is gone.
        Err(why) if is_no_device(&why) => false,
        Err(why) => return Err(why),
    };
    if ours {
        tc::delete_filter(filter.ifindex, hook, PRIORITY, filter.handle)?;
    }
    release_qdisc(filter, &mark)
}

/// Removes the qdisc if one of ours added it and nobody's filter is left on it.
fn release_qdisc(filter: &Filter, mark: &Mark) -> Result<(), NetlinkError> {
    if mark.is_of(&filter.ns) {
        mark.release(filter.ifindex)
    } else {
        mark.clear_if_empty();
        Ok(())
    }
}

/// Removes the mark of a qdisc that went with its namespace.
fn forget_mark(filter: &Filter) {
    match Mark::lock(&filter.ns, filter.ifindex) {
        Ok(mark) if mark.is_of(&filter.ns) => mark.clear(),
        Ok(mark) => mark.clear_if_empty(),
        Err(why) => log::warn!("the mark of {} stays: {why}", filter.label),
    }
}

/// What the kernel answers where an interface, or a qdisc on it, is not there.
pub(super) fn is_no_device(why: &NetlinkError) -> bool {
    [Errno::ENODEV, Errno::ENOENT, Errno::EINVAL]
        .iter()
        .any(|errno| why.errno() == Some(*errno as i32))
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
