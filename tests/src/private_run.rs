//! A /run/netns-trace of the test's own: what a killed capture leaves there is for the next start
//! to sweep, and the next start may be another test's.

use std::{fs, os::fd::AsRawFd as _};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const NAMES: &str = "/run/netns";
const NONE: Option<&str> = None;

/// Gives this thread, and all that it starts, a /run of its own, empty: its names of namespaces are
/// nobody else's, and nobody else's can be removed.
///
/// # Panics
///
/// If the kernel refuses.
pub fn enter_alone() {
    set_apart();
    // Else names of others' would be seen to go beneath the new one.
    while umount2(NAMES, MntFlags::MNT_DETACH).is_ok() {}
    mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), NONE).expect("a /run of its own");
}

fn set_apart() {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("mounts of its own");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("apart");
}

/// Gives this thread, and all that it starts, a /run of its own, with the names of namespaces that are there: those
/// that the test makes must be.
///
/// # Panics
///
/// If the kernel refuses.
pub fn enter() {
    set_apart();
    // Not the folder alone: whoever removes it elsewhere takes away what is mounted on it here.
    let names = fs::File::open(NAMES).ok();
    mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), NONE).expect("a /run of its own");
    if let Some(names) = names {
        fs::create_dir(NAMES).expect("a folder");
        let names = format!("/proc/self/fd/{}", names.as_raw_fd());
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(names.as_str()), NAMES, NONE, flags, NONE).expect("its names");
    }
}
