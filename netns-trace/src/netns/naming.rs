//! Names in /run/netns, made and removed as `ip netns` does (iproute2 v6.15, ip/ipnetns.c), so that it
//! shows them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
};

use super::NETNS_DIRS;

const NOTHING: Option<&str> = None;

/// The path that a name has.
pub(crate) fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIRS[0]).join(name)
}

/// Makes the empty file that a namespace is then mounted on, in the directory that it belongs to,
/// which is made where it is missing.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when there is a file of that name, whatever it is.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    prepare_directory()?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o000)
        .open(path)
        .map(drop)
}

/// Mounts the namespace at `source` on a name that was reserved. It lives as long as the mount does.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn bind(source: &Path, path: &Path) -> io::Result<()> {
    mount(Some(source), path, NOTHING, MsFlags::MS_BIND, NOTHING)?;
    Ok(())
}

/// Unmounts what is on a name and removes its file. One that is not there is no error.
///
/// The file goes also when the unmounting is refused, which tells nothing: a file on which
/// something is mounted is not removed.
///
/// # Errors
/// When it is still there.
pub(crate) fn unbind(path: &Path) -> io::Result<()> {
    let unmounted = umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    match (fs::remove_file(path), unmounted) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        (Err(_), Err(errno)) if errno != Errno::EINVAL => Err(errno.into()),
        (removed, _) => removed,
    }
}

/// Whether a name has been there for long enough that nobody can be about to mount a namespace on it:
/// between making the file and mounting, `ip netns add` takes some milliseconds. False also when that
/// cannot be told, as after a clock was set back.
pub(crate) fn is_settled(path: &Path) -> bool {
    const LONG_ENOUGH: Duration = Duration::from_secs(5);
    let age = || {
        fs::symlink_metadata(path)?
            .modified()?
            .elapsed()
            .map_err(io::Error::other)
    };
    age().is_ok_and(|age| age >= LONG_ENOUGH)
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
