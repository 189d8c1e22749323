//! Namespaces of a lab, and their names in /run/netns.

use std::{io, path::Path, thread};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};

pub(super) use crate::netns::path_of;

use super::LabError;
use crate::netns::{Identity, NetNs, NetNsError, bind, reserve, unbind};

/// Makes a namespace and gives it a name. `note` writes down what it is known by, before it has
/// its name: so it can be removed again, whenever we may be killed.
pub(super) fn create(
    name: &str,
    note: impl FnOnce(&Identity) -> Result<(), LabError> + Send,
) -> Result<NetNs, LabError> {
    let path = path_of(name);
    match reserve(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(LabError::NamespaceExists { name: name.into() });
        }
        other => other.map_err(|e| LabError::io(format!("create {path:?}"), e))?,
    }
    let made = mount_new(&path, note).and_then(|()| Ok(NetNs::open(&path)?));
    if made.is_err()
        && let Err(error) = unbind(&path)
    {
        log::warn!("cannot remove {path:?}: {error}");
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
                bind(own, path).map_err(failed)
            })
            .map_err(failed)?;
        match maker.join() {
            Ok(result) => result,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    })
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
    unbind(&path).map_err(|e| LabError::io(format!("remove {path:?}"), e))
}
