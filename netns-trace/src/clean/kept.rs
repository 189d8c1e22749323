//! Mount namespaces that no process is in and that a mount keeps, as snapd does for each snap in
//! /run/snapd/ns. What is mounted there can be told only from inside: each is entered by a short-lived
//! thread, which reads its table and ends.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    thread,
};

use nix::{
    fcntl::{OFlag, openat},
    sched::{CloneFlags, setns, unshare},
    sys::stat::Mode,
};

use crate::netns::{mounts, mounts_of};

/// Longest table that is read.
const LONGEST: u64 = 16 << 20;
/// Most namespaces that are entered.
const MOST: usize = 1024;

/// The last part of each path at which a network namespace is mounted in such a mount namespace, with
/// where that is kept; and why one was not looked into.
pub(super) fn names(inhabited: &HashSet<u64>) -> (Vec<(OsString, PathBuf)>, Option<String>) {
    let mut seen = inhabited.clone();
    let mut names = Vec::new();
    let table = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    let kept = mounts_of(&table, "mnt").filter(|(inode, _)| seen.insert(*inode));
    for (count, (inode, place)) in kept.enumerate() {
        let table = if count < MOST {
            table_of(&place, inode)
        } else {
            Err(io::Error::other("there are too many"))
        };
        match table {
            Ok(table) => names.extend(
                mounts(&table)
                    .filter_map(|(_, point)| Some((point.file_name()?.to_owned(), place.clone()))),
            ),
            Err(why) => {
                let place = place.to_string_lossy();
                let blind = format!(
                    "the mount namespace that is kept at {} cannot be looked into: {why}",
                    place.escape_debug()
                );
                return (names, Some(blind));
            }
        }
    }
    (names, None)
}

fn table_of(place: &Path, inode: u64) -> io::Result<Vec<u8>> {
    // O_PATH first: something else may be mounted over it, which opening could do things to.
    let found = open(place, libc::O_PATH)?;
    if found.metadata()?.ino() != inode {
        return Err(io::Error::other("something else is mounted over it"));
    }
    let namespace = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    // The namespace's own /proc may be anything.
    let proc = open(Path::new("/proc"), libc::O_PATH | libc::O_DIRECTORY)?;
    let read = move || -> io::Result<Vec<u8>> {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let table = openat(&proc, "thread-self/mountinfo", flags, Mode::empty())?;
        let mut text = Vec::new();
        File::from(table).take(LONGEST).read_to_end(&mut text)?;
        Ok(text)
    };
    let inside = thread::Builder::new().name("mounts".into()).spawn(read)?;
    match inside.join() {
        Ok(table) => table,
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

fn open(path: &Path, flags: libc::c_int) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
