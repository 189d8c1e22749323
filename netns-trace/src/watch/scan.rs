//! A look at everything: each process and thread, and each descriptor that is open. It takes long, so a
//! thread of its own does it, and what it found may be past when it is read: who applies it looks again
//! at what differs.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::look::{self, Cgroups};
use crate::{container::ContainerKey, netns::pids};

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scan {
    /// When it began: what has come since, it need not have seen.
    pub(super) started: Instant,
    /// How long it took.
    pub(super) took: Duration,
    /// Processes in other namespaces than the host's, and those of containers.
    pub(super) processes: Vec<(u32, u64, Option<ContainerKey>)>,
    /// Namespaces that a thread is in or that a descriptor is open on, and where.
    pub(super) held: HashMap<u64, PathBuf>,
}

impl Scan {
    /// Looks.
    pub(super) fn take(host: Option<u64>, cgroups: &mut Cgroups) -> Self {
        let started = Instant::now();
        cgroups.forget();
        let mut scan = Self {
            started,
            took: Duration::ZERO,
            processes: Vec::new(),
            held: HashMap::new(),
        };
        let own = std::process::id();
        for pid in pids() {
            let inode = look::inode(pid);
            if let Some(inode) = inode {
                let container = cgroups.container(pid);
                if Some(inode) != host || container.is_some() {
                    scan.processes.push((pid, inode, container));
                }
            }
            if pid != own {
                scan.look_inside(pid, inode, host);
            }
        }
        scan.took = started.elapsed();
        scan
    }

    fn look_inside(&mut self, pid: u32, inode: Option<u64>, host: Option<u64>) {
        let mut hold = |path: PathBuf| {
            let found = fs::read_link(&path)
                .ok()
                .and_then(|link| look::inode_in_link(&link));
            if let Some(found) = found
                && found != inode.unwrap_or(0)
                && Some(found) != host
            {
                self.held.entry(found).or_insert(path);
            }
        };
        for thread in entries(&format!("/proc/{pid}/task")) {
            if thread != pid {
                hold(format!("/proc/{pid}/task/{thread}/ns/net").into());
            }
        }
        for fd in entries(&format!("/proc/{pid}/fd")) {
            hold(format!("/proc/{pid}/fd/{fd}").into());
        }
    }
}

fn entries(dir: &str) -> impl Iterator<Item = u32> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
