//! One pass over the processes: which network namespace each is in, which mounts each sees, and what
//! descriptors it has open. Links in /proc are read rather than opened: it is one system call, and it
//! keeps nothing alive.

use std::{fs, io, ops::RangeInclusive, os::unix::fs::MetadataExt as _, path::Path};

use super::{
    mounts,
    references::{Descriptor, Process, Scan, Scope, Thread},
};
use crate::{container, netns};

/// Most descriptors of one process that are looked at.
const MOST_OPEN: usize = 65_536;
/// Most descriptors on one namespace that are kept.
const MOST_DESCRIPTORS: usize = 16;
/// Where inodes of namespaces are: the fixed ones are just below the first that is handed out;
/// include/linux/proc_ns.h, fs/proc/generic.c, PROC_DYNAMIC_FIRST.
const NAMESPACES: RangeInclusive<u64> = 0xefff_ff00..=0xffff_ffff;
/// Most mount namespaces whose tables are read.
const MOST_MOUNT_NAMESPACES: usize = 4096;

pub(super) fn add_all(scan: &mut Scan, scope: Scope) {
    for pid in netns::pids() {
        let mut net = None;
        match inode_at(&format!("/proc/{pid}/ns/net"), "net") {
            Ok(inode) => {
                net = Some(inode);
                scan.entry(inode).processes.push(pid);
            }
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                scan.denied += 1;
                continue;
            }
            // It has ended; of a zombie, threads may live on.
            Err(_) => {}
        }
        if scope.threads && has_threads(pid) {
            add_threads(scan, pid, net);
        }
        if scope.other_mounts {
            add_mounts(scan, pid);
        }
        if scope.descriptors {
            add_descriptors(scan, pid);
        }
        if scope.containers
            && let Some(inode) = net
            && let Some(key) = container::of_process(pid)
        {
            scan.entry(inode).containers.insert(key);
        }
    }
}

/// The process with the lowest number that is no kernel thread, and still there.
pub(super) fn main_of(pids: &[u32]) -> Option<Process> {
    let mut people = pids.iter().filter(|&&pid| !netns::is_kernel_thread(pid));
    people.find_map(|&pid| {
        let command = netns::command(pid)?;
        Some(Process { pid, command })
    })
}

/// The inode in a link such as `net:[4026531840]`.
fn inode_at(path: &str, kind: &str) -> io::Result<u64> {
    let link = fs::read_link(path)?;
    inode_of(&link, kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn inode_of(link: &Path, kind: &str) -> Option<u64> {
    let rest = link.to_str()?.strip_prefix(kind)?;
    rest.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}

/// Whether the process has more threads than its first. A directory's link count is two, and here one
/// more for each thread; fs/proc/base.c, proc_task_getattr().
fn has_threads(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/task")).is_ok_and(|meta| meta.nlink() > 3)
}

fn add_threads(scan: &mut Scan, pid: u32, of_process: Option<u64>) {
    for tid in netns::threads(pid) {
        if let Ok(inode) = inode_at(&format!("/proc/{pid}/task/{tid}/ns/net"), "net")
            && Some(inode) != of_process
        {
            scan.entry(inode).threads.push(Thread { pid, tid });
        }
    }
}

fn add_mounts(scan: &mut Scan, pid: u32) {
    let Ok(inode) = inode_at(&format!("/proc/{pid}/ns/mnt"), "mnt") else {
        return;
    };
    if scan.mount_namespaces.contains(&inode) {
        return;
    }
    if scan.mount_namespaces.len() == MOST_MOUNT_NAMESPACES {
        scan.notes.push(format!(
            "there are more than {MOST_MOUNT_NAMESPACES} mount namespaces; the mounts in the others are not listed"
        ));
    }
    scan.mount_namespaces.insert(inode);
    if scan.mount_namespaces.len() <= MOST_MOUNT_NAMESPACES {
        scan.other_mounts.extend(mounts::of_process(pid));
    }
}

fn add_descriptors(scan: &mut Scan, pid: u32) {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return;
    };
    let mut count = 0;
    for entry in open.flatten() {
        count += 1;
        if count > MOST_OPEN {
            scan.notes.push(format!(
                "process {pid} has more than {MOST_OPEN} files open; the others are not looked at"
            ));
            return;
        }
        let Some(fd) = entry.file_name().to_str().and_then(|fd| fd.parse().ok()) else {
            continue;
        };
        if let Some(inode) = namespace_of(Descriptor { pid, fd }, scan.device) {
            let descriptors = &mut scan.entry(inode).descriptors;
            if descriptors.len() < MOST_DESCRIPTORS {
                descriptors.push(Descriptor { pid, fd });
            }
        }
    }
}

/// The network namespace that a descriptor is open on.
///
/// It reads `net:[INODE]` when opened in /proc. When opened by a name, it reads as that name, or as
/// nothing after the name has gone (fs/d_path.c, d_path()); its inode, from 5.14 told in fdinfo, shows
/// then whether to look at the file. Most files are not looked at, since one on a network or FUSE file
/// system could make us wait.
fn namespace_of(descriptor: Descriptor, nsfs: u64) -> Option<u64> {
    let Descriptor { pid, fd } = descriptor;
    let path = format!("/proc/{pid}/fd/{fd}");
    let link = fs::read_link(&path).ok()?;
    if let Some(inode) = inode_of(&link, "net") {
        return Some(inode);
    }
    // Sockets, pipes, anonymous inodes, other namespaces; devices.
    let is_path = link.as_os_str().is_empty() || link.starts_with("/");
    if !is_path || link.starts_with("/dev") {
        return None;
    }
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let inode = info.lines().find_map(|line| line.strip_prefix("ino:"))?;
    let inode: u64 = inode.trim().parse().ok()?;
    if !NAMESPACES.contains(&inode) {
        return None;
    }
    let meta = fs::metadata(&path).ok()?;
    let is_it = meta.dev() == nsfs && netns::NetNs::open_plain(Path::new(&path)).is_ok();
    is_it.then(|| meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_namespaces_are_read() {
        let read = |link| inode_of(Path::new(link), "net");
        assert_eq!(read("net:[4026531840]"), Some(4_026_531_840));
        for other in [
            "mnt:[4026531840]",
            "net:[]",
            "net:[-1]",
            "net:[1] (deleted)",
            "socket:[1]",
            "/x/net:[1]",
            "net:[99999999999999999999]",
            "",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn a_second_thread_is_noticed() {
        let own = std::process::id();
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let second = std::thread::spawn(move || wait.recv());
        assert!(has_threads(own));
        drop(stop);
        assert!(second.join().expect("the thread").is_err());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a child");
        assert!(!has_threads(child.id()));
        assert_eq!(
            main_of(&[child.id()]).map(|main| main.pid),
            Some(child.id())
        );
        child.kill().expect("ours to kill");
        child.wait().expect("its end");
        assert_eq!(main_of(&[child.id()]), None);
    }
}
