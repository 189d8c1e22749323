//! What `clean` says, and files in /run as it finds them. The tests have a /run of their own
//! ([`crate::private_run::enter_alone`]).

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use crate::tool::{Done, run};

/// Runs `clean` with these options.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn clean(options: &[&str]) -> Done {
    let done = run([&["clean"], options].concat());
    assert!(done.status.success(), "{done:?}");
    done
}

/// The lines that `clean` prints, sorted.
#[must_use]
pub fn cleaned() -> Vec<String> {
    let mut lines: Vec<String> = clean(&[]).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The path of a name.
#[must_use]
pub fn name(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// A file among the names that was made long ago.
///
/// # Panics
/// When it cannot be made.
pub fn old_file(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    age(path);
}

/// Makes a file look as if it had been made long ago.
///
/// # Panics
/// When it is not there.
pub fn age(path: &Path) {
    let file = File::open(path).expect("the file");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
}

/// A link that was made long ago.
///
/// # Panics
/// When it cannot be made.
pub fn old_link(to: &str, path: &Path) {
    symlink(to, path).expect("a link");
    let status = Command::new("touch")
        .args(["--no-dereference", "--date=@0"])
        .arg(path)
        .status();
    assert!(status.expect("touch").success());
}

/// Whether there is a file or a link.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// All that is in /run, with what kind of file it is and when it was last changed.
///
/// # Panics
/// When `find` cannot be run.
#[must_use]
pub fn everything() -> Vec<String> {
    let found = Command::new("find")
        .args(["/run", "-printf", "%p %y %i %s %T@ %l\n"])
        .output()
        .expect("find");
    let mut lines: Vec<String> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}
