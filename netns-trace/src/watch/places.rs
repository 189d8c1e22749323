//! Names of namespaces: the directories that hold them, and the mount table. Says what may have changed;
//! looks at no namespace.
//!
//! `ip netns add` makes a file and mounts the namespace over it, `ip netns del` does both the other way
//! round. The directory tells each file in its order (inotify(7)), the table tells that something was
//! mounted (`POLLPRI` on /proc/self/mountinfo, proc_pid_mountinfo(5)).

use std::{
    collections::HashMap,
    fs::{self, File},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};

/// Where `ip netns`, Podman and CNI have their names, and where Docker has. What is not there yet is
/// waited for.
const DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// What happened to a file in one of the directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Came(PathBuf),
    Went(PathBuf),
}

/// What may have changed.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Files, in their order.
    pub(super) files: Vec<Place>,
    /// Something was mounted or unmounted.
    pub(super) mounts: bool,
}

/// The directories and the table.
pub(super) struct Places {
    inotify: Option<Inotify>,
    watched: HashMap<WatchDescriptor, PathBuf>,
    /// Wakes whoever waits. Its event goes to the first who asks, so another file is asked.
    wake: Option<File>,
    table: Option<File>,
}

impl Places {
    /// Watches from now on.
    pub(super) fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .inspect_err(|errno| log::warn!("cannot watch directories: inotify: {errno}"))
            .ok();
        let table = || File::open("/proc/self/mountinfo").ok();
        let mut places = Self {
            inotify,
            watched: HashMap::new(),
            wake: table(),
            table: table(),
        };
        places.watch();
        places
    }

    /// What has news for `EPOLLIN`, and for `EPOLLPRI`.
    pub(super) fn fds(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        (
            self.inotify.as_ref().map(AsFd::as_fd),
            self.wake.as_ref().map(AsFd::as_fd),
        )
    }

    /// Watches each directory that is there, and the nearest above those that are not; those that are
    /// new. Files that were there before are the caller's to look at.
    fn watch(&mut self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        loop {
            // What was missing may have come before what is above it was watched.
            let new = self.watch_once();
            if new.is_empty() {
                return all;
            }
            all.extend(new);
        }
    }

    fn watch_once(&mut self) -> Vec<PathBuf> {
        let mut new = Vec::new();
        let Some(inotify) = &self.inotify else {
            return new;
        };
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        for dir in DIRS.map(Path::new) {
            for dir in dir.ancestors() {
                if self.watched.values().any(|watched| watched == dir) {
                    break;
                }
                match inotify.add_watch(dir, flags) {
                    Ok(descriptor) => {
                        self.watched.insert(descriptor, dir.to_owned());
                        new.push(dir.to_owned());
                        break;
                    }
                    Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                    Err(errno) => {
                        log::warn!("cannot watch {dir:?}: {errno}");
                        break;
                    }
                }
            }
        }
        new
    }

    /// What has changed since the last call.
    pub(super) fn take(&mut self) -> News {
        let mut news = News {
            mounts: self.mounts_changed(),
            ..News::default()
        };
        let Some(inotify) = &self.inotify else {
            return news;
        };
        let mut gone = Vec::new();
        let mut above = false;
        while let Ok(events) = inotify.read_events() {
            for event in events {
                let mask = event.mask;
                if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    news.mounts = true; // the whole table is looked at then
                    continue;
                }
                if mask.contains(AddWatchFlags::IN_IGNORED) {
                    gone.push(event.wd);
                    continue;
                }
                let (Some(dir), Some(name)) = (self.watched.get(&event.wd), event.name) else {
                    continue;
                };
                let path = dir.join(name);
                if !DIRS.map(Path::new).contains(&dir.as_path()) {
                    above |= DIRS.iter().any(|dir| Path::new(dir).starts_with(&path));
                } else if mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) {
                    news.files.push(Place::Came(path));
                } else {
                    news.files.push(Place::Went(path));
                }
            }
        }
        for descriptor in &gone {
            self.watched.remove(descriptor);
        }
        if above || !gone.is_empty() {
            for dir in self.watch() {
                if DIRS.map(Path::new).contains(&dir.as_path()) {
                    let there = fs::read_dir(dir).into_iter().flatten().flatten();
                    news.files
                        .extend(there.map(|entry| Place::Came(entry.path())));
                }
            }
        }
        news
    }

    fn mounts_changed(&self) -> bool {
        let Some(table) = &self.table else {
            return false;
        };
        let mut fds = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}
