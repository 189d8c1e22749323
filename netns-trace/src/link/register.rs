//! Which names in /run/netns are ours: a file for each in /run/netns-trace/names, called as the name
//! is. Whoever makes or removes a name holds the lock of the directory meanwhile.
//!
//! The files may have been cut short or written by somebody else: what cannot be read says nothing,
//! and nothing in them is taken for a path.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use crate::{
    locked,
    netns::{Identity, path_of},
};

const RUN_DIR: &str = "/run/netns-trace";
const DIRECTORY: &str = "/run/netns-trace/names";
/// What a file is called until it is whole; no name of ours begins so.
const DRAFT: &str = ".draft";
/// A file of ours has some 200 bytes.
const LONGEST: u64 = 16 << 10;
/// More are not looked at in one go.
const MOST: usize = 100_000;

/// A name that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The form of this record: 1.
    version: u32,
    /// Its file's name in /run/netns.
    pub(crate) name: String,
    /// The namespace that was given the name.
    pub(crate) namespace: Identity,
    /// Whether a process lived in it then. A namespace that was linked without one, such as a router
    /// made by hand, is not given up for want of one.
    pub(crate) lived_in: bool,
}

impl Record {
    pub(crate) fn new(name: String, namespace: &Identity, lived_in: bool) -> Self {
        Self {
            version: 1,
            name,
            namespace: Identity {
                process: None, // it may end before the namespace does
                ..namespace.clone()
            },
            lived_in,
        }
    }

    /// Where the name is.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// Whether the namespace is the one that was given the name.
    pub(crate) fn is_of(&self, found: &Identity) -> bool {
        let was = &self.namespace;
        (was.device, was.inode) == (found.device, found.inode)
            && (was.cookie.is_none() || found.cookie.is_none() || was.cookie == found.cookie)
    }
}

/// A file of the register.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it says; `None` when it cannot be read.
    pub(crate) record: Option<Record>,
}

/// All files of the register, by name. Directories and the like are nobody's entry.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = fs::read_dir(DIRECTORY)
        .into_iter()
        .flatten()
        .flatten()
        .take(MOST)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| Entry {
            path: entry.path(),
            record: read(&entry.path()),
        })
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

fn read(path: &Path) -> Option<Record> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    parse(path.file_name()?, &text)
}

/// What the file of this name says.
pub(crate) fn parse(name: &OsStr, text: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(text).ok()?;
    let is_its = name.as_bytes() == record.name.as_bytes();
    (record.version == 1 && is_its).then_some(record)
}

/// The register, locked against others that would write it.
#[derive(Debug)]
pub(crate) struct Register {
    _lock: Flock<File>,
}

impl Register {
    /// Waits for the lock. The directory is made where it is missing, and goes with the lock where it
    /// is empty then.
    pub(crate) fn lock() -> io::Result<Self> {
        let lock = locked::folder(Path::new(DIRECTORY))?;
        Ok(Self { _lock: lock })
    }

    /// Writes a record, as a whole, in place of an earlier one of the same name.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        let directory = Path::new(DIRECTORY);
        let draft = directory.join(DRAFT);
        // One that was left by somebody who was killed: nobody else has the lock now.
        match fs::remove_file(&draft) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&draft)?;
        file.write_all(&text)?;
        fs::rename(&draft, directory.join(&record.name))
    }

    /// Removes a file of the register. One that is not there is no error.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes the record of a name.
    pub(crate) fn forget(&self, name: &str) -> io::Result<()> {
        self.remove(&Path::new(DIRECTORY).join(name))
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        for directory in [DIRECTORY, RUN_DIR] {
            // Not empty, which is well.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn record(name: &str) -> Record {
        let namespace = Identity {
            device: 4,
            inode: 4_026_532_211,
            cookie: Some(7),
            process: None,
        };
        Record::new(name.to_owned(), &namespace, true)
    }

    #[test]
    fn a_record_is_read_only_under_its_own_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let text = serde_json::to_string(&record("web")).expect("JSON");
        fs::write(at("web"), &text).expect("written");
        fs::write(at("other"), &text).expect("written");
        fs::write(at("cut"), &text[..text.len() / 2]).expect("written");
        fs::write(at("later"), text.replace("\"version\":1", "\"version\":2")).expect("written");
        fs::write(at("long"), "[".repeat(1 << 20)).expect("written");
        fs::write(at("empty"), "").expect("written");
        symlink(at("web"), at("link")).expect("a link");
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert_eq!(read(&at("web")), Some(record("web")));
        for name in [
            "other", "cut", "later", "long", "empty", "link", "pipe", "none",
        ] {
            assert_eq!(read(&at(name)), None, "{name}");
        }
    }

    #[test]
    fn another_namespace_with_the_same_inode_is_told_apart() {
        let ours = record("web");
        assert!(ours.is_of(&ours.namespace));
        for (device, inode, cookie, is_it) in [
            (4, 4_026_532_211, None, true),
            (4, 4_026_532_211, Some(8), false),
            (4, 4_026_532_212, Some(7), false),
            (5, 4_026_532_211, Some(7), false),
        ] {
            let found = Identity {
                device,
                inode,
                cookie,
                process: None,
            };
            assert_eq!(ours.is_of(&found), is_it, "{found:?}");
        }
    }
}
