//! Files and folders of ours that somebody holds locked while he works with what they stand for, and that go with it.
//! A lock on one that was removed in the meantime is worth nothing: the next one makes it anew, and locks that. So
//! whoever has got a lock looks whether the path still leads there. What is in them is no matter here.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// What came of trying.
#[derive(Debug)]
pub(crate) enum Locked {
    Ours(Flock<File>),
    /// Somebody else holds it.
    Taken,
    /// It was removed meanwhile, and may be there anew.
    Gone,
}

/// Locks an open file that `path` led to, unless somebody else holds it.
pub(crate) fn try_lock(file: File, path: &Path) -> io::Result<Locked> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) if is_at(&file, path)? => Ok(Locked::Ours(file)),
        Ok(_) => Ok(Locked::Gone),
        Err((_, Errno::EWOULDBLOCK)) => Ok(Locked::Taken),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Waits for the lock of a file, which is made where it is missing, with the folder that it is in.
pub(crate) fn file(path: &Path, options: &OpenOptions) -> io::Result<Flock<File>> {
    wait_for(path, || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        options.open(path)
    })
}

/// Waits for the lock of a folder, which is made where it is missing.
pub(crate) fn folder(path: &Path) -> io::Result<Flock<File>> {
    wait_for(path, || {
        fs::create_dir_all(path)?;
        File::open(path)
    })
}

fn wait_for(path: &Path, open: impl Fn() -> io::Result<File>) -> io::Result<Flock<File>> {
    loop {
        let file = match open() {
            // Another one of ours has removed it, or the folder that it saw empty, just then.
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let file = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        if is_at(&file, path)? {
            return Ok(file);
        }
    }
}

/// Whether an open file is the one that a path leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (ours, there) = (file.metadata()?, fs::metadata(path));
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread, time::Duration};

    use super::*;

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        options
    }

    #[test]
    fn a_lock_is_had_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below/file");
        let held = file(&path, &options()).expect("locked");
        let again = || try_lock(File::open(&path).expect("there"), &path).expect("tried");
        assert!(matches!(again(), Locked::Taken));
        drop(held);
        assert!(matches!(again(), Locked::Ours(_)));
    }

    #[test]
    fn what_was_removed_or_made_anew_is_not_locked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for anew in [false, true] {
            let opened = options().open(&path).expect("made");
            fs::remove_file(&path).expect("removed");
            if anew {
                fs::write(&path, "another").expect("made anew");
            }
            let tried = try_lock(opened, &path).expect("tried");
            assert!(matches!(tried, Locked::Gone), "{tried:?}");
        }
    }

    #[test]
    fn who_waits_gets_the_one_that_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let held = file(&path, &options()).expect("locked");
        let (sender, done) = channel();
        thread::scope(|scope| {
            scope.spawn(|| sender.send(file(&path, &options())).expect("heard"));
            let soon = Duration::from_millis(50);
            assert!(done.recv_timeout(soon).is_err(), "it waits");
            fs::remove_file(&path).expect("removed");
            drop(held);
            let got = done.recv().expect("an answer").expect("locked");
            assert!(is_at(&got, &path).expect("told"));
        });
    }
}
