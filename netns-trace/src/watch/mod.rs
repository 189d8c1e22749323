//! Network namespaces and containers coming and going, as they happen.
//!
//! What tells of them, each as an event, each optional:
//!
//! * the process connector (`connector.rs`): a process that begins or runs a program in another
//!   namespace or a container, and the end of the last;
//! * directories of names and the mount table (`places.rs`);
//! * interfaces and numbers of namespaces in our own namespace (`topology::news`), after which it is worth
//!   to look at everything;
//! * runtimes, for names alone, asked by a thread of its own;
//! * a scan of everything (`scan.rs`), by another thread: what says that a namespace is gone, and the net
//!   below all the others.
//!
//! What only the scan sees, up to a second late: a process that enters a new namespace and runs no other
//! program then (`unshare` alone tells nobody), a thread in a namespace of its own, a namespace that a
//! descriptor holds, a name in a place where nothing else is mounted at that moment. What came and went
//! between two looks is missed, unless it had a name in /run/netns or Docker's place: then it is told
//! without its inode. The kernel's own functions would tell all (`copy_net_ns`, `__put_net`), by eBPF.
//!
//! Nothing here holds a namespace, which would keep it alive.

pub(crate) mod connector;
mod event;
mod hooks;
mod known;
mod look;
mod places;
mod run;
mod scan;
mod text;
mod worker;

use std::{
    collections::HashMap,
    fs,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
        eventfd::{EfdFlags, EventFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};

use self::{
    connector::{Connector, Life, Lives},
    known::Table,
    look::Cgroups,
    places::{Place, Places},
    scan::Scan,
    worker::Worker,
};
pub use self::{
    event::{Change, Event, Label, Moment, Name, Namespace, Process},
    run::{WatchConfig, watch},
};
use crate::{
    container::Containers,
    netns::{self, NetNs},
    privilege::{self, Capability},
    topology::news::LinkNews,
};

/// How often everything is looked at: where the kernel tells of processes, and where it does not.
const SCAN_AFTER: Duration = Duration::from_secs(1);
const SCAN_AFTER_ALONE: Duration = Duration::from_millis(100);
/// A look at everything is followed by so many times the time it took without one: 5 % of a processor.
const REST: u32 = 20;
/// How long to wait before names are asked for again.
const ASK_AFTER: Duration = Duration::from_millis(20);
/// How long a new file is looked at again whenever something is mounted.
const PENDING_FOR: Duration = Duration::from_secs(5);
/// Most such files.
const MOST_PENDING: usize = 4096;

/// A file in a directory of names on which nothing is mounted yet.
#[derive(Debug)]
struct Pending {
    since: Instant,
    /// Something was mounted since.
    mounted: bool,
}

/// Watches. Its descriptor is readable when [`Watcher::take`] has something to do.
pub struct Watcher {
    epoll: Epoll,
    timer: TimerFd,
    wake: Arc<EventFd>,
    connector: Option<Connector>,
    places: Places,
    news: Option<LinkNews>,
    scanner: Worker<Scan>,
    namer: Worker<Containers>,
    cgroups: Cgroups,
    table: Table,
    limits: Vec<String>,
    nsfs: u64,
    pending: HashMap<PathBuf, Pending>,
    /// The mount table has changed since it was read, and may be read again from then on.
    mounts_changed: bool,
    mounts_from: Instant,
    /// A scan is wanted, and may begin from then on; it is due anyway at the second time.
    scan_wanted: bool,
    scan_from: Instant,
    scan_due: Instant,
    asked: Instant,
    ask_from: Instant,
}

impl Watcher {
    /// Watches from now on. With `existing`, what is there already is told first, by names that runtimes
    /// are asked for at once, which takes a second and a half at most.
    ///
    /// # Errors
    ///
    /// The machine has no descriptor or thread left. A source that is missing is no error:
    /// [`Watcher::limits`].
    pub fn new(existing: bool) -> Result<Self> {
        let mut limits = Vec::new();
        let connector = match Connector::new() {
            Ok(connector) => Some(connector),
            Err(why) => {
                limits.push(format!(
                    "the kernel does not tell of processes ({why}): they are looked for every {} ms",
                    SCAN_AFTER_ALONE.as_millis()
                ));
                None
            }
        };
        if let Ok(Some(missing)) = privilege::missing(&[Capability::SysPtrace]) {
            limits.push(format!("{missing}: other users' processes are not seen"));
        }
        let news = LinkNews::here()
            .inspect_err(|why| log::warn!("cannot listen for changes of interfaces: {why}"))
            .ok();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags).context("cannot make an event descriptor")?);
        let host = NetNs::host().map(|ns| ns.inode());
        let host = host.ok().or_else(|| look::inode(std::process::id()));
        let nsfs = fs::metadata("/proc/self/ns/net").map_or(0, |meta| meta.dev());
        let mut cgroups = Cgroups::default();
        let scanner = Worker::start("scan", Arc::clone(&wake), move || {
            Scan::take(host, &mut cgroups)
        });
        let namer = Worker::start("names", Arc::clone(&wake), Containers::find);
        let now = Instant::now();
        let mut watcher = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot wait for events")?,
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )
            .context("cannot make a timer")?,
            wake,
            connector,
            places: Places::new(),
            news,
            scanner: scanner.context("cannot start a thread")?,
            namer: namer.context("cannot start a thread")?,
            cgroups: Cgroups::default(),
            table: Table::new(host, nsfs),
            limits,
            nsfs,
            pending: HashMap::new(),
            mounts_changed: false,
            mounts_from: now,
            scan_wanted: false,
            scan_from: now,
            scan_due: now,
            asked: now,
            ask_from: now,
        };
        watcher.wait_for_all().context("cannot wait for events")?;
        watcher.start(host, existing);
        watcher.arm();
        Ok(watcher)
    }

    fn wait_for_all(&self) -> Result<(), Errno> {
        let add = |fd: BorrowedFd<'_>, flags| self.epoll.add(fd, EpollEvent::new(flags, 0));
        let (files, mounts) = self.places.fds();
        let readable = [
            Some(self.timer.as_fd()),
            Some(self.wake.as_fd()),
            self.connector.as_ref().map(AsFd::as_fd),
            self.news.as_ref().map(AsFd::as_fd),
            files,
        ];
        for fd in readable.into_iter().flatten() {
            add(fd, EpollFlags::EPOLLIN)?;
        }
        mounts.map_or(Ok(()), |fd| add(fd, EpollFlags::EPOLLPRI))
    }

    /// What is there before the watch begins.
    fn start(&mut self, host: Option<u64>, existing: bool) {
        let scan = Scan::take(host, &mut self.cgroups);
        self.read_mounts();
        self.apply(scan);
        if existing {
            self.table.named(&Containers::find());
        }
        self.table.begin(existing);
    }

    /// What could be seen and is not, and why: in sentences for people.
    #[must_use]
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// How many namespaces and containers are there now.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        self.table.count()
    }

    /// What has happened since the last call. Waits for nothing.
    ///
    /// # Errors
    ///
    /// The kernel refuses the timer.
    pub fn take(&mut self) -> Result<Vec<Event>> {
        for fd in [self.timer.as_fd(), self.wake.as_fd()] {
            // Only that it is set matters, and that it is not any more.
            match nix::unistd::read(fd, &mut [0; 8]) {
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("cannot read a timer"),
            }
        }
        let news = self.places.take();
        if let Some(connector) = &mut self.connector {
            let lives = connector.take();
            self.scan_wanted |= lives.lost;
            self.live(&lives);
        }
        self.look_at_files(news.files, news.mounts);
        self.mounts_changed |= news.mounts;
        let links = self.news.as_mut().is_some_and(LinkNews::take);
        self.scan_wanted |= links || (news.mounts && self.connector.is_none());
        let now = Instant::now();
        if self.mounts_changed && now >= self.mounts_from {
            self.read_mounts();
        }
        if let Some(scan) = self.scanner.take() {
            self.scan_from = now + scan.took * REST;
            self.scan_due = self.scan_from.max(now + self.scan_after());
            self.apply(scan);
        }
        if let Some(containers) = self.namer.take() {
            self.ask_from = now + ASK_AFTER.max(self.asked.elapsed() * 2);
            self.table.named(&containers);
        }
        let changes = self.table.take();
        self.ask();
        self.arm();
        let at = Moment::now();
        let event = |(existing, change)| Event {
            at,
            existing,
            change,
        };
        Ok(changes.into_iter().map(event).collect())
    }

    fn scan_after(&self) -> Duration {
        match self.connector {
            Some(_) => SCAN_AFTER,
            None => SCAN_AFTER_ALONE,
        }
    }

    /// What has happened to processes.
    fn live(&mut self, lives: &Lives) {
        let end = |(at, life): (usize, &Life)| match life {
            Life::Exit { pid } => Some((*pid, at)),
            _ => None,
        };
        let ends: HashMap<u32, usize> = lives.events.iter().enumerate().filter_map(end).collect();
        for (at, life) in lives.events.iter().enumerate() {
            let has_ended = |pid| ends.get(pid).is_some_and(|&end| end > at);
            match life {
                Life::Exit { pid } => self.table.ended(*pid),
                Life::Fork { child, .. } | Life::Exec { pid: child } if has_ended(child) => {}
                Life::Fork { parent, child } => {
                    if let Some(inode) = look::inode(*child) {
                        let container = self.table.container_of(*parent);
                        self.table.process(*child, inode, container, &look::cookie);
                    }
                }
                Life::Exec { pid } => self.look_at_process(*pid),
            }
        }
    }

    fn look_at_process(&mut self, pid: u32) {
        match look::inode(pid) {
            Some(inode) => {
                let container = self.cgroups.container(pid);
                self.table.process(pid, inode, container, &look::cookie);
            }
            None => self.table.ended(pid),
        }
    }

    /// What has happened in the directories of names.
    fn look_at_files(&mut self, files: Vec<Place>, mounts: bool) {
        let now = Instant::now();
        for file in files {
            match file {
                Place::Came(path) => {
                    if self.pending.len() < MOST_PENDING {
                        let pending = Pending {
                            since: now,
                            mounted: false,
                        };
                        self.pending.insert(path.clone(), pending);
                    }
                    self.look_at_name(&path);
                }
                Place::Went(path) => {
                    let pending = self.pending.remove(&path);
                    if self.table.has_name(&path) {
                        self.table.unname(&path);
                    } else if let Some(pending) = pending
                        && (pending.mounted || mounts)
                    {
                        self.table.passed(&path, pending.since.elapsed());
                    }
                }
            }
        }
        if mounts {
            let paths: Vec<PathBuf> = self.pending.keys().cloned().collect();
            for path in paths {
                self.look_at_name(&path);
            }
            for pending in self.pending.values_mut() {
                pending.mounted = true;
            }
        }
        self.pending
            .retain(|_, pending| pending.since.elapsed() < PENDING_FOR);
    }

    fn look_at_name(&mut self, path: &Path) {
        if let Ok(Some(mounted)) = look::mounted(path, self.nsfs) {
            self.table.name(path, mounted, &look::cookie);
            self.pending.remove(path);
        }
    }

    fn read_mounts(&mut self) {
        let start = Instant::now();
        self.mounts_changed = false;
        let found = netns::own_mounts();
        let gone: Vec<PathBuf> = self
            .table
            .names()
            .filter(|path| !found.contains(path))
            .cloned()
            .collect();
        for path in gone {
            self.table.unname(&path);
        }
        for path in &found {
            match look::mounted(path, self.nsfs) {
                Ok(Some(mounted)) => self.table.name(path, mounted, &look::cookie),
                _ => self.table.unname(path),
            }
        }
        self.mounts_from = Instant::now() + start.elapsed() * REST;
    }

    fn apply(&mut self, scan: Scan) {
        let mut unseen: Vec<u32> = self.table.processes().collect();
        let found: HashMap<u32, ()> = scan.processes.iter().map(|(pid, ..)| (*pid, ())).collect();
        unseen.retain(|pid| !found.contains_key(pid));
        for pid in unseen {
            self.look_at_process(pid);
        }
        for (pid, inode, container) in scan.processes {
            // It was so when it was looked at. What was told since is newer: a process that has gone into its container
            // meanwhile has not left it.
            if !self.table.is_known(pid, inode, container.as_ref()) {
                self.look_at_process(pid);
            }
        }
        let still = |path: &Path, inode: u64| {
            let link = fs::read_link(path).ok();
            link.and_then(|link| look::inode_in_link(&link)) == Some(inode)
        };
        self.table
            .held(scan.started, &scan.held, &still, &look::cookie);
    }

    /// Asks for what is wanted: a scan, names.
    fn ask(&mut self) {
        let now = Instant::now();
        let wanted = self.scan_wanted || self.table.is_doubtful();
        if (now >= self.scan_due || (wanted && now >= self.scan_from)) && self.scanner.ask() {
            self.scan_wanted = false;
            self.scan_due = now + self.scan_after();
        }
        if self.table.wants_names() && now >= self.ask_from && self.namer.ask() {
            self.asked = now;
        }
    }

    /// Sets the timer to what is due next.
    fn arm(&self) {
        let now = Instant::now();
        let mut due = self.scan_due;
        if self.scan_wanted || self.table.is_doubtful() {
            due = due.min(self.scan_from);
        }
        if self.scanner.is_busy() {
            due = now + SCAN_AFTER; // it wakes us itself
        }
        if self.mounts_changed {
            due = due.min(self.mounts_from);
        }
        if self.table.wants_names() && !self.namer.is_busy() {
            due = due.min(self.ask_from);
        }
        due = self.table.due().map_or(due, |name| due.min(name));
        // Nothing at all would switch it off.
        let wait = due
            .saturating_duration_since(now)
            .max(Duration::from_micros(100));
        let wait = Expiration::OneShot(TimeSpec::from_duration(wait));
        if let Err(errno) = self.timer.set(wait, TimerSetTimeFlags::empty()) {
            log::warn!("cannot set a timer: {errno}");
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, thread};

    use super::*;
    use crate::container::{ContainerKey, Runtime};

    /// A scan takes long, and what has happened since it began is told already.
    #[test]
    fn a_scan_that_is_past_does_not_undo_what_came_since() {
        let mut watcher = Watcher::new(false).expect("a watch");
        let pid = std::process::id();
        let key = ContainerKey {
            runtime: Runtime::Docker,
            id: "5".repeat(64),
        };
        watcher.apply(Scan {
            started: Instant::now(),
            took: Duration::ZERO,
            processes: vec![(pid, look::inode(pid).expect("our own"), Some(key.clone()))],
            held: HashMap::new(),
        });
        // Longer than the word of a container waits for its name.
        for _ in 0..20 {
            for event in watcher.take().expect("events") {
                if let Change::ContainerStarted { container, .. }
                | Change::ContainerStopped { container, .. } = &event.change
                {
                    assert_ne!(container.key, key, "we are in no such container");
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
