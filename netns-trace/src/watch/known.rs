//! What is known: namespaces, what refers to each, and the containers in them. Facts go in, changes come
//! out; nothing is looked at here but through what the caller passes.
//!
//! A namespace is gone when nothing refers to it any more and a scan that began after that has not found
//! it either. The kernel gives the inode of a dead namespace to the next one at once, so what refers to
//! an inode that nothing referred to is taken for another namespace, unless its cookie is the same.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Change, Label, Name, Namespace, Process, look, look::Mounted};
use crate::{
    container::{ContainerKey, Containers},
    netns::command,
};

/// How long the word of a container's start waits for its name.
pub(super) const NAME_WAIT: Duration = Duration::from_millis(80);
/// How long names are asked for.
const NAME_PATIENCE: Duration = Duration::from_secs(2);
/// Most names, and containers, of the past that a namespace remembers.
const MOST_FORMER: usize = 16;

/// Tells the cookie of the namespace with this inode at a path.
pub(super) type CookieOf<'a> = &'a dyn Fn(&Path, u64) -> Option<u64>;

#[derive(Debug, Default)]
struct Known {
    cookie: Option<u64>,
    /// Since when it is known; `None` from before the watch began.
    since: Option<Instant>,
    names: BTreeMap<PathBuf, Mounted>,
    processes: BTreeSet<u32>,
    /// Its process that was seen first.
    first: Option<u32>,
    /// Where a thread or a descriptor holds it, if a scan saw that.
    held: Option<PathBuf>,
    /// Since when nothing refers to it.
    empty: Option<Instant>,
    announced: bool,
    /// Names and containers of the past.
    former_names: Vec<PathBuf>,
    former: Vec<Label>,
    /// The last name, whose loss is told with the end, if that comes.
    untold: Option<PathBuf>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.processes.is_empty() && self.held.is_none()
    }

    fn path(&self) -> Option<PathBuf> {
        let name = self.names.keys().next().cloned();
        name.or_else(|| self.processes.first().map(|&pid| look::process_path(pid)))
            .or_else(|| self.held.clone())
    }
}

#[derive(Debug, Clone)]
struct Member {
    inode: u64,
    container: Option<ContainerKey>,
}

#[derive(Debug)]
struct Running {
    label: Label,
    processes: BTreeSet<u32>,
    first: u32,
    inode: u64,
    seen: Instant,
    existing: bool,
    announced: bool,
}

impl Running {
    fn is_named(&self) -> bool {
        self.label.name.is_some() || self.label.pod.is_some()
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    host: Option<u64>,
    device: u64,
    namespaces: HashMap<u64, Known>,
    /// Processes outside the host's namespace, and those of containers.
    processes: HashMap<u32, Member>,
    containers: HashMap<ContainerKey, Running>,
    /// Which namespace each name is of.
    names: HashMap<PathBuf, u64>,
    /// What is not announced yet, in the order it came.
    fresh: Vec<u64>,
    fresh_containers: Vec<ContainerKey>,
    starting: bool,
    changes: Vec<(bool, Change)>,
}

impl Table {
    /// A table that knows the host's namespace. What it is told is taken for existing until
    /// [`Table::begin`].
    pub(super) fn new(host: Option<u64>, device: u64) -> Self {
        let mut table = Self {
            host,
            device,
            starting: true,
            ..Self::default()
        };
        if let Some(host) = host {
            table.namespaces.insert(host, Known::default());
            table.fresh.push(host);
        }
        table
    }

    /// The watch begins: what came until now existed. It is told where that is wanted.
    pub(super) fn begin(&mut self, tell: bool) {
        if tell {
            self.fresh.sort_unstable();
            self.announce_all(None);
        } else {
            for known in self.namespaces.values_mut() {
                known.announced = true;
            }
            for running in self.containers.values_mut() {
                running.announced = true;
            }
        }
        self.fresh.clear();
        self.fresh_containers.clear();
        self.starting = false;
    }

    /// How many namespaces and containers are known.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.namespaces.len(), self.containers.len())
    }

    /// The container of a process that is known.
    pub(super) fn container_of(&self, pid: u32) -> Option<ContainerKey> {
        self.processes.get(&pid)?.container.clone()
    }

    /// The processes that are known.
    pub(super) fn processes(&self) -> impl Iterator<Item = u32> {
        self.processes.keys().copied()
    }

    /// The names that are known.
    pub(super) fn names(&self) -> impl Iterator<Item = &PathBuf> {
        self.names.keys()
    }

    /// Whether a name is known.
    pub(super) fn has_name(&self, path: &Path) -> bool {
        self.names.contains_key(path)
    }

    /// Whether this is what is known of a process.
    pub(super) fn is_known(&self, pid: u32, inode: u64, container: Option<&ContainerKey>) -> bool {
        let member = self.processes.get(&pid);
        member.is_some_and(|known| known.inode == inode && known.container.as_ref() == container)
    }

    /// A process is in a namespace.
    pub(super) fn process(
        &mut self,
        pid: u32,
        inode: u64,
        container: Option<ContainerKey>,
        cookie: CookieOf<'_>,
    ) {
        if self.is_known(pid, inode, container.as_ref()) {
            return;
        }
        if let Some(member) = self.processes.get(&pid) {
            // Into its container before out of where it was: neither ends for that.
            if member.inode == inode {
                self.leave_container(pid);
            } else {
                self.ended(pid);
            }
        }
        if Some(inode) == self.host && container.is_none() {
            self.processes.remove(&pid);
            return;
        }
        self.refer(inode, &look::process_path(pid), cookie);
        if let Some(known) = self.namespaces.get_mut(&inode)
            && Some(inode) != self.host
        {
            known.processes.insert(pid);
            known.first.get_or_insert(pid);
        }
        if let Some(key) = &container {
            self.join(key, pid, inode);
        }
        self.processes.insert(pid, Member { inode, container });
    }

    fn join(&mut self, key: &ContainerKey, pid: u32, inode: u64) {
        if let Some(running) = self.containers.get_mut(key) {
            running.processes.insert(pid);
            if running.first == pid {
                running.inode = inode;
            }
            return;
        }
        let running = Running {
            label: Label {
                key: key.clone(),
                name: None,
                pod: None,
            },
            processes: BTreeSet::from([pid]),
            first: pid,
            inode,
            seen: Instant::now(),
            existing: self.starting,
            announced: false,
        };
        self.containers.insert(key.clone(), running);
        self.fresh_containers.push(key.clone());
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, pid: u32) {
        self.leave_container(pid);
        let Some(member) = self.processes.remove(&pid) else {
            return;
        };
        if let Some(known) = self.namespaces.get_mut(&member.inode) {
            known.processes.remove(&pid);
        }
        self.note_empty(member.inode);
    }

    fn leave_container(&mut self, pid: u32) {
        let Some(key) = self
            .processes
            .get_mut(&pid)
            .and_then(|member| member.container.take())
        else {
            return;
        };
        let Some(running) = self.containers.get_mut(&key) else {
            return;
        };
        running.processes.remove(&pid);
        if !running.processes.is_empty() {
            return;
        }
        self.announce_container(&key);
        let Some(running) = self.containers.remove(&key) else {
            return;
        };
        let change = Change::ContainerStopped {
            container: running.label.clone(),
            namespace: self.describe(running.inode),
            lived: (!running.existing).then(|| running.seen.elapsed()),
        };
        self.changes.push((false, change));
        if let Some(known) = self.namespaces.get_mut(&running.inode)
            && known.former.len() < MOST_FORMER
        {
            known.former.retain(|label| label.key != running.label.key);
            known.former.push(running.label);
        }
    }

    /// A namespace is mounted at a name.
    pub(super) fn name(&mut self, path: &Path, mounted: Mounted, cookie: CookieOf<'_>) {
        if let Some(inode) = self.names.get(path) {
            let known = self.namespaces.get(inode);
            if known.and_then(|known| known.names.get(path)) == Some(&mounted) {
                return;
            }
            self.unname(path);
        }
        self.refer(mounted.inode, path, cookie);
        let Some(known) = self.namespaces.get_mut(&mounted.inode) else {
            return;
        };
        known.names.insert(path.to_owned(), mounted);
        self.names.insert(path.to_owned(), mounted.inode);
        if known.announced {
            let change = Change::NameAdded {
                name: Name(path.to_owned()),
                namespace: self.describe(mounted.inode),
            };
            self.changes.push((false, change));
        }
    }

    /// Nothing is mounted at a name any more.
    pub(super) fn unname(&mut self, path: &Path) {
        let Some(inode) = self.names.remove(path) else {
            return;
        };
        self.announce(inode);
        let Some(known) = self.namespaces.get_mut(&inode) else {
            return;
        };
        known.names.remove(path);
        if known.former_names.len() < MOST_FORMER {
            known.former_names.retain(|name| name != path);
            known.former_names.push(path.to_owned());
        }
        if known.is_empty() && Some(inode) != self.host {
            known.untold = Some(path.to_owned());
            self.note_empty(inode);
        } else {
            self.tell_lost(path, inode);
        }
    }

    fn tell_lost(&mut self, path: &Path, inode: u64) {
        let change = Change::NameRemoved {
            name: Name(path.to_owned()),
            namespace: self.describe(inode),
        };
        self.changes.push((false, change));
    }

    /// A name has come and gone before what it named could be looked at.
    pub(super) fn passed(&mut self, path: &Path, lived: Duration) {
        let namespace = Namespace {
            names: vec![Name(path.to_owned())],
            ..Namespace::default()
        };
        let added = Change::NamespaceAdded {
            namespace: namespace.clone(),
            process: None,
        };
        let removed = Change::NamespaceRemoved {
            namespace,
            lived: Some(lived),
        };
        self.changes.extend([(false, added), (false, removed)]);
    }

    /// A scan that began at `started` has found these namespaces held by a thread or a descriptor;
    /// `still` looks whether one still is.
    pub(super) fn held(
        &mut self,
        started: Instant,
        held: &HashMap<u64, PathBuf>,
        still: &dyn Fn(&Path, u64) -> bool,
        cookie: CookieOf<'_>,
    ) {
        for (&inode, path) in held {
            let known = self.namespaces.get(&inode);
            let is_news = known.is_none_or(|known| known.empty.is_some());
            if is_news && still(path, inode) {
                // What held it before it was empty holds it still, as far as can be told.
                if known.is_some_and(|known| known.cookie.is_none()) {
                    self.revive(inode);
                } else {
                    self.refer(inode, path, cookie);
                }
                if let Some(known) = self.namespaces.get_mut(&inode) {
                    known.held = Some(path.clone());
                }
            }
        }
        let mut gone = Vec::new();
        for (&inode, known) in &mut self.namespaces {
            if let Some(path) = &known.held
                && !still(path, inode)
            {
                known.held = held.get(&inode).filter(|path| still(path, inode)).cloned();
                if known.is_empty() {
                    // Its holder is gone, and the scan that began after that found no other.
                    known.empty.get_or_insert(started);
                }
            }
            if known.is_empty() && known.empty.is_some_and(|empty| empty <= started) {
                gone.push(inode);
            }
        }
        gone.sort_unstable();
        for inode in gone {
            if Some(inode) != self.host {
                self.remove(inode);
            }
        }
    }

    /// Whether a namespace waits for a scan to tell whether it is gone.
    pub(super) fn is_doubtful(&self) -> bool {
        self.namespaces.values().any(|known| known.empty.is_some())
    }

    /// Something refers to the namespace: makes it known, or known again.
    fn refer(&mut self, inode: u64, path: &Path, cookie: CookieOf<'_>) {
        let cookie_now = match self.namespaces.get_mut(&inode) {
            Some(known) if known.empty.is_none() => return,
            Some(known) => {
                let now = cookie(path, inode);
                if now.is_some() && now == known.cookie {
                    self.revive(inode);
                    return;
                }
                self.remove(inode);
                now
            }
            None if self.starting => None,
            None => cookie(path, inode),
        };
        let known = Known {
            cookie: cookie_now,
            since: (!self.starting).then(Instant::now),
            ..Known::default()
        };
        self.namespaces.insert(inode, known);
        self.fresh.push(inode);
    }

    /// A namespace lives on after all.
    fn revive(&mut self, inode: u64) {
        let Some(known) = self.namespaces.get_mut(&inode) else {
            return;
        };
        known.empty = None;
        if let Some(path) = known.untold.take() {
            self.tell_lost(&path, inode);
        }
    }

    fn note_empty(&mut self, inode: u64) {
        if let Some(known) = self.namespaces.get_mut(&inode)
            && Some(inode) != self.host
            && known.is_empty()
        {
            known.empty.get_or_insert_with(Instant::now);
        }
    }

    fn remove(&mut self, inode: u64) {
        self.announce(inode);
        let mut namespace = self.describe(inode);
        let Some(known) = self.namespaces.remove(&inode) else {
            return;
        };
        namespace.path = None;
        namespace
            .names
            .extend(known.former_names.into_iter().map(Name));
        namespace.containers.extend(known.former);
        let end = known.empty.unwrap_or_else(Instant::now);
        let lived = known
            .since
            .map(|since| end.saturating_duration_since(since));
        self.changes
            .push((false, Change::NamespaceRemoved { namespace, lived }));
    }

    /// Names that runtimes have told.
    pub(super) fn named(&mut self, containers: &Containers) {
        let mut late = Vec::new();
        for running in self.containers.values_mut().filter(|one| !one.is_named()) {
            let Some(told) = containers.get(&running.label.key) else {
                continue;
            };
            running.label.name.clone_from(&told.name);
            running.label.pod.clone_from(&told.pod);
            if running.is_named() && running.announced && !self.starting {
                late.push((running.label.clone(), running.inode));
            }
        }
        for (container, inode) in late {
            let change = Change::ContainerNamed {
                container,
                namespace: self.describe(inode),
            };
            self.changes.push((false, change));
        }
    }

    /// Whether names should be asked for.
    pub(super) fn wants_names(&self) -> bool {
        self.containers
            .values()
            .any(|running| !running.is_named() && running.seen.elapsed() < NAME_PATIENCE)
    }

    /// When the next announcement is due that waits for a name.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.fresh_containers.iter();
        waiting
            .filter_map(|key| Some(self.containers.get(key)?.seen + NAME_WAIT))
            .min()
    }

    /// What has changed since the last call, and whether it existed before.
    pub(super) fn take(&mut self) -> Vec<(bool, Change)> {
        self.announce_all(Some(Instant::now()));
        std::mem::take(&mut self.changes)
    }

    /// Announces namespaces, and containers that have a name or have waited for one until `now`.
    fn announce_all(&mut self, now: Option<Instant>) {
        for inode in std::mem::take(&mut self.fresh) {
            self.announce(inode);
        }
        for key in std::mem::take(&mut self.fresh_containers) {
            let is_due = self.containers.get(&key).is_none_or(|running| {
                running.is_named() || now.is_none_or(|now| now >= running.seen + NAME_WAIT)
            });
            if is_due {
                self.announce_container(&key);
            } else {
                self.fresh_containers.push(key);
            }
        }
    }

    fn announce(&mut self, inode: u64) {
        let Some(known) = self.namespaces.get_mut(&inode) else {
            return;
        };
        if std::mem::replace(&mut known.announced, true) {
            return;
        }
        let first = known.first;
        let change = Change::NamespaceAdded {
            namespace: self.describe(inode),
            process: first.map(process),
        };
        self.changes.push((self.starting, change));
    }

    fn announce_container(&mut self, key: &ContainerKey) {
        let Some(running) = self.containers.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut running.announced, true) {
            return;
        }
        let (container, first, inode) = (running.label.clone(), running.first, running.inode);
        self.announce(inode);
        let change = Change::ContainerStarted {
            container,
            process: Some(process(first)),
            namespace: self.describe(inode),
        };
        self.changes.push((self.starting, change));
    }

    fn describe(&self, inode: u64) -> Namespace {
        let known = self.namespaces.get(&inode);
        let mut containers: Vec<Label> = self
            .containers
            .values()
            .filter(|running| running.inode == inode)
            .map(|running| running.label.clone())
            .collect();
        containers.sort_by(|a, b| a.key.cmp(&b.key));
        let host = Some(inode) == self.host;
        Namespace {
            inode: Some(inode),
            device: self.device,
            cookie: known.and_then(|known| known.cookie),
            host,
            names: known
                .map(|known| known.names.keys().cloned().map(Name).collect())
                .unwrap_or_default(),
            containers,
            path: if host {
                Some(PathBuf::from("/proc/1/ns/net"))
            } else {
                known.and_then(Known::path)
            },
        }
    }
}

fn process(pid: u32) -> Process {
    Process {
        pid,
        command: command(pid),
    }
}

#[cfg(test)]
mod tests;
