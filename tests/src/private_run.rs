//! A /run/netns-trace of the test's own: what a killed capture leaves there is for the next start
//! to sweep, and the next start may be another test's.

use std::fs;

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const FOLDER: &str = "/run/netns-trace";
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
    while umount2("/run/netns", MntFlags::MNT_DETACH).is_ok() {}
    mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), NONE).expect("a /run of its own");
}

fn set_apart() {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("mounts of its own");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("apart");
}

/// Gives this thread, and all that it starts, a folder of its own. Namespaces that the test makes
/// must be there before: their names are mounts.
///
/// # Panics
///
/// If the kernel refuses.
pub fn enter() {
    // Another test's last filter may take the folder away just now.
    let mut made = Err(nix::errno::Errno::ENOENT);
    set_apart();
    for _ in 0..100 {
        fs::create_dir_all(FOLDER).expect("the folder");
        made = mount(Some("none"), FOLDER, Some("tmpfs"), MsFlags::empty(), NONE);
        if made != Err(nix::errno::Errno::ENOENT) {
            break;
        }
    }
    made.expect("a folder of its own");
}
