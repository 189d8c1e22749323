//! The mount namespace of a tool that has the namespace's resolver: made as `ip netns exec` makes it
//! (iproute2 v6.15, lib/namespace.c), on the thread that becomes the tool. The host's mounts stay as
//! they are.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
};

use super::{ExecError, Resolver};

const NOTHING: Option<&str> = None;
const ETC: &str = "/etc";
const SYS: &str = "/sys";
const RESOLV_CONF: &str = "resolv.conf";

/// Gives the calling thread mounts of its own, with the namespace's resolver and its devices in
/// /sys. To be called inside the network namespace: a sysfs shows the devices of the one that it was
/// mounted in.
pub(super) fn set_up(resolver: &Resolver) -> Result<(), ExecError> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| failed("make a mount namespace", errno.into()))?;
    // What is mounted here stays here; what the host mounts and unmounts later still arrives.
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        NOTHING,
    )
    .map_err(|errno| failed("set the mounts apart from the host's", errno.into()))?;
    match resolver {
        Resolver::Directory(directory) => mount_directory(directory)?,
        Resolver::Text(text) => mount_text(text)
            .map_err(|why| failed("mount a copy of the resolver over /etc/resolv.conf", why))?,
        Resolver::Host => {}
    }
    mount_sys().map_err(|why| failed("mount the namespace's /sys", why))
}

/// Each of the files and directories over its namesake in /etc. One that has none there is passed
/// over with a warning, as `ip netns exec` does.
fn mount_directory(directory: &Path) -> Result<(), ExecError> {
    let entries = fs::read_dir(directory)
        .map_err(|why| failed(&format!("read the directory {directory:?}"), why))?;
    for entry in entries.flatten() {
        let over = Path::new(ETC).join(entry.file_name());
        if let Err(why) = bind(&entry.path(), &over) {
            log::warn!("{:?} is not mounted over {over:?}: {why}", entry.path());
        }
    }
    Ok(())
}

/// A copy in memory. A file can be mounted only from a file system that is mounted here itself; so
/// that is on /sys for a moment, and goes with the last mount of its one file.
fn mount_text(text: &str) -> io::Result<()> {
    let tmpfs = Some("tmpfs");
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(tmpfs, SYS, tmpfs, flags, Some("size=1m,mode=0755"))?;
    let copy = Path::new(SYS).join(RESOLV_CONF);
    let over = Path::new(ETC).join(RESOLV_CONF);
    let mounted = fs::write(&copy, text).and_then(|()| bind(&copy, &over));
    umount2(SYS, MntFlags::MNT_DETACH)?;
    mounted
}

/// Mounts over a path itself, also where it is a link: those of name lookup often lead to what is
/// not there (systemd-resolved's, when it does not run), where nothing can be mounted.
fn bind(what: &Path, over: &Path) -> io::Result<()> {
    let place = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(over)?;
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    mount(
        Some(what),
        place.as_str(),
        NOTHING,
        MsFlags::MS_BIND,
        NOTHING,
    )?;
    Ok(())
}

fn mount_sys() -> io::Result<()> {
    // Where nothing is mounted, what is there may be read-only for a reason.
    let flags = match umount2(SYS, MntFlags::MNT_DETACH) {
        Ok(()) => MsFlags::empty(),
        Err(_) if statvfs(SYS).is_ok_and(|on| on.flags().contains(FsFlags::ST_RDONLY)) => {
            MsFlags::MS_RDONLY
        }
        Err(_) => MsFlags::empty(),
    };
    let sysfs = Some("sysfs");
    mount(sysfs, SYS, sysfs, flags, NOTHING)?;
    Ok(())
}

fn failed(step: &str, source: io::Error) -> ExecError {
    ExecError::Mount {
        step: step.to_owned(),
        source,
    }
}
