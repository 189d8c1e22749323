//! Where a demo's capture goes: a folder that is asked for, or a new one in the folder for temporary
//! files. A new one is marked until the demo has told of it, so that the next demo can tell what a
//! killed one has left from what is somebody's result.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use nix::{
    fcntl::Flock,
    unistd::{AccessFlags, access, geteuid},
};

use crate::locked::{self, Locked};

const PREFIX: &str = "netns-trace-demo-";
/// In a new folder, and locked, for as long as its demo runs.
const MARK: &str = "unfinished";

/// A folder to write to.
pub(super) struct Folder {
    path: PathBuf,
    /// Held for its lock.
    mark: Option<Flock<File>>,
}

impl Folder {
    /// The folder that is asked for, or a new one that nobody else can have prepared.
    pub(super) fn new(asked: Option<&Path>) -> Result<Self> {
        let Some(path) = asked else {
            return Self::new_in(&env::temp_dir());
        };
        fs::create_dir_all(path).map_err(|why| unusable(path, &why))?;
        access(path, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|errno| unusable(path, &errno.into()))?;
        let path = path.to_owned();
        Ok(Self { path, mark: None })
    }

    fn new_in(parent: &Path) -> Result<Self> {
        for number in 0..100 {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o755).create(&path) {
                Ok(()) => {}
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(why) => return Err(unusable(&path, &why)),
            }
            match mark(&path) {
                Ok(Some(mark)) => {
                    let mark = Some(mark);
                    return Ok(Self { path, mark });
                }
                // Another demo swept it in that moment.
                Ok(None) => {}
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(unusable(&path, &why)),
            }
        }
        bail!("cannot make a new directory in {}", parent.display())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The demo is over, and what is in the folder is the user's; whether there is anything. A new
    /// folder with nothing in it goes.
    pub(super) fn hand_over(self) -> bool {
        if self.mark.is_none() {
            return true;
        }
        if let Err(why) = fs::remove_file(self.path.join(MARK)) {
            log::warn!("the mark in {:?} stays: {why}", self.path);
        }
        fs::remove_dir(&self.path).is_err()
    }
}

/// Puts the mark into a new folder. None if the folder is not ours any more.
fn mark(folder: &Path) -> io::Result<Option<Flock<File>>> {
    let path = folder.join(MARK);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    match locked::try_lock(file, &path)? {
        Locked::Ours(mark) => Ok(Some(mark)),
        // A sweep has the lock, or had it before.
        Locked::Taken | Locked::Gone => Ok(None),
    }
}

/// Removes what killed demos of this user have left in the folder for temporary files.
pub(super) fn sweep() {
    sweep_in(&env::temp_dir());
}

fn sweep_in(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let folder = entry.path();
        // As it is, not where a link leads; and nobody else's.
        let is_own = entry
            .metadata()
            .is_ok_and(|told| told.is_dir() && told.uid() == geteuid().as_raw());
        if is_own && let Err(why) = sweep_one(&folder) {
            log::warn!("{folder:?}, of a demo that was killed, stays: {why}");
        }
    }
}

fn sweep_one(folder: &Path) -> io::Result<()> {
    // Killed before its mark was there.
    if fs::remove_dir(folder).is_ok() {
        return Ok(());
    }
    let path = folder.join(MARK);
    let mark = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path);
    match mark {
        Ok(mark) => match locked::try_lock(mark, &path)? {
            Locked::Ours(_mark) => fs::remove_dir_all(folder),
            // Its demo runs, or hands the folder over.
            Locked::Taken | Locked::Gone => Ok(()),
        },
        // Somebody's result, or swept meanwhile.
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

fn unusable(folder: &Path, why: &io::Error) -> anyhow::Error {
    let why = match why.kind() {
        io::ErrorKind::AlreadyExists => "it is a file".to_owned(),
        io::ErrorKind::NotFound => "what is above it does not exist".to_owned(),
        io::ErrorKind::NotADirectory => "what is above it is a file and no directory".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "its file system is mounted read-only".to_owned(),
        _ => why.to_string(),
    };
    anyhow!("cannot write to the directory {folder:?}: {why}; name another one with --dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_demo_left_goes_and_the_rest_stays() {
        let parent = tempfile::tempdir().expect("a folder");
        let parent = parent.path();
        let running = Folder::new_in(parent).expect("a folder");
        fs::write(running.path().join("demo.pcapng"), "a part").expect("written");
        let make = |name: &str, files: &[&str]| {
            let folder = parent.join(name);
            fs::create_dir(&folder).expect("made");
            for file in files {
                fs::write(folder.join(file), "x").expect("written");
            }
            folder
        };
        let killed = make("netns-trace-demo-1-0", &[MARK, "demo.pcapng"]);
        let killed_at_once = make("netns-trace-demo-2-0", &[]);
        let result = make("netns-trace-demo-3-0", &["demo.pcapng"]);
        let other = make("netns-trace-dem", &[MARK]);
        let link = parent.join("netns-trace-demo-4-0");
        std::os::unix::fs::symlink(&other, &link).expect("a link");
        sweep_in(parent);
        assert!(!killed.exists() && !killed_at_once.exists());
        let kept = [&result, &other, &link].map(|path| path.exists());
        assert_eq!(kept, [true; 3]);
        assert!(other.join(MARK).exists(), "links are not followed");

        let path = running.path().to_owned();
        assert!(path.join("demo.pcapng").exists(), "it runs");
        assert!(running.hand_over());
        sweep_in(parent);
        assert!(path.join("demo.pcapng").exists() && !path.join(MARK).exists());
        let empty = Folder::new_in(parent).expect("a folder");
        let path = empty.path().to_owned();
        assert!(!empty.hand_over() && !path.exists());
    }
}
