//! Who added the clsact qdisc of an interface: a file for each that one of ours did, by the namespace's inode and the
//! interface's index. While it is locked, nobody else of ours adds or removes anything there.
//!
//! A mark whose qdisc holds others' filters stays when the last of ours goes, so that whoever comes later may see to
//! it. Namespaces end, and their inodes are handed out again: a mark counts for the namespace alone that it names.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::Flock;

use super::{
    Hook,
    clsact::is_no_device,
    lists::{self, remove_file},
    tc,
};
use crate::{
    locked::{self, Locked},
    netns::{Identity, NetNs},
    topology::NetlinkError,
};

/// Where marks are kept.
const FOLDER: &str = "/run/netns-trace/qdiscs";

/// A mark, locked.
pub(super) struct Mark {
    file: Flock<File>,
    path: PathBuf,
}

impl Mark {
    /// Waits for the mark of an interface, which says nothing where it is new.
    pub(super) fn lock(ns: &Identity, ifindex: u32) -> io::Result<Self> {
        Self::at(Path::new(FOLDER).join(format!("{}-{ifindex}", ns.inode)))
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = locked::file(&path, &options)?;
        Ok(Self { file, path })
    }

    /// Says that one of ours adds the qdisc.
    pub(super) fn set(&self, ns: &Identity) -> io::Result<()> {
        // What it said before was of another namespace.
        self.file.set_len(0)?;
        self.file.write_all_at(&serde_json::to_vec(ns)?, 0)
    }

    /// Whether one of ours added the qdisc of this very namespace.
    pub(super) fn is_of(&self, ns: &Identity) -> bool {
        self.named()
            .is_some_and(|named| named.device == ns.device && named.cookie == ns.cookie)
    }

    fn named(&self) -> Option<Identity> {
        marked(&fs::read(&self.path).ok()?)
    }

    pub(super) fn clear(&self) {
        remove_file(&self.path);
    }

    pub(super) fn clear_if_empty(&self) {
        if self.file.metadata().is_ok_and(|file| file.len() == 0) {
            self.clear();
        }
    }

    /// Removes the qdisc, which one of ours added, if nobody's filter is left on it.
    pub(super) fn release(&self, ifindex: u32) -> Result<(), NetlinkError> {
        if is_used(ifindex)? {
            return Ok(());
        }
        match tc::delete_clsact(ifindex) {
            Ok(()) => {}
            Err(why) if is_no_device(&why) => {}
            Err(why) => return Err(why),
        }
        self.clear();
        Ok(())
    }
}

/// The namespace that a mark names.
pub(crate) fn marked(text: &[u8]) -> Option<Identity> {
    serde_json::from_slice(text).ok()
}

/// Whether there is a filter on an interface's qdisc.
fn is_used(ifindex: u32) -> Result<bool, NetlinkError> {
    for hook in Hook::BOTH {
        match tc::filters(ifindex, hook) {
            Ok(filters) if filters.is_empty() => {}
            Ok(_) => return Ok(true),
            // The interface, or its qdisc, is gone.
            Err(why) if is_no_device(&why) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(false)
}

/// What becomes of a mark that somebody has left.
enum Fate {
    Stays,
    /// It stands for nothing any more, or for what is not known to be ours.
    Goes,
    /// With the qdisc that is in this namespace.
    GoesWith(NetNs),
}

/// The marks that `sweep` would deal with.
pub fn orphaned_marks() -> Vec<PathBuf> {
    let goes = |path: &PathBuf| {
        let fate = lock_orphan(path).and_then(|orphan| orphan.map(|one| fate(&one)).transpose());
        matches!(fate, Ok(Some(Fate::Goes | Fate::GoesWith(_))))
    };
    paths().filter(goes).collect()
}

/// Removes marks that no list of filters names: with the qdisc, where that is known to be the one, and nobody uses it.
/// What cannot be dealt with is logged, and stays for the next time.
pub(super) fn sweep() {
    for path in paths() {
        if let Err(why) = sweep_one(&path) {
            log::warn!("{} is not swept: {why}", path.display());
        }
    }
}

fn paths() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn sweep_one(path: &Path) -> io::Result<()> {
    let Some(orphan) = lock_orphan(path)? else {
        return Ok(());
    };
    match fate(&orphan)? {
        Fate::Stays => {}
        Fate::Goes => orphan.mark.clear(),
        Fate::GoesWith(ns) => {
            let released = ns.run(|| orphan.mark.release(orphan.ifindex));
            released
                .map_err(io::Error::other)?
                .map_err(io::Error::other)?;
            log::info!("{}: a qdisc that nobody used any more", path.display());
        }
    }
    Ok(())
}

/// A mark that no list names, locked.
struct Orphan {
    mark: Mark,
    inode: u64,
    ifindex: u32,
}

/// Locks a mark that no list names. Owners write their list before they lock a mark: so whoever comes now is listed, or
/// waits for the lock and finds out what has become of the mark.
fn lock_orphan(path: &Path) -> io::Result<Option<Orphan>> {
    let Some((inode, ifindex)) = place(path) else {
        return Ok(None);
    };
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let Locked::Ours(file) = locked::try_lock(file, path)? else {
        return Ok(None);
    };
    let path = path.to_owned();
    Ok((!lists::is_listed(inode, ifindex)).then_some(Orphan {
        mark: Mark { file, path },
        inode,
        ifindex,
    }))
}

/// The namespace's inode and the interface's index, which a mark is called by.
fn place(path: &Path) -> Option<(u64, u32)> {
    let (inode, ifindex) = path.file_name()?.to_str()?.split_once('-')?;
    Some((inode.parse().ok()?, ifindex.parse().ok()?))
}

fn fate(orphan: &Orphan) -> io::Result<Fate> {
    let Some(named) = orphan.mark.named().filter(|ns| ns.inode == orphan.inode) else {
        return Ok(Fate::Goes);
    };
    let Some(ns) = NetNs::find(&named) else {
        let unseen = lists::may_be_unseen();
        return Ok(if unseen { Fate::Stays } else { Fate::Goes });
    };
    let look = || {
        let is_there = tc::has_clsact(orphan.ifindex)?;
        Ok::<_, NetlinkError>((is_there, is_there && is_used(orphan.ifindex)?))
    };
    let (is_there, is_used) = ns
        .run(look)
        .map_err(io::Error::other)?
        .map_err(io::Error::other)?;
    // Before 5.14, the inode may be another namespace's now, and the qdisc somebody's.
    let is_known = named.cookie.is_some();
    Ok(match (is_there && is_known, is_used) {
        (false, _) => Fate::Goes,
        (true, true) => Fate::Stays,
        (true, false) => Fate::GoesWith(ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cookie: Option<u64>) -> Identity {
        Identity {
            device: 4,
            inode: 4_026_532_211,
            cookie,
            process: None,
        }
    }

    #[test]
    fn a_mark_says_what_it_was_told_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = Mark::at(folder.path().join("qdiscs/4026532211-2")).expect("a mark");
        assert!(!mark.is_of(&identity(None)), "it says nothing");
        mark.set(&identity(Some(u64::MAX))).expect("set");
        let short = identity(Some(1));
        assert!(!mark.is_of(&short));
        mark.set(&short).expect("set");
        assert!(mark.is_of(&short));
        assert!(!mark.is_of(&identity(Some(2))) && !mark.is_of(&identity(None)));
        mark.clear_if_empty();
        assert!(mark.path.exists());
        mark.clear();
        assert!(!mark.path.exists());
    }

    #[test]
    fn what_is_no_marks_name_is_left_alone() {
        let of = |name: &str| place(&Path::new(FOLDER).join(name));
        assert_eq!(of("4026532211-2"), Some((4_026_532_211, 2)));
        for name in ["4026532211", "-2", "4026532211-", "a-2", "1-2-3", "1--2"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
