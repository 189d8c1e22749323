//! Namespaces that were not there before.

use std::{
    collections::HashSet,
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use super::Candidates;

/// Notices new namespaces: whoever hears that something may have happened looks, and it compares.
///
/// What came and went between two looks is missed.
#[derive(Debug)]
pub(crate) struct Arrivals {
    known: HashSet<u64>,
    mounts: Option<File>,
}

impl Arrivals {
    /// Knows all that are there now.
    pub(crate) fn new() -> Self {
        let mut arrivals = Self {
            known: HashSet::new(),
            mounts: File::open("/proc/self/mountinfo").ok(),
        };
        arrivals.look();
        arrivals
    }

    /// What has an event of priority (`POLLPRI`) when something is mounted, as the names of namespaces
    /// are; proc_pid_mountinfo(5).
    pub(crate) fn mounts(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.as_ref().map(AsFd::as_fd)
    }

    /// Takes a namespace for new again at the next look, if it is there then: it could not be opened.
    pub(crate) fn forget(&mut self, inode: u64) {
        self.known.remove(&inode);
    }

    /// The namespaces that have come since the last look: where each can be opened, and its inode.
    pub(crate) fn look(&mut self) -> Vec<(PathBuf, u64)> {
        let all: Vec<(PathBuf, u64)> = Candidates::quick().collect();
        let inodes = all.iter().map(|(_, inode)| *inode).collect();
        let before = std::mem::replace(&mut self.known, inodes);
        all.into_iter()
            .filter(|(_, inode)| !before.contains(inode))
            .collect()
    }
}
