//! Where network namespaces are mounted, as mount tables tell it; proc_pid_mountinfo(5).

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::netns;

/// Longest table that is read: 100,000 mounts and more.
const MOST_TABLE: u64 = 16 << 20;

/// A network namespace at a mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) inode: u64,
    /// The mount point, as the mount namespace that it is in has it.
    pub(super) point: PathBuf,
    /// A process in that mount namespace; `None` in our own.
    pub(super) pid: Option<u32>,
}

impl Mount {
    /// Where we can reach it.
    pub(super) fn path(&self) -> PathBuf {
        match self.pid {
            None => self.point.clone(),
            Some(pid) => {
                let inside = self.point.strip_prefix("/").unwrap_or(&self.point);
                Path::new(&format!("/proc/{pid}/root")).join(inside)
            }
        }
    }
}

/// In our own mount namespace.
pub(super) fn own() -> Vec<Mount> {
    read("/proc/self/mountinfo", None)
}

/// In that of a process.
pub(super) fn of_process(pid: u32) -> Vec<Mount> {
    read(&format!("/proc/{pid}/mountinfo"), Some(pid))
}

fn read(path: &str, pid: Option<u32>) -> Vec<Mount> {
    let table = || -> io::Result<Vec<u8>> {
        let mut table = Vec::new();
        File::open(path)?.take(MOST_TABLE).read_to_end(&mut table)?;
        Ok(table)
    };
    // A process that has ended has no mounts.
    netns::mounts(&table().unwrap_or_default())
        .map(|(inode, point)| Mount { inode, point, pid })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_elsewhere_is_reached_through_its_process() {
        let mount = |pid| Mount {
            inode: 1,
            point: "/run/netns/a".into(),
            pid,
        };
        assert_eq!(mount(None).path(), Path::new("/run/netns/a"));
        assert_eq!(mount(Some(7)).path(), Path::new("/proc/7/root/run/netns/a"));
    }
}
