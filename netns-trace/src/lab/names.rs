//! Names in /run/netns, made and removed as `ip netns` does, so that it shows them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use super::LabError;
use crate::netns::{Identity, NETNS_DIRS, NetNs, NetNsError};

const NOTHING: Option<&str> = None;

/// The path that a name has.
pub(super) fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIRS[0]).join(name)
}

/// Makes a namespace and gives it a name. `note` writes down what it is known by, before it has
/// its name: so it can be removed again, whenever we may be killed.
pub(super) fn create(
    name: &str,
    note: impl FnOnce(&Identity) -> Result<(), LabError> + Send,
) -> Result<NetNs, LabError> {
    prepare_directory().map_err(|e| LabError::io("set up /run/netns", e))?;
    let path = path_of(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o000)
        .open(&path);
    match file {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(LabError::NamespaceExists { name: name.into() });
        }
        other => drop(other.map_err(|e| LabError::io(format!("create {path:?}"), e))?),
    }
    let made = mount_new(&path, note).and_then(|()| Ok(NetNs::open(&path)?));
    if made.is_err()
        && let Err(error) = remove_file(&path)
    {
        log::warn!("{error}");
    }
    made
}

/// A new namespace lives by the mount alone: the thread that made it ends at once.
fn mount_new(
    path: &Path,
    note: impl FnOnce(&Identity) -> Result<(), LabError> + Send,
) -> Result<(), LabError> {
    let failed = |e: io::Error| LabError::io(format!("make the namespace {path:?}"), e);
    thread::scope(|scope| {
        let maker = thread::Builder::new()
            .name("netns-new".into())
            .spawn_scoped(scope, || {
                unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
                    failed(match errno {
                        // unshare(2): what the error says elsewhere is not what it means here.
                        Errno::ENOSPC => io::Error::other(
                            "there are as many as the sysctl user.max_net_namespaces allows",
                        ),
                        errno => errno.into(),
                    })
                })?;
                let own = Path::new("/proc/thread-self/ns/net");
                note(NetNs::open(own)?.identity())?;
                mount(Some(own), path, NOTHING, MsFlags::MS_BIND, NOTHING)
                    .map_err(|e| failed(e.into()))
            })
            .map_err(failed)?;
        match maker.join() {
            Ok(result) => result,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    })
}

/// The directory has to be a shared mount: a name made in one mount namespace then shows in
/// the others, and one removed does not live on there.
fn prepare_directory() -> io::Result<()> {
    let dir = NETNS_DIRS[0];
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)?;
    // `ip netns` takes the same lock for the same reason: two that find no mount would both
    // mount, and the second would hide what the first is about to make.
    let lock = Flock::lock(File::open(dir)?, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let share = || {
        mount(
            NOTHING,
            dir,
            NOTHING,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            NOTHING,
        )
    };
    if let Err(Errno::EINVAL) = share() {
        let own = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(dir), dir, NOTHING, own, NOTHING)?;
        share()?;
    }
    drop(lock);
    Ok(())
}

/// Takes a name away, if it still means the namespace that it was given to. Without an inode, the
/// lab's maker ended before it made the namespace: then a file without one is all that can be
/// ours. The namespace itself lives on for as long as somebody is in it.
pub(super) fn remove(name: &str, inode: Option<u64>, cookie: Option<u64>) -> Result<(), LabError> {
    let path = path_of(name);
    match NetNs::open(&path) {
        Ok(_) if inode.is_none() => return Ok(()),
        Ok(ns) => {
            let other_inode = inode.is_some_and(|inode| inode != ns.inode());
            let other_cookie =
                matches!((cookie, ns.identity().cookie), (Some(a), Some(b)) if a != b);
            if other_inode || other_cookie {
                return Err(LabError::NotOurs { name: name.into() });
            }
        }
        Err(NetNsError::NotFound { .. }) => return Ok(()),
        Err(NetNsError::Stale { .. }) => {} // nothing mounted: only the file is left
        Err(error) => return Err(error.into()),
    }
    remove_file(&path)
}

/// The file goes also when the unmounting is refused, which tells nothing: a file on which
/// something is mounted is not removed.
fn remove_file(path: &Path) -> Result<(), LabError> {
    let unmounted = umount2(path, MntFlags::MNT_DETACH);
    match (fs::remove_file(path), unmounted) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        (Err(_), Err(errno)) if errno != Errno::EINVAL => {
            Err(LabError::io(format!("unmount {path:?}"), errno.into()))
        }
        (removed, _) => removed.map_err(|e| LabError::io(format!("remove {path:?}"), e)),
    }
}
