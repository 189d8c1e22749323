//! The files in /run/netns: which are stale names, and how they are removed. Links are never followed,
//! and what is removed is what was looked at.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File, Metadata, OpenOptions},
    io,
    mem::MaybeUninit,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    mount::{MntFlags, umount2},
    sys::stat::fstatat,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{
    Item, Kind,
    report::{Act, Step},
    sight::Sight,
};
use crate::{
    link::Record,
    netns::{NETNS_DIRS, NetNs, is_settled},
};

/// A file that cannot be mistaken for one that takes its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    /// When it was last changed, in nanoseconds: an inode is handed out again.
    changed: (i64, i64),
}

impl Stamp {
    /// That of the file at a path itself, not of what it leads to; `None` when there is none.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Self::from_metadata(&meta))),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn from_metadata(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What a file among the names is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// A name of a namespace that is there.
    Alive,
    /// A plain file that nothing is mounted on, as far as our own mount namespace goes.
    Unmounted,
    /// A link to nothing.
    Dangling,
    /// Something else, in words.
    NoName(&'static str),
}

/// The names that are to go. What looks like one and stays is added to `kept`.
pub(super) fn plan(sight: &Sight, kept: &mut Vec<Item>) -> Vec<Step> {
    let nsfs = fs::metadata("/proc/self/ns/net").map_or(0, |ns| ns.dev());
    let elsewhere = sight.mounted_elsewhere();
    let mut steps = Vec::new();
    for path in paths() {
        let mut keep = |why: String| kept.push(Item::new(Kind::Name, &path, why));
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue; // removed meanwhile
        };
        let why = match look(&path, &meta, nsfs) {
            Verdict::Alive => continue,
            Verdict::NoName(what) => {
                keep(format!("it is no namespace's name: {what}"));
                continue;
            }
            _ if !is_settled(&path) => {
                keep("it was made just now, perhaps for a namespace that is still to come".into());
                continue;
            }
            Verdict::Dangling => "it is a link to what does not exist",
            Verdict::Unmounted => {
                let name = path.file_name().unwrap_or_default();
                if let Some(place) = elsewhere.get(name) {
                    keep(format!("its namespace is mounted in {place}"));
                    continue;
                }
                if let Some(blind) = &sight.blind {
                    keep(blind.clone());
                    continue;
                }
                "no namespace is mounted there any more"
            }
        };
        steps.push(Step {
            item: Item::new(Kind::Name, &path, why),
            act: Act::Name(path, Stamp::from_metadata(&meta)),
        });
    }
    steps
}

/// All that is in the directories of names, sorted; each directory once.
fn paths() -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut paths = Vec::new();
    for directory in NETNS_DIRS {
        let Ok(meta) = fs::symlink_metadata(directory) else {
            continue;
        };
        let key = (meta.dev(), meta.ino());
        if !meta.is_dir() || seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        paths.extend(entries.map(|entry| entry.path()));
    }
    paths.sort();
    paths
}

fn look(path: &Path, meta: &Metadata, nsfs: u64) -> Verdict {
    if meta.dev() == nsfs {
        return Verdict::Alive;
    }
    if meta.is_symlink() {
        return match fs::metadata(path) {
            Ok(target) if target.dev() == nsfs => Verdict::Alive,
            Ok(_) => Verdict::NoName("a link to something that is no namespace"),
            Err(why) if leads_nowhere(&why) => Verdict::Dangling,
            Err(_) => Verdict::NoName("a link that cannot be followed"),
        };
    }
    if !meta.is_file() {
        return Verdict::NoName("neither a file nor a link");
    }
    if is_mount_point(path) {
        Verdict::NoName("something else is mounted there")
    } else if meta.len() > 0 {
        Verdict::NoName("the file is not empty")
    } else if meta.nlink() > 1 {
        Verdict::NoName("the file has other names, too")
    } else {
        Verdict::Unmounted
    }
}

/// Whether something is mounted on a path itself; true also when that cannot be told.
fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return true;
    };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: a path that ends in NUL and room for the answer, both alive over the call.
    let result =
        unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, 0, found.as_mut_ptr()) };
    // SAFETY: all zero is a valid answer, and the kernel has filled it in or left it alone.
    let found = unsafe { found.assume_init() };
    // From 5.8: include/uapi/linux/stat.h.
    let root = libc::STATX_ATTR_MOUNT_ROOT as u64;
    result != 0 || found.stx_attributes_mask & root == 0 || found.stx_attributes & root != 0
}

fn leads_nowhere(why: &io::Error) -> bool {
    let nowhere = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ESRCH];
    why.raw_os_error()
        .is_some_and(|errno| nowhere.contains(&errno))
}

/// Removes a file or a link, if it is still the one that was looked at. One that something is mounted
/// on by now stays: the kernel sees to that. One that is gone is no error.
pub(super) fn remove(path: &Path, stamp: &Stamp) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let directory = open_directory(parent)?;
    if !is_still(&directory, name, stamp)? {
        return Err(io::Error::other("it is another file by now"));
    }
    match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

fn is_still(directory: &File, name: &OsStr, stamp: &Stamp) -> io::Result<bool> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(true),
        found => {
            let found = found?;
            Ok(Stamp {
                device: found.st_dev,
                inode: found.st_ino,
                changed: (found.st_ctime, found.st_ctime_nsec),
            } == *stamp)
        }
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
}

/// Unmounts a namespace from the name that `link` gave it, as often as it is mounted there, and
/// nothing else. Without a mount, there is nothing to do.
pub(super) fn unmount(record: &Record) -> io::Result<()> {
    /// Whoever mounts one namespace there more often does it for ever.
    const MOST: usize = 16;
    let path = record.path();
    for _ in 0..MOST {
        let mounted = fs::symlink_metadata(&path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == key_of(record));
        if !mounted {
            return Ok(());
        }
        if !NetNs::open(&path).is_ok_and(|ns| record.is_of(ns.identity())) {
            return Err(io::Error::other("it names another namespace by now"));
        }
        umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn key_of(record: &Record) -> (u64, u64) {
    (record.namespace.device, record.namespace.inode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_empty_files_and_dangling_links_are_stale() {
        let nsfs = fs::metadata("/proc/self/ns/net").expect("ours").dev();
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("empty"), "").expect("a file");
        fs::write(at("full"), "x").expect("a file");
        fs::write(at("twice"), "").expect("a file");
        fs::hard_link(at("twice"), at("again")).expect("a link");
        symlink("/proc/0/ns/net", at("dangling")).expect("a link");
        symlink("loop", at("loop")).expect("a link");
        symlink(at("full").join("below"), at("below")).expect("a link");
        symlink("/proc/self/ns/net", at("good")).expect("a link");
        symlink(at("empty"), at("odd")).expect("a link");
        fs::create_dir(at("dir")).expect("a directory");
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        let verdict = |name: &str| {
            let path = at(name);
            look(&path, &fs::symlink_metadata(&path).expect(name), nsfs)
        };
        assert_eq!(verdict("empty"), Verdict::Unmounted);
        for name in ["dangling", "loop", "below"] {
            assert_eq!(verdict(name), Verdict::Dangling, "{name}");
        }
        assert_eq!(verdict("good"), Verdict::Alive);
        for name in ["full", "twice", "again", "odd", "dir", "pipe"] {
            assert!(matches!(verdict(name), Verdict::NoName(_)), "{name}");
        }
    }

    #[test]
    fn only_what_was_looked_at_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("name");
        let stamp = |path: &Path| Stamp::of(path).expect("looked at").expect("there");
        fs::write(&path, "").expect("a file");
        let first = stamp(&path);
        fs::rename(&path, folder.path().join("kept")).expect("moved");
        fs::write(&path, "").expect("another file");
        let error = remove(&path, &first).expect_err("another file");
        assert_eq!(error.to_string(), "it is another file by now");
        assert!(path.exists());
        remove(&path, &stamp(&path)).expect("the one that was looked at");
        assert!(!path.exists());
        remove(&path, &first).expect("gone already");
        symlink(folder.path().join("kept"), &path).expect("a link");
        remove(&path, &stamp(&path)).expect("the link");
        assert!(folder.path().join("kept").exists());
    }
}
