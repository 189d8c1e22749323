//! What labs there are: one file each in /run/netns-trace/labs. Whoever builds, removes or owns a
//! lab holds a lock on its file, and the kernel lets go of that when he dies, however he does.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{LabError, Node, Topology, spec::check_name};
use crate::locked::{self, Locked};

/// Where netns-trace keeps what it has to clean up.
const RUN_DIR: &str = "/run/netns-trace";
/// One file for each lab.
pub const LABS_DIR: &str = "/run/netns-trace/labs";

/// What a lab's file is called until it is whole ends in this, after the maker's pid.
const DRAFT: &str = ".new";

/// A lab as its file describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The form of this description: 1.
    pub version: u32,
    /// The lab's name.
    pub name: String,
    /// How its namespaces are joined.
    pub topology: Topology,
    /// Whether it goes with the process that made it.
    pub private: bool,
    /// Whether it is complete; one that is not, and that nobody builds, is swept.
    pub complete: bool,
    /// Who made it.
    pub pid: u32,
    /// Its namespaces.
    pub nodes: Vec<Node>,
}

/// A state file, locked.
#[derive(Debug)]
pub(super) struct StateFile {
    file: Flock<File>,
    path: PathBuf,
}

pub(super) enum Opened {
    Ours(StateFile),
    /// Somebody else holds the lock.
    Busy,
    Missing,
}

impl StateFile {
    /// Makes the file of a new lab, locked from its first moment.
    pub(super) fn create(record: &Record) -> Result<Self, LabError> {
        let name = &record.name;
        let path = path_of(name);
        let failed = |e| LabError::io(format!("create {path:?}"), e);
        // Under another name until it is locked and whole: no sweep can come in between.
        let draft = Path::new(LABS_DIR).join(format!("{name}.{}{DRAFT}", std::process::id()));
        let file = create_in_new_dir(&draft).map_err(failed)?;
        let made = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| failed(errno.into()))
            .and_then(|file| {
                let state = Self {
                    file,
                    path: path.clone(),
                };
                state.write(record)?;
                match fs::hard_link(&draft, &path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        Err(LabError::LabExists { name: name.clone() })
                    }
                    other => other.map_err(failed).map(|()| state),
                }
            });
        if let Err(error) = fs::remove_file(&draft) {
            log::warn!("cannot remove {draft:?}: {error}");
        }
        made
    }

    /// Opens the file of a lab that is there.
    pub(super) fn open(name: &str) -> Result<Opened, LabError> {
        let path = path_of(name);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
            other => other.map_err(|e| LabError::io(format!("open {path:?}"), e))?,
        };
        match locked::try_lock(file, &path) {
            Ok(Locked::Ours(file)) => Ok(Opened::Ours(Self { file, path })),
            Ok(Locked::Taken) => Ok(Opened::Busy),
            Ok(Locked::Gone) => Ok(Opened::Missing),
            Err(why) => Err(LabError::io(format!("lock {path:?}"), why)),
        }
    }

    /// Writes the whole description anew, in place: a new file would not be locked.
    pub(super) fn write(&self, record: &Record) -> Result<(), LabError> {
        let failed = |e| LabError::io(format!("write {:?}", self.path), e);
        let mut text = serde_json::to_vec_pretty(record).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        self.file.write_all_at(&text, 0).map_err(failed)?;
        self.file.set_len(text.len() as u64).map_err(failed)
    }

    /// Removes the file, and the directories if that leaves them empty.
    pub(super) fn remove(self) -> Result<(), LabError> {
        let removed = fs::remove_file(&self.path);
        remove_empty_dirs();
        removed.map_err(|e| LabError::io(format!("remove {:?}", self.path), e))
    }
}

/// Reads a lab's description; `None` when it is not there.
pub(super) fn read(name: &str) -> Result<Option<Record>, LabError> {
    let path = path_of(name);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| LabError::io(format!("read {path:?}"), e))?,
    };
    parse(name, &text).map(Some)
}

/// What a lab's file says.
pub(crate) fn parse(name: &str, text: &[u8]) -> Result<Record, LabError> {
    let damaged = |why: String| LabError::State {
        path: path_of(name),
        why,
    };
    let record: Record = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
    if record.version != 1 {
        return Err(damaged(format!("its form is {}, not 1", record.version)));
    }
    // Names become paths: whoever may write here may do more, but a slip should not.
    let of_lab = |node: &Node| {
        crate::netns::is_name(&node.name) && node.path == super::names::path_of(&node.name)
    };
    if record.name != name || !record.nodes.iter().all(of_lab) {
        return Err(damaged("it holds names that it cannot have".into()));
    }
    Ok(record)
}

/// The names of all labs, sorted.
pub(super) fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(LABS_DIR)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            Some(name.to_str()?.strip_suffix(".json")?.to_owned())
        })
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    names
}

/// Removes the drafts of processes that were killed before their lab had its file.
pub(super) fn remove_drafts() {
    let orphaned = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(DRAFT)?;
        let pid: u32 = name.rsplit_once('.')?.1.parse().ok()?;
        Some(!Path::new(&format!("/proc/{pid}")).exists())
    };
    for entry in fs::read_dir(LABS_DIR).into_iter().flatten().flatten() {
        let path = entry.path();
        if orphaned(&path) == Some(true) {
            match fs::remove_file(&path) {
                Ok(()) => remove_empty_dirs(),
                Err(error) => log::warn!("cannot remove {path:?}: {error}"),
            }
        }
    }
}

fn remove_empty_dirs() {
    for dir in [LABS_DIR, RUN_DIR] {
        // Not empty, or removed by another: both are well.
        if fs::remove_dir(dir).is_err() {
            break;
        }
    }
}

pub(super) fn path_of(name: &str) -> PathBuf {
    Path::new(LABS_DIR).join(format!("{name}.json"))
}

/// Another process that removes its lab may take the empty directory away at any moment.
fn create_in_new_dir(path: &Path) -> io::Result<File> {
    const ATTEMPTS: usize = 100;
    let attempt = || {
        fs::create_dir_all(LABS_DIR)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    };
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    attempt()
}
